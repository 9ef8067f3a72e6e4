"""Rows of chosen runs as the versioned views have them: what is taken away to other tools."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from rpat_tui.store.views import VIEWS

TABLES = {
    "runs": ("v1_runs", ""),
    "metrics": ("v1_metrics", "name, step"),
    "evaluations": ("v1_evaluations", "at, job"),
    "results": ("v1_results", "checkpoint, network"),
    "findings": ("v1_findings", "rule, checkpoint, network"),
    "states": ("v1_states", "at"),
}
"""What is taken of a run: the name of each table, its view, and the order of its rows."""

_WHOLE = {
    "archived", "rpat", "seed", "epoch", "epochs", "best_epoch", "attempts", "step", "steps",
    "restarts", "images", "of_images",
}  # fmt: skip
_REAL = {
    "lam", "epsilon", "clean", "pgd", "logit_mse", "loss", "best_pgd", "seconds", "value",
    "step_size", "robust", "pgd20", "aa", "mean", "nrr",
}  # fmt: skip


def columns(table: str) -> dict[str, type]:
    """Return a table's columns, each with the type of its values where they are not None."""
    return {
        name: int if name in _WHOLE else float if name in _REAL else str
        for name in VIEWS[TABLES[table][0]].columns
    }


def rows(
    db: sqlite3.Connection, table: str, ids: Sequence[str]
) -> Iterator[tuple[int | float | str | None, ...]]:
    """Return a table's rows, run by run."""
    view, order = TABLES[table]
    query = f"select * from {view} where run = ?" + (f" order by {order}" if order else "")
    for run in ids:
        yield from db.execute(query, (run,))
