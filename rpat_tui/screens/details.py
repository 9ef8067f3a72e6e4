"""What there is to say about one run in a few lines: results, findings, settings."""

from __future__ import annotations

import sqlite3
from typing import Any

from rich.text import Text

from rpat.knobs import show
from rpat_tui.glyphs import figure
from rpat_tui.store import queries

COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
SIGNS = {"error": "✗", "warning": "!", "note": "·"}
ORDER = ("best", "final")


def describe_run(db: sqlite3.Connection, n: int) -> Text:
    """Return the details of a run, for a pane some twenty lines high."""
    row = queries.runs(db, numbers=[n])[0]
    config = queries.config_of(db, n)
    text = Text()
    what = row["method"] + (f" + RPAT λ{row['lam']:g}" if row["rpat"] else "")
    text.append(f"{row['id']} ", style="bold")
    text.append(f"{what}, {row['dataset']}, {row['norm']}, {row['model']}, seed {row['seed']}\n")
    if row["reason"]:
        text.append(f"{row['state']}: {row['reason']}\n", style="yellow")
    if row["best_pgd"] is not None:
        text.append(f"best PGD {row['best_pgd']:.1f} @{row['best_epoch']}   ")
        text.append(f"last {figure(row['pgd'])}")
        if row["pgd"] is not None:
            text.append(f"   gap {row['pgd'] - row['best_pgd']:+.1f}")
        text.append("\n")
    for e in sorted(queries.evaluations(db, n), key=_rank)[:6]:
        text.append(_result(e) + "\n")
    for f in queries.findings(db, n)[:4]:
        text.append(f"{SIGNS[f['level']]} {f['rule']}", style=COLOURS[f["level"]])
        text.append(f" {f['text']}\n", style="dim")
    if "threat" in config:
        a, t = config.get("attack", {}), config["threat"]
        text.append(
            f"eps {show(t['epsilon'])}  step {show(a.get('step_size', 0.0))}  "
            f"steps {a.get('steps', '–')}",
            style="dim",
        )
    if "optim" in config:
        o = config["optim"]
        text.append(f"  lr {o['lr']:g}  batch {o['batch_size']}", style="dim")
    if row["tags"]:
        text.append("\n" + " ".join(f"#{tag}" for tag in row["tags"]), style="cyan")
    if row["note"]:
        text.append(f"\n{row['note']}", style="italic")
    return text


def _rank(e: dict[str, Any]) -> tuple[int, int]:
    kind = e["checkpoint"]
    return (ORDER.index(kind) if kind in ORDER else 2, e["id"])


def _result(e: dict[str, Any]) -> str:
    attack = "AA" if e["attack"] == "aa" else f"PGD-{e['steps']}"
    if e["attack"] not in ("aa", "pgd"):
        attack = e["attack"].upper()
    network = "" if e["network"] == "online" else f" {e['network']}"
    part = "" if e["n"] == e["of_n"] else f" ({e['n']} images)"
    clean = "–" if e["clean"] is None else f"{e['clean']:.2f}"
    robust = "–" if e["robust"] is None else f"{e['robust']:.2f}"
    return f"{e['checkpoint']}{network}: clean {clean}  {attack} {robust}{part}"
