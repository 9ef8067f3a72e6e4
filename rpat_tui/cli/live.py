"""Runs as they go: a live view in a terminal, a line an epoch in a pipe.

The view only reads; the worker does the work, and is started again should it have died.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rpat.errors import StoreError
from rpat_tui.cli.output import (
    COLOURS,
    console,
    duration,
    figure,
    glyph,
    place,
    plain_table,
    remark,
    say,
    title,
)
from rpat_tui.home import Home, settings
from rpat_tui.launch import worker
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.store.queue import FINAL, OPEN

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rpat_tui.charts.axes import Limits

TICK = 0.5
ROWS = 24
"""Runs shown at once; the others are counted."""
CURVES = 8
"""Runs whose curves are drawn."""
CHART_FROM = (100, 30)
"""Columns and rows of the smallest terminal with curves."""

Row = dict[str, Any]


def follow(home: Home, numbers: Sequence[int], *, quiet: bool = False) -> int:
    """Show runs until they have ended; returns the exit status.

    0 when all are done, 1 when one is not, 130 after Ctrl-C, which leaves the runs alone.
    """
    with database.opened(home) as db:
        try:
            if quiet:
                _poll(home, db, numbers, lambda rows: None)
            elif sys.stdout.isatty():
                _live(home, db, numbers)
            else:
                _poll(home, db, numbers, _Lines())
        except KeyboardInterrupt:
            _detached(db, _family(db, numbers))
            return 130
        rows = queries.runs(db, numbers=_family(db, numbers))
    if not quiet and settings()["notify_bell"].value == "on" and sys.stderr.isatty():
        sys.stderr.write("\a")
    if not quiet:
        for row in rows:
            if row["state"] != "done":
                say(f"{glyph(row['state'])} {row['id']} {row['state']}: {row['reason'] or '–'}")
    return 0 if all(row["state"] == "done" for row in rows) else 1


def until_all(home: Home, numbers: Sequence[int], where: str) -> int:
    """Wait until every run answers to a filter; 1 when one ended without ever doing so."""
    left = set(numbers)
    with database.opened(home) as db:
        mine = database.file_of(home)
        try:
            while left:
                _same_file(home, mine)
                answers = {row["n"] for row in queries.runs(db, where, numbers=sorted(left))}
                left -= answers
                if left and not set(queries.unfinished(db, sorted(left))) & left:
                    return 1
                if left:
                    worker.ensure(home)
                    time.sleep(TICK)
        except KeyboardInterrupt:
            return 130
    return 0


def _poll(
    home: Home, db: sqlite3.Connection, numbers: Sequence[int], show: Callable[[list[Row]], object]
) -> None:
    mine = database.file_of(home)
    while True:
        _same_file(home, mine)
        present = _family(db, numbers)
        show(snapshot(db, present))
        if not queries.unfinished(db, present) and _family(db, numbers) == present:
            return  # nor has an evaluation been queued between the two looks
        worker.ensure(home)
        time.sleep(TICK)


def _same_file(home: Home, mine: tuple[int, int] | None) -> None:
    """Refuse to look at a database that nobody keeps up any more."""
    if database.file_of(home) != mine:
        raise StoreError(
            f"home {home.path}: the database was replaced meanwhile; look again, runs go on"
        )


def _family(db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Return the runs and the evaluations that followed them by themselves."""
    return list(dict.fromkeys([*numbers, *queries.jobs_of(db, numbers, tag="automatic")]))


