"""What Datasette is told about the database: the views with their columns, the rest hidden."""

from __future__ import annotations

import sqlite3
from typing import Any

from rpat_tui.store.views import QUESTIONS, VIEWS


def metadata(db: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return Datasette's metadata for a database file of this name, without its suffix.

    The views are described column by column and everything else is hidden; the questions of the
    documentation are queries that can be clicked.
    """
    tables: dict[str, Any] = {
        row[0]: {"hidden": True}
        for row in db.execute(
            "select name from sqlite_master where type in ('table', 'view') "
            "and name not like 'sqlite%' order by name"
        )
    }
    for view, told in VIEWS.items():
        tables[view] = {"description": f"A row is {told.rows}.", "columns": dict(told.columns)}
    queries = {q.name: {"title": q.asks, "sql": q.sql} for q in QUESTIONS}
    about = "Runs of adversarial training. Accuracies are percent, times UTC."
    return {
        "title": "rpat",
        "description": about,
        "databases": {name: {"description": about, "tables": tables, "queries": queries}},
    }
