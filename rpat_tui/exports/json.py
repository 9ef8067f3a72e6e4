"""A JSON list of rows with stable keys; `rpat table --json` prints the same bytes."""

from __future__ import annotations

from typing import TextIO

from rpat_tui.indented import indented
from rpat_tui.table import MEASURES, Cell, Row, Table

_KEYS = ("dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n")


def write(table: Table, out: TextIO) -> None:
    """Write the rows; a measure is its mean and spread in percent, or null."""
    rows = [_row(row, table.paper) for row in table.rows]
    out.write(indented(rows, nan=False) + "\n")


def _row(row: Row, paper: bool) -> dict[str, object]:
    values: dict[str, object] = {key: getattr(row, key) for key in _KEYS}
    values |= {measure: _measure(row.cell(measure)) for measure in MEASURES}
    values |= {"variant": row.variant, "group": row.group}
    values |= {"marks": list(row.marks), "runs": list(row.runs)}
    if paper:
        values |= {"paper": _paper(row), "diff": _diff(row)}
    return values


def _measure(cell: Cell | None) -> dict[str, float | None] | None:
    if cell is None:
        return None
    return {"mean": round(cell.mean, 6), "std": None if cell.std is None else round(cell.std, 6)}


def _paper(row: Row) -> dict[str, object] | None:
    if row.paper is None:
        return None
    where = {"table": row.paper.table, "name": row.paper.name, "venue": row.paper.venue}
    return where | row.printed()


def _diff(row: Row) -> dict[str, float] | None:
    return None if row.diff is None else {m: round(d, 6) for m, d in row.diff.items()}
