"""Windows on the list of runs: any order, any place, groups, and what makes them read again."""

from __future__ import annotations

import math
import sqlite3
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpat.errors import ConfigError, StoreError
from rpat.recipes import recipe
from rpat_tui.compare import mean_nrr
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index, queries, window
from rpat_tui.store.queue import move
from rpat_tui.store.rows import Line
from rpat_tui.store.window import LIFE, SORTS, Query, Reader
from tests.console.conftest import Enqueue

SERIES = {
    "clean": "test/clean_acc", "pgd": "test/pgd_acc", "logit_mse": "test/logit_mse",
    "loss": "train/loss", "epoch_s": "time/epoch_s", "eval_s": "time/eval_s",
}  # fmt: skip
STATES = st.sampled_from(LIFE)
NUMBER = st.none() | st.integers(0, 8).map(lambda x: x * 12.5)

RUN = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["mart", "pgd-at"]),
        "rpat": st.integers(0, 1),
        "lam": st.none() | st.sampled_from([0.5, 1.0]),
        "model": st.sampled_from(["resnet18", "wrn-34-10"]),
        "seed": st.integers(0, 2),
        "state": STATES,
        "epoch": st.integers(0, 3),
        "priority": st.integers(49, 51),
        "name": st.sampled_from(["", "b", "A", "ä名"]),
        "note": st.sampled_from(["", "x", "Y"]),
        "sweep": st.sampled_from(["", "s"]),
        "archived": st.sampled_from([0, 0, 0, 1]),
        "started": st.none() | st.integers(1, 3).map(float),
        "ended": st.none() | st.integers(4, 6).map(float),
        "group_key": st.sampled_from(["g1", "g2", "g3"]),
        "data_key": st.sampled_from(["", "d"]),
        "tags": st.sets(st.sampled_from(["a", "B"])),
        "values": st.fixed_dictionaries(dict.fromkeys(SERIES, NUMBER)),
    }
)
"""A run as columns; numbers are exact in binary, so that sums do not depend on their order."""

QUERY = st.builds(
    Query,
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
    group_seeds=st.booleans(),
    archived=st.booleans(),
    where=st.sampled_from(["", "method:mart", "pgd>40 or seed=1", "tag:a", "not clean<50"]),
    unfolded=st.frozensets(st.tuples(st.sampled_from(["g1", "g2"]), st.sampled_from(["", "d"]))),
)

MATCHES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "": lambda run: True,
    "method:mart": lambda run: run["method"] == "mart",
    "pgd>40 or seed=1": lambda run: (run["values"]["pgd"] or 0) > 40 or run["seed"] == 1,
    "tag:a": lambda run: "a" in run["tags"],
    "not clean<50": lambda run: run["values"]["clean"] is None or run["values"]["clean"] >= 50,
}
BASE = recipe("mart", dataset="digits")


@contextmanager
def store(runs: Sequence[dict[str, Any]]) -> Iterator[sqlite3.Connection]:
    """A database that holds these runs, numbered from 1."""
    with TemporaryDirectory() as folder, database.opened(Home(Path(folder) / "home")) as db:
        for n, run in enumerate(runs, 1):
            add(db, n, run)
        yield db


def add(db: sqlite3.Connection, n: int, run: dict[str, Any]) -> None:
    columns = {k: v for k, v in run.items() if k not in ("tags", "values")}
    columns |= {
        "n": n, "id": f"r{n:04d}", "uid": f"u{n}", "kind": "train", "dataset": "digits",
        "source": "official", "norm": "linf", "epochs": 4, "fingerprint": f"f{n}", "config": "{}",
        "device": "cpu", "created": float(n % 3), "steps": 40, "step": run["epoch"] * 10,
    }  # fmt: skip
    marks = ", ".join(f":{name}" for name in columns)
    db.execute(f"insert into runs ({', '.join(columns)}) values ({marks})", columns)
    db.executemany("insert into tags values (?, ?)", [(n, tag) for tag in run["tags"]])
    for name, value in run["values"].items():
        put(db, n, SERIES[name], value)


def put(db: sqlite3.Connection, n: int, name: str, value: float | None, epoch: int = 1) -> None:
    """Set the newest value of a metric, as the ingest does."""
    db.execute("insert or ignore into series (run, name) values (?, ?)", (n, name))
    db.execute(
        "insert or replace into latest_best select id, ?, ?, ?3, ?3, ?2, ?3, ?2, 1 from series "
        "where run = ? and name = ?",
        (epoch, epoch, value, n, name),
    )


