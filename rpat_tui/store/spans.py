"""How points are kept: what `packed_points` has, and what the view `points` makes of it.

Series and step of a point are one number, `at = series << 28 | step`, and that is the number of
the row: SQLite packs rows that come in the order of such a number without gaps. The epoch is kept
only where it is not what the step and the series' `stride`, the steps of an epoch, say. So a point
takes 21 bytes, of which its value has 8.

The view, `series, step, epoch, value`, is for whoever reads: `join points p on p.series = s.id`.
What is asked often, or wants points in their order, reads the table itself with the expressions of
this file.
"""

from __future__ import annotations

import sqlite3

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


_OF_BEFORE = f"""
create temp view packed_points as
    select (series << {BITS}) + step as at, epoch, value from main.points;
create temp view series as select id, run, name, null as stride from main.series;
"""
"""Names of now for the points of before: right, and slower."""


def read_older(db: sqlite3.Connection) -> None:
    """Let a database be read whose points are not packed, since it cannot be written to."""
    kind = db.execute("select type from main.sqlite_master where name = 'points'").fetchone()
    if kind == ("table",):
        db.executescript(_OF_BEFORE)
