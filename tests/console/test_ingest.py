"""Exactly once: rows depend on what the journals say, never on how or when they are read."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rpat.journal import Journal
from rpat.recipes import recipe
from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.launch import control, worker
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import db as database
from rpat_tui.store import index, queries
from rpat_tui.store.db import transaction
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import move, place_first, waiting
from tests.console.conftest import Enqueue, until

Record = dict[str, Any]
PER_EPOCH = 3
STEP_NAMES = ("step/loss", "gpu/odd")
EPOCH_NAMES = ("train/loss", "test/pgd_acc", "lr")
WHO = {"host": "here", "boot": "b", "pid": 1, "started": "2"}

# ----------------------------------------------------------------- generated journals

values = st.none() | st.floats(-100, 100).map(lambda x: round(x, 3)) | st.sampled_from([0.0, 50.0])


@st.composite
def an_attempt(draw: st.DrawFn, number: int, start: int) -> list[Record]:
    """The records of one attempt from a step on, as a trainer would write them."""
    records: list[Record] = [
        {"kind": "begin", "v": 1, "attempt": number, "from_step": start, "device_name": "x", **WHO},
        {"kind": "notice", "what": "data", "fingerprint": "f"},
        {"kind": "notice", "what": "plan", "steps": 99, "epochs": 33},
    ]
    for step in range(start + 1, start + 1 + draw(st.integers(0, 10))):
        epoch = (step - 1) // PER_EPOCH
        if draw(st.booleans()):
            names = draw(st.sets(st.sampled_from(STEP_NAMES)))
            found = {name: draw(values) for name in sorted(names)}
            records.append({"kind": "log", "step": step, "epoch": epoch, "values": found})
        if draw(st.integers(0, 9)) == 0:
            records.append({"kind": "nonfinite", "names": ["step/loss"], "step": step})
        if step % PER_EPOCH == 0:
            found = {name: draw(values) for name in EPOCH_NAMES}
            records.append({"kind": "epoch", "step": step, "epoch": epoch + 1, "values": found})
        if draw(st.integers(0, 9)) == 0:
            records.append(an_evaluation(step, draw(values)))
        if draw(st.integers(0, 19)) == 0:
            records.append({"kind": "of the future", "step": step, "what": "ever"})
    last = draw(st.sampled_from(["", "error", "end", "stop"]))
    if last:
        records.append({"kind": last, "step": start, "word": "stop", "reason": "nan"})
    return [{"seq": i, "t": 100.0 * number + i, **r} for i, r in enumerate(records, 1)]


def an_evaluation(step: int, robust: float | None) -> Record:
    return {
        "kind": "eval", "step": step, "checkpoint": "best", "network": "online", "epoch": 1,
        "weights": "0", "selected_on": "test", "attack": "pgd", "norm": "linf", "epsilon": 8 / 255,
        "steps": 20, "step_size": 2 / 255, "restarts": 1, "split": "test", "n": 20, "of": 20,
        "indices": "0", "seed": 0, "dtype": "float32", "note": "", "clean": 80.0, "robust": robust,
    }  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[list[Record]]:
    """Attempts, each from a step that an earlier one may have passed."""
    attempts: list[list[Record]] = []
    reached = 0
    for number in range(1, draw(st.integers(1, 4)) + 1):
        start = draw(st.integers(0, reached)) if number > 1 else 0
        attempts.append(draw(an_attempt(number, start)))
        reached = max(reached, *(r.get("step", 0) for r in attempts[-1]))
    return attempts


def merged(attempts: list[list[Record]]) -> dict[tuple[str, int], tuple[int, float | None]]:
    """What the points must be: a later attempt replaces all beyond the step it begins from."""
    points: dict[tuple[str, int], tuple[int, float | None]] = {}
    for records in attempts:
        for record in records:
            if record["kind"] == "begin":
                points = {k: v for k, v in points.items() if k[1] <= record["from_step"]}
            for name, value in record.get("values", {}).items():
                points[name, record["step"]] = (record["epoch"], value)
    return points


def kept_evaluations(attempts: list[list[Record]]) -> list[tuple[int, int]]:
    """(attempt, seq) of the evaluations whose weights no later attempt trained again."""
    out = []
    for i, records in enumerate(attempts):
        limit = min((later[0]["from_step"] for later in attempts[i + 1 :]), default=10**9)
        out += [(i + 1, r["seq"]) for r in records if r["kind"] == "eval" and r["step"] <= limit]
    return out


# ----------------------------------------------------------------- a small store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A migrated database that knows one run, and nothing of its journals."""
    home = Home(tmp_path_factory.mktemp("template") / "home").make()
    with database.opened(home) as db:
        config = recipe("pgd-at", dataset="digits", epochs=33)
        index.enqueue(home, db, [config], index.Wish(), {})
        yield db


