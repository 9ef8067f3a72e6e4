"""Plain numbers for other programs: one line a row, in full precision."""

from __future__ import annotations

import csv
from typing import TextIO

from rpat_tui.compare import verdict
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
    lines.writerows([_fields(row, table) for row in table.rows])


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


def _fields(row: Row, table: Table) -> list[object]:
    clean, pgd20, aa, mean, nrr = row.cells
    fields: list[object] = [
        row.dataset, row.source, row.norm, row.model, row.method,
        "true" if row.rpat else "false", row.checkpoint, row.robust, row.n,
        *(clean or _NO_CELL), *(pgd20 or _NO_CELL), *(aa or _NO_CELL),
        *(mean or _NO_CELL), *(nrr or _NO_CELL),
        row.variant, row.group, "; ".join(row.marks), " ".join(row.runs),
    ]  # fmt: skip
    if table.suite:
        fields += [row.label, *(row.open.get(m) for m in MEASURES)]
    if table.paper:
        diff, printed = row.diff or {}, row.printed()
        fields += [printed[m] for m in MEASURES]
        fields += [diff.get(m) for m in MEASURES]
        fields += [verdict(diff[m], table.tolerance) if m in diff else None for m in MEASURES]
    if table.tests:
        found = table.tests_of(row)
        tests = [found.get(m) for m in MEASURES]
        fields += [test and (test.name or test.reason) for test in tests]
        fields += [test and test.corrected for test in tests]
    if table.asked:
        fields += [table.asked, table.stamp, row.stamp]
    return fields
