"""The linter's findings, kept with the runs: evidence out of the database, findings into it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from rpat.config import DATASETS
from rpat_tui.linter import Evidence, lint
from rpat_tui.store import queries
from rpat_tui.store.db import transaction

CURVES = ("clean_acc", "pgd_acc")
"""Metrics of each epoch that rules look at, on every split and of every network."""


def judge(db: sqlite3.Connection, n: int) -> None:
    """Put the numbers of a run, or of a job about a file, before the linter; keep what it finds."""
    found = lint(gather(db, n))
    rows = [
        (n, f.rule, f.checkpoint, f.network, f.level, f.text, f.do, json.dumps(dict(f.evidence)))
        for f in found
    ]
    with transaction(db):
        db.execute("delete from findings where run = ?", (n,))
        db.executemany("insert or ignore into findings values (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def gather(db: sqlite3.Connection, n: int) -> Evidence:
    """Return what the database knows of a run that rules may judge."""
    kind, state, text, dataset = db.execute(
        "select kind, state, config, dataset from runs where n = ?", (n,)
    ).fetchone()
    config: dict[str, Any] = json.loads(text)
    trained = config if kind == "train" else {}
    evaluations = queries.evaluations(db, n)
    return Evidence(
        config=trained,
        classes=DATASETS[dataset].classes if dataset in DATASETS else 0,
        evaluations=evaluations,
        epochs=_epochs(db, n),
        nonfinite=queries.events(db, n, ["nonfinite"]),
        warnings=[
            {"attack": e["attack"], "text": words, "eval": e["id"]}
            for e in evaluations
            for words in e["evidence"].get("warnings") or ()
        ],
        state=state,
        selection="val" if config["data"]["val_n"] else "test",
    )


def _epochs(db: sqlite3.Connection, n: int) -> list[dict[str, float | None]]:
    names = " or ".join("s.name like ?" for _ in CURVES)
    table: dict[int, dict[str, float | None]] = {}
    for name, epoch, value in db.execute(
        "select s.name, p.epoch, p.value from series s join points p on p.series = s.id "
        f"where s.run = ? and (s.name = 'train/loss' or {names}) order by p.step",
        [n, *(f"%/{curve}" for curve in CURVES)],
    ):
        table.setdefault(epoch, {"epoch": epoch})[name] = value
    return list(table.values())
