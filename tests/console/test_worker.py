"""Real processes: worker, attendant and the stand-in core."""

from __future__ import annotations

import os
import signal
import sqlite3

import pytest

from rpat_tui.home import Home
from rpat_tui.launch import control, worker
from rpat_tui.launch.locks import holder
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import queries
from tests.console.conftest import Enqueue, until


def state(db: sqlite3.Connection, n: int) -> tuple[str, str]:
    return db.execute("select state, reason from runs where n = ?", (n,)).fetchone()


def finish(home: Home, db: sqlite3.Connection, numbers: list[int]) -> None:
    worker.ensure(home)
    until(lambda: not queries.unfinished(db, numbers))


def test_queued_runs_are_executed_one_after_another_and_the_idle_worker_leaves(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    numbers = enqueue(2)
    finish(home, db, numbers)
    assert [state(db, n)[0] for n in numbers] == ["done", "done"]
    first, second = (queries.attempts(db, n)[0] for n in numbers)
    assert first["ended"] <= second["began"]
    until(lambda: holder(home.worker_lock) is None)


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ("crash=2", "RuntimeError: the stand-in crashed as told"),
        ("nan=2", "nan: train/loss is nan"),
        ("oom=1", "out of memory: OutOfMemoryError: CUDA out of memory"),
        ("tear=2", "killed by SIGKILL"),
        ("exit=3", "ended with exit code 3"),
    ],
)
def test_a_failed_run_says_why(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, orders: str, expected: str
) -> None:
    (n,) = enqueue(note=orders)
    finish(home, db, [n])
    found, reason = state(db, n)
    assert found == "failed"
    assert expected in reason


def test_a_stopped_run_goes_on_from_its_checkpoint_without_doubling_a_row(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=8)
    worker.ensure(home)
    until(lambda: len(queries.metrics(db, n, ["train/loss"])) >= 2)
    control.stop(home, db, n)
    until(lambda: state(db, n) == ("stopped", "on request"))
    control.requeue(home, db, n)
    finish(home, db, [n])
    assert state(db, n)[0] == "done"
    assert [p["epoch"] for p in queries.metrics(db, n, ["train/loss"])] == list(range(1, 9))
    assert [p["step"] for p in queries.metrics(db, n, ["step/loss"])] == list(range(1, 41))
    assert len(queries.attempts(db, n)) == 2
    assert len(queries.evaluations(db, n)) == 2


def test_a_killed_run_is_stopped_and_not_failed(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="hang=1")
    worker.ensure(home)
    until(lambda: state(db, n)[0] == "running")
    control.stop(home, db, n, "kill")
    until(lambda: state(db, n) == ("stopped", "killed on request"))


def test_a_worker_that_dies_costs_nothing_and_the_next_one_adopts(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=8)
    worker.ensure(home)
    until(lambda: state(db, n)[0] == "running")
    os.kill((holder(home.worker_lock) or {})["pid"], signal.SIGKILL)
    until(lambda: holder(home.worker_lock) is None)
    reconcile(home, db)
    assert state(db, n)[0] == "running"
    finish(home, db, [n])
    assert state(db, n)[0] == "done"
    assert len(queries.attempts(db, n)) == 1


def test_an_attendant_that_dies_leaves_the_run_running(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=8)
    worker.ensure(home)
    until(lambda: state(db, n)[0] == "running")
    os.kill(queries.attempts(db, n)[0]["attendant"]["pid"], signal.SIGKILL)
    finish(home, db, [n])
    assert state(db, n)[0] == "done"


def test_two_workers_never_serve_one_home(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.05", epochs=4)
    for _ in range(5):
        worker.ensure(home)
    finish(home, db, [n])
    assert len(queries.attempts(db, n)) == 1
