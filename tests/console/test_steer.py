"""People steer the queue: order, holds, pauses, retries, waits, news, times."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat.identity import process_identity
from rpat_tui.estimate import Load, Workload, forecast, left
from rpat_tui.home import Home
from rpat_tui.launch import again, attend, notify, worker
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction
from tests.console.conftest import Enqueue, Rpat, refused, until


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command starts a worker."""
    monkeypatch.setattr(worker, "ensure", lambda home: None)


def state_of(db: sqlite3.Connection, n: int) -> str:
    return str(db.execute("select state from runs where n = ?", (n,)).fetchone()[0])


def take(db: sqlite3.Connection, slot: str = "cpu:0", **more: Any) -> str | None:
    with transaction(db):
        taken = queue.take(db, slot, ("auto", "cpu"), process_identity(), **more)
    return taken[1] if taken else None


# ----------------------------------------------------------------- order


@given(
    priorities=st.lists(st.sampled_from([10, 50, 90]), min_size=2, max_size=7),
    moves=st.lists(st.tuples(st.sampled_from(["first", "last", "before"]), st.data()), max_size=4),
)
def test_moved_runs_lie_where_they_were_put_and_the_others_keep_their_order(
    priorities: list[int], moves: list[tuple[str, st.DataObject]]
) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("create table runs (n integer primary key, state, priority, rank real)")
    for n, priority in enumerate(priorities, 1):
        db.execute("insert into runs values (?, 'queued', ?, null)", (n, priority))
    numbers = range(1, len(priorities) + 1)
    assert queue.waiting(db) == sorted(numbers, key=lambda n: (-priorities[n - 1], n))
    for word, data in moves:
        run = data.draw(st.sampled_from(list(numbers)))
        others = [n for n in queue.waiting(db) if n != run]
        if word == "first":
            queue.place_first(db, [run])
            wanted = [run, *others]
        elif word == "last":
            queue.place_last(db, [run])
            wanted = [*others, run]
        else:
            target = data.draw(st.sampled_from(others))
            queue.place_before(db, [run], target)
            at = others.index(target)
            wanted = [*others[:at], run, *others[at:]]
        assert queue.waiting(db) == wanted


def test_the_queue_is_shown_moved_and_given_priorities(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, idle: None
) -> None:
    enqueue(4)
    assert rpat("queue", "first", "r4", "r3").out == "r0004 r0003: first in the queue\n"
    assert queue.waiting(db) == [4, 3, 1, 2]
    assert rpat("queue", "last", "r4").code == 0
    assert rpat("queue", "before", "r1", "r2").out == "r0002: before r0001\n"
    assert queue.waiting(db) == [3, 2, 1, 4]
    assert rpat("queue", "priority", "90", "r1").code == 0
    shown = rpat("queue", "show", "--json").json
    assert [run["id"] for run in shown["runs"]] == ["r0001", "r0003", "r0002", "r0004"]
    assert [run["priority"] for run in shown["runs"]] == [90, 50, 50, 50]
    assert shown["holds"] == {}
    assert "r0003" in rpat("queue", "show").out
    refused(rpat("queue", "before", "r1", "r1"), "itself")
    with transaction(db):
        queue.move(db, 4, "stopped")
    refused(rpat("queue", "first", "r4"), "r0004 is stopped", "only queued runs")


# ----------------------------------------------------------------- holds


def test_what_is_held_is_not_taken_until_it_is_released(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, idle: None
) -> None:
    enqueue(2)
    assert rpat("queue", "hold", "--reason", "moving house").out == "everything is on hold\n"
    assert take(db) is None
    assert "moving house" in rpat("queue", "show").out
    assert rpat("queue", "release").out == "everything is released\n"
    assert rpat("queue", "release").out == "everything was not on hold\n"
    assert rpat("queue", "hold", "r1").out == "r0001 is held back\n"
    why = {run["id"]: run["why"] for run in rpat("queue", "show", "--json").json["runs"]}
    assert why == {"r0001": "held back", "r0002": ""}
    assert rpat("queue", "hold", "cpu:0", "cuda:1").code == 0
    assert take(db) is None
    assert take(db, "cuda:1#2", card="cuda:1") is None
    assert take(db, "cpu:1") == "r0002"
    assert rpat("queue", "release", "r1", "cpu:0").code == 0
    assert take(db) == "r0001"


