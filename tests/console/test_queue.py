"""States and moves, taking runs, and making them: all or nothing, each once."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rpat.errors import StoreError
from rpat.identity import process_identity
from rpat.journal import Journal
from rpat.recipes import recipe
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.launch import control
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import db as database
from rpat_tui.store import index, queue
from rpat_tui.store.db import transaction
from tests.console.conftest import Enqueue

STATES = {
    "queued", "starting", "running", "pausing", "paused", "done", "failed", "stopped", "lost",
}  # fmt: skip
CPU = ("cpu", "auto")


def put(db: sqlite3.Connection, n: int, **columns: object) -> None:
    """Set columns of a run behind the queue's back."""
    sets = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"update runs set {sets} where n = ?", (*columns.values(), n))


def state(db: sqlite3.Connection, n: int) -> tuple[str, str]:
    return db.execute("select state, reason from runs where n = ?", (n,)).fetchone()


def take(db: sqlite3.Connection, kinds: tuple[str, ...] = CPU, slot: str = "cpu:0") -> int | None:
    with transaction(db):
        taken = queue.take(db, slot, kinds, process_identity())
    return None if taken is None else taken[0]


# ----------------------------------------------------------------- moves


def test_moves_are_closed_over_the_known_states() -> None:
    assert set(queue.MOVES) == STATES
    for old, new in queue.MOVES.items():
        assert new <= STATES
        assert old not in new or old in queue.OPEN
    assert set(queue.OPEN) | set(queue.FINAL) | {"queued", "paused"} == STATES


def test_nothing_leaves_done_and_every_other_state_can_reach_it() -> None:
    assert queue.MOVES["done"] == set()
    reached = {"done"}
    for _ in STATES:
        reached |= {old for old, new in queue.MOVES.items() if new & reached}
    assert reached == STATES


@pytest.mark.parametrize(("old", "new"), itertools.product(sorted(STATES), repeat=2))
def test_a_move_is_made_and_written_down_or_refused(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, old: str, new: str
) -> None:
    (n,) = enqueue()
    put(db, n, state=old)
    if old == new or new in queue.MOVES[old]:
        with transaction(db):
            assert queue.move(db, n, new, "why", {"proof": 1}, t=5.0)
        assert state(db, n) == (new, "why")
        rows = db.execute("select old, new, t, reason, evidence from transitions").fetchall()
        assert rows == [(old, new, 5.0, "why", '{"proof": 1}')]
    else:
        with pytest.raises(StoreError, match=f"r0001 is {old} and cannot become {new}"):
            queue.move(db, n, new)
        assert state(db, n) == (old, "")
        assert not db.execute("select 1 from transitions").fetchone()