def number(run: dict[str, Any], name: str) -> float | None:
    """Return a number of a run, from its definition."""
    values = run["values"]
    clean, pgd = values["clean"], values["pgd"]
    if name in ("mean", "nrr"):
        return None if None in (clean, pgd) else mean_nrr(clean, pgd)[name == "nrr"]
    if name == "best_pgd":
        return pgd
    if name == "left":
        pace = (values["epoch_s"] or 0) + (values["eval_s"] or 0)
        return (4 - run["epoch"]) * pace if run["state"] == "running" and pace else None
    return values[name]


def key(run: dict[str, Any], sort: str) -> Any:
    """Return what a run is sorted by, None where that is missing."""
    if sort in window.METRICS:
        return number(run, sort)
    if sort == "id":
        return run["n"]
    if sort == "state":
        return LIFE.index(run["state"])
    if sort == "method":
        return run["method"] + "+rpat" * run["rpat"]
    if sort == "epoch":
        return run["epoch"] or None
    if sort == "tags":
        return min((tag.lower() for tag in run["tags"]), default=None)
    if sort in ("name", "note", "sweep"):
        lower = "".join(c.lower() if c.isascii() else c for c in run[sort])
        return lower or None
    fixed = {"dataset": "digits", "source": "official", "norm": "linf"}
    return fixed[sort] if sort in fixed else run[sort]


def folded(runs: list[dict[str, Any]], query: Query) -> Any:
    """Return what a group is sorted by."""
    found = [value for run in runs if (value := key(run, query.sort)) is not None]
    if query.sort == "epoch":
        return min(run["epoch"] for run in runs) or None
    if not found:
        return None
    if query.sort in window.METRICS and query.sort != "left":
        return sum(found) / len(found)
    if query.sort in ("id", "created", "started", "ended"):
        return max(found) if query.descending else min(found)
    return max(found) if query.sort in ("left", "priority") else min(found)


def in_order(items: list[tuple[Any, int, Any]], descending: bool) -> list[Any]:
    """Sort (key, number, item): what is missing last, then by number."""
    there = sorted((i for i in items if i[0] is not None), key=lambda i: i[1])
    there.sort(key=lambda i: i[0], reverse=descending)
    return [i[2] for i in there + sorted((i for i in items if i[0] is None), key=lambda i: i[1])]


def expected(runs: Sequence[dict[str, Any]], query: Query) -> list[int]:
    """Return the keys of all lines, by sorting everything in Python."""
    known = [run | {"n": n, "created": float(n % 3)} for n, run in enumerate(runs, 1)]
    found = [r for r in known if MATCHES[query.where](r) and (query.archived or not r["archived"])]
    if not query.group_seeds:
        lines = [(key(run, query.sort), run["n"], run["n"]) for run in found]
        return in_order(lines, query.descending)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in found:
        groups.setdefault((run["group_key"], run["data_key"]), []).append(run)
    blocks = []
    for name, members in groups.items():
        first = members[0]["n"]
        block = [first if len(members) == 1 else -first]
        if len(members) > 1 and name in query.unfolded:
            own = [(key(run, query.sort), run["n"], run["n"]) for run in members]
            block += in_order(own, query.descending)
        blocks.append((folded(members, query), first, block))
    return [line for block in in_order(blocks, query.descending) for line in block]


@settings(max_examples=150)
@given(st.lists(RUN, max_size=9), QUERY, st.integers(0, 9), st.integers(1, 9))
def test_a_window_over_any_order_is_a_piece_of_all_lines_sorted_in_python(
    runs: list[dict[str, Any]], query: Query, offset: int, limit: int
) -> None:
    with store(runs) as db:
        keys = expected(runs, query)
        assert window.order(db, query) == keys
        assert window.count(db, query) == len(keys)
        found = window.window(db, query, offset, limit)
        assert [line.key for line in found] == keys[offset : offset + limit]
        for at, line in enumerate(keys):
            assert window.position(db, query, line) == at
        shown = window.totals(db, query).shown
        assert shown == len({n for line in window.window(db, query, 0, 99) for n in line.members})
        assert sorted(window.numbers(db, query)) == sorted(
            n for line in window.window(db, replace(query, unfolded=frozenset()), 0, 99)
            for n in line.members
        )  # fmt: skip


