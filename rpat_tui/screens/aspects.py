"""The pages about one run beside the list: what it is, what differs, what is doubted, its files."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from rpat_tui.glyphs import COLOURS as STATES
from rpat_tui.glyphs import Glyphs, clock, duration, spark
from rpat_tui.home import Home
from rpat_tui.keeping.usage import human, size_of
from rpat_tui.launch.differences import flat, unequal, word
from rpat_tui.screens.details import COLOURS, SIGNS, describe_run
from rpat_tui.store import curves, queries

NEIGHBOURS = 40
"""Runs that are looked at for the one that a run is compared with."""
MOST = 60
"""Files that are listed."""
SPARKS = {"test/logit_mse": "logit MSE", "train/loss": "loss", "time/epoch_s": "s/epoch"}


def overview(home: Home, db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    """Return what a run is, how far it is, and what it has reached."""
    text = _progress(db, n, glyphs)
    text.append_text(describe_run(db, n))
    found = curves.read(db, [n], tuple(SPARKS)).curves
    if found:
        text.append("\n")
    for curve in found:
        known = [y for y in curve.y if math.isfinite(y)]
        text.append(f"{SPARKS[curve.name]:<10}", style="dim")
        text.append(f"{curve.y[-1]:<9.4g}{spark(known, 16, glyphs)}\n")
    text.rstrip()
    return text


def brief(db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    """Return one line about a run, for where only the list has room."""
    row = queries.runs(db, numbers=[n])[0]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{row['id']} ", style="bold")
    for curve in curves.read(db, [n], ("test/pgd_acc",)).curves:
        text.append("PGD ", style="dim")
        text.append(spark([y for y in curve.y if math.isfinite(y)], 24, glyphs) + "  ")
    if row["best_pgd"] is not None:
        text.append(f"best {row['best_pgd']:.1f} @{row['best_epoch']}  ")
    text.append_text(_progress(db, n, glyphs))
    text.rstrip()
    return text


def _progress(db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    row = queries.runs(db, numbers=[n])[0]
    text = Text()
    text.append(f"{glyphs.states[row['state']]} {row['state']}", style=STATES[row["state"]])
    if row["kind"] == "train" and row["epochs"]:
        text.append(f"  {row['epoch']}/{row['epochs']}")
    started, ended = row["started"], row["ended"]
    if row["state"] == "running":
        read = curves.read(db, [n], ("time/epoch_s",)).curves
        paces = [p for c in read for p in c.y if math.isfinite(p)][-5:]
        left = (row["epochs"] - row["epoch"]) * sum(paces) / len(paces) if paces else 0.0
        if left:
            text.append(f"  ends ~{clock(left)}", style="bold")
    elif started and ended:
        text.append(f"  took {duration(ended - started)}", style="dim")
    return text.append("\n")


def changes(home: Home, db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    """Return how a run differs from the one that is most like it: settings, then results."""
    row = queries.runs(db, numbers=[n])[0]
    if row["kind"] != "train":
        return Text("only training runs are compared here", style="dim")
    near = _nearest(db, n)
    if near is None:
        return Text("no other run is like it", style="dim")
    other, differing = near
    text = Text()
    text.append(f"against {other['id']}", style="bold")
    text.append(f", the run most like it ({other['state']})\n", style="dim")
    for name, label in (("clean", "clean"), ("pgd", "PGD")):
        if row[name] is not None and other[name] is not None:
            diff = row[name] - other[name]
            text.append(f"{label} {other[name]:.1f} → {row[name]:.1f} ")
            text.append(f"({diff:+.1f})   ", style="green" if diff > 0 else "red" if diff else "")
    text.append("\n")
    for key, (old, new) in differing.items():
        text.append(f"{key} ", style="bold")
        text.append(f"{word(old)} → ", style="dim").append(f"{word(new)}\n")
    if not differing:
        text.append("the configs are equal\n")
    text.append(f"rpat diff {other['id']} {row['id']}", style="cyan")
    return text


def _nearest(db: sqlite3.Connection, n: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the run whose config differs in the fewest keys, the newest of these, and how."""
    rows = db.execute(
        "select r.n from runs r join runs me on me.dataset = r.dataset and me.kind = r.kind "
        "where me.n = ? and r.n <> me.n and not r.archived "
        "order by r.method = me.method desc, r.model = me.model desc, r.n desc limit ?",
        (n, NEIGHBOURS),
    ).fetchall()
    own, best = flat(queries.config_of(db, n)), None
    for (number,) in rows:
        differing = unequal(flat(queries.config_of(db, number)), own)
        if best is None or len(differing) < len(best[1]):
            best = (number, differing)
    if best is None:
        return None
    return queries.runs(db, numbers=[best[0]])[0], best[1]


def checks(home: Home, db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    """Return everything that the linter says of a run, each with what to do."""
    found = queries.findings(db, n)
    text = Text()
    for f in found:
        place = " ".join(filter(None, [f["checkpoint"], f["network"]]))
        text.append(f"{SIGNS[f['level']]} {f['rule']}", style=COLOURS[f["level"]])
        text.append(f" {place}" if place else "", style="dim")
        text.append(f"\n  {f['text']}\n")
        text.append(f"  {f['do']}\n" if f["do"] else "", style="dim")
    if not found:
        sign = glyphs.states["done"]
        text.append(f"{sign} nothing is doubtful so far", style="green")
    text.rstrip()
    return text


def files(home: Home, db: sqlite3.Connection, n: int, glyphs: Glyphs) -> Text:
    """Return the files of a run with their sizes."""
    (name,) = db.execute("select id from runs where n = ?", (n,)).fetchone()
    folder = home.runs / name
    text = Text()
    shown = sorted(p for p in folder.rglob("*") if p.is_file())[:MOST] if folder.is_dir() else []
    for path in shown:
        text.append(f"{human(_size(path)):>9}  ", style="dim")
        text.append(f"{path.relative_to(folder)}\n")
    text.append(f"{human(size_of(folder)):>9}  " if shown else "no files yet\n", style="bold")
    text.append(f"{folder}" if shown else "", style="dim")
    text.rstrip()
    return text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it has just been taken away
        return 0


PAGES: dict[str, Callable[[Home, sqlite3.Connection, int, Glyphs], Text]] = {
    "Overview": overview,
    "Changes": changes,
    "Checks": checks,
    "Files": files,
}
"""Title -> what it shows, in the order of the tabs."""


def tabs(chosen: str, names: Sequence[str] = tuple(PAGES)) -> str:
    """Return the titles of the pages as markup, the chosen one marked."""
    return "  ".join(f"[reverse] {name} [/]" if name == chosen else name for name in names)