def test_the_same_state_and_reason_again_is_no_move(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    with transaction(db):
        assert queue.move(db, n, "stopped", "on request")
        assert not queue.move(db, n, "stopped", "on request")
    assert db.execute("select count(*) from transitions").fetchone() == (1,)


def test_a_run_that_ends_gives_its_slot_back(db: sqlite3.Connection, enqueue: Enqueue) -> None:
    (n,) = enqueue()
    assert take(db) == n
    assert queue.busy_slots(db) == {"cpu:0"}
    for word in queue.OPEN:
        put(db, n, state=word)
        assert queue.busy_slots(db) == {"cpu:0"}
    with transaction(db):
        queue.move(db, n, "failed", "why", t=7.0)
    assert queue.busy_slots(db) == set()
    assert db.execute("select ended from runs").fetchone() == (7.0,)
    with transaction(db):
        queue.move(db, n, "queued")
    assert db.execute("select ended, slot from runs").fetchone() == (None, "")


# ----------------------------------------------------------------- taking


def test_the_higher_priority_comes_first_and_then_the_older_run(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    a, b, c, d = enqueue(4)
    put(db, c, priority=90)
    put(db, a, priority=10)
    assert [take(db) for _ in range(5)] == [c, b, d, a, None]


def test_a_slot_takes_only_the_devices_that_fit(db: sqlite3.Connection, enqueue: Enqueue) -> None:
    auto, cpu, cuda = enqueue(3)
    put(db, auto, device="auto")
    put(db, cpu, device="cpu")
    put(db, cuda, device="cuda:1")
    assert take(db, ("cuda:0",)) is None
    assert take(db, ("cpu",)) == cpu
    assert take(db, ("auto", "cuda:1")) == auto
    assert take(db, ("auto", "cuda:1")) == cuda


@pytest.mark.parametrize("needed", ["queued", "running", "failed", "stopped", "lost"])
def test_a_run_waits_for_what_it_needs(
    db: sqlite3.Connection, enqueue: Enqueue, needed: str
) -> None:
    teacher, student = enqueue(2)
    put(db, teacher, state=needed, device="cuda:7")
    db.execute(
        "insert into dependencies (run, needs) select ?, uid from runs where n = ?",
        (student, teacher),
    )
    assert take(db) is None
    put(db, teacher, state="done")
    assert take(db) == student


def test_a_run_that_needs_an_unknown_run_is_not_taken(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    db.execute("insert into dependencies (run, needs) values (?, 'nobody')", (n,))
    assert take(db) is None


def test_taking_notes_the_start_the_slot_and_the_worker(
    db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    before = time.time()
    assert take(db) == n
    found = db.execute("select state, slot, started from runs").fetchone()
    assert found[:2] == ("starting", "cpu:0")
    assert before <= found[2] <= time.time()
    evidence = db.execute("select evidence from transitions").fetchone()[0]
    assert f'"pid": {os.getpid()}' in evidence


def take_in_rounds(path: str, rounds: int, gate: Any, taken: Any) -> None:
    """Take one run a round, all rivals at once; a process of the test below."""
    db, mine = database.connect(Path(path)), []
    for _ in range(rounds):
        gate.wait(60)
        mine.append(take(db))
    taken.put(mine)
    db.close()


def test_four_processes_never_take_the_same_run(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    numbers = enqueue(200)
    context = multiprocessing.get_context("spawn")
    gate, taken = context.Barrier(4), context.Queue()
    takers = [
        context.Process(target=take_in_rounds, args=(str(home.database), 50, gate, taken))
        for _ in range(4)
    ]
    for taker in takers:
        taker.start()
    found = [taken.get(timeout=60) for _ in takers]
    for taker in takers:
        taker.join()
    assert sorted(n for mine in found for n in mine) == numbers
    assert take(db) is None
    assert db.execute("select count(*) from transitions").fetchone() == (200,)


def test_two_threads_never_take_the_same_run(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    numbers = enqueue(100)
    gate = threading.Barrier(2)
    mine: tuple[list[int], list[int]] = [], []

    def work(part: list[int]) -> None:
        own = database.connect(home.database)
        gate.wait()
        while (n := take(own)) is not None:
            part.append(n)
        own.close()

    threads = [threading.Thread(target=work, args=(part,)) for part in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mine[0] + mine[1]) == numbers


# ----------------------------------------------------------------- again in the queue


def test_a_run_that_starts_again_is_not_judged_by_its_former_attempt(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    assert take(db) == n
    attempt = RunDir(home.runs / "r0001").take_attempt()
    log = Journal(attempt.attendant)
    gone = {**process_identity(), "started": "1"}
    log.write("begin", v=1, attempt=1, **gone)
    log.write("end", exit_code=None, signal="SIGKILL")
    log.close()
    reconcile(home, db)
    assert state(db, n)[0] == "failed"
    control.requeue(home, db, n)
    assert take(db) == n
    with transaction(db):
        queue.launched(db, n, process_identity())  # an attendant that is slow to start
    for _ in range(3):
        reconcile(home, db)
        assert state(db, n) == ("starting", "")


def test_a_trainer_that_has_not_spoken_yet_outlives_its_attendant(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    assert take(db) == n
    log = Journal(RunDir(home.runs / "r0001").take_attempt().attendant)
    log.write("begin", v=1, attempt=1, **{**process_identity(), "started": "1"})
    reconcile(home, db)
    assert state(db, n)[0] == "failed", "an attendant that died before it had a trainer"
    control.requeue(home, db, n)
    assert take(db) == n
    log = Journal(RunDir(home.runs / "r0001").take_attempt().attendant)
    log.write("begin", v=1, attempt=2, **{**process_identity(), "started": "1"})
    log.write("started", **process_identity())  # this test stands for the trainer
    reconcile(home, db)
    assert state(db, n)[0] == "starting"


# ----------------------------------------------------------------- making runs


def leftovers(home: Home) -> list[str]:
    return sorted(entry.name for entry in home.runs.iterdir())


def test_a_thousand_runs_are_queued_in_seconds(home: Home, db: sqlite3.Connection) -> None:
    base = recipe("pgd-at", dataset="digits", epochs=1)
    configs = [base.override({"seed": seed}) for seed in range(1000)]
    began = time.monotonic()
    numbers = index.enqueue(home, db, configs, index.Wish(), {})
    assert time.monotonic() - began < 60
    assert numbers == list(range(1, 1001))
    assert len(leftovers(home)) == 1000
    assert db.execute("select count(*), min(state), max(state) from runs").fetchone() == (
        1000, "queued", "queued",
    )  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 4, 5, 6, 11, 23])
def test_a_disk_that_fills_up_while_queueing_leaves_nothing(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    calls, real = itertools.count(1), os.fsync

    def full(fd: int) -> None:
        if next(calls) == k:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"nothing was queued \(No space left on device\)"):
            enqueue(5)
    assert next(calls) == k + 1
    assert leftovers(home) == []
    assert db.execute("select count(*) from runs").fetchone() == (0,)
    assert enqueue(2) == [1, 2]


def test_a_database_that_refuses_a_row_leaves_nothing(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue(1)
    db.execute(
        "create trigger full before insert on runs when new.n = 4 "
        "begin select raise(abort, 'database or disk is full'); end"
    )
    with pytest.raises(sqlite3.Error, match="full"):
        enqueue(5)
    assert leftovers(home) == ["r0001"]
    assert db.execute("select count(*) from runs").fetchone() == (1,)


def test_a_directory_is_whole_when_its_run_is_queued(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue()
    files = {path.name for path in (home.runs / "r0001").iterdir()}
    assert files == {"config.json", "provenance.json", "meta.json", "checkpoints"}


ENQUEUER = """
import sys
from rpat.recipes import recipe
from rpat_tui.home import find_home
from rpat_tui.store import db as database, index
home, base = find_home(), recipe("pgd-at", dataset="digits", epochs=1)
with database.opened(home) as db:
    sys.stdin.readline()
    for seed in range(5):
        configs = [base.override({"seed": 5 * seed + i}) for i in range(5)]
        print(*index.enqueue(home, db, configs, index.Wish(), {}))
"""


def test_ids_are_never_used_twice_by_rivals(home: Home, db: sqlite3.Connection) -> None:
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", ENQUEUER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    said = [rival.communicate(timeout=120)[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0] * 4
    numbers = sorted(int(word) for text in said for word in text.split())
    assert numbers == list(range(1, 101))
    assert db.execute("select count(distinct uid), count(*) from runs").fetchone() == (100, 100)
    assert leftovers(home) == [queue.name_of(n) for n in numbers]