class Reader:
    """A copy of the template and a run directory whose journals grow."""

    def __init__(self, template: sqlite3.Connection, folder: Path) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        template.backup(self.db)
        self.run = RunDir(folder)

    def write(self, number: int, data: bytes) -> None:
        folder = self.run.path / "attempts" / f"{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "journal.jsonl").open("ab") as stream:
            stream.write(data)

    def read(self) -> int:
        return ingest(self.db, 1, self.run)


@contextmanager
def reader(template: sqlite3.Connection) -> Iterator[Reader]:
    with tempfile.TemporaryDirectory() as folder:
        made = Reader(template, Path(folder))
        try:
            yield made
        finally:
            made.db.close()


def encoded(records: list[Record]) -> bytes:
    return b"".join(json.dumps(r).encode() + b"\n" for r in records)


DERIVED = "started", "ended"
"""Columns of a run that tell when this database learned something."""


def dump(db: sqlite3.Connection) -> dict[str, list[Any]]:
    """Every derived table, without row ids."""
    queried = {
        "points": "select s.run, s.name, p.step, p.epoch, p.value from points p "
        "join series s on s.id = p.series order by 1, 2, 3",
        "latest_best": "select s.run, s.name, l.step, l.epoch, l.value, l.max_value, l.max_epoch, "
        "l.min_value, l.min_epoch, l.points from latest_best l join series s on s.id = l.series "
        "order by 1, 2",
        "evaluations": "select run, attempt, seq, t, step, checkpoint, epoch, clean, robust, "
        "of_n, state from evaluations order by run, attempt, seq",
        "events": "select * from events order by run, attempt, file, seq",
        "attempts": "select * from attempts order by run, number",
        "tags": "select * from tags order by run, tag",
    }  # fmt: skip
    found: dict[str, list[Any]] = {
        name: db.execute(sql).fetchall() for name, sql in queried.items()
    }
    names = [row[1] for row in db.execute("pragma table_info(runs)") if row[1] not in DERIVED]
    found["runs"] = db.execute(f"select {', '.join(names)} from runs order by n").fetchall()
    return found


def check_points(db: sqlite3.Connection, attempts: list[list[Record]]) -> None:
    found = {(name, step): (epoch, value) for _, name, step, epoch, value in dump(db)["points"]}
    assert found == merged(attempts)
    rows = db.execute("select attempt, seq from evaluations order by attempt, seq").fetchall()
    assert rows == kept_evaluations(attempts)


def check_summaries(db: sqlite3.Connection, attempts: list[list[Record]]) -> None:
    """`latest_best` against brute force: the newest point, the first of equal extremes."""
    expected = []
    points = merged(attempts)
    for name in sorted({name for name, _ in points}):
        rows = [
            (step, *points[name, step]) for _, step in sorted(k for k in points if k[0] == name)
        ]
        finite = [(epoch, value) for _, epoch, value in rows if value is not None]
        high = max(finite, key=lambda pair: pair[1], default=(None, None))
        low = min(finite, key=lambda pair: pair[1], default=(None, None))
        expected.append((1, name, *rows[-1], high[1], high[0], low[1], low[0], len(rows)))
    assert dump(db)["latest_best"] == expected


many = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@many
@given(histories(), st.data())
def test_rows_do_not_depend_on_where_the_journal_is_cut(
    template: sqlite3.Connection, attempts: list[list[Record]], data: st.DataObject
) -> None:
    with reader(template) as whole, reader(template) as cut:
        for number, records in enumerate(attempts, 1):
            text = encoded(records)
            whole.write(number, text)
            places = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
            for start, stop in zip([0, *places], [*places, len(text)], strict=True):
                cut.write(number, text[start:stop])
                for _ in range(data.draw(st.integers(0, 2))):
                    cut.read()
        read = cut.read()
        assert whole.read() == sum(map(len, attempts)) >= read
        assert dump(whole.db) == dump(cut.db)
        check_points(whole.db, attempts)
        check_summaries(whole.db, attempts)


