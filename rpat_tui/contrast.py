"""Groups of runs beside each other: what differs in their configs and in their results.

A group is what a table pools: runs of one config on the same images that differ in the seed. The
first group is the one that the others are compared with.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui import selection, statistics
from rpat_tui.compare import Seeds, by_measure, cell, seeds, summarise
from rpat_tui.statistics import Test
from rpat_tui.store import kin, queries
from rpat_tui.store.kin import Key
from rpat_tui.store.rows import Measurement
from rpat_tui.table import MEASURES, Cell, Row, Table
from rpat_tui.variants import but_for_rpat

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
RULES = ("best", "final", "pgd", "pgd@val", "mean", "nrr", "lex:0.5", "last")
"""Where results are read, in the order in which a key goes through them."""
RULE_TITLES = {
    "best": "best, as stored", "final": "final weights", "pgd": "best PGD",
    "pgd@val": "best PGD on val", "mean": "best Mean", "nrr": "best NRR",
    "lex:0.5": "best clean within .5 of best PGD", "last": "last epoch",
}  # fmt: skip
MOST = 8
"""Groups that are shown: one for each colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ only in the seed; `title` says what sets it apart from the others."""

    letter: str
    key: Key
    method: str
    title: str
    numbers: tuple[int, ...]
    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    states: tuple[str, ...]
    config: Mapping[str, Any]

    @property
    def n(self) -> int:
        """How many seeds there are."""
        return len(set(self.seeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Groups, their cells at a rule, and the tests of each against the first."""

    groups: tuple[Group, ...]
    rule: str = "best"
    robust: str = "aa"
    metric: str = ""
    cells: Mapping[tuple[str, str], Cell] = field(default_factory=dict)
    tests: Mapping[tuple[str, str], Test] = field(default_factory=dict)
    rows: Mapping[str, Row] = field(default_factory=dict)
    table: Table = field(default_factory=Table)

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns: those of a table, and a metric that was asked for."""
        return (*MEASURES, self.metric) if self.metric else MEASURES

    @property
    def differing(self) -> dict[str, tuple[Any, ...]]:
        """The keys in which the configs differ, with the value of each group; None where absent."""
        return {key: row for key, row in self.settings.items() if any(v != row[0] for v in row[1:])}

    @property
    def settings(self) -> dict[str, tuple[Any, ...]]:
        """Every key of the configs, with the value of each group."""
        keys = dict.fromkeys(key for group in self.groups for key in group.config)
        return {key: tuple(group.config.get(key) for group in self.groups) for key in keys}


def groups_of(db: sqlite3.Connection, numbers: Sequence[int]) -> tuple[Group, ...]:
    """Return the groups of training runs in the order in which they are first named."""
    rows = {row["n"]: row for row in queries.runs(db, numbers=numbers)}
    members: dict[Key, list[dict[str, Any]]] = {}
    keys = kin.keys_of(db, numbers)
    for n in numbers:
        if n in rows and rows[n]["kind"] == "train":
            members.setdefault(keys[n], []).append(rows[n])
    kept = list(members.items())[:MOST]
    configs = [_flat(queries.config_of(db, runs[0]["n"])) for _, runs in kept]
    titles = _titles([runs[0] for _, runs in kept], configs)
    return tuple(
        Group(
            letter=LETTERS[i],
            key=key,
            method=str(runs[0]["method"]) + "+rpat" * bool(runs[0]["rpat"]),
            title=titles[i],
            numbers=tuple(run["n"] for run in runs),
            ids=tuple(run["id"] for run in runs),
            seeds=tuple(run["seed"] for run in runs),
            states=tuple(run["state"] for run in runs),
            config=configs[i],
        )
        for i, (key, runs) in enumerate(kept)
    )


def contrast(
    db: sqlite3.Connection,
    groups: Sequence[Group],
    *,
    rule: str = "best",
    robust: str = "",
    metric: str = "",
    paper: bool = False,
) -> Contrast:
    """Return the groups' results at a rule, and the tests of each against the first.

    Mean and NRR rest on `robust`; unless given, on AutoAttack where a group has it, else PGD-20.
    `metric` adds the newest value of a stored metric as another column.
    """
    numbers = [n for group in groups for n in group.numbers]
    measured = measured_at(db, rule, numbers=numbers) if numbers else []
    robust = robust or ("aa" if any(m.aa is not None for m in measured) else "pgd20")
    pools = {group.letter: [m for m in measured if m.run in group.ids] for group in groups}
    values: dict[tuple[str, str], dict[int, float]] = {
        (letter, name): seeds(pool, name, robust)
        for letter, pool in pools.items()
        for name in MEASURES
    }
    if metric:
        latest = queries.latest(db, numbers)
        for group in groups:
            of_seed = zip(group.seeds, group.numbers, strict=True)
            found = {seed: latest.get(n, {}).get(metric) for seed, n in of_seed}
            values[group.letter, metric] = {
                s: v for s, v in found.items() if v is not None and math.isfinite(v)
            }
    table = summarise(measured, robust=robust, paper=paper)
    return Contrast(
        groups=tuple(groups),
        rule=rule,
        robust=robust,
        metric=metric,
        cells={key: made for key, v in values.items() if (made := cell(v.values())) is not None},
        tests=_tests(groups, values),
        rows={g.letter: row for g in groups for row in table.rows if set(row.runs) & set(g.ids)},
        table=table,
    )


def measured_at(db: sqlite3.Connection, rule: str, **which: Any) -> list[Measurement]:
    """Return measurements at one of `RULES`, or at another rule for the best epoch.

    Raises `ConfigError` for a rule that does not exist.
    """
    if rule in ("best", "final"):
        return queries.measurements(db, checkpoint=rule, **which)
    if rule.partition(":")[0].partition("@")[0] not in selection.SCORES:
        raise ConfigError(f"--rule {unknown(rule, RULES)}")
    return queries.measurements(db, checkpoint="best", select=rule, **which)


def against_base(table: Table, values: Seeds) -> dict[tuple[str, str], Test]:
    """Return the tests of each row with RPAT against the same without, by group and measure.

    All tests of the table are corrected together; Mean and NRR are tested as well.
    """
    bases = {(but_for_rpat(r), r.checkpoint): r for r in table.rows if not r.rpat and r.n}
    pairs = {}
    for row in table.rows:
        base = bases.get((but_for_rpat(row), row.checkpoint)) if row.rpat and row.n else None
        if base is None:
            continue
        one, other = (
            by_measure(values.get((r.group, r.data, r.checkpoint), ()), table.robust)
            for r in (base, row)
        )
        key = f"{row.group} {row.data} {row.checkpoint}"
        for name, with_rpat in other.items():
            if (without := one[name]) and with_rpat:
                pairs[key, name] = without, with_rpat
    return statistics.all_together(pairs)


def _tests(
    groups: Sequence[Group], values: Mapping[tuple[str, str], Mapping[int, float]]
) -> dict[tuple[str, str], Test]:
    if not groups:
        return {}
    first = groups[0].letter
    names = dict.fromkeys(name for _, name in values)
    return statistics.all_together(
        {
            (group.letter, name): (values[first, name], values[group.letter, name])
            for group in groups[1:]
            for name in names
        }
    )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with dotted keys, without its seed."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        elif key not in ("seed", "schema"):
            flat[key] = value
    return flat


def _titles(runs: Sequence[Mapping[str, Any]], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what sets each group apart: method, RPAT's weight, and what else is not the same."""
    parts = [[str(run["method"])] for run in runs]
    for name in ("dataset", "model", "norm"):
        if len({run[name] for run in runs}) > 1:
            for part, run in zip(parts, runs, strict=True):
                part.append(str(run[name]))
    for part, run in zip(parts, runs, strict=True):
        if run["rpat"]:
            part[0] += f"+rpat λ{run['lam']:g}"
    said = [tuple(part) for part in parts]
    for i, part in enumerate(parts):
        alike = [j for j, other in enumerate(said) if other == said[i]]
        if len(alike) < 2:
            continue
        keys = {k for j in alike for k in configs[j] if configs[j][k] != configs[i].get(k)}
        part += [f"{key.rpartition('.')[2]} {_word(configs[i].get(key))}" for key in sorted(keys)]
    return [" ".join(part) for part in parts]


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
