"""A small home with runs that have curves and results, and the application on it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot

from bench.store import build
from rpat.recipes import recipe
from rpat_tui.app import RpatApp
from rpat_tui.glyphs import ASCII, UNICODE
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index
from tests.console.test_measurements import evaluate
from tests.tui.driving import rest

Check = Callable[[Pilot[int], RpatApp], Awaitable[None]]


def small_home(folder: Path) -> Home:
    """Make three seeds each of PGD-AT, with RPAT, and TRADES; of the last, some are open.

    r0001-r0003 PGD-AT, r0004-r0006 with RPAT, r0007 TRADES, r0008 running, r0009 queued.
    """
    build(folder / "home", 9, 12)
    home = Home(folder / "home")
    with sqlite3.connect(home.database) as db:
        db.execute("delete from evaluations where run in (8, 9)")
        db.execute("update runs set state = 'running', epoch = 4 where n = 8")
        db.execute("update runs set state = 'queued', epoch = 0 where n = 9")
        db.execute("update evaluations set robust = 40 + run / 10.0, clean = 80 + run / 7.0")
        db.execute(
            "update evaluations set robust = robust + 3 + run % 2 / 5.0 where run between 4 and 6"
        )
        db.execute("delete from evaluations where run = 7 and attack = 'aa'")
    return home


def paper_home(folder: Path, datasets: Sequence[str] = ("cifar10", "cifar100")) -> Home:
    """Make three seeds of a row of the paper's for each data set; on the second, some are open.

    There TRADES with RPAT has one seed, another that is running and one that is queued, and MART
    with RPAT has none.
    """
    home = Home(folder / "home").make()
    chance = random.Random(0)
    rows = [(method, stack) for method in ("pgd-at", "trades", "mart") for stack in ((), ("rpat",))]
    wanted = [
        (recipe(method, stack, dataset=dataset, epochs=12), dataset, i, bool(stack))
        for dataset in datasets
        for i, (method, stack) in enumerate(rows)
        if (dataset, method, stack) != (datasets[1], "mart", ("rpat",))
    ]
    with database.opened(home) as db:
        configs = [base.override({"seed": s}) for base, *_ in wanted for s in range(3)]
        numbers = iter(index.enqueue(home, db, configs, index.Wish(), {}))
        for base, dataset, i, rpat in wanted:
            hard = 25 * datasets.index(dataset)
            for seed in range(3):
                n = next(numbers)
                if (dataset, base.method.NAME, rpat) == (datasets[1], "trades", True) and seed:
                    if seed == 1:
                        db.execute("update runs set state = 'running', epoch = 4 where n = ?", [n])
                    continue
                db.execute("update runs set state = 'done', epoch = epochs where n = ?", [n])
                clean = 82.8 - i + 2 * rpat - hard + chance.gauss(0, 0.2)
                for attack, steps, robust in (("pgd", 20, 51.9), ("aa", 0, 47.9)):
                    evaluate(
                        db, n, "online", clean, attack=attack, steps=steps, epsilon=8 / 255,
                        robust=robust + i / 3 - hard / 1.1 + chance.gauss(0, 0.1), weights=f"w{n}",
                    )  # fmt: skip
    return home


def drive(
    home: Home, check: Check, size: tuple[int, int] = (120, 34), *, ascii_only: bool = False
) -> None:
    """Run a check against the application without a terminal."""

    async def go() -> None:
        app = RpatApp(
            home, poll=0, glyphs=ASCII if ascii_only else UNICODE,
            charts="ascii" if ascii_only else "braille",
        )  # fmt: skip
        async with app.run_test(size=size) as pilot:
            await rest(pilot)
            await check(pilot, app)
        app.reader.close()

    asyncio.run(go())


def copied(app: RpatApp, patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that what is copied will be added to."""
    said: list[str] = []
    patch.setattr(app, "copy", said.append)
    return said
