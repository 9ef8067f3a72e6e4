"""The rows of tables are kept, and never differ from pooling every run again."""

from __future__ import annotations

import io
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rpat.recipes import recipe
from rpat_tui import exports, paper_table, pools, selection
from rpat_tui.home import Home
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.paper_table import Ask
from rpat_tui.store import carry, index, measured, pooled
from rpat_tui.store.db import transaction
from tests.console.test_kept_numbers import curve
from tests.console.test_measurements import evaluate

ASKS = [
    Ask(),
    Ask(checkpoint="final", robust="pgd20", paper=True),
    Ask(checkpoint="", test=True),
    Ask(checkpoint="", select="nrr"),
    Ask(select="pgd@test", paper=True, layout="paper"),
    Ask(select="last@val", test=True),
    Ask(select="lex:1", paper=True, test=True),
    Ask(select="lex:0.5@val", method="trades"),
    Ask(dataset="cifar10", method="mart", columns="rpat"),
]


def tables(db: sqlite3.Connection, asks: Sequence[Ask] = ASKS) -> Iterator[str]:
    """Every kind of table, in full precision and as people see it."""
    for ask in asks:
        made = paper_table.build(db, ask)
        for name in ("csv", "json", "md"):
            out = io.StringIO()
            exports.write(name, made, out)
            yield f"{ask}\n{out.getvalue()}"


