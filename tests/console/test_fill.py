"""What rows of a table lack: which seeds and attacks, what it costs, and queuing it."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

import pytest

from rpat.recipes import recipe
from rpat_tui import gaps, pools
from rpat_tui.compare import summarise
from rpat_tui.home import Home
from rpat_tui.launch import frozen, worker
from rpat_tui.store import index, queries, queue
from rpat_tui.store.db import transaction
from rpat_tui.store.pending import pending
from rpat_tui.store.queue import move
from tests.console.conftest import Rpat, refused
from tests.console.test_kept_rows import changes, trained
from tests.console.test_kept_rows_on_screen import all_told_apart, queued


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "provenance", lambda *_: {})
    monkeypatch.setattr(worker, "ensure", lambda _: None)


def train(home: Home, db: sqlite3.Connection, *seeds: int, rpat: bool = False) -> list[int]:
    base = recipe("mart", ("rpat",) if rpat else (), dataset="digits", epochs=2)
    return index.enqueue(home, db, [base.override({"seed": s}) for s in seeds], index.Wish(), {})


def table(db: sqlite3.Connection) -> list[gaps.Row]:
    made = summarise(queries.measurements(db, checkpoint="best"), checkpoint="best")
    return list(gaps.with_open(db, made, pending(db), "best")[0].rows)


def lines(home: Home, db: sqlite3.Connection, **more: object) -> list[str]:
    return gaps.plan(home, db, table(db), **more).lines()  # type: ignore[arg-type]


def test_missing_seeds_are_trained_and_those_that_wait_count_as_there(
    home: Home, db: sqlite3.Connection
) -> None:
    train(home, db, 0, 1)
    assert lines(home, db, attack="pgd") == ["train mart digits seed 2"]
    assert lines(home, db, attack="pgd", seeds=2) == []
    assert lines(home, db, attack="none", seeds=4) == [
        "train mart digits seed 2", "train mart digits seed 3"
    ]  # fmt: skip


def test_open_runs_are_asked_for_autoattack_and_new_ones_bring_it(
    home: Home, db: sqlite3.Connection
) -> None:
    (n,) = train(home, db, 5)
    assert lines(home, db, seeds=2) == [
        "train mart digits seed 0, then AutoAttack",
        "AutoAttack on r0001, mart digits seed 5, once it is done",
    ]
    plan = gaps.plan(home, db, table(db), seeds=2)
    assert plan.count() == "1 run and 1 evaluation"
    assert "unknown" in plan.price()
    assert gaps.fill(home, db, plan, "rpat fill") == [n, 2]
    assert queries.config_of(db, 2)["eval"]["attack"] == "aa"
    assert lines(home, db, seeds=2) == []


def test_a_seed_that_failed_is_trained_before_a_new_one(home: Home, db: sqlite3.Connection) -> None:
    train(home, db, 0, 4)
    with transaction(db):
        move(db, 2, "starting")
        move(db, 2, "failed", "nan")
    assert lines(home, db, seeds=2, attack="pgd") == ["train mart digits seed 4"]


def test_attacks_and_seeds_must_make_sense(home: Home, db: sqlite3.Connection, rpat: Rpat) -> None:
    refused(rpat("fill", "--attack", "foo"), "--attack", "'foo'", "aa, none, pgd")
    refused(rpat("fill", "--seeds", "0"), "--seeds 0", "1 seed at least")
    refused(rpat("fill", "--dataset", "cifar11"), "--dataset", "cifar10")


def test_the_command_says_what_it_would_queue_and_queues_it_once(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    train(home, db, 0)
    train(home, db, 0, rpat=True)
    said = rpat("fill", "--attack", "pgd", "--dry-run")
    assert "train mart digits seed 1\n" in said.out
    assert "4 runs would be queued" in said.out
    assert len(queries.runs(db)) == 2
    assert [row["seed"] for row in rpat("fill", "--attack", "pgd", "--dry-run", "--json").json] == [
        1, 2, 1, 2
    ]  # fmt: skip
    assert rpat("fill", "--attack", "pgd").out.endswith("r0003 r0004 r0005 r0006\n")
    assert "nothing is missing: 2 rows" in rpat("fill", "--attack", "pgd").out
    assert {"fill"} == {tag for row in queries.runs(db)[:4] for tag in row["tags"]}
    assert len(queries.runs(db)) == 6


@pytest.mark.parametrize("seed", range(2))
def test_what_kept_rows_lack_is_what_rows_that_are_pooled_again_lack(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, rpat: Rpat, seed: int
) -> None:
    asks = [(), ("--checkpoint", "final", "--method", "mart"), ("--dataset", "cifar100")]
    asks = [("fill", *ask, "--seeds", "4", "--dry-run", "--json") for ask in asks]
    chance = random.Random(seed)
    trained(home, db, seed)
    first = queued(home, db)[0]
    db.execute("update runs set state = 'running', epoch = 2 where n = ?", (first,))
    for _ in range(4):
        able = changes(home, db, chance)
        happened = chance.choice(list(able))
        able[happened]()
        found = [rpat(*ask).out for ask in asks]
        with monkeypatch.context() as patch:
            patch.setattr(pools, "rows", lambda *_, **__: None)
            patch.setattr(gaps, "_among", all_told_apart)
            assert found == [rpat(*ask).out for ask in asks], happened
        assert '"do": "evaluate"' in found[0] or '"do": "train"' in found[0]


def test_filling_kept_rows_pools_no_run(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, rpat: Rpat
) -> None:
    trained(home, db)
    assert pools.keep(db)
    measurements = queries.measurements

    def of_named_runs(*args: Any, **which: Any) -> list[Any]:
        assert "numbers" in which, "pooled again"
        return measurements(*args, **which)

    monkeypatch.setattr(queries, "measurements", of_named_runs)
    assert "would be queued" in rpat("fill", "--dry-run").out


def test_where_no_run_is_nothing_is_missing(nowhere: object, rpat: Rpat) -> None:
    assert "nothing can be missing" in rpat("fill").err


def test_runs_are_moved_by_one_place_in_the_queue(
    home: Home, db: sqlite3.Connection, rpat: Rpat
) -> None:
    train(home, db, 0, 1, 2, 3)

    def order() -> list[int]:
        return queue.waiting(db)

    assert "one later" in rpat("queue", "down", "r1").out
    assert order() == [2, 1, 3, 4]
    rpat("queue", "up", "r4")
    assert order() == [2, 1, 4, 3]
    rpat("queue", "down", "r4")
    rpat("queue", "down", "r4")
    assert order() == [2, 1, 3, 4]
    rpat("queue", "up", "r2")
    assert order() == [2, 1, 3, 4]
    queue.set_priority(db, 3, 90)
    assert order() == [3, 2, 1, 4]
    rpat("queue", "up", "r2")
    assert order() == [2, 3, 1, 4]
    refused(rpat("queue", "up", "r9"), "r9")
