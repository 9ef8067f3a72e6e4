"""Rows a few hundred at a time, and a column at a time: what is done to all is done at once.

A table may have thousands of rows, and a call for each of their cells is most of what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rpat_tui.table import Row

_AT_ONCE = 250


def batched(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in their order, some at a time: their columns stay in the processor's cache."""
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def columns_of(rows: Sequence[Row]) -> Any:
    """Return a `Row` whose fields are the columns of some rows; there must be one."""
    return Row._make(zip(*rows, strict=True))