def pooled_again(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The same, with nothing of it kept."""
    with monkeypatch.context() as patch:
        patch.setattr(pools, "rows", lambda *_, **__: None)
        db.execute("begin")
        for table in ("reported", "fronts", "flat_configs", "pooled"):
            db.execute(f"delete from {table}")
        db.execute("insert or ignore into stale select n from runs where kind = 'train'")
        found = list(tables(db))
        db.execute("rollback")
    return found


def configs() -> list[object]:
    """Groups that look alike, with RPAT and without, and seeds of each."""
    made = []
    for method, stack in (("mart", ()), ("mart", ("rpat",)), ("trades", ())):
        for epochs, lr in ((4, 0.1), (4, 0.01), (6, 0.1)):
            base = recipe(method, stack, dataset="cifar10", epochs=epochs)
            made += [base.override({"optim.lr": lr, "seed": seed}) for seed in range(3)]
    return made


def measure(db: sqlite3.Connection, n: int, chance: random.Random) -> None:
    """Let a run be trained and evaluated, more or less."""
    (epochs,) = db.execute("select epochs from runs where n = ?", (n,)).fetchone()
    for split in ("test", "val"):
        if split == "test" or chance.random() < 0.7:
            curve(
                db, n, f"{split}/clean_acc", [chance.choice([70, 80, 81.5]) for _ in range(epochs)]
            )
            curve(db, n, f"{split}/pgd_acc", [chance.choice([40, 49.5, 50]) for _ in range(epochs)])
    db.execute("update runs set epoch = epochs, state = 'done' where n = ?", (n,))
    for at in ("best", "final"):
        epoch = epochs if at == "final" else chance.randint(1, epochs)
        t, on = chance.random(), "test" if at == "best" else ""
        if chance.random() < 0.9:
            evaluate(db, n, "online", chance.gauss(80, 1), checkpoint=at, epoch=epoch, t=t,
                     weights=f"{at}{n}", epsilon=8 / 255, seq=chance.randrange(2**40),
                     selected_on=on)  # fmt: skip
        if chance.random() < 0.6:
            evaluate(db, n, "online", chance.gauss(80, 1), attack="aa", steps=0, checkpoint=at,
                     epsilon=8 / 255, seq=chance.randrange(2**40), epoch=epoch, t=t + 1,
                     weights=f"{at}{n}", robust=chance.gauss(45, 1), selected_on=on)  # fmt: skip


def trained(home: Home, db: sqlite3.Connection, seed: int = 0) -> None:
    """Train and evaluate everything."""
    chance = random.Random(seed)
    numbers = index.enqueue(home, db, configs(), index.Wish(), {})
    with transaction(db):
        for n in numbers:
            measure(db, n, chance)


def changes(
    home: Home, db: sqlite3.Connection, chance: random.Random
) -> dict[str, Callable[[], object]]:
    """What may happen to a store, to runs by chance."""
    numbers = [n for (n,) in db.execute("select n from runs where kind = 'train'")]
    n, other = chance.choice(numbers), chance.choice(numbers)
    again = recipe("mart", dataset="cifar10", epochs=4)
    more = again.override({"optim.lr": chance.choice([0.1, 0.2]), "seed": chance.randint(0, 3)})

    def train() -> None:
        (made,) = index.enqueue(home, db, [more], index.Wish(), {})
        measure(db, made, chance)

    finding = (n, f"rule-{chance.random()}", "best", "online", "warning", "", "", "{}")
    return {
        "trained": train,
        "measured again": lambda: measure(db, n, chance),
        "deleted": lambda: carry.forget(db, n),
        "archived": lambda: db.execute("update runs set archived = 1 - archived where n = ?", (n,)),
        "a finding": lambda: db.execute(
            "insert into findings values (?, ?, ?, ?, ?, ?, ?, ?)", finding
        ),
        "no finding": lambda: db.execute("delete from findings"),
        "other images": lambda: db.execute("update runs set data_key = 'd' where n = ?", (n,)),
        "another place": lambda: db.execute("update runs set source = 'x' where n = ?", (n,)),
        "another seed": lambda: db.execute("update runs set seed = 9 where n = ?", (n,)),
        "another group": lambda: db.execute(
            "update runs set (config, group_key, method, rpat, imported, seed, epochs) = (select "
            "config, group_key, method, rpat, 'log:x', 7, epochs from runs where n = ?) "
            "where n = ?",
            (other, n),
        ),
        "no evaluations": lambda: db.execute("delete from evaluations where run = ?", (n,)),
        "in training": lambda: db.execute("update runs set epoch = 1 where n = ?", (n,)),
    }


def pool_without_names(db: sqlite3.Connection) -> None:
    """Do a part of the work, as when time runs out in the middle."""
    measured.keep(db)
    with transaction(db):
        pools._pool(db, pooled.stale(db))


KEEPING = {
    "nothing": lambda db: None,
    "numbers": measured.keep,
    "rows": pool_without_names,
    "all": pools.keep,
}


@pytest.mark.parametrize("seed", range(4))
def test_a_table_of_kept_rows_is_the_one_that_pools_every_run_again(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    trained(home, db, seed)
    assert pools.keep(db)
    assert pooled.is_current(db)
    for _ in range(8):
        happened = []
        for _ in range(chance.randint(1, 2)):
            able = changes(home, db, chance)
            happened.append(chance.choice(list(able)))
            able[happened[-1]]()
        kept = chance.choice(list(KEEPING))
        KEEPING[kept](db)
        for found, expected in zip(tables(db), pooled_again(db, monkeypatch), strict=True):
            assert found == expected, (happened, kept)
    assert pools.keep(db)
    assert pooled.is_current(db)
    assert list(tables(db)) == pooled_again(db, monkeypatch)


def test_what_is_kept_is_read_and_not_worked_out(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(home, db)
    for _ in range(100):  # each time as much as a fifth of a second allows
        assert reconcile(home, db)
        if pooled.is_current(db):
            break
    assert pooled.is_current(db), "whoever reads journals keeps rows as well"
    expected = list(tables(db))
    monkeypatch.setattr(pools.queries, "measurements", lambda *_, **__: pytest.fail("pooled again"))
    monkeypatch.setattr(paper_table.queries, "measurements", pools.queries.measurements)
    kept = [ask for ask in ASKS if ask.select != "lex:1"]
    for ask in kept:
        assert paper_table.build(db, ask).rows
    monkeypatch.undo()
    assert list(tables(db)) == expected


def test_what_runs_were_measured_on_is_kept_for_rules_whose_rows_are_not(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(home, db)
    assert pools.keep(db)
    monkeypatch.setattr(pools.stamps, "sources", lambda *_: pytest.fail("asked again"))
    for ask in (Ask(select="lex:1"), Ask(select="lex:0", test=True)):
        made = paper_table.build(db, ask)
        assert made.rows
        assert all(row.stamp for row in made.rows)


def test_keeping_rows_stops_when_its_time_is_over(home: Home, db: sqlite3.Connection) -> None:
    trained(home, db)
    assert measured.keep(db)
    before = db.execute("select count(*) from stale_pools").fetchone()
    assert not pools.keep(db, until=0.0)
    assert db.execute("select count(*) from stale_pools").fetchone() == before != (0,)


def test_runs_of_one_config_in_two_places_are_pooled_at_each_reading(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(home, db)
    db.execute("update runs set norm = 'l2' where n = 2")
    assert pools.keep(db)
    assert pooled.is_current(db), "nothing is left to do"
    assert list(tables(db)) == pooled_again(db, monkeypatch)


def test_lex_chooses_from_a_front_what_it_chooses_from_all_epochs() -> None:
    chance = random.Random(0)
    for _ in range(300):
        epochs = [
            {
                "epoch": e,
                "clean": chance.choice([1.0, 2.0, 3.0, 4.0]),
                "pgd": chance.randint(0, 6) / 3,
            }
            for e in range(1, chance.randint(2, 12))
        ]
        top = max(e["pgd"] for e in epochs)
        front = selection.front(epochs)
        for points in (0, 0.3, 1 / 3, 0.5, 1, 2, 5):
            rule = selection.rule(f"lex:{points!r}")
            chosen = min((pgd, e) for pgd, e in front if pgd >= top - rule.tolerance)[1]
            assert chosen == selection.choose(epochs, rule)


def test_rows_of_an_older_release_are_in_tables_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlite_utils import Database

    from rpat_tui.store import db as database
    from rpat_tui.store.migrations import migrations

    home = Home(tmp_path / "home").make()
    with database.opened(home) as db:
        trained(home, db)
        expected = list(tables(db))
        for name, kind in db.execute(
            "select name, type from sqlite_master where name like 'pooled%' or name in "
            "('stale_pools', 'unnamed', 'fronts') order by type desc"
        ).fetchall():
            db.execute(f"drop {kind} if exists {name}")
        db.execute("delete from _sqlite_migrations where name = 'm011_the_rows_of_tables'")
        assert measured.keep(db) is False, "this release's code writes what the older one lacks"
        assert list(tables(db)) == expected, "a home that cannot be written to is read all the same"
        migrations.apply(Database(db))
        assert list(tables(db)) == expected
        assert pools.keep(db)
        assert list(tables(db)) == expected


def test_a_database_that_does_not_keep_the_usual_lex_is_read_all_the_same(
    home: Home, db: sqlite3.Connection
) -> None:
    from sqlite_utils import Database

    from rpat_tui.store.migrations import migrations

    trained(home, db)
    assert pools.keep(db)
    asks = [Ask(select="lex:0.5"), Ask(select="lex:.50@test", checkpoint="", paper=True)]
    expected = list(tables(db, asks))
    for table in ("reported", "pooled"):
        assert db.execute(f"delete from {table} where asked like 'lex:%'").rowcount
    db.execute("delete from _sqlite_migrations where name = ?", (measured.USUAL_LEX,))
    assert list(tables(db, asks)) == expected
    migrations.apply(Database(db))
    assert pools.keep(db)
    assert db.execute("select 1 from pooled where asked = 'lex:0.5'").fetchone()
    assert list(tables(db, asks)) == expected
