"""How a suite's agenda looks: where its cells stand, what would be queued, how long that takes."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from rpat_tui.cli.output import (
    COLOURS,
    clock,
    console,
    duration,
    glyph,
    place,
    plain_table,
    print_json,
    remark,
    say,
    signs,
)

if TYPE_CHECKING:
    from rpat_tui.agenda import Agenda
    from rpat_tui.holes import Cost, Standing, Task
    from rpat_tui.suites import Entry


def as_json(made: Agenda, cost: Cost) -> dict[str, Any]:
    return {
        "suite": made.suite.name,
        "runs": [
            {
                "row": entry.label,
                **_where(entry),
                "state": standing.run["state"] if standing.run else "missing",
                "run": standing.run["id"] if standing.run else None,
                "epoch": _epoch(standing),
            }
            for entry, standing in zip(made.entries, made.standings, strict=True)
        ],
        "cells": [
            {
                "row": cell.entry.label,
                **_where(cell.entry),
                "measure": cell.measure,
                "state": cell.state,
                "run": cell.run or None,
                "why": cell.why,
            }
            for cell in made.cells
        ],
        "counts": made.counts,
        "remaining": _cost(cost),
    }


def _where(entry: Entry) -> dict[str, Any]:
    config = entry.config
    return {
        "dataset": config.data.name, "norm": config.threat.norm, "model": config.model.name,
        "seed": config.seed,
    }  # fmt: skip


def _epoch(standing: Standing) -> str:
    run = standing.run
    return f"{run['epoch']}/{run['epochs']}" if run else ""


def _cost(cost: Cost) -> dict[str, Any]:
    low, high = cost.total
    finish = [round(t) for t in cost.finish] if cost.finish else None
    return {
        "hours": [round(low / 3600, 6), round(high / 3600, 6)],
        "unknown": cost.unknown,
        "finish_in_s": finish,
    }


def print_status(made: Agenda, cost: Cost) -> None:
    from rich.text import Text

    from rpat_tui import agenda

    say(made.suite.title)
    titles = {"clean": "clean", "pgd20": "PGD-20", "aa": "AA", "training": "trained"}
    shown = dict.fromkeys(m for entry in made.entries for m in agenda.measures(entry))
    several = len({tuple(_where(entry).values())[:3] for entry in made.entries}) > 1
    columns = ["row", *(["data", "network"] if several else []), "seed", "state", "run", "epoch"]
    table = plain_table(*columns, *(titles[m] for m in shown), "", right=("seed", "epoch"))
    for entry, standing in zip(made.entries, made.standings, strict=True):
        state = standing.run["state"] if standing.run else "missing"
        sign = signs().missing if state == "missing" else glyph(state)
        where = _where(entry)
        there = [place({"dataset": where["dataset"], "norm": where["norm"]}, True), where["model"]]
        table.add_row(
            entry.label,
            *(there if several else []),
            str(where["seed"]),
            Text(f"{sign} {state}", style=COLOURS.get(state, "dim")),
            standing.run["id"] if standing.run else "",
            _epoch(standing),
            *(_sign(standing, m) if m in agenda.measures(entry) else "" for m in shown),
            "; ".join(dict.fromkeys(standing.why.values())),
        )
    console().print(table)
    counts = ", ".join(f"{n} {state}" for state, n in made.counts.items())
    say(f"{sum(made.counts.values())} cells: {counts}")
    if cost.spans or cost.open:
        say(f"remaining: {_hours(cost)}")


def _sign(standing: Standing, measure: str) -> Any:
    """Return the sign of a cell: measured, being made, waiting, or a hole."""
    from rich.text import Text

    state = standing.state(measure)
    if state == "missing":
        return Text(signs().missing, style="dim")
    named = "done" if state == "proven" else state
    return Text(glyph(named), style=COLOURS[named])


def _hours(cost: Cost) -> str:
    """Say how much device time is left, how sure that is, and when all would be done."""
    low, high = cost.total
    many = len(cost.spans) + len(cost.open)
    if cost.unknown == many:
        return "unknown; nothing alike has trained in this home yet"
    text = f"{_span(low, high)} of device time"
    if cost.unknown:
        text += f", without {cost.unknown} of {many}: nothing like them was measured here"
    if cost.finish is not None:
        first, last = (time.time() + seconds for seconds in cost.finish)
        text += f"; the queue is through by {clock(first)[:-3]} to {clock(last)[:-3]}"
    return text


def _span(low: float, high: float) -> str:
    if duration(low) == duration(high):
        return duration(low)
    return f"{duration(low)} to {duration(high)}"


def print_plan(made: Agenda, tasks: list[Task], cost: Cost, fill: bool, json: bool) -> None:
    """Print what would be queued; without --fill also what is used as it is."""
    spans = {id(task.standing): span for task, span in zip(tasks, cost.spans, strict=True)}
    by_standing = {id(task.standing): task for task in tasks}
    plan = [
        (entry, standing, by_standing.get(id(standing)))
        for entry, standing in zip(made.entries, made.standings, strict=True)
        if not fill or id(standing) in by_standing
    ]
    if json:
        print_json([
            {
                "row": entry.label, **_where(entry), "do": task.do if task else "nothing",
                "attacks": list(task.attacks) if task else [], "run": _used(standing, task),
                "seconds": spans.get(id(standing)), "fingerprint": entry.config.fingerprint(),
                "config": entry.config.to_dict(),
            }
            for entry, standing, task in plan
        ])  # fmt: skip
        return
    say(made.suite.title)
    table = plain_table("do", "row", "data", "network", "seed", "what", "time", right=("seed",))
    for entry, standing, task in plan:
        where = _where(entry)
        span = spans.get(id(standing))
        table.add_row(
            task.do if task else "use", entry.label, place(where, True), where["model"],
            str(where["seed"]), _what(standing, task), f"~{_span(*span)}" if span else "",
        )  # fmt: skip
    if plan:
        console().print(table)
    kinds = Counter(task.do for task in tasks)
    parts = [f"{kinds[do]} to {do}" for do in ("train", "evaluate", "ask") if kinds[do]]
    if not tasks:
        say("no hole to close; nothing would be queued")
        return
    say(f"{len(tasks)} would be queued ({', '.join(parts)}): {_hours(cost)}")
    for why in dict.fromkeys(
        entry.missing for entry, _, task in plan if task and task.do == "train" and entry.missing
    ):
        remark(why)
    say("nothing was started")


def _used(standing: Standing, task: Task | None) -> str | None:
    """Return the run whose numbers or weights are used."""
    if standing.run is None or (task is not None and task.do == "train"):
        return None
    return str(standing.run["id"])


def _what(standing: Standing, task: Task | None) -> str:
    names = {"aa": "AA", "pgd": "PGD-20"}
    if task is None:
        if standing.run is None:
            return "nothing: beyond --limit"
        return f"{standing.run['id']} ({standing.run['state']})"
    attacks = " and ".join(names[a] for a in task.attacks if a in names)
    if task.do == "train":
        gone = standing.run and f", {standing.run['id']} is {standing.run['state']}"
        return (f"with {attacks}" if attacks else "without evaluation") + (gone or "")
    assert standing.run is not None
    where = f" at {' and '.join(task.checkpoints)}" if task.checkpoints else ""
    return f"{standing.run['id']}: {attacks}{where}"