@many
@given(histories(), st.data())
def test_reading_again_changes_nothing(
    template: sqlite3.Connection, attempts: list[list[Record]], data: st.DataObject
) -> None:
    with reader(template) as store:
        for number, records in enumerate(attempts, 1):
            store.write(number, encoded(records))
        store.read()
        before = dump(store.db)
        assert store.read() == 0
        store.db.execute("update journals set offset = 0")
        assert store.read() == 0
        assert dump(store.db) == before
        one = data.draw(st.integers(1, len(attempts)))
        store.db.execute("delete from journals where attempt = ?", (one,))
        assert store.read() == len(attempts[one - 1])
        assert dump(store.db) == before
        store.db.execute("delete from journals")
        assert store.read() == sum(map(len, attempts))
        assert dump(store.db) == before


@many
@given(histories(), st.randoms(use_true_random=False))
def test_an_attempt_that_writes_late_does_not_change_what_a_later_one_trained(
    template: sqlite3.Connection, attempts: list[list[Record]], random: Any
) -> None:
    """Records of all attempts arrive in any order that keeps each file's own."""
    with reader(template) as store:
        left = {number: list(records) for number, records in enumerate(attempts, 1)}
        while any(left.values()):
            number = random.choice([n for n, records in left.items() if records])
            size = random.randint(1, len(left[number]))
            store.write(number, encoded(left[number][:size]))
            del left[number][:size]
            store.read()
        check_points(store.db, attempts)
        check_summaries(store.db, attempts)
        newest = attempts[-1]
        steps = [r["step"] for r in newest if "values" in r] or [newest[0]["from_step"]]
        assert store.db.execute("select attempt from runs").fetchone() == (len(attempts),)
        assert store.db.execute("select step from runs").fetchone()[0] >= max(steps)


def simple(number: int, start: int, steps: int) -> list[Record]:
    """An attempt with one logged number a step."""
    records: list[Record] = [
        {"kind": "begin", "attempt": number, "from_step": start, "device_name": "x", **WHO}
    ]
    for step in range(start + 1, start + steps + 1):
        found = {"step/loss": float(100 * number + step)}
        records.append({"kind": "log", "step": step, "epoch": 0, "values": found})
    return [{"seq": i, "t": float(i), **r} for i, r in enumerate(records, 1)]


def losses(db: sqlite3.Connection) -> list[tuple[int, float]]:
    return [(p["step"], p["value"]) for p in queries.metrics(db, 1, ["step/loss"])]


def test_an_attempt_drops_what_it_trains_again(template: sqlite3.Connection) -> None:
    with reader(template) as store:
        store.write(1, encoded(simple(1, 0, 5)))
        store.read()
        assert len(losses(store.db)) == 5
        store.write(2, encoded(simple(2, 2, 1)))
        store.read()
        assert losses(store.db) == [(1, 101.0), (2, 102.0), (3, 203.0)]
        row = store.db.execute("select step, max_value, min_value, points from latest_best")
        assert row.fetchone() == (3, 203.0, 101.0, 3)


def test_an_older_attempt_that_begins_late_drops_nothing_of_a_later_one(
    template: sqlite3.Connection,
) -> None:
    with reader(template) as store:
        store.write(2, encoded(simple(2, 2, 3)))
        store.read()
        store.write(1, encoded(simple(1, 0, 9)))
        store.read()
        assert losses(store.db) == [(1, 101.0), (2, 102.0), (3, 203.0), (4, 204.0), (5, 205.0)]