def test_a_drain_lets_what_runs_come_to_its_end(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (first,) = enqueue(note="pace=0.1")
    worker.ensure(home)
    until(lambda: state_of(db, first) == "running")
    (second,) = enqueue(method="mart")
    said = rpat("queue", "drain", "--wait")
    assert (said.code, said.out) == (0, "everything is on hold; 1 run(s) come to their end\n")
    assert (state_of(db, first), state_of(db, second)) == ("done", "queued")
    rpat("queue", "release")
    until(lambda: state_of(db, second) == "done")


def test_a_run_waits_for_the_runs_it_was_put_behind(
    home: Home, db: sqlite3.Connection, standin: Home, rpat: Rpat, idle: None
) -> None:
    words = ["run", "--dataset", "digits", "--detach", "--method"]
    assert rpat(*words, "pgd-at").out == "r0001\n"
    assert rpat(*words, "mart", "--after", "r0001", "--priority", "90").out == "r0002\n"
    why = {run["id"]: run["why"] for run in rpat("queue", "show", "--json").json["runs"]}
    assert why == {"r0001": "", "r0002": "waits for r0001 (queued)"}
    assert take(db) == "r0001"
    assert take(db, "cpu:1") is None
    refused(rpat(*words, "trades", "--after", "r9"), "run 'r9' does not exist")


# ----------------------------------------------------------------- pause, stop, kill


def test_a_paused_run_frees_its_place_and_goes_on_exactly_there(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    (n,) = enqueue(note="pace=0.02", epochs=12)
    worker.ensure(home)
    until(lambda: queries.runs(db, numbers=[n])[0]["epoch"] >= 2)
    assert rpat("pause", "r1").out == "r0001 saves its work and pauses; rpat resume r0001 goes on\n"
    until(lambda: state_of(db, n) == "paused")
    at = queries.runs(db, numbers=[n])[0]
    assert (at["reason"], at["slot"]) == ("on request", "")
    assert rpat("pause", "r1").out == "r0001 is paused: nothing to pause\n"
    refused(rpat("requeue", "r1"), "r0001 is paused")
    assert rpat("resume", "r1").out == "r0001 is queued and goes on where it was\n"
    until(lambda: state_of(db, n) == "done")
    steps = [p["step"] for p in queries.metrics(db, n, ["step/loss"])]
    assert steps == list(range(1, 12 * 5 + 1))
    began = [a["from_step"] for a in queries.attempts(db, n)]
    assert began == [0, at["step"]]
    refused(rpat("resume", "r1"), "r0001 is done", "only paused runs")


def test_a_queued_run_can_be_paused_and_a_paused_one_stopped(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat, idle: None
) -> None:
    enqueue(1)
    assert rpat("pause", "r1").out == "r0001 was queued: it is paused\n"
    assert take(db) is None
    assert rpat("stop", "r1").out == "r0001 was paused: it is stopped\n"


def test_a_trainer_that_ignores_the_request_is_killed_after_its_grace(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("RPAT_STOP_GRACE", "1")
    (n,) = enqueue(note="hang=1")
    worker.ensure(home)
    until(lambda: state_of(db, n) == "running")
    rpat("stop", "r1")
    until(lambda: state_of(db, n) == "stopped")
    reason = queries.runs(db, numbers=[n])[0]["reason"]
    assert "did not answer the request" in reason
    assert "was killed" in reason


def test_the_grace_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPAT_STOP_GRACE", "2.5")
    assert attend.grace() == 2.5
    monkeypatch.setenv("RPAT_STOP_GRACE", "soon")
    assert attend.grace() == attend.GRACE


# ----------------------------------------------------------------- retries


def test_a_failed_run_is_tried_again_as_often_as_allowed_and_goes_on(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue(note="crash=2", epochs=4)
    db.execute("update runs set retries = 2 where n = ?", (n,))
    worker.ensure(home)
    until(lambda: state_of(db, n) == "done")
    moves = [(m["old"], m["new"]) for m in queries.transitions(db, n)]
    assert ("failed", "queued") in moves
    reasons = [m["reason"] for m in queries.transitions(db, n) if m["old"] == "failed"]
    assert reasons[0].startswith("try 2 of 3 after: ")
    assert db.execute("select retried from runs where n = ?", (n,)).fetchone() == (1,)


@pytest.mark.parametrize("reason", again.HOPELESS)
def test_what_would_fail_again_is_not_tried_again(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reason: str
) -> None:
    (n,) = enqueue()
    db.execute("update runs set retries = 5, state = 'failed' where n = ?", (n,))
    assert not again.retry(db, n, {"error_reason": reason})
    assert state_of(db, n) == "failed"
    assert again.retry(db, n, {"error_reason": "error"})
    assert state_of(db, n) == "queued"


def test_the_failures_of_a_sweep_do_not_stop_the_others(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    bad = enqueue(1, note="exit=3")
    good = enqueue(2, method="mart")
    worker.ensure(home)
    until(lambda: not queries.unfinished(db, [*bad, *good]))
    assert [state_of(db, n) for n in [*bad, *good]] == ["failed", "done", "done"]


# ----------------------------------------------------------------- waiting


def test_wait_until_ends_when_every_run_answers_to_the_filter(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(2, note="pace=0.01", epochs=8)
    assert rpat("wait", "r1", "r2", "--until", "epoch>=2").code == 0
    assert min(row["epoch"] for row in queries.runs(db)) >= 2
    assert rpat("wait", "r1", "r2").code == 0
    assert rpat("wait", "r1", "--until", "epoch>=99").code == 1
    refused(rpat("wait", "r1", "--until", "epochh>2"), "epochh")


# ----------------------------------------------------------------- news


def test_the_end_of_a_run_is_told_once_to_command_and_webhook(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = tmp_path / "news"
    monkeypatch.setenv("RPAT_NOTIFY_COMMAND", f'echo "$RPAT_STATE $RPAT_TEXT" >> {file}')
    monkeypatch.setenv("RPAT_NOTIFY_WEBHOOK", f"http://127.0.0.1:{server.server_port}/x")
    good, bad = enqueue(2)
    enqueue(1, method="mart")
    with transaction(db):
        for n, new in ((good, "done"), (bad, "failed")):
            for state in ("starting", "running", new):
                queue.move(db, n, state, "boom" if state == "failed" else "")
    for _ in range(3):
        notify.tell(db, print)
    until(lambda: len(heard) == 2 and file.exists() and len(file.read_text().splitlines()) == 2)
    server.shutdown()
    server.server_close()
    assert sorted(news["state"] for news in heard) == ["done", "failed"]
    assert "failed r0002 failed: boom (pgd-at, digits, seed 1)" in file.read_text()
    notify.tell(db, print)
    assert len(heard) == 2


def test_an_old_end_is_no_news_and_a_deaf_receiver_costs_a_line(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, fresh = enqueue(2)
    db.execute("update runs set state = 'done', ended = ? where n = ?", (time.time() - 1e5, old))
    db.execute("update runs set state = 'done', ended = ? where n = ?", (time.time(), fresh))
    monkeypatch.setenv("RPAT_NOTIFY_COMMAND", "exit 7")
    monkeypatch.setenv("RPAT_NOTIFY_WEBHOOK", "http://127.0.0.1:9/nobody")
    said: list[str] = []
    notify.tell(db, said.append)
    until(lambda: len(said) == 2)
    assert {line.partition(":")[0] for line in said} == {"notify_command", "notify_webhook"}


# ----------------------------------------------------------------- times


def load(n: int, epochs: float, *paces: float, **more: Any) -> Load:
    return Load(n=n, running=more.pop("running", False), epochs_left=epochs, paces=paces, **more)


def test_an_unknown_pace_has_no_time_and_a_steady_one_a_narrow_span() -> None:
    assert left(load(1, 10)) is None
    assert left(load(1, 10, math.nan, 0.0)) is None
    low, high = left(load(1, 10, *[60.0] * 5)) or (0, 0)
    assert low == high == 600
    low, high = left(load(1, 10, 50, 70, 60, 55, 65)) or (0, 0)
    assert 0 < low < 600 < high


@given(epochs=st.floats(0, 500), paces=st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30))
def test_a_span_holds_the_mean_and_grows_with_the_epochs(epochs: float, paces: list[float]) -> None:
    low, high = left(load(1, epochs, *paces)) or (0, 0)
    newest = paces[-20:]
    mean = sum(newest) / len(newest) * epochs
    assert low <= mean * (1 + 1e-9) + 1e-6
    assert high >= mean * (1 - 1e-9) - 1e-6
    more = left(load(1, epochs + 1, *paces))
    assert more is not None
    assert more[1] >= high


def test_a_queue_is_forecast_slot_by_slot() -> None:
    steady = [60.0] * 4
    found = forecast(
        Workload(
            loads=[
                load(1, 2, *steady, running=True),
                load(2, 10, *steady),
                load(3, 1, *steady),
                load(4, 1, *steady, blocked=True),
            ],
            slots=2,
        )
    )
    assert found.ends[1] == (120, 120)
    assert found.starts[2] == (0, 0)
    assert found.ends[2] == (600, 600)
    assert found.starts[3] == (120, 120)
    assert 4 not in found.ends
    assert found.total == (600, 600)


def test_behind_a_run_of_unknown_length_nothing_is_promised() -> None:
    found = forecast(Workload(loads=[load(1, 5, running=True), load(2, 1, 60.0, 60.0)], slots=1))
    assert found.ends == {}
    assert found.total is None


def test_history_of_the_same_kind_gives_a_queued_run_its_time(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (old,) = enqueue(1)
    for name, seconds in (("time/epoch_s", 50.0), ("time/eval_s", 10.0)):
        (series,) = db.execute(
            "insert into series (run, name) values (?, ?) returning id", (old, name)
        ).fetchone()
        db.executemany(
            "insert into points (series, step, epoch, value) values (?, ?, ?, ?)",
            [(series, 5 * epoch, epoch, seconds) for epoch in (1, 2, 3)],
        )
    db.execute("update runs set state = 'done', epoch = 3 where n = ?", (old,))
    (new,) = enqueue(1, epochs=7)
    (other,) = enqueue(1, method="mart")
    loads = {item.n: item for item in queries.workload(db).loads}
    assert set(loads) == {new, other}
    assert (loads[new].epochs_left, list(loads[new].paces)) == (7, [60.0, 60.0, 60.0])
    assert list(loads[other].paces) == []
    assert left(loads[new]) == (420, 420)
