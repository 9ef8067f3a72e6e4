"""The table's screen shows kept rows, with the very cells, remarks and remedies of pooled ones."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rpat.recipes import recipe
from rpat_tui import gaps, pools
from rpat_tui.glyphs import UNICODE
from rpat_tui.home import Home
from rpat_tui.paper_table import LAYOUTS
from rpat_tui.screens import paper
from rpat_tui.screens.paper import Ask
from rpat_tui.store import db as database
from rpat_tui.store import index
from rpat_tui.table import Row
from rpat_tui.variants import reading_order, tell_apart
from tests.console.test_kept_rows import KEEPING, changes, trained

ASKS = [
    Ask(),
    Ask(rule="final", paper=True),
    Ask(rule="pgd", robust="pgd20", measures=("clean", "aa", "nrr")),
    Ask(rule="lex:0.5", method="mart"),
    Ask(rule="lex:1", dataset="cifar10", paper=True),
    Ask(rule="last"),
]


def screens(db: sqlite3.Connection) -> Iterator[object]:
    """Everything that the screen says: its lines, and of every cell what is behind it."""
    for ask in ASKS:
        answer = paper.read(db, ask)
        for layout in LAYOUTS:
            yield ask, paper.laid_out(answer, UNICODE, layout)
        for at in range(len(answer.table.rows)):
            for column in range(len(ask.measures) + 1):
                yield ask, at, paper.describe(answer, at, column, UNICODE)
            yield ask, at, paper.by_seed(answer, at, UNICODE).plain


def pooled_again(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The same, with nothing of it kept."""
    with monkeypatch.context() as patch:
        patch.setattr(pools, "rows", lambda *_, **__: None)
        patch.setattr(gaps, "_among", all_told_apart)
        return list(screens(db))


def all_told_apart(
    db: sqlite3.Connection, rows: Sequence[Row], added: Sequence[Row]
) -> tuple[Row, ...]:
    every = tell_apart([*pools.configured(db, rows), *added])
    return tuple(sorted(every, key=reading_order))


def queued(home: Home, db: sqlite3.Connection) -> list[int]:
    """Queue runs that look like others, that are of their groups, and that are like none."""
    base = recipe("mart", dataset="cifar10", epochs=4)
    more = [base.override({"optim.lr": lr, "seed": 7}) for lr in (0.1, 0.05, 0.01)]
    more += [recipe("mart", ("rpat",), dataset="cifar10", epochs=5)]
    more += [recipe("trades", dataset="cifar100", epochs=4).override({"eval.attack": "aa"})]
    return index.enqueue(home, db, more, index.Wish(), {})


@pytest.mark.parametrize("seed", range(2))
def test_kept_rows_look_on_the_screen_as_if_every_run_were_pooled_again(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    trained(home, db, seed)
    first = queued(home, db)[0]
    db.execute("update runs set state = 'running', epoch = 2 where n = ?", (first,))
    assert pools.keep(db)
    for _ in range(4):
        able = changes(home, db, chance)
        happened = chance.choice(list(able))
        able[happened]()
        kept = chance.choice(list(KEEPING))
        KEEPING[kept](db)
        for found, expected in zip(screens(db), pooled_again(db, monkeypatch), strict=True):
            assert found == expected, (happened, kept)


def test_a_screen_of_kept_rows_asks_for_no_run(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(home, db)
    queued(home, db)
    assert pools.keep(db)
    monkeypatch.setattr(pools.queries, "measurements", lambda *_, **__: pytest.fail("pooled again"))
    for ask in ASKS:
        if ask.rule != "lex:1":  # a tolerance may be anything: its rows are not kept
            assert paper.read(db, ask).table.rows


def test_where_rows_are_not_kept_the_screen_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home").make()
    with database.opened(home) as db:
        trained(home, db)
        queued(home, db)
        db.execute("update runs set norm = 'l2' where n = 2")  # one config in two places
        expected = list(screens(db))
        assert pools.keep(db)
        assert list(screens(db)) == expected == pooled_again(db, monkeypatch)
        for name, kind in db.execute(
            "select name, type from sqlite_master where name like 'pooled%' or name in "
            "('stale_pools', 'unnamed', 'fronts') order by type desc"
        ).fetchall():
            db.execute(f"drop {kind} if exists {name}")
        assert list(screens(db)) == expected, "the database of an older release"