def _live(home: Home, db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    from rich.live import Live

    out = console()
    curves = _Curves(db)
    with Live(console=out, auto_refresh=False, transient=False) as live:
        _poll(
            home, db, numbers,
            lambda rows: live.update(
                view(rows, out.width, curves(rows, *out.size)), refresh=True
            ),
        )  # fmt: skip


class _Curves:
    """Draws clean and PGD accuracy of the watched runs where the terminal has room for them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.limits: dict[str, Limits] = {}

    def __call__(self, rows: list[Row], width: int, height: int) -> RenderableType | None:
        trained = sorted((row for row in rows if row["kind"] == "train"), key=_urgency)[:CURVES]
        free = height - min(len(rows), ROWS) - 4
        if width < CHART_FROM[0] or height < CHART_FROM[1] or free < 10:
            return None
        if not any(row["epoch"] for row in trained):
            return None
        from rpat_tui.charts.rich_chart import RichChart
        from rpat_tui.cli.plot import charts_of

        charts = charts_of(
            self.db, [row["n"] for row in trained], ["clean", "pgd"], limits=self.limits
        )
        return RichChart(charts[0], height=min(free, 20))


def _detached(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    still = [f"r{n:04d}" for n in queries.unfinished(db, numbers)]
    if still:
        shown = " ".join(still[:3]) + (" …" if len(still) > 3 else "")
        remark(f"\ndetached: {len(still)} run(s) go on without this terminal")
        remark(f"  rpat watch {shown}    look again\n  rpat stop {shown}     save and end")


def snapshot(db: sqlite3.Connection, numbers: Sequence[int]) -> list[Row]:
    """Return the runs with their newest numbers, from the summary table alone."""
    rows = queries.runs(db, numbers=numbers)
    latest = queries.latest(db, [row["n"] for row in rows])
    for row in rows:
        row["values"] = latest[row["n"]]
        row["left"] = time_left(row)
    return rows


def time_left(row: Row) -> float | None:
    """Return the seconds to the run's last epoch, at the pace of its newest one.

    Of an evaluation, to the last of the passes that it is expected to make.
    """
    values = row["values"]
    if row["kind"] != "train":
        rate = values.get("time/passes_per_s")
        if row["state"] != "running" or not rate or not row["steps"]:
            return None
        return float((row["steps"] - row["step"]) / rate)
    pace = (values.get("time/epoch_s") or 0) + (values.get("time/eval_s") or 0)
    if row["state"] != "running" or not pace:
        return None
    done = row["step"] / row["steps"] * row["epochs"] if row["steps"] else row["epoch"]
    return float(max(row["epochs"] - max(done, row["epoch"]), 0) * pace)


def view(rows: list[Row], width: int, curves: RenderableType | None = None) -> RenderableType:
    """Return the table of runs, as wide as `width` allows, and their curves below it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    right = ("epoch", "clean", "PGD", "logit MSE", "loss", "images/s", "left")
    wide = width >= 110
    columns = ["run", "", "what", "progress", "epoch", "clean", "PGD"]
    columns += ["logit MSE", "loss", "images/s", "left"] if wide else ["left"]
    table = plain_table(*columns, right=right)
    shown = sorted(rows, key=_urgency)[:ROWS]
    for row in sorted(shown, key=lambda row: int(row["n"])):
        values, state = row["values"], row["state"]
        share = row["step"] / row["steps"] if row["steps"] else 0.0
        cells: list[Any] = [
            Text(row["id"]),
            Text(f"{glyph(state)} {state}", style=COLOURS[state]),
            Text(_what(row, wide)[: 40 if wide else 24]),
            ProgressBar(
                total=1.0, completed=1.0 if state == "done" else share, width=20 if wide else 8
            ),
        ]
        if row["kind"] != "train":
            there = "" if state == "done" else f"{share:.0%}"
            cells += [Text(there), Text(""), Text(_bound(row))]
            cells += [Text("")] * (3 * wide)
            left = duration(row["left"]) if state == "running" else ""
            table.add_row(*cells, Text(left))
            continue
        cells += [
            Text(f"{row['epoch']}/{row['epochs']}"),
            Text(figure(values.get("test/clean_acc"))),
            Text(figure(values.get("test/pgd_acc"))),
        ]
        if wide:
            cells += [
                Text(figure(values.get("test/logit_mse"), 4)),
                Text(figure(values.get("train/loss"), 3)),
                Text(figure(values.get("time/images_per_s"), 0)),
            ]
        cells.append(Text(_stage(row)))
        table.add_row(*cells)
    foot = Text(_foot(rows, len(shown)), style="dim")
    return Group(table, curves, foot) if curves else Group(table, foot)


def _what(row: Row, wide: bool) -> str:
    if row["kind"] == "train":
        return f"{title(row)} {place(row, wide)} s{row['seed']}"
    of = row["parent"] or title(row)
    return f"{of} {row['stage']}" if row["state"] == "running" and row["stage"] else (
        f"{row['kind']} of {of}"
    )  # fmt: skip


def _bound(row: Row) -> str:
    """Return the robust accuracy that the attack under way has left so far, at most."""
    place = "/".join(row["stage"].partition(":")[0].split())
    for name, value in row["values"].items():
        if place and name.endswith(f"{place}/bound"):
            return f"≤{figure(value)}"
    return ""


def _urgency(row: Row) -> tuple[int, int]:
    order = (*OPEN, "failed", "queued", "paused", "stopped", "done")
    return order.index(row["state"]), row["n"]


def _stage(row: Row) -> str:
    if row["state"] == "running" and row["reason"]:
        return "stuck?"
    if row["state"] == "running" and row["epoch"] == row["epochs"]:
        return "testing"
    return duration(row["left"]) if row["state"] == "running" else ""


def _foot(rows: list[Row], shown: int) -> str:
    more = f"{len(rows) - shown} more runs not shown · " if shown < len(rows) else ""
    if all(row["state"] in (*FINAL, "paused") for row in rows):
        return f"{more}all have ended"
    return f"{more}Ctrl-C leaves; the runs go on"


class _Lines:
    """Prints a line whenever a run changes its state or ends an epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Any, ...]] = {}

    def __call__(self, rows: list[Row]) -> None:
        for row in rows:
            stage = row["stage"] if row["state"] == "running" else ""
            now = (row["state"], stage or row["epoch"], row["reason"])
            if self.seen.get(row["n"]) == now:
                continue
            self.seen[row["n"]] = now
            values = row["values"]
            numbers = (
                f"epoch {row['epoch']}/{row['epochs']}  "
                f"clean {figure(values.get('test/clean_acc'))}  "
                f"PGD {figure(values.get('test/pgd_acc'))}  "
                f"logit MSE {figure(values.get('test/logit_mse'), 4)}  "
                f"loss {figure(values.get('train/loss'), 3)}  "
                f"{figure(values.get('time/images_per_s'), 0)} images/s"
            )
            head = f"{row['id']} {row['state']:<8} {_what(row, True)}"
            if row["kind"] != "train" and row["steps"]:
                numbers = f"{row['step'] / row['steps']:.0%}  robust {_bound(row) or '–'}"
            if row["state"] == "running" and row["reason"]:
                head += f"  {row['reason']}"
            say(f"{head}  {numbers}" if row["epoch"] or stage else head)
