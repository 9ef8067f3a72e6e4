"""The card of a run that has ended badly, as text: why, proof, what is lost, what to do."""

from __future__ import annotations

import sqlite3

from rich.text import Text

from rpat_tui.home import Home
from rpat_tui.launch.card import card
from rpat_tui.launch.inquest import facts
from rpat_tui.store import queries
from rpat_tui.store.queue import ENDED_BADLY


def failure_text(home: Home, db: sqlite3.Connection, n: int) -> Text | None:
    """Return the card of a run, None for one that has not ended badly."""
    row = queries.runs(db, numbers=[n])[0]
    if row["state"] not in ENDED_BADLY:
        return None
    made = card(facts(home, db, row))
    text = Text()
    lines = [("why", made.why), ("proof", " · ".join(made.proof)), ("lost", made.lost)]
    for name, said in lines:
        if said:
            text.append(f"{name:<6}", style="bold")
            text.append(f"{said}\n")
    for remedy in made.do[:3]:
        text.append("do    ", style="bold")
        text.append(remedy.command, style="cyan")
        text.append(f"  {remedy.does}\n")
    text.rstrip()
    return text
