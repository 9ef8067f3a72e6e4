"""Why runs are in their state: the card, what a queued run waits for, silence, memory."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rpat.identity import process_identity
from rpat.journal import VERSION, Journal
from rpat.rundir import Attempt, RunDir
from rpat_tui.cli.explain import panel
from rpat_tui.cli.output import console
from rpat_tui.home import Home
from rpat_tui.launch import oom, stuck, worker
from rpat_tui.launch.card import Card, Facts, Place, card
from rpat_tui.launch.causes import CAUSES
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction
from tests.console.conftest import Enqueue, Rpat, until

# ----------------------------------------------------------------- the card


def made(**changes: Any) -> Card:
    facts: dict[str, Any] = {
        "id": "r0181", "state": "failed", "reason": "GPU 1 is out of memory", "cause": "gpu memory",
        "evidence": {"exit_code": 1, "signal": "", "last_line": "boom"}, "log_lines": 48_112,
        "host": "box", "attempt": 1, "last_row": Place(37, 370), "checkpoint": Place(35, 350),
        "config": {"optim": {"batch_size": 128, "lr": 0.1}},
    }  # fmt: skip
    return card(Facts(**{**facts, **changes}))


def commands(found: Card) -> list[str]:
    return [remedy.command for remedy in found.do]


def test_the_card_says_why_with_proof_what_is_lost_and_what_to_do() -> None:
    found = made()
    assert found.why == "GPU 1 is out of memory"
    assert found.proof == ("log line 48,112", "exit 1", "attempt 1 on box", "last words: boom")
    assert found.lost == (
        "0 rows; last row epoch 37 (step 370); checkpoint epoch 35 (step 350): "
        "20 steps are computed again"
    )
    assert commands(found) == [
        "rpat rerun r0181 --set optim.batch_size=64", "rpat requeue r0181",
        "rpat requeue r0181 --from-start", "rpat logs r0181",
    ]  # fmt: skip
    assert found.do[1].does == "goes on from epoch 35"


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"last_row": None, "checkpoint": None}, "0 rows; it had written none"),
        (
            {"checkpoint": None},
            "0 rows; last row epoch 37 (step 370); no checkpoint: it starts again from the "
            "beginning",
        ),
        (
            {"checkpoint": Place(37, 370)},
            "0 rows; last row epoch 37 (step 370); checkpoint epoch 37 (step 370)",
        ),
        (
            {"checkpoint": Place(36, 369), "damaged": 2},
            "2 damaged rows; last row epoch 37 (step 370); checkpoint epoch 36 (step 369): "
            "1 step is computed again",
        ),
    ],
)
def test_what_is_lost_compares_the_last_row_with_the_checkpoint(
    changes: dict[str, Any], lost: str
) -> None:
    assert made(**changes).lost == lost


@pytest.mark.parametrize("cause", [*CAUSES, ""])
@pytest.mark.parametrize("state", ["failed", "stopped", "lost"])
@pytest.mark.parametrize("kind", ["train", "eval"])
def test_every_cause_gets_a_card_with_something_to_do(cause: str, state: str, kind: str) -> None:
    found = made(cause=cause, state=state, kind=kind)
    assert found.do
    assert all(command.startswith("rpat ") for command in commands(found))
    assert bool(found.means) == bool(cause)
    assert kind == "train" or not any("rerun" in command for command in commands(found))


def test_a_lost_run_is_asked_about_on_its_host() -> None:
    assert made(state="lost", cause="lost").do[0].does == (
        "typed on box: its processes can be asked there"
    )


def test_the_card_is_drawn_in_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "r0181", "state": "failed", "epoch": 37, "epochs": 110, "ended": 0.0}
    console().print(panel(row, made()))
    text = capsys.readouterr().out
    assert "r0181" in text
    assert "at epoch 37" in text
    for word in ("why", "proof", "lost", "do", "rpat requeue r0181"):
        assert word in text


# ----------------------------------------------------------------- was it the kernel


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., oom.Counters]:
    """A machine with control groups of both versions; tells its counters."""
    files = {
        "own": "unified/a/b/memory.events", "parent": "unified/a/memory.events",
        "v1": "memory/c/memory.oom_control",
    }  # fmt: skip
    membership, vmstat = tmp_path / "cgroup", tmp_path / "vmstat"
    membership.write_text("4:memory:/c\n2:cpu:/d\n0::/a/b\n")

    def tell(**counts: int) -> oom.Counters:
        for name, file in files.items():
            path = tmp_path / "sys" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"low 0\noom 9\noom_kill {counts.get(name, 0)}\n")
        vmstat.write_text(f"pgfault 7\noom_kill {counts.get('machine', 0)}\n")
        return oom.counters(tmp_path / "sys", membership, vmstat)

    return tell


@pytest.mark.parametrize("where", ["own", "parent", "v1", "machine"])
def test_a_kill_of_the_kernel_raises_a_counter(
    machine: Callable[..., oom.Counters], where: str
) -> None:
    before, after = machine(own=3), machine(**{"own": 3, where: 5})
    found = oom.risen(before, after)
    assert found is not None
    assert found[1] == (2 if where == "own" else 5)
    ends = {"own": "a/b/memory.events", "parent": "a/memory.events", "v1": "c/memory.oom_control"}
    assert found[0].endswith(ends.get(where, "vmstat"))


def test_no_counter_rises_when_a_person_kills(machine: Callable[..., oom.Counters]) -> None:
    assert oom.risen(machine(own=3), machine(own=3)) == ("", 0)


def test_where_nothing_can_be_read_nothing_is_claimed(tmp_path: Path) -> None:
    nothing = oom.counters(tmp_path, tmp_path / "cgroup", tmp_path / "vmstat")
    assert nothing == {}
    assert oom.risen(nothing, nothing) is None


# ----------------------------------------------------------------- silence


@pytest.mark.parametrize(
    ("quiet", "gaps", "expected"),
    [
        (599, [], False),
        (601, [], True),
        (119, [1.0] * 20, False),  # a short pace still has two minutes
        (121, [1.0] * 20, True),
        (599, [60.0] * 20, False),
        (601, [60.0] * 20, True),
        (601, [1.0] * 30 + [60.0] * 20, True),  # only the last twenty count
        (601, [60.0, 90_000.0, 60.0, -3600.0, 60.0], True),  # a clock that jumped, both ways
        (599, [60.0, 90_000.0, 60.0, -3600.0, 60.0], False),
    ],
)
def test_silence_is_measured_in_usual_intervals(
    quiet: float, gaps: list[float], expected: bool
) -> None:
    assert stuck.is_stuck(quiet, gaps) is expected


def test_the_factor_is_a_setting() -> None:
    assert stuck.is_stuck(250, [60.0] * 5, factor=4)
    assert not stuck.is_stuck(250, [60.0] * 5, factor=5)


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def journaled(attempt: Attempt, *times: float) -> Journal:
    """Write a journal with a row at each time."""
    attempt.path.mkdir(parents=True, exist_ok=True)
    log = Journal(attempt.journal)
    for step, t in enumerate(times, log.seq + 1):
        log.write("log", t=t, step=step, epoch=0, values={})
    return log


def test_a_watch_counts_from_what_it_has_seen_itself(tmp_path: Path) -> None:
    clock, run = Clock(), RunDir(tmp_path / "r0001")
    watch = stuck.Watch(clock=clock)
    # Its last row is a year old by the wall clock: that says nothing.
    journaled(Attempt(run.path, 1), 0.0, 30.0, 60.0)
    assert watch.silence(run, 1) == {"quiet": 0.0}
    clock.now += 119
    assert watch.silence(run, 1) == {"quiet": 119.0}
    clock.now += 181
    assert watch.silence(run, 1) == {"quiet": 300.0, "patience": 300.0, "usual": 30.0}
    journaled(Attempt(run.path, 1), 5.0)  # and the wall clock was set back
    assert watch.silence(run, 1) == {"quiet": 0.0}
    watch.forget(set())
    assert not watch.seen


def test_only_the_end_of_a_long_journal_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "TAIL", 500)
    attempt = Attempt(tmp_path / "r0001", 1)
    journaled(attempt, *(float(7 * i) for i in range(100)))
    assert set(stuck.gaps_of(attempt.journal)) == {7.0}
    assert stuck.gaps_of(attempt.journal.with_name("missing")) == []


@pytest.fixture
def silent(home: Home, db: sqlite3.Connection, enqueue: Enqueue) -> int:
    """A run whose trainer (this process) lives and has written two rows, a minute apart."""
    (n,) = enqueue()
    with transaction(db):
        queue.take(db, "cpu:0", ("auto", "cpu"), process_identity())
    attempt = RunDir(home.runs / queue.name_of(n)).take_attempt()
    log = Journal(attempt.journal)
    log.write("begin", v=VERSION, attempt=1, from_step=0, **process_identity(), versions={})
    log.write("notice", what="data", fingerprint="f", source="embedded")
    for step in (1, 2):
        log.write("log", t=60.0 * step, step=step, epoch=0, values={"step/loss": 1.0})
    log.close()
    return n


def test_a_silent_run_stays_running_with_a_remark_until_it_writes_again(
    home: Home, db: sqlite3.Connection, silent: int
) -> None:
    clock = Clock()
    watch = stuck.Watch(clock=clock)

    def look() -> tuple[str, str]:
        assert reconcile(home, db, watch=watch)
        found: tuple[str, str] = db.execute(
            "select state, reason from runs where n = ?", (silent,)
        ).fetchone()
        return found

    assert look() == ("running", "")
    clock.now += 601
    remark = "may be stuck: no row for more than 10 min (one comes every 60 s)"
    assert look() == ("running", remark)
    clock.now += 5
    assert look() == ("running", remark)
    assert queries.stuck(db) == [silent]
    log = Journal(Attempt(home.runs / queue.name_of(silent), 1).journal)
    log.write("log", step=3, epoch=0, values={})
    assert look() == ("running", "")
    assert queries.stuck(db) == []
    moves = [(m["new"], m["reason"] != "") for m in queries.transitions(db, silent)]
    assert moves[-3:] == [("running", False), ("running", True), ("running", False)]


def test_a_stuck_run_is_started_again_where_the_settings_ask_for_it(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stuck, "LEAST", 0.2)
    monkeypatch.setattr(stuck, "GENEROUS", 0.2)
    monkeypatch.setenv("RPAT_STUCK_ACTION", "restart")
    (n,) = enqueue(note="hang=1")
    here = worker.Worker(home, 0.0, worker.Box(worker.rules(), list), lambda text: None)
    here.watch.factor = 0.0
    local = here.sides[0]
    local.submit(db)

    def again() -> bool:
        reconcile(home, db, watch=here.watch)
        here._restart_stuck(db)
        return bool(queries.moves_for(db, n, "stuck"))

    until(again)
    assert db.execute("select state, reason from runs where n = ?", (n,)).fetchone() == (
        "queued", "was stuck and is started again",
    )  # fmt: skip
    until(lambda: local.poll(db) and not local.children)


# ----------------------------------------------------------------- rpat explain


def test_a_killed_run_is_told_apart_from_one_that_the_kernel_killed(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=50)
    worker.ensure(home)
    until(lambda: queries.runs(db, numbers=[n])[0]["epoch"] > 0)
    trainer = queries.attempts(db, n)[0]["trainer"]
    os.kill(trainer["pid"], signal.SIGKILL)
    until(lambda: not queries.unfinished(db, [n]))
    (found,) = json.loads(rpat("explain", "r1", "--json").out)
    assert (found["state"], found["cause"]) == ("failed", "signal")
    assert "SIGKILL" in found["card"]["why"]
    end = queries.attendant_end(db, n, 1)
    assert end["peak_mb"] > 0
    assert end.get("oom_kill", {"rose_by": 0})["rose_by"] == 0
    assert [move["new"] for move in found["history"]][:2] == ["queued", "starting"]
    assert found["history"][1]["who"].startswith("worker ")
    text = rpat("explain", "r1").out
    assert "rpat requeue r1" not in text  # ids are whole
    assert "rpat requeue r0001" in text
    assert "[signal]" in text
    assert "why" in rpat("show", "r1").out
    assert json.loads(rpat("show", "r1", "--json").out)["card"]["why"] == found["card"]["why"]


def test_a_queued_run_says_what_it_waits_for(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    first, second = enqueue(2)
    needed = queries.runs(db, numbers=[first])[0]
    with transaction(db):
        queue.hold(db, queue.ALL, "maintenance")
        queue.hold(db, "cuda:1")
        db.execute("update runs set held = 1 where n = ?", (second,))
        db.execute("insert into dependencies values (?, ?, 'final')", (second, needed["uid"]))
        queue.move(db, first, "stopped", "on request")
    text = rpat("explain", "r0002").out
    for line in (
        "it is held back",
        "the whole queue is on hold (maintenance)",
        "cuda:1 is on hold",
        "it waits for r0001 (final weights), which is stopped: rpat explain r0001",
        "no worker lives",
        "position 1 of 1 in the queue",
    ):
        assert line in text
    (stopped,) = json.loads(rpat("explain", "r0001", "--json").out)
    assert stopped["history"][-1]["who"] == "a person"
    assert stopped["card"]["lost"] == "0 rows; it had written none"


def test_a_device_that_is_not_there_is_named(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue()
    db.execute("update runs set device = 'cuda:77' where n = ?", (n,))
    assert "this machine has no slot for device cuda:77" in rpat("explain", "r1").out


def test_a_running_run_says_since_when_and_at_which_pace(
    home: Home, db: sqlite3.Connection, silent: int, rpat: Rpat
) -> None:
    reconcile(home, db)
    (found,) = json.loads(rpat("explain", "r1", "--json").out)
    assert found["state"] == "running"
    assert found["card"] is None
    assert found["progress"]["since"]
    assert found["progress"]["last_row_age_s"] >= 0
    assert "running since" in rpat("explain", "r1").out


def test_a_run_that_does_not_exist_is_a_wrong_request(home: Home, rpat: Rpat) -> None:
    said = rpat("explain", "r9")
    assert said.code == 2
    assert "does not exist" in said.err