@settings(max_examples=50)
@given(st.lists(RUN, max_size=9))
def test_a_group_shows_the_mean_and_the_sample_deviation_of_its_runs(
    runs: list[dict[str, Any]],
) -> None:
    with store(runs) as db:
        for line in window.window(db, Query(group_seeds=True), 0, 99):
            members = [runs[n - 1] for n in line.members]
            assert len({(run["group_key"], run["data_key"]) for run in members}) == 1
            assert line.folds == (len(members) > 1)
            assert line.seeds == tuple(sorted(run["seed"] for run in members))
            for name in set(window.METRICS) - {"left"}:
                values = [v for run in members if (v := number(run, name)) is not None]
                stat = line.values.get(name)
                assert (stat is None) == (not values)
                if stat is not None:
                    spread = statistics.stdev(values) if len(values) > 1 else None
                    assert stat.value == pytest.approx(statistics.mean(values))
                    assert stat.std == (None if spread is None else pytest.approx(spread))
                    assert stat.n == len(values)


@settings(max_examples=50)
@given(st.lists(RUN, max_size=9), QUERY, st.integers(1, 9))
def test_a_run_stands_where_it_is_shown_or_where_it_is_folded(
    runs: list[dict[str, Any]], query: Query, n: int
) -> None:
    with store(runs) as db:
        at = window.position(db, query, n)
        lines = window.window(db, query, 0, 99)
        holding = [i for i, line in enumerate(lines) if n in line.members]
        own = [i for i, line in enumerate(lines) if line.key == n]
        assert at == next(iter(own or holding), None)
        at = window.position(db, query, -n)
        if at is not None:
            others = runs[lines[at].members[0] - 1]
            assert n <= len(runs) or not query.group_seeds
            assert n in lines[at].members or others["group_key"] == runs[n - 1]["group_key"]


def test_infinite_numbers_are_shown_and_have_no_spread() -> None:
    base = {
        "method": "mart", "rpat": 0, "lam": None, "model": "resnet18", "seed": 0, "epoch": 1,
        "state": "done", "priority": 50, "name": "", "note": "", "sweep": "", "archived": 0,
        "started": None, "ended": None, "group_key": "g", "data_key": "", "tags": set(),
    }  # fmt: skip
    runs = [base | {"values": {"loss": value}} for value in (math.inf, 1.0, None)]
    with store(runs) as db:
        assert window.order(db, Query(sort="loss")) == [1, 2, 3]
        (line,) = window.window(db, Query(group_seeds=True), 0, 9)
        assert line.values["loss"] == window.Stat(math.inf, None, 2)


def test_an_unknown_order_names_a_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'clean'"):
        Query(sort="claen")


def test_numbers_are_those_of_the_list_command(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue
) -> None:
    first, second = enqueue(2)
    put(db, first, "test/clean_acc", 80.0)
    put(db, first, "test/pgd_acc", 50.0, epoch=7)
    for row, line in zip(queries.runs(db), window.window(db, Query(descending=False), 0, 9),
                         strict=True):  # fmt: skip
        assert (row["id"], row["best_epoch"]) == (line.id, line.best_epoch)
        for name in ("clean", "pgd", "best_pgd"):
            assert row[name] == (line.values[name].value if name in line.values else None)
    assert window.order(db, Query(sort="best_pgd")) == [first, second]


# ----------------------------------------------------------------- what the triggers keep


def standing(db: sqlite3.Connection, n: int) -> tuple[float | None, float | None] | None:
    return db.execute("select clean, pgd from standings where run = ?", (n,)).fetchone()


def test_standings_follow_the_summary(home: Home, db: sqlite3.Connection, enqueue: Enqueue) -> None:
    (n,) = enqueue()
    assert standing(db, n) is None
    put(db, n, "test/clean_acc", 80.0)
    put(db, n, "test/pgd_acc", 50.0)
    put(db, n, "another/metric", 1.0)
    assert standing(db, n) == (80.0, 50.0)
    put(db, n, "test/pgd_acc", None)
    assert standing(db, n) == (80.0, None)
    db.execute(
        "delete from latest_best where series in (select id from series where name like '%clean%')"
    )
    assert standing(db, n) == (None, None)
    db.execute("delete from runs")
    assert standing(db, n) is None


