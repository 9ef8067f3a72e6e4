"""What the rows of a table lack, as wants: seeds that were not trained, attacks that were not run.

`holes` tells where wants stand and queues them; this says what a table's rows want.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from rpat.config import RunConfig
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui import holes, pools
from rpat_tui.glyphs import duration
from rpat_tui.holes import Cost, Task, Want
from rpat_tui.home import Home
from rpat_tui.store.index import Wish
from rpat_tui.store.pending import Pending
from rpat_tui.table import Row, Table
from rpat_tui.variants import reading_order, tell_apart

ATTACKS = ("aa", "pgd", "none")
"""What each seed of a row shall be measured with; `none` asks for seeds alone."""
SEEDS = 3
"""Seeds that a row needs before it can be tested."""

_DEAD = ("failed", "stopped")
_NAMES = {"aa": "AutoAttack", "pgd": "PGD-20"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be queued, and what it costs."""

    tasks: tuple[Task, ...] = ()
    cost: Cost = field(default_factory=Cost)

    def count(self) -> str:
        """Return how much it is: `3 runs and 2 evaluations`."""
        runs = sum(task.do == "train" for task in self.tasks)
        others = len(self.tasks) - runs
        parts = [f"{runs} run{'s' * (runs != 1)}"] * bool(runs)
        parts += [f"{others} evaluation{'s' * (others != 1)}"] * bool(others)
        return " and ".join(parts) or "nothing"

    def price(self) -> str:
        """Return how long it will take, as far as that is known."""
        known = len(self.tasks) - self.cost.unknown
        if not known:
            return "cost unknown: nothing alike was measured here"
        work = f"~{duration(sum(self.cost.total) / 2)} of work"
        return work + f", {self.cost.unknown} of unknown length" * bool(self.cost.unknown)

    def lines(self) -> list[str]:
        """Return a line about each part."""
        return [_words(task) for task in self.tasks]


def plan(
    home: Home,
    db: sqlite3.Connection,
    rows: Sequence[Row],
    *,
    seeds: int = SEEDS,
    attack: str = "aa",
    slots: int = 1,
) -> Plan:
    """Return what rows of a table lack, and what it costs on so many places.

    What is queued or under way counts as there.
    """
    tasks = holes.work(home, holes.look(db, wants(db, rows, seeds=seeds, attack=attack)))
    return Plan(tasks=tuple(tasks), cost=holes.cost(db, tasks, slots))


def fill(home: Home, db: sqlite3.Connection, found: Plan, command: str) -> list[int]:
    """Queue a plan; returns the numbers of the runs and evaluations that wait now."""
    made = holes.queue(home, db, found.tasks, Wish(tags=("fill",)), command)
    return sorted(set(made.values()))


def wants(
    db: sqlite3.Connection, rows: Sequence[Row], *, seeds: int = SEEDS, attack: str = "aa"
) -> list[Want]:
    """Return what rows want: at least so many seeds, each of them attacked.

    Rows without any run, as those of the paper alone, have no config to repeat and are left out.
    Raises `ConfigError` for an unknown attack or no seeds.
    """
    if attack not in ATTACKS:
        raise ConfigError(f"--attack {unknown(attack, ATTACKS)}")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: a row needs 1 seed at least")
    known = [row for row in rows if row.group]
    return [
        want
        for row, runs in zip(known, _members(db, known), strict=True)
        for want in _of_row(row, runs, seeds, attack)
    ]


def _members(db: sqlite3.Connection, rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """Return the training runs of each row; those that saw no images yet go with the first."""
    taken: set[int] = set()
    out = []
    for row in rows:
        cursor = db.execute(
            "select n, seed, state, config, imported, data_key from runs "
            "where kind = 'train' and group_key = ? and not archived order by n",
            (row.group,),
        )
        names = [column[0] for column in cursor.description]
        runs = [dict(zip(names, values, strict=True)) for values in cursor]
        own = [r for r in runs if r["data_key"] in (row.data, "") and r["n"] not in taken]
        taken |= {run["n"] for run in own}
        out.append(own)
    return out


def _of_row(row: Row, runs: Sequence[Mapping[str, Any]], seeds: int, attack: str) -> list[Want]:
    if not runs:
        return []
    base = RunConfig.from_dict(json.loads(runs[-1]["config"]))
    foreign = {run["seed"] for run in runs if run["imported"].startswith("log:")}
    alive = {run["seed"] for run in runs if run["state"] not in _DEAD}
    dead = {run["seed"] for run in runs} - alive
    free = [seed for seed in range(len(alive | dead) + seeds) if seed not in alive | dead]
    more = [*sorted(dead), *free][: max(seeds - len(alive), 0)]
    if ATTACKS.index(attack) < ATTACKS.index(base.eval.attack):
        base = base.override({"eval.attack": attack})
    return [
        Want(
            configs=(replace(base, seed=seed),),
            attacks=() if attack == "none" else (attack,),
            checkpoints=(row.checkpoint,),
        )
        for seed in sorted({*alive, *more} - foreign)
    ]


def _words(task: Task) -> str:
    config, run = task.standing.want.config, task.standing.run
    rpat = "+rpat" * (config.wrapper("rpat") is not None)
    row = f"{config.method.NAME}{rpat} {config.data.name} seed {config.seed}"
    attacks = ", ".join(_NAMES.get(attack, attack) for attack in task.attacks)
    if task.do == "train":
        return f"train {row}" + f", then {attacks}" * ("aa" in task.attacks)
    asked = task.asked if task.do == "ask" else run
    where = asked["id"] if asked else ""
    return f"{attacks} on {where}, {row}" + ", once it is done" * (task.do == "ask")


# --------------------------------------------------------------------------- rows of open runs


def with_open(
    db: sqlite3.Connection, table: Table, waiting: Sequence[Pending], checkpoint: str
) -> tuple[Table, dict[int, tuple[Pending, ...]]]:
    """Add rows for open runs whose group has no number yet; say what each row waits for."""
    groups = {row.group for row in table.rows}
    added: dict[str, Row] = {}
    for item in waiting:
        m = item.subject
        if m.group not in groups:
            added.setdefault(m.group, Row(
                dataset=m.dataset, source=m.source, norm=m.norm, model=m.model,
                method=m.method, rpat=m.rpat, checkpoint=checkpoint, robust=table.robust, n=0,
                group=m.group, data=m.data, config=m.config,
            ))  # fmt: skip
    if added:
        table = replace(table, rows=_among(db, table.rows, list(added.values())))
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(table.rows):
        places[row.group].append(i)
    of: dict[int, list[Pending]] = defaultdict(list)
    for item in waiting:
        m = item.subject
        alike = places[m.group]
        exact = [i for i in alike if table.rows[i].data == m.data]
        for i in (exact or alike)[:1]:
            of[i].append(item)
    return table, {i: tuple(items) for i, items in of.items()}


def _among(db: sqlite3.Connection, rows: Sequence[Row], added: Sequence[Row]) -> tuple[Row, ...]:
    """Put rows among others; those that look like one of them are told apart anew."""
    looks = {_look(row) for row in added}
    alike = pools.configured(db, [row for row in rows if _look(row) in looks])
    others = [row for row in rows if _look(row) not in looks]
    return tuple(sorted([*others, *tell_apart([*alike, *added])], key=reading_order))


_look = attrgetter("dataset", "source", "norm", "model", "method")
