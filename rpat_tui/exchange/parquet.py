"""A folder of Parquet files: one for each table, the columns those of the versioned views."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from rpat_tui.exchange import Take
from rpat_tui.store import extract

NEEDS = ("pyarrow", "parquet")
_AT_ONCE = 100_000
"""Rows of a row group."""


def write(take: Take, path: Path) -> dict[str, int]:
    """Write the files; null for what is missing or not finite."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    counts = {}
    for table in extract.TABLES:
        schema = pyarrow.schema(
            [(name, types[kind]) for name, kind in extract.columns(table).items()]
        )
        counts[table] = 0
        with ParquetWriter(path / f"{table}.parquet", schema, compression="zstd") as out:
            found = extract.rows(take.db, table, take.ids)
            while rows := list(islice(found, _AT_ONCE)):
                columns: list[Any] = [
                    pyarrow.array(values, field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                out.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
                counts[table] += len(rows)
    return counts
