"""Plain numbers for other programs: one line a row, in full precision."""

from __future__ import annotations

import csv
from typing import TextIO

from rpat_tui.table import MEASURES, Row, Table

_KEYS = ("dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n")


def write(table: Table, out: TextIO) -> None:
    """Write a header and the rows; an absent number is an empty field."""
    lines = csv.writer(out, lineterminator="\n")
    header = [*_KEYS, *(f"{m}{part}" for m in MEASURES for part in ("", "_std", "_n"))]
    header += ["variant", "group", "marks", "runs"]
    if table.paper:
        header += [f"{kind}_{m}" for kind in ("paper", "diff") for m in MEASURES]
    lines.writerow(header)
    for row in table.rows:
        lines.writerow(_fields(row, table.paper))


def _fields(row: Row, paper: bool) -> list[object]:
    fields: list[object] = [getattr(row, key) for key in _KEYS]
    fields[_KEYS.index("rpat")] = "true" if row.rpat else "false"
    for measure in MEASURES:
        cell = row.cell(measure)
        fields += [cell.mean, cell.std, cell.n] if cell else [None, None, None]
    fields += [row.variant, row.group, "; ".join(row.marks), " ".join(row.runs)]
    if paper:
        fields += [row.printed()[m] for m in MEASURES]
        fields += [(row.diff or {}).get(m) for m in MEASURES]
    return fields
