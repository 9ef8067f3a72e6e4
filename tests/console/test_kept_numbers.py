"""What tables report of each run is kept, and never differs from working it out again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rpat.config import RunConfig
from rpat.jobs import EvalJob
from rpat.recipes import recipe
from rpat_tui import examine
from rpat_tui.examine import Ask
from rpat_tui.home import Home
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import carry, index, measured, queries
from rpat_tui.store import db as database
from rpat_tui.store.rows import Measurement
from tests.console.test_measurements import evaluate

ASKED = ("", *measured.RULES, "lex:1.5", "lex:2@val", "pgd@test")

Seen = list[list[Measurement]]


def seen(db: sqlite3.Connection) -> Seen:
    """Every table's input, by every rule."""
    tables = [queries.measurements(db, select=rule) for rule in ASKED]
    return [
        *tables,
        queries.measurements(db, method="wa"),
        queries.measurements(db, checkpoint="best", select="nrr", numbers=[1, 2]),
    ]


def worked_out(db: sqlite3.Connection) -> Seen:
    """The same, with nothing kept."""
    db.execute("begin")
    db.execute("delete from reported")
    db.execute("delete from flat_configs")
    db.execute("insert or ignore into stale select n from runs where kind = 'train'")
    found = seen(db)
    db.execute("rollback")
    return found


def curve(db: sqlite3.Connection, run: int, name: str, values: list[float]) -> None:
    """Write a metric's epochs as the ingest does: the points, then their summary."""
    db.execute("insert or ignore into series (run, name) values (?, ?)", (run, name))
    (series,) = db.execute(
        "select id from series where run = ? and name = ?", (run, name)
    ).fetchone()
    rows = [(series, 5 * e, e, value) for e, value in enumerate(values, 1)]
    db.executemany(
        "insert or replace into points (series, step, epoch, value) values (?, ?, ?, ?)", rows
    )
    top = max(values)
    db.execute(
        "insert or replace into latest_best values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*rows[-1], top, values.index(top) + 1, min(values), 1, len(values)),
    )


def job_of(home: Home, db: sqlite3.Connection, n: int) -> int:
    """Queue an evaluation of a run."""
    row = queries.runs(db, numbers=[n])[0]
    config = RunConfig.from_dict(queries.config_of(db, n))
    job = examine.of_run(EvalJob, row["uid"], row["id"], config, Ask(), attacks=("aa",))
    (made,) = index.enqueue(home, db, [job], index.Wish(), {})
    return made


@pytest.fixture
def kept(home: Home, db: sqlite3.Connection) -> sqlite3.Connection:
    """Two seeds of one experiment and an averaged one, trained, evaluated, one by a job; all kept.

    Runs 1 to 3; job 4 is about run 1.
    """
    base = recipe("pgd-at", dataset="digits", epochs=4)
    configs = [base, base.override({"seed": 1}), recipe("wa", dataset="digits", epochs=4)]
    for n in index.enqueue(home, db, configs, index.Wish(), {}):
        networks = ("online", "wa") if n == 3 else ("online",)
        for network in networks:
            prefix = "" if network == "online" else "wa/"
            for split, shift in (("test", 0.0), ("val", 1.0)):
                curve(db, n, f"{prefix}{split}/clean_acc", [60 + n, 70, 80, 81 + shift])
                curve(db, n, f"{prefix}{split}/pgd_acc", [40, 49.8 + shift, 50, 45 + n])
            evaluate(db, n, network, 80.0 + n, epoch=3, t=1.0, weights=f"b{n}")
            evaluate(
                db,
                n,
                network,
                81.0,
                checkpoint="final",
                epoch=4,
                t=1.0,
                weights="f",
                selected_on="",
            )
    db.execute("update runs set epoch = 4, state = 'done' where kind = 'train'")
    job = job_of(home, db, 1)
    evaluate(db, job, "online", 81.0, attack="aa", steps=0, epoch=3, t=2.0, weights="b1")
    assert measured.keep(db)
    return db


def test_what_is_kept_is_what_would_be_worked_out(kept: sqlite3.Connection) -> None:
    assert not kept.execute("select 1 from stale").fetchone()
    found = seen(kept)
    assert found == worked_out(kept)
    assert [m.aa for m in found[0] if m.run == "r0001"] == [40.5, None]
    assert len({tuple(m.clean for m in table) for table in found}) > 3, "the rules differ"


