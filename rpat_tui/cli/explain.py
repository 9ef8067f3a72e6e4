"""Why a run is in its state: the card of a failure, what a queued run waits for, its history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.elsewhere import looking
from rpat_tui.cli.output import (
    COLOURS,
    HomeOption,
    JsonOption,
    clock,
    console,
    duration,
    figure,
    glyph,
    print_json,
    say,
)

if TYPE_CHECKING:
    import sqlite3

    from rich.console import RenderableType

    from rpat_tui.home import Home
    from rpat_tui.launch.card import Card


def explain(
    runs: Annotated[list[str], typer.Argument(help="Ids (r0001) or names.", metavar="RUN...")],
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Say why runs are in their state.

    Why a run failed and what to do, what a queued one waits for, how a running one goes; then
    every change of its state.
    """
    from rpat_tui.launch import inquest
    from rpat_tui.launch.card import card
    from rpat_tui.store import queries
    from rpat_tui.store.queue import ENDED_BADLY

    told = []
    with looking(home, None, runs) as (place, db):
        for row in queries.runs(db, numbers=queries.find(db, runs), archived=True):
            state = row["state"]
            facts = inquest.facts(place, db, row)
            told.append(
                {
                    "row": row,
                    "cause": facts.cause,
                    "card": card(facts) if state in ENDED_BADLY else None,
                    "waits": _waits(place, db, row) if state == "queued" else [],
                    "progress": inquest.progress(place, db, row)
                    if state in ("starting", "running", "pausing")
                    else None,
                    "history": inquest.history(db, row),
                }
            )
    if json:
        print_json([_public(one) for one in told])
        return
    for i, one in enumerate(told):
        if i:
            say("")
        _print(one)


def _waits(place: Home, db: sqlite3.Connection, row: dict[str, Any]) -> list[str]:
    """Return why a run does not start yet; what another machine lacks is known there."""
    from rpat_tui.launch import inquest

    machine, _, own = row["id"].rpartition(":")
    if machine:
        return [f"it waits on {machine}, where rpat explain {own} says for what"]
    return inquest.waits(place, db, row)


def _public(one: dict[str, Any]) -> dict[str, Any]:
    from rpat_tui.store import queries

    row, progress = one["row"], one["progress"]
    return {
        **{key: row[key] for key in ("id", "state", "reason")},
        "cause": one["cause"],
        "card": one["card"].public() if one["card"] else None,
        "waits": one["waits"],
        "progress": progress and {**progress, "since": queries.iso(progress["since"])},
        "history": [move.public() for move in one["history"]],
    }


def _print(one: dict[str, Any]) -> None:
    from rich.text import Text

    row, out = one["row"], console()
    if one["card"]:
        out.print(panel(row, one["card"]))
    else:
        state = (f"{glyph(row['state'])} {row['state']}", COLOURS[row["state"]])
        reason = f": {row['reason']}" if row["reason"] else ""
        out.print(Text.assemble((row["id"], "bold"), "  ", state, reason))
    for text in one["waits"]:
        say(f"  {text}")
    if one["progress"]:
        for text in progress_lines(row, one["progress"]):
            say(f"  {text}")
    say("")
    for move in one["history"]:
        what = move.new if move.new != move.old else f"{move.new} still"
        said = f": {move.reason}" if move.reason else ""
        cause = f" [{move.cause}]" if move.cause else ""
        who = f" ({move.who})" if move.who else ""
        say(f"{clock(move.t)}  {what}{said}{cause}{who}")


def progress_lines(row: dict[str, Any], progress: dict[str, Any]) -> list[str]:
    """Return how a run goes, for people."""
    lines = []
    if progress["since"]:
        passed = duration(time.time() - progress["since"])
        lines.append(f"{row['state']} since {clock(progress['since'])} ({passed})")
    if row["epochs"]:
        lines.append(f"epoch {row['epoch']} of {row['epochs']}, step {row['step']:,}")
    if progress["epoch_s"]:
        rate = f", {figure(progress['images_per_s'], 0)} images/s"
        test = f" and {duration(progress['eval_s'])} of testing" if progress["eval_s"] else ""
        lines.append(f"pace {duration(progress['epoch_s'])} an epoch{test}{rate}")
    if progress["last_row_age_s"] is not None:
        lines.append(f"last row {duration(progress['last_row_age_s'])} ago")
    return lines + list(progress["cluster"])


def panel(row: dict[str, Any], card: Card) -> RenderableType:
    """Return the card in a frame; plain lines where nothing can be drawn."""
    from rich import box
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    body = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    body.add_column(no_wrap=True, style="bold")
    body.add_column(overflow="fold")
    body.add_row("why", Text(card.why))
    if card.means:
        body.add_row("", Text(card.means, style="dim"))
    if card.proof:
        body.add_row("proof", Text(" · ".join(card.proof)))
    body.add_row("lost", Text(card.lost))
    for i, remedy in enumerate(card.do):
        line = Text.assemble((remedy.command, "cyan"), f"   {remedy.does}")
        body.add_row("" if i else "do", line)
    head = f"{row['id']} {glyph(row['state'])} {row['state']}"
    where = f" at epoch {row['epoch']}" if row["epochs"] else ""
    when = f", {clock(row['ended'])}" if row["ended"] else ""
    plain = glyph("done") == "+"
    return Panel(
        body, title=f"{head}{where}{when}", title_align="left", border_style=COLOURS[row["state"]],
        box=box.ASCII if plain else box.SQUARE, width=min(console().width, 104),
    )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(explain)
