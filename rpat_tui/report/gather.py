"""What a report tells of its runs, gathered as plain values."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rpat.config import METHODS, WRAPPERS, RunConfig
from rpat.errors import RpatError
from rpat.recipes import recipe, reported_network
from rpat_tui.compare import summarise
from rpat_tui.home import Home
from rpat_tui.launch import inquest
from rpat_tui.launch.differences import attempts, flat, unequal
from rpat_tui.launch.inquest import Move
from rpat_tui.launch.origin import provenance_of
from rpat_tui.store import queries
from rpat_tui.table import Table

MOST = 100
"""Runs of a report: curves of more cannot be told apart."""
POINTS = 400
"""Points of a curve that are drawn; of longer ones every k-th and the last."""
CURVES = {
    "test/clean_acc": "Clean accuracy", "test/pgd_acc": "PGD accuracy",
    "test/logit_mse": "Logit MSE", "train/loss": "Training loss", "lr": "Learning rate",
}  # fmt: skip

Point = tuple[float, float]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its row, config, curves by metric, and where it comes from."""

    row: Json
    group: int
    config: Json
    unusual: Mapping[str, tuple[Any, Any]]  # key: (the recipe's value, its own)
    curves: Mapping[str, Sequence[Point | None]]  # None: not finite
    evaluations: Sequence[Json]
    findings: Sequence[Json]
    history: Sequence[Move]
    facts: Mapping[str, str]
    rule: str

    @property
    def id(self) -> str:
        """The run's short id."""
        return str(self.row["id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that differ only in the seed, as tables pool them."""

    title: str
    runs: Sequence[str]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a page is made of."""

    title: str
    runs: Sequence[Run]
    groups: Sequence[Group]
    table: Table
    robust: str  # what Mean and NRR of the table rest on
    beside: str  # what the plane shows beside clean accuracy
    places: Sequence[Json] = field(default_factory=list)  # one a run: its accuracies at best
    suite: Table | None = None  # the table of the suite that the report is about


def gather(
    home: Home,
    db: sqlite3.Connection,
    numbers: Sequence[int],
    title: str,
    suite: Table | None = None,
) -> Report:
    """Read what the report of some training runs needs; of a suite's, its table is made already."""
    rows = queries.runs(db, numbers=numbers, archived=True)
    configs = [queries.config_of(db, row["n"]) for row in rows]
    keys = list(dict.fromkeys((row["group_key"], row["data_key"]) for row in rows))
    places = [keys.index((row["group_key"], row["data_key"])) for row in rows]
    runs = [
        _run(home, db, row, config, group)
        for row, config, group in zip(rows, configs, places, strict=True)
    ]
    measured = queries.measurements(db, numbers=[row["n"] for row in rows])
    robust = "aa" if any(m.aa is not None for m in measured) else "pgd20"
    best = [m for m in measured if m.checkpoint == "best" and m.clean is not None]
    beside = max(("aa", "pgd20"), key=lambda name: sum(getattr(m, name) is not None for m in best))
    ids = [row["id"] for row in rows]
    points = [
        {"run": m.run, "group": places[ids.index(m.run)], "clean": m.clean,
         "robust": getattr(m, beside)}
        for m in best
        if getattr(m, beside) is not None
    ]  # fmt: skip
    return Report(
        title=title or (suite.title if suite else ""),
        suite=suite,
        runs=runs,
        groups=_groups(runs, len(keys)),
        table=summarise(measured, robust=robust, paper=True),
        robust=robust,
        beside=beside,
        places=points,
    )


def _run(home: Home, db: sqlite3.Connection, row: Json, config: Json, group: int) -> Run:
    n = row["n"]
    return Run(
        row=row,
        group=group,
        config=config,
        unusual=_unusual(config),
        curves={name: _curve(db, n, name, config) for name in CURVES},
        evaluations=queries.evaluations(db, n),
        findings=queries.findings(db, n),
        history=inquest.history(db, row),
        facts=_facts(home, db, row),
        rule="PGD-{} on {}".format(
            config["eval"]["selection_steps"], "val" if config["data"]["val_n"] else "test"
        ),
    )


def _unusual(config: Json) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which a config is not what its method's recipe says."""
    try:
        own = RunConfig.from_dict(config)
        usual = recipe(
            own.method.NAME,
            [w.NAME for w in own.wrappers if w.NAME != "clean-pass"],
            dataset=own.data.name,
            model=own.model.name,
            norm=own.threat.norm,
        ).to_dict()
    except RpatError:  # an old config, or a stack that no recipe has any more
        return {}
    aside = ("seed", "device", "data.dir", "data.source")
    return {k: v for k, v in unequal(flat(usual), flat(config)).items() if k not in aside}


def _curve(db: sqlite3.Connection, n: int, name: str, config: Json) -> list[Point | None]:
    """Return a metric's points over epochs; of the averaged network where that is the method."""
    network = reported_network(config["wrappers"])
    prefixed = name if network == "online" or "/" not in name else f"{network}/{name}"
    points = queries.points(db, n, prefixed) or queries.points(db, n, name)
    every = -(-len(points) // POINTS) or 1
    kept = [p for i, p in enumerate(points) if i % every == 0 or i == len(points) - 1]
    return [None if value is None else (epoch, value) for _, epoch, value in kept]


def _facts(home: Home, db: sqlite3.Connection, row: Json) -> dict[str, str]:
    """Return where a run comes from, each fact as words."""
    origin = provenance_of(home, row["id"])
    git = origin.get("git") or {}
    ran = attempts(db, row["n"])
    changes = " with uncommitted changes" if git.get("diff") else ""
    versions = {k: v for k, v in flat(ran[-1]["versions"]).items() if v} if ran else {}
    found = {
        "uid": row["uid"],
        "command": origin.get("command"),
        "rpat": origin.get("rpat"),
        "python": origin.get("python"),
        **(origin.get("packages") or {}),
        **versions,
        "git commit": git["commit"] + changes if git else "",
        "code snapshot": origin.get("snapshot"),
        "queued on": origin.get("host"),
        "ran on": ", ".join(dict.fromkeys(f"{a['host']} ({a['device']})" for a in ran)),
        "platform": origin.get("platform"),
        "images": f"{row['dataset']}, {row['source']}",
        "data fingerprint": row["data_key"],
        "config fingerprint": row["fingerprint"],
        "imported": row["imported"],
    }
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


def _groups(runs: Sequence[Run], count: int) -> list[Group]:
    made = []
    for i in range(count):
        members = [run for run in runs if run.group == i]
        config = {k: v for k, v in flat(members[0].config).items() if k not in ("seed", "schema")}
        made.append((members, config))
    first = [_name(members[0], runs) for members, _ in made]
    titles = []
    for i, (members, config) in enumerate(made):
        alike = [j for j, name in enumerate(first) if name == first[i]]
        keys = {k for j in alike for k in unequal(config, made[j][1])}
        words = [f"{k.rpartition('.')[2]} {config.get(k)}" for k in sorted(keys)][:3]
        titles.append(" ".join([first[i], *words]) + f" ({_seeds(members)})")
    return [
        Group(title=title, runs=[run.id for run in members], config=config)
        for title, (members, config) in zip(titles, made, strict=True)
    ]


def _name(run: Run, runs: Sequence[Run]) -> str:
    row = run.row
    words = [method_title(row["method"], False)]
    words += [f"+ RPAT, λ {row['lam']:g}"] if row["rpat"] else []
    words += [
        row[key]
        for key in ("dataset", "model", "norm")
        if len({other.row[key] for other in runs}) > 1
    ]
    return " ".join(words)


def method_title(label: str, rpat: bool) -> str:
    """Return a method as people write it."""
    title = next((str(r[label].TITLE) for r in (METHODS, WRAPPERS) if label in r), label)
    return f"{title} + RPAT" if rpat else title


def _seeds(members: Sequence[Run]) -> str:
    seeds = sorted({run.row["seed"] for run in members})
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))