CHANGES: dict[str, Callable[[Home, sqlite3.Connection], object]] = {
    "a newer evaluation": lambda _, db: evaluate(db, 1, "online", 79.0, epoch=3, t=3.0),
    "one by a job": lambda _, db: evaluate(
        db, 4, "online", 70.0, attack="aa", steps=0, epoch=3, t=4.0, weights="b1", n=400
    ),
    "one that was changed": lambda _, db: db.execute("update evaluations set note = 'fewer'"),
    "one that is gone": lambda _, db: db.execute("delete from evaluations where run = 1"),
    "a job that is gone": lambda _, db: carry.forget(db, 4),
    "a run that is gone": lambda _, db: carry.forget(db, 2),
    "a run that is archived": lambda _, db: db.execute("update runs set archived = 1 where n = 1"),
    "a run that was imported": lambda _, db: carry.mark(
        db, 1, imported="log:text", config=queries.config_of(db, 1)
    ),
    "another config": lambda _, db: carry.mark(
        db, 3, imported="", config={**queries.config_of(db, 3), "wrappers": []}
    ),
    "a subset of the images": lambda _, db: carry.mark(
        db, 1, imported="",
        config={**queries.config_of(db, 1),
                "data": {**queries.config_of(db, 1)["data"], "test_n": 36}},
    ),
    "an epoch more to train": lambda _, db: db.execute("update runs set epochs = 5 where n = 2"),
    "other epochs": lambda _, db: curve(db, 2, "test/pgd_acc", [90, 20, 30, 40]),
    "forgotten epochs": lambda _, db: forget_epochs(db, 2),
    "trained again": lambda _, db: db.execute("update runs set epoch = 1 where n = 1"),
    "a finding": lambda _, db: db.execute(
        "insert into findings values (1, 'a-rule', 'best', 'online', 'error', '', '', '{}')"
    ),
    "a run that comes after its job": lambda home, db: comes_back(home, db),
}  # fmt: skip


def forget_epochs(db: sqlite3.Connection, n: int) -> None:
    """Drop the last epochs of a run's curves, as when an attempt trains them again."""
    series = "(select id from series where run = ?)"
    db.execute(f"delete from points where epoch > 1 and series in {series}", (n,))
    db.execute(f"delete from latest_best where series in {series}", (n,))


def comes_back(home: Home, db: sqlite3.Connection) -> None:
    """Delete the first run's row alone, as one that is on its way from another home."""
    (uid,) = db.execute("select uid from runs where n = 1").fetchone()
    carry.forget(db, 1)
    index.index(db, home, 1, "done")
    assert db.execute("select uid from runs where n = 1").fetchone() == (uid,)


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_later_is_worked_out_anew(
    home: Home, kept: sqlite3.Connection, what: str
) -> None:
    before = seen(kept)
    CHANGES[what](home, kept)
    after = worked_out(kept)
    assert after != before
    assert seen(kept) == after, "by a reader, before it is kept"
    assert measured.keep(kept)
    assert not kept.execute("select 1 from stale").fetchone()
    assert seen(kept) == after, "kept"


def test_a_config_is_kept_as_long_as_a_run_has_it(kept: sqlite3.Connection) -> None:
    for n, groups in ((2, 2), (3, 1), (1, 0)):
        carry.forget(kept, n)
        assert kept.execute("select count(*) from flat_configs").fetchone() == (groups,)


def test_reading_journals_keeps_the_numbers_and_a_reader_needs_no_write(
    home: Home, kept: sqlite3.Connection
) -> None:
    before = seen(kept)
    kept.execute("insert into stale select n from runs where kind = 'train'")
    with database.opened_readonly(home) as reader:
        assert seen(reader) == before
    assert reconcile(home, kept)
    assert not kept.execute("select 1 from stale").fetchone()
    assert seen(kept) == before


def test_keeping_stops_when_its_time_is_over(kept: sqlite3.Connection) -> None:
    kept.execute("insert into stale select n from runs where kind = 'train'")
    assert not measured.keep(kept, until=0.0)
    assert kept.execute("select count(*) from stale").fetchone() == (3,)


def test_nobody_waits_to_keep_numbers_while_another_writer_is_at_it(
    home: Home, kept: sqlite3.Connection
) -> None:
    before = seen(kept)
    kept.execute("insert into stale select n from runs where kind = 'train'")
    with database.opened(home) as other:
        other.execute("begin immediate")
        assert not measured.keep(kept)
        assert seen(kept) == before
        other.execute("rollback")
    assert kept.execute("pragma busy_timeout").fetchone() == (1000 * database.PATIENCE,)
    assert measured.keep(kept)


def test_runs_of_an_older_release_are_in_tables_at_once(tmp_path: Path) -> None:
    from sqlite_utils import Database

    from rpat_tui.store.migrations import migrations

    home, newer = Home(tmp_path / "home").make(), Home(tmp_path / "newer").make()
    old = database.connect(home.database)
    migrations.apply(Database(old), stop_before="m007_the_numbers_of_tables")
    with database.opened(newer) as db:
        (n,) = index.enqueue(newer, db, [recipe("pgd-at", dataset="digits")], index.Wish(), {})
        evaluate(db, n, "online", 90.0)
    old.execute("attach ? as newer", (str(newer.database),))
    for table in ("runs", "evaluations"):
        known = ", ".join(row[1] for row in old.execute(f"pragma main.table_info({table})"))
        old.execute(f"insert into main.{table} ({known}) select {known} from newer.{table}")
    old.execute("detach newer")
    (before,) = queries.measurements(old)
    old.close()
    with database.opened(home) as db:
        assert queries.measurements(db) == [before]
        assert measured.keep(db)
        assert queries.measurements(db) == [before]
        assert db.execute("select count(*) from reported").fetchone() == (1,)
