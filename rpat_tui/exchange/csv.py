"""A folder of CSV files: one for each table, the columns those of the versioned views."""

from __future__ import annotations

import csv
from pathlib import Path

from rpat_tui.exchange import Take
from rpat_tui.store import extract


def write(take: Take, path: Path) -> dict[str, int]:
    """Write the files; numbers in full precision, nothing for what is missing or not finite."""
    counts = {}
    for table in extract.TABLES:
        with (path / f"{table}.csv").open("w", encoding="utf-8", newline="") as stream:
            lines = csv.writer(stream, lineterminator="\n")
            lines.writerow(extract.columns(table))
            count = 0
            for row in extract.rows(take.db, table, take.ids):
                lines.writerow(row)
                count += 1
        counts[table] = count
    return counts