@pytest.mark.parametrize("at_once", [True, False])
def test_names_may_stand_together_in_many_ways(template: sqlite3.Connection, at_once: bool) -> None:
    lines = simple(1, 0, 6)
    for record in lines[1:]:
        names = ("a", "b", "c")[: 1 + record["step"] % 3]
        record["values"] = {name: float(record["step"] ** 2 % 7) for name in names}
    with reader(template) as store:
        for part in [lines] if at_once else [[line] for line in lines]:
            store.write(1, encoded(part))
            store.read()
        found = {name: [] for name in "abc"}
        for p in queries.metrics(store.db, 1):
            found[p["name"]].append((p["step"], p["value"]))
        assert found == {
            "a": [(1, 1.0), (2, 4.0), (3, 2.0), (4, 2.0), (5, 4.0), (6, 1.0)],
            "b": [(1, 1.0), (2, 4.0), (4, 2.0), (5, 4.0)],
            "c": [(2, 4.0), (5, 4.0)],
        }
        rows = store.db.execute(
            "select s.name, l.step, l.value, l.max_value, l.min_value, l.points "
            "from latest_best l join series s on s.id = l.series order by s.name"
        )
        assert rows.fetchall() == [
            ("a", 6, 1.0, 4.0, 1.0, 6), ("b", 5, 4.0, 4.0, 1.0, 4), ("c", 5, 4.0, 4.0, 4.0, 2),
        ]  # fmt: skip


def test_a_torn_line_is_no_record_until_it_is_whole(template: sqlite3.Connection) -> None:
    with reader(template) as store:
        text = encoded(simple(1, 0, 2))
        store.write(1, text[:-1])
        assert store.read() == 2
        store.write(1, text[-1:])
        assert store.read() == 1
        assert [step for step, _ in losses(store.db)] == [1, 2]


def test_a_damaged_line_costs_only_itself(template: sqlite3.Connection) -> None:
    with reader(template) as store:
        lines = encoded(simple(1, 0, 3)).splitlines(keepends=True)
        store.write(1, b"".join([*lines[:2], b"\x00\xff{broken\n", b"[1, 2]\n", *lines[2:]]))
        store.read()
        assert [step for step, _ in losses(store.db)] == [1, 2, 3]


def test_a_record_without_its_keys_is_kept_as_damaged_and_costs_only_itself(
    template: sqlite3.Connection,
) -> None:
    with reader(template) as store:
        records = simple(1, 0, 3)
        del records[2]["values"]
        store.write(1, encoded(records))
        store.read()
        assert [step for step, _ in losses(store.db)] == [1, 3]
        (damaged,) = queries.events(store.db, 1, ["damaged"])
        assert damaged["was"] == "log"


