"""How points are kept: packed, read as before, carried over from an older database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from rpat.recipes import recipe
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.store import curves, measured, queries, spans, window
from rpat_tui.store import db as database
from rpat_tui.store.ingest import ingest
from rpat_tui.store.migrations import migrations
from tests.console.conftest import Enqueue

Point = tuple[int, int, int, float | None]

EVERYTHING = "select series, step, epoch, value from points order by series, step"
A_RUN = """
insert into runs (n, id, uid, kind, method, rpat, dataset, source, norm, model, seed, epochs,
    fingerprint, group_key, config, device, state, created)
values (?1, 'r000' || ?1, 'uid' || ?1, 'train', 'pgd-at', 0, 'digits', 'embedded', 'linf',
    'resnet8', 0, 3, 'f' || ?1, 'g', ?2, 'auto', 'done', 1.0)
"""


# ----------------------------------------------------------------- a database of before

STEPS_OF_A_RUN = 40


def of_before(home: Home, series: list[int]) -> list[Point]:
    """Make the database of a release whose points were rows of four; returns these."""
    points: list[Point] = []
    for at, s in enumerate(series):
        for i in range(1, STEPS_OF_A_RUN + 1):
            kinds = (
                (i * 391, i),  # an epoch's end: the epoch follows from the step
                (i * 50, (i * 50 - 1) // 391),  # logged within an epoch, counted from 0
                (i, 0),  # a job that has no epochs
                (i - 1, 7 * i % 5),  # nonsense, which must stay what it is
            )
            points.append((s, *kinds[at % len(kinds)], None if i == 3 else s + i / 7))
    with sqlite3.connect(home.database, isolation_level=None) as old:
        old.execute("pragma journal_mode = wal")
        old.execute("pragma synchronous = off")
        migrations.apply(Database(old), stop_before="m015_packed_points")
        config = json.dumps(recipe("pgd-at", dataset="digits").to_dict())
        old.execute("begin")
        for n in (1, 2):
            old.execute(A_RUN, (n, config))
        old.executemany(
            "insert into series values (?, ?, ?)",
            [(s, 1 + at % 2, f"metric/{s}") for at, s in enumerate(series)],
        )
        old.executemany("insert into points values (?, ?, ?, ?)", points)
        old.execute("commit")
        old.execute("pragma wal_checkpoint(truncate)")
    old.close()
    return sorted(points)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


def test_an_older_database_is_carried_over_with_every_point(home: Home) -> None:
    points = of_before(home, [1, 2, 3, 4, 999, 1000, 1001, 1002, 5003, 5004, 5005, 123_456])
    with sqlite3.connect(home.database) as old:
        metrics = old.execute("select * from v1_metrics order by run, name, step").fetchall()
    old.close()
    with database.opened(home) as db:
        assert db.execute(EVERYTHING).fetchall() == points
        assert db.execute("select * from v1_metrics order by run, name, step").fetchall() == metrics
        assert not db.execute(
            "select 1 from sqlite_master where name = 'points_of_before'"
        ).fetchone()
        (told,) = db.execute("select count(*) from packed_points where epoch is null").fetchone()
        assert told >= 3 * STEPS_OF_A_RUN  # those of the ends of epochs at least


def test_an_older_database_becomes_no_larger(home: Home) -> None:
    of_before(home, list(range(1, 3000)))
    before = home.database.stat().st_size
    with database.opened(home) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        assert home.database.stat().st_size <= 1.15 * before
        (left,) = db.execute("pragma freelist_count").fetchone()
        assert left * 4096 > 0.1 * before


def test_an_older_database_that_cannot_be_written_to_is_read_as_it_is(home: Home) -> None:
    points = of_before(home, [1, 2, 3])
    mine = [point[1:] for point in points if point[0] == 1]

    def check(db: sqlite3.Connection) -> None:
        assert db.execute(EVERYTHING).fetchall() == points
        assert queries.points(db, 1, "metric/1") == mine
        assert queries.points(db, 1, "metric/1", 10 * 391) == mine[10:]
        assert len(queries.metrics(db, 1)) == 2 * STEPS_OF_A_RUN
        (curve,) = curves.read(db, [1], ["metric/1"]).curves
        assert list(zip(curve.steps, curve.x, strict=True)) == [(s, e) for s, e, _ in mine]

    with database.opened_readonly(home) as db:
        check(db)
    reader = window.Reader(home)
    with reader.reading() as db:
        check(db)
        with database.opened(home):
            pass  # another process brings it up to date
        check(db)
    reader.close()


def test_a_disk_that_gets_full_on_the_way_leaves_the_older_database(home: Home) -> None:
    points = of_before(home, list(range(1, 1500)))
    old = database.connect(home.database)
    (pages,) = old.execute("pragma page_count").fetchone()
    old.execute(f"pragma max_page_count = {pages + 20}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        migrations.apply(Database(old))
    old.close()
    with sqlite3.connect(home.database) as old:
        assert old.execute("select type from sqlite_master where name = 'points'").fetchone() == (
            "table",
        )
        assert old.execute(EVERYTHING).fetchall() == points
    old.close()
    with database.opened(home) as db:
        assert db.execute(EVERYTHING).fetchall() == points


# ----------------------------------------------------------------- rows of a database of now


@pytest.fixture
def points(db: sqlite3.Connection, enqueue: Enqueue) -> list[Point]:
    """Two runs with three series each, the last point of one next to the first of another."""
    made: list[Point] = []
    for n in enqueue(2):
        for name in ("test/clean_acc", "test/pgd_acc", "lr"):
            (series,) = db.execute(
                "insert into series (run, name, stride) values (?, ?, 5) returning id", (n, name)
            ).fetchone()
            made += [(series, 5 * i, i + i % 2, series + i / 8) for i in range(60)]
            made.append((series, spans.LAST, 3, 1.5))
    db.executemany("insert into points (series, step, epoch, value) values (?, ?, ?, ?)", made)
    return made


def test_points_are_read_as_they_were_written(db: sqlite3.Connection, points: list[Point]) -> None:
    assert db.execute(EVERYTHING).fetchall() == points
    db.execute("update points set value = null where step = 10 and series = 2")
    db.execute("delete from points where step > 10 and series = 2")
    assert db.execute(EVERYTHING).fetchall() == [
        (s, t, e, None if (s, t) == (2, 10) else v) for s, t, e, v in points if s != 2 or t <= 10
    ]
    db.execute("insert or replace into points (series, step, epoch, value) values (2, 10, 9, 7.0)")
    assert db.execute("select * from points where series = 2 order by step desc").fetchone() == (
        2, 10, 9, 7.0,
    )  # fmt: skip


def test_a_worker_of_an_older_release_that_still_runs_goes_on(
    db: sqlite3.Connection, points: list[Point]
) -> None:
    """Its statements, word by word."""
    new = [(2, 5 * i, i, 1.0) for i in range(50, 70)]
    (last,) = db.execute("select max(step) from points where series = ?", (1,)).fetchone()
    assert last == spans.LAST
    db.executemany("insert or replace into points values (?, ?, ?, ?)", new)
    dropped = db.execute(
        "delete from points where step > ? and step <= ? "
        "and series in (select id from series where run = ?) returning series",
        (340, 10**9, 1),
    ).fetchall()
    assert sorted(dropped) == [(1,), (2,), (2,), (3,)]
    rows = db.execute(
        "select step, epoch, value from points where series = ? order by step", (2,)
    ).fetchall()
    assert rows == [p[1:] for p in points if p[0] == 2 and p[1] < 250] + [p[1:] for p in new[:-1]]


@pytest.mark.parametrize(
    "statement", ["delete from runs where n = 1", "delete from series where run = 1"]
)
def test_points_go_with_their_run(
    db: sqlite3.Connection, points: list[Point], statement: str
) -> None:
    mine = {s for (s,) in db.execute("select id from series where run = 1")}
    assert len(mine) == 3
    db.execute(statement)
    left = [point for point in points if point[0] not in mine]
    assert db.execute(EVERYTHING).fetchall() == left
    assert db.execute("select count(*) from packed_points").fetchone() == (len(left),)


def test_readers_of_one_metric_get_it_and_no_neighbour(
    db: sqlite3.Connection, points: list[Point]
) -> None:
    (series,) = db.execute(
        "select id from series where run = 1 and name = 'test/pgd_acc'"
    ).fetchone()
    mine = [point[1:] for point in points if point[0] == series]
    assert queries.points(db, 1, "test/pgd_acc") == mine
    assert queries.points(db, 1, "test/pgd_acc", 250) == [p for p in mine if p[0] > 250]
    assert queries.points(db, 1, "test/pgd_acc", spans.LAST) == []
    assert [
        (m["step"], m["epoch"], m["value"]) for m in queries.metrics(db, 1, ["test/pgd_acc"])
    ] == mine
    (curve,) = curves.read(db, [1], ["test/pgd_acc"]).curves
    assert list(zip(curve.steps, curve.x, curve.y, strict=True)) == mine
    numbers = measured.epoch_numbers(db, 1, "online", "test")
    assert [(n["epoch"], n["pgd"]) for n in numbers] == [(e, v) for _, e, v in mine]


def test_readers_find_points_by_their_place(db: sqlite3.Connection, points: list[Point]) -> None:
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    queries.points(db, 1, "lr", 10)
    queries.metrics(db, 1, ["lr"])
    queries.usual_paces(db, "resnet8", "digits", "pgd-at", 0)
    curves.read(db, [1], ["lr"])
    measured.epoch_numbers(db, 1, "online", "test")
    db.execute("select run, max(value) from v1_metrics where name = 'lr' group by run").fetchall()
    db.execute("select m.* from v1_metrics m join v1_runs r using (run) where seed = 0").fetchall()
    db.set_trace_callback(None)
    plans = {
        query: [row[3] for row in db.execute(f"explain query plan {query}")]
        for query in asked if "points" in query or "v1_metrics" in query
    }  # fmt: skip
    assert len(plans) >= 6
    for query, plan in plans.items():
        assert not [line for line in plan if line.startswith("SCAN k")], query
        assert [line for line in plan if line.startswith("SEARCH k USING INTEGER PRIMARY KEY")]


# ----------------------------------------------------------------- damaged records

BEGIN = {"kind": "begin", "from_step": 0, "host": "h", "boot": "b", "pid": 1, "started": "1"}
GOOD = {"kind": "epoch", "epoch": 2, "step": 20, "values": {"lr": 1, "loss": 0.5}}


def read(home: Home, db: sqlite3.Connection, records: list[dict[str, Any]]) -> Iterator[Any]:
    """Ingest a journal of these records."""
    run = RunDir(home.runs / "r0001")
    lines = [{"seq": i, "t": float(i), **r} for i, r in enumerate(records, 1)]
    attempt = run.take_attempt()
    attempt.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ingest(db, 1, run)
    return db.execute(
        "select s.name, p.step, p.epoch, p.value from series s join points p on p.series = s.id "
        "where s.run = 1 order by s.name, p.step"
    )


@pytest.mark.parametrize(
    "place",
    [
        {"step": -1}, {"step": spans.LAST + 1}, {"step": 1 << 70}, {"step": "10"}, {"step": 9.5},
        {"step": None}, {"step": None, "t": None}, {"epoch": -1}, {"epoch": "1"},
        {"epoch": 1 << 70}, {"values": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_step_that_cannot_be_costs_only_its_record(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, place: dict[str, Any]
) -> None:
    enqueue()
    found = read(home, db, [BEGIN, GOOD | {"epoch": 1, "step": 10} | place, GOOD])
    assert found.fetchall() == [("loss", 20, 2, 0.5), ("lr", 20, 2, 1.0)]
    (damaged,) = queries.events(db, 1, ["damaged"])
    assert damaged["was"] == "epoch"


@pytest.mark.parametrize("value", ["high", [1.0], {"mean": 1.0}, 10**400], ids=str)
def test_a_value_that_is_no_number_costs_only_itself(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, value: Any
) -> None:
    enqueue()
    bad = GOOD | {"epoch": 1, "step": 10, "values": {"lr": value, "loss": 2.5}}
    odd = GOOD | {"epoch": 3, "step": 30, "values": {"other": value}}
    found = read(home, db, [BEGIN, bad, GOOD, odd])
    assert found.fetchall() == [("loss", 10, 1, 2.5), ("loss", 20, 2, 0.5), ("lr", 20, 2, 1.0)]
    assert ["lr" in e["why"] for e in queries.events(db, 1, ["damaged"])] == [True, False]
    (lr,) = [s for s in queries.summaries(db, 1) if s["name"] == "lr"]
    assert (lr["value"], lr["points"]) == (1.0, 1)


@pytest.mark.parametrize("start", [-5, 1 << 70, "10", 2.5], ids=str)
def test_an_attempt_that_begins_nowhere_drops_no_point(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, start: Any
) -> None:
    enqueue()
    assert len(read(home, db, [BEGIN, GOOD]).fetchall()) == 2
    assert len(read(home, db, [BEGIN | {"from_step": start}]).fetchall()) == 2
    (damaged,) = queries.events(db, 1, ["damaged"])
    assert damaged["was"] == "begin"


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "eval", "clean": "high"}, {"kind": "eval", "epoch": [1]},
        {"kind": "eval", "n": 1 << 70}, {"kind": "error", "message": {"a": 1}},
        {"kind": "end", "word": [1]}, {"kind": "notice", "what": "plan", "steps": "many"},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_of_a_wrong_type_costs_only_itself(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, record: dict[str, Any]
) -> None:
    enqueue()
    found = read(home, db, [BEGIN, {"step": 1} | record, GOOD])
    assert found.fetchall() == [("loss", 20, 2, 0.5), ("lr", 20, 2, 1.0)]
    (damaged,) = queries.events(db, 1, ["damaged"])
    assert damaged["was"] == record["kind"]


@pytest.mark.parametrize("wrong", [{"kind": ["log"]}, {"kind": None}, {"seq": 1 << 63}], ids=str)
def test_a_line_that_is_no_record_is_passed_over(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, wrong: dict[str, Any]
) -> None:
    enqueue()
    found = read(home, db, [BEGIN, GOOD | {"epoch": 1, "step": 10} | wrong, GOOD])
    assert found.fetchall() == [("loss", 20, 2, 0.5), ("lr", 20, 2, 1.0)]
