"""How a suite's agenda looks: where its cells stand, what would be queued, how long that takes."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

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
    from rich.table import Table

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
    lines = []
    for entry, standing in zip(made.entries, made.standings, strict=True):
        state = standing.run["state"] if standing.run else "missing"
        sign = signs().missing if state == "missing" else glyph(state)
        where = _where(entry)
        there = (place({"dataset": where["dataset"], "norm": where["norm"]}, True), where["model"])
        cells = {
            "row": entry.label,
            "seed": str(where["seed"]),
            "state": Text(f"{sign} {state}", style=COLOURS.get(state, "dim")),
            "run": standing.run["id"] if standing.run else "",
            "epoch": _epoch(standing),
        }
        for m in shown:
            cells[titles[m]] = _sign(standing, m) if m in agenda.measures(entry) else ""
        lines.append(
            _Line(there if several else (), cells, "; ".join(dict.fromkeys(standing.why.values())))
        )
    _print_lines(lines)
    counts = ", ".join(f"{n} {state}" for state, n in made.counts.items())
    say(f"{sum(made.counts.values())} cells: {counts}")
    if cost.spans or cost.open:
        say(f"remaining: {_hours(cost)}")


class _Line(NamedTuple):
    """A line of a suite's status: its data and network, its cells by column, and a remark."""

    there: tuple[str, ...]
    cells: dict[str, Any]
    why: str


_RIGHT = ("seed", "epoch")
_FIRST_TO_GO = ("epoch", "run")
"""Columns that a very narrow terminal does without."""


def _print_lines(lines: list[_Line]) -> None:
    """Print lines below each other, as wide as they are where that fits.

    In a narrower terminal data and network become headings, remarks stand below their lines, and
    nothing is cut.
    """
    from rich.cells import cell_len
    from rich.text import Text

    if not lines:
        return
    out = console()
    columns = {
        name: max(cell_len(name), *(cell_len(str(line.cells[name])) for line in lines))
        for name in lines[0].cells
    }
    beside = [max(map(cell_len, part)) for part in zip(*(x.there for x in lines), strict=True)]
    why = max(cell_len(line.why) for line in lines)
    if sum(width + 2 for width in (*columns.values(), *beside, why)) - 2 <= out.width:
        after = list(columns).index("row") + 1
        names = [*columns][:after] + ["data", "network"][: len(beside)] + [*columns][after:]
        table = plain_table(*names, *[""] * any(line.why for line in lines), right=_RIGHT)
        for line in lines:
            cells = list(line.cells.values())
            table.add_row(*cells[:after], *line.there, *cells[after:], *[line.why] * bool(why))
        out.print(table)
        return
    for name in _FIRST_TO_GO:
        if sum(width + 2 for width in columns.values()) - 2 > out.width:
            columns.pop(name, None)
    others = sum(width + 2 for name, width in columns.items() if name != "row")
    columns["row"] = min(columns["row"], max(out.width - others, 8))
    head = True
    for there, some in itertools.groupby(lines, key=lambda line: line.there):
        if there:
            out.print(Text(" ".join(there), style="bold"))
        for line in some:
            out.print(_narrow(columns, line, head))
            head = False
            if line.why:
                out.print(Text(f"  {line.why}", style="dim"))


def _narrow(columns: dict[str, int], line: _Line, head: bool) -> Table:
    """Return a line as a table of columns that are so wide."""
    table = plain_table(*columns, right=_RIGHT)
    table.show_header = head
    for column, width in zip(table.columns, columns.values(), strict=True):
        column.min_width = column.max_width = width
    label = table.columns[list(columns).index("row")]
    label.no_wrap, label.overflow = False, "fold"
    table.add_row(*(line.cells[name] for name in columns))
    return table


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
    lines = []
    for entry, standing, task in plan:
        where = _where(entry)
        span = spans.get(id(standing))
        cells = {
            "do": task.do if task else "use",
            "row": entry.label,
            "seed": str(where["seed"]),
            "what": _what(standing, task),
            "time": f"~{_span(*span)}" if span else "",
        }
        lines.append(_Line((place(where, True), where["model"]), cells, ""))
    _print_lines(lines)
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
    run = task.asked if task.do == "ask" else standing.run
    assert run is not None
    where = f" at {' and '.join(task.checkpoints)}" if task.checkpoints else ""
    return f"{run['id']}: {attacks}{where}"
