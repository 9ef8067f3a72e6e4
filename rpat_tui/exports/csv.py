"""Plain numbers for other programs: one line a row, in full precision."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TextIO

from rpat_tui.compare import verdict
from rpat_tui.exports._columns import batched, columns_of
from rpat_tui.exports._origin import Exported
from rpat_tui.table import MEASURES, Row, Table

_KEYS = ("dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n")
_NO_CELL = (None, None, None)
_NAMES = ("dataset", "source", "norm", "model", "method", "label", "variant", "checkpoint")


def write(table: Table, out: TextIO) -> None:
    """Write a header and the rows; an absent number is an empty field."""
    lines = csv.writer(out, lineterminator="\n")
    header = [*_KEYS, *(f"{m}{part}" for m in MEASURES for part in ("", "_std", "_n"))]
    header += ["variant", "group", "marks", "runs"]
    if table.suite:
        header += ["label", *(f"open_{m}" for m in MEASURES)]
    if table.paper:
        header += [f"{kind}_{m}" for kind in ("paper", "diff", "verdict") for m in MEASURES]
    if table.tests:
        header += [f"{kind}_{m}" for kind in ("test", "p_holm") for m in MEASURES]
    if table.asked:
        header += ["asked", "provenance", "provenance_row"]
    lines.writerow(header)
    for rows in batched(table.rows):
        lines.writerows(zip(*_columns(rows, table), strict=False))


def read(text: str) -> list[Exported]:
    """Return the table of a file that `write` wrote."""
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not all(row.get("asked") for row in rows):
        return []
    cells: dict[str, str] = {}
    for row in rows:
        words = [row.get(key) or "" for key in _NAMES]
        words += ["rpat"] * (row.get("rpat") == "true")
        words += [(row.get("group") or "")[:8]]
        name = ", ".join(filter(None, words))
        for measure in MEASURES:
            for part in ("", "_std", "_n"):
                cells[f"{name}, {measure}{part}"] = row.get(f"{measure}{part}") or ""
        cells[f"{name}, n"] = row.get("n") or ""
    return [Exported(rows[0]["asked"], rows[0].get("provenance") or "", cells)]


def _columns(rows: Sequence[Row], table: Table) -> list[Iterable[object]]:
    """Return the fields of some rows, a column at a time."""
    of = columns_of(rows)
    cells = [
        part
        for column in (of.clean, of.pgd20, of.aa, of.mean, of.nrr)
        for part in zip(*[cell or _NO_CELL for cell in column], strict=True)
    ]
    columns: list[Iterable[object]] = [
        of.dataset, of.source, of.norm, of.model, of.method,
        ["true" if rpat else "false" for rpat in of.rpat], of.checkpoint, of.robust, of.n,
        *cells, of.variant, of.group, map("; ".join, of.marks), map(" ".join, of.runs),
    ]  # fmt: skip
    if table.suite:
        columns += [of.label, *([open.get(m) for open in of.open] for m in MEASURES)]
    if table.paper:
        printed = [row.printed() for row in rows]
        columns += [[values[m] for values in printed] for m in MEASURES]
        columns += [[diff.get(m) if diff else None for diff in of.diff] for m in MEASURES]
        columns += [
            [verdict(diff[m], table.tolerance) if diff and m in diff else None for diff in of.diff]
            for m in MEASURES
        ]
    if table.tests:
        tests = [table.tests_of(row) for row in rows]
        found = [[of_row.get(m) for of_row in tests] for m in MEASURES]
        columns += [[test and (test.name or test.reason) for test in column] for column in found]
        columns += [[test and test.corrected for test in column] for column in found]
    if table.asked:
        columns += [repeat(table.asked), repeat(table.stamp), of.stamp]
    return columns
