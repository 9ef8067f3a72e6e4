"""Real processes: worker, attendant and the stand-in core."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from rpat.errors import StoreError
from rpat.rundir import RunDir
from rpat_tui.cli import live
from rpat_tui.home import Home
from rpat_tui.launch import attend, control, worker
from rpat_tui.launch.locks import holder
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import move
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


def test_a_worker_takes_up_the_database_that_has_replaced_its_own(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=16)
    worker.ensure(home)
    until(lambda: state(db, n)[0] == "running")
    pid = (holder(home.worker_lock) or {})["pid"]
    for file in home.path.glob("rpat.db*"):
        file.unlink()

    def is_done() -> bool:
        with database.opened(home) as new:
            return state(new, n) == ("done", "")

    until(is_done)
    assert (holder(home.worker_lock) or {"pid": pid})["pid"] == pid
    with database.opened(home) as new:
        assert [p["epoch"] for p in queries.metrics(new, n, ["train/loss"])] == [*range(1, 17)]


def test_who_waits_is_told_when_the_database_is_replaced(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    numbers = enqueue(note="pace=0.02", epochs=16)
    looks = 0

    def show(rows: list[live.Row]) -> None:
        nonlocal looks
        looks += 1
        for file in home.path.glob("rpat.db*"):
            file.unlink()

    with pytest.raises(StoreError, match="was replaced"):
        live._poll(home, db, numbers, show)
    assert looks == 1
    with database.opened(home) as new:
        until(lambda: not queries.unfinished(new, numbers))


def test_a_trainer_that_fell_to_a_full_disk_is_known_by_it_later(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (n,) = enqueue(note="exit=1")
    with transaction(db):
        move(db, n, "starting")
    monkeypatch.setattr(attend, "FULL", float("inf"))
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    attend.main(str(home.runs / "r0001"))
    for number, handler in before.items():
        signal.signal(number, handler)
    reconcile(home, db)
    assert state(db, n) == ("failed", "disk full: the run's last words could not be written")


def test_a_request_by_a_signal_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = RunDir(tmp_path).take_attempt()
    there: list[bool] = []
    monkeypatch.setattr("rpat.rundir.os.fsync", lambda fd: there.append(attempt.stop.exists()))
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        heard = attend._answer_signals(attempt)
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (attempt.stop.read_text(), there) == ("SIGUSR1", [False])
    assert heard == ["SIGUSR1", "SIGTERM"]


def test_two_workers_never_serve_one_home(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="pace=0.05", epochs=4)
    for _ in range(5):
        worker.ensure(home)
    finish(home, db, [n])
    assert len(queries.attempts(db, n)) == 1