@pytest.mark.parametrize("forced", [{}, {"forced": "stop"}], ids=["polite", "forced"])
@pytest.mark.parametrize("word", ["end", "stop"])
def test_how_an_attempt_ended_does_not_depend_on_which_of_its_files_was_read_first(
    template: sqlite3.Connection, word: str, forced: dict[str, str]
) -> None:
    found = []
    for order in (["journal"], ["attendant"], ["journal", "attendant"]):
        with reader(template) as store:
            files = store.run.take_attempt()
            lines = {
                "journal": [
                    {"seq": 1, "t": 1.0, "kind": "begin", "from_step": 0, **WHO},
                    {"seq": 2, "t": 2.0, "kind": word, "word": "pause"},
                ],
                "attendant": [
                    {"seq": 1, "t": 0.5, "kind": "begin", **WHO},
                    {"seq": 2, "t": 3.0, "kind": "end", "exit_code": 85, **forced},
                ],
            }  # fmt: skip
            for first in order:
                getattr(files, first).write_bytes(encoded(lines[first]))
            store.read()
            for other in lines:
                getattr(files, other).write_bytes(encoded(lines[other]))
            store.read()
            found += queries.attempts(store.db, 1)
    assert found[0]["ended"] == 3.0
    assert found[0]["ending"] == ("forced" if forced else word)
    assert found == [found[0]] * 3


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "the later one first"])
def test_a_study_beyond_the_start_of_a_later_attempt_does_not_count(
    template: sqlite3.Connection, order: tuple[int, ...]
) -> None:
    with reader(template) as store:
        for start, words in ((0, ("best", "final")), (6, ("final",))):
            log = Journal(store.run.take_attempt().journal)
            log.write("begin", from_step=start, device_name="x", **WHO)
            for step, word in enumerate(words, 1 + start // 6):
                log.write("study", study="smoothness", step=6 * step, checkpoint=word, network="o")
            log.close()
        journals = {n: store.run.attempts()[n - 1].journal for n in order}
        late = journals[order[1]].rename(store.run.path / "late")
        store.read()
        late.rename(journals[order[1]])
        store.read()
        rows = store.db.execute("select attempt, checkpoint from studies order by attempt, seq")
        assert rows.fetchall() == [(1, "best"), (2, "final")]


def test_a_number_that_is_not_finite_is_null_and_reported(
    template: sqlite3.Connection,
) -> None:
    with reader(template) as store:
        attempt = store.run.take_attempt()
        log = Journal(attempt.journal)
        log.write("begin", from_step=0, device_name="x", **WHO)
        log.write("log", step=1, epoch=0, values={"step/loss": 2.0, "lr": 1.0})
        log.write("log", step=2, epoch=0, values={"step/loss": float("nan"), "lr": float("inf")})
        log.close()
        store.read()
        assert queries.metrics(store.db, 1) == [
            {"name": "lr", "epoch": 0, "step": 1, "value": 1.0},
            {"name": "lr", "epoch": 0, "step": 2, "value": None},
            {"name": "step/loss", "epoch": 0, "step": 1, "value": 2.0},
            {"name": "step/loss", "epoch": 0, "step": 2, "value": None},
        ]
        (event,) = queries.events(store.db, 1, ["nonfinite"])
        assert (event["names"], event["step"]) == (["step/loss", "lr"], 2)
        row = store.db.execute("select value, max_value, min_value, points from latest_best")
        assert row.fetchall() == [(None, 2.0, 2.0, 2), (None, 1.0, 1.0, 2)]


def test_a_failure_in_the_middle_of_a_batch_keeps_neither_rows_nor_offset(
    template: sqlite3.Connection,
) -> None:
    with reader(template) as store:
        store.db.execute(
            "create trigger full before insert on packed_points when new.at % 16 = 3 "
            "begin select raise(abort, 'disk is full'); end"
        )
        store.write(1, encoded(simple(1, 0, 5)))
        with pytest.raises(sqlite3.Error, match="full"):
            store.read()
        assert losses(store.db) == []
        assert store.db.execute("select * from journals").fetchall() == []
        store.db.execute("drop trigger full")
        assert store.read() == 6
        assert len(losses(store.db)) == 5


# ----------------------------------------------------------------- the database made again


def executed(home: Home, db: sqlite3.Connection, enqueue: Enqueue) -> list[int]:
    """Runs in most of the states a run can rest in, with journals of one or two attempts."""
    done = enqueue(note="pace=0.001", epochs=2)
    failed = enqueue(note="crash=2 pace=0.001", epochs=3)
    stopped = enqueue(note="pace=0.02", epochs=40)
    numbers = [*done, *failed, *stopped]
    worker.ensure(home)
    until(lambda: len(queries.metrics(db, stopped[0], ["train/loss"])) >= 1)
    control.stop(home, db, stopped[0])
    until(lambda: not queries.unfinished(db, numbers))
    control.requeue(home, db, failed[0])
    worker.ensure(home)
    until(lambda: not queries.unfinished(db, numbers))
    quiet(home)
    states = [db.execute("select state from runs where n = ?", (n,)).fetchone()[0] for n in numbers]
    assert states == ["done", "done", "stopped"]
    return numbers


def quiet(home: Home) -> None:
    """Wait until the worker has left."""
    from rpat_tui.launch.locks import holder

    until(lambda: holder(home.worker_lock) is None)


def test_reindex_makes_the_same_tables_however_the_database_was_lost(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    numbers = executed(home, db, enqueue)
    crashed = enqueue(note="crash=1 pace=0.001")
    worker.ensure(home)
    until(lambda: not queries.unfinished(db, crashed))
    quiet(home)
    times = db.execute("select ended from runs order by n").fetchall()
    before = dump(db)
    assert len(before["points"]) > 50
    assert len({row[0] for row in before["points"]}) == len(numbers) + 1
    db.close()

    assert rebuild(home) == (4, [])  # nothing was wrong
    with database.opened(home) as again:
        assert dump(again) == before
        assert again.execute("select ended from runs order by n").fetchall() == times

    for path in home.path.glob("rpat.db*"):
        path.unlink()
    assert rebuild(home) == (4, [])
    with database.opened(home) as again:
        after = dump(again)
        assert again.execute("select ended from runs order by n").fetchall() == [
            pytest.approx(row, abs=2) for row in times
        ]
        assert again.execute("select count(*) from runs where started is null").fetchone() == (0,)
    assert after == before

    size = home.database.stat().st_size
    with home.database.open("r+b") as stream:
        stream.seek(100)
        stream.write(os.urandom(size - 100))
    assert rebuild(home) == (4, [])
    assert len(list(home.path.glob("rpat.db.damaged-*"))) == 1
    with database.opened(home) as again:
        assert dump(again) == before


def test_a_damaged_database_is_reported_with_its_remedy(home: Home, enqueue: Enqueue) -> None:
    from rpat.errors import StoreError

    enqueue()
    for path in home.path.glob("rpat.db*"):
        path.unlink()
    home.database.write_bytes(b"this is not a database" * 500)
    with pytest.raises(StoreError, match="rpat reindex"), database.opened(home):
        pass
    rebuild(home)
    with database.opened(home) as db:
        assert [row["state"] for row in queries.runs(db)] == ["stopped"]


def test_a_queued_run_keeps_its_place_through_reindex(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    first, second, third = enqueue(3)
    db.execute("update runs set priority = 90 where n = ?", (second,))
    with transaction(db):
        move(db, first, "stopped", "on request")
    rebuild(home)
    rows = db.execute("select n, state, reason, priority from runs order by n").fetchall()
    assert rows == [
        (first, "stopped", "on request", 50),
        (second, "queued", "", 90),
        (third, "queued", "", 50),
    ]
    assert [m["new"] for m in queries.transitions(db, first)] == ["stopped"]


def test_what_people_asked_of_the_queue_stands_after_reindex(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    first, second, third = enqueue(3, retries=2)
    with transaction(db):
        place_first(db, [third])
        db.execute("update runs set held = 1, retried = 1 where n = ?", (second,))
    before = db.execute("select n, priority, rank, held, retries, retried from runs").fetchall()
    assert waiting(db) == [third, first, second]
    rebuild(home)
    again = db.execute("select n, priority, rank, held, retries, retried from runs").fetchall()
    assert again == before
    assert waiting(db) == [third, first, second]


def test_a_run_that_is_queued_again_keeps_its_numbers_through_reindex(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    (n,) = enqueue()
    with transaction(db):
        move(db, n, "starting")
    attempt = RunDir(home.runs / "r0001").take_attempt()
    attempt.journal.write_bytes(encoded(simple(1, 0, 4)))
    reconcile(home, db)
    with transaction(db):
        move(db, n, "failed", "vanished")
        move(db, n, "queued")
    before = dump(db)
    assert len(before["points"]) == 4
    rebuild(home)
    assert dump(db) == before


def test_a_directory_that_the_database_does_not_know_never_starts_by_itself(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue()
    stray = home.runs / "r0007"
    shutil.copytree(home.runs / "r0001", stray)
    write_json(stray / "config.json", read_json(stray / "config.json") | {"uid": "f" * 32})
    assert rebuild(home) == (2, [])
    rows = db.execute("select id, state, reason from runs order by n").fetchall()
    assert rows == [("r0001", "queued", ""), ("r0007", "stopped", "never queued")]


def test_a_directory_that_cannot_be_read_is_named_and_left_out(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    enqueue(2)
    (home.runs / "r0001" / "config.json").write_text("{")
    count, problems = rebuild(home)
    assert count == 1
    assert len(problems) == 1
    assert problems[0].startswith("r0001: ")
    assert [row["id"] for row in queries.runs(db)] == ["r0002"]


def test_what_people_wrote_outlives_the_database(home: Home, db: sqlite3.Connection) -> None:
    wish = index.Wish(name="mine", tags=("b", "a"), note="for the table", sweep="s1")
    index.enqueue(home, db, [recipe("mart", dataset="digits")], wish, {})
    db.close()
    for path in home.path.glob("rpat.db*"):
        path.unlink()
    rebuild(home)
    with database.opened(home) as again:
        (row,) = queries.runs(again)
    assert (row["name"], row["tags"], row["note"], row["sweep"]) == (
        "mine", ["a", "b"], "for the table", "s1",
    )  # fmt: skip