def test_runs_of_an_older_release_stand_where_they_did(tmp_path: Path) -> None:
    from sqlite_utils import Database

    from rpat_tui.store.migrations import migrations

    path = Home(tmp_path / "home").make().database
    old = database.connect(path)
    migrations.apply(Database(old), stop_before="m006_the_list_of_runs")
    run = {
        "method": "mart", "rpat": 0, "lam": None, "model": "resnet18", "seed": 0, "epoch": 1,
        "state": "done", "priority": 50, "name": "", "note": "", "sweep": "", "archived": 0,
        "started": None, "ended": None, "group_key": "g", "data_key": "", "tags": {"t"},
        "values": {"clean": 75.0, "pgd": 50.0},
    }  # fmt: skip
    add(old, 1, run)
    old.close()
    with database.opened(Home(tmp_path / "home")) as db:
        (line,) = window.window(db, Query(), 0, 9)
        assert line.values["nrr"].value == 60.0


# ----------------------------------------------------------------- watching


@pytest.fixture
def reader(home: Home, db: sqlite3.Connection) -> Iterator[Reader]:
    made = Reader(home)
    yield made
    made.close()


def test_ticks_without_news_read_nothing(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reader: Reader
) -> None:
    enqueue(2)
    listing = reader.listing(Query())
    assert listing.refresh()
    assert [line.key for line in listing.window(0, 9)] == [2, 1]
    reads = reader.reads
    assert not listing.refresh()
    assert not listing.refresh()
    db.execute("insert into samples values (1, 'cpu', 'load', 1.0, 2.0)")
    db.execute("update runs set priority = priority where 0")
    assert not listing.refresh(), "what no list shows makes nobody read"
    assert reader.reads == reads


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db.execute("update runs set epoch = 2 where n = 1"),
        lambda db: db.execute("update runs set note = 'look' where n = 1"),
        lambda db: db.execute("update runs set archived = 1 where n = 1"),
        lambda db: db.execute("insert into tags values (1, 'new')"),
        lambda db: db.execute("delete from tags"),
        lambda db: db.execute("delete from runs where n = 2"),
        lambda db: move(db, 1, "stopped"),
        lambda db: put(db, 1, "test/pgd_acc", 1.0),
    ],
)
def test_every_change_of_what_is_shown_is_seen(
    home: Home,
    db: sqlite3.Connection,
    enqueue: Enqueue,
    reader: Reader,
    change: Callable[[sqlite3.Connection], object],
) -> None:
    enqueue(2, tags=("old",))
    listing = reader.listing(Query())
    listing.refresh()
    before: list[Line] = listing.window(0, 9)
    listing._next = 0.0
    change(db)
    assert listing.refresh()
    assert listing.window(0, 9) != before
    listing._next = 0.0
    assert not listing.refresh()


def test_an_order_that_costs_much_is_read_less_often_than_its_lines(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reader: Reader
) -> None:
    enqueue(2)
    listing = reader.listing(Query())
    listing.refresh()
    listing._next = math.inf
    enqueue(1)
    db.execute("update runs set epoch = 3 where n = 2")
    assert listing.refresh()
    assert (listing.count(), listing.window(0, 1)[0].epoch) == (2, 3)
    assert not listing.refresh()
    listing._next = 0.0
    assert listing.refresh(), "the order is made up for once it may cost again"
    assert (listing.count(), listing.totals()) == (3, (3, 3))


def test_a_run_newer_than_the_order_is_found_at_once(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reader: Reader
) -> None:
    enqueue(2)
    listing = reader.listing(Query())
    listing.refresh()
    listing._next = math.inf
    enqueue(1)
    assert (listing.position(3), listing.count()) == (0, 3)
    assert listing.refresh(), "whoever has counted before counts again"
    assert (listing.position(9), listing.refresh()) == (None, False)


def test_runs_that_went_since_the_order_was_read_leave_no_hole(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reader: Reader
) -> None:
    enqueue(3)
    listing = reader.listing(Query())
    listing.refresh()
    db.execute("delete from runs where n = 2")
    assert [line.key for line in listing.window(0, 9)] == [3, 1]
    assert (listing.count(), listing.refresh()) == (2, True)


def test_a_database_that_goes_and_comes_back_is_read_again(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, reader: Reader
) -> None:
    enqueue(2)
    listing = reader.listing(Query())
    listing.refresh()
    db.close()
    home.database.rename(home.path / "away.db")
    with pytest.raises(StoreError, match="No such file"):
        listing.refresh()
    with database.opened(home) as again:
        index.enqueue(home, again, [BASE], index.Wish(), {})
        listing._next = 0.0
        assert listing.refresh()
        assert listing.count() == 1
