"""How points are kept: what `packed_points` has, and what the view `points` makes of it.

Series and step of a point are one number, `at = series << 28 | step`, and that is the number of
the row: SQLite packs rows that come in the order of such a number without gaps. The epoch is kept
only where it is not what the step and the series' `stride`, the steps of an epoch, say. So a point
takes 21 bytes, of which its value has 8.

The view is for whoever reads: `join points p on p.series = s.id`, in the order of `p.at`. What is
asked many times a second reads the table itself, with the expressions of this file.
"""

from __future__ import annotations

BITS = 28
"""Bits of a step; the migration that made the table says the same number."""
LAST = (1 << BITS) - 1
"""The highest step that a point can have; at a millisecond a step, three days away."""

STEP = f"k.at & {LAST}"
"""A point's step, for `packed_points k`."""
EPOCH = f"coalesce(k.epoch, ({STEP}) / s.stride)"
"""A point's epoch, for `series s cross join packed_points k`."""


def first(series: int) -> int:
    """Return where the first point of a series can be, that of step 0."""
    return series << BITS


def after(step: str) -> str:
    """Return the condition that `k` is a point of series `s` beyond a step; -1 is before all.

    `s` has to come first in the query, by `cross join`: SQLite cannot tell how few points this is.
    """
    return f"k.at > (s.id << {BITS}) + {step} and k.at <= (s.id << {BITS}) + {LAST}"
