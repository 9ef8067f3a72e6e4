"""Is a run stuck? The rule, and the memory of what the worker has seen its journal do.

A run whose journal has not grown for many times the usual interval between its rows is worth a
word. Silence is measured on a clock that never jumps, from what this process has seen itself: a
clock that is set, a suspended machine or a new worker make no run stuck.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rpat import journal
from rpat.rundir import Attempt, RunDir

FACTOR = 10.0
"""Usual intervals without a row; setting `stuck_factor`."""

LEAST, GENEROUS, ROWS = 120.0, 600.0, 21
"""Seconds that are always given, seconds before there are two rows, and rows that are looked at."""

KINDS = ("log", "epoch", "eval", "study")
TAIL = 1 << 18


def usual(gaps: Sequence[float]) -> float | None:
    """Return the usual interval between rows: the median of the last gaps, None without any."""
    known = [gap for gap in gaps[-(ROWS - 1) :] if gap >= 0]  # a clock set back tells nothing
    return median(known) if known else None


def patience(interval: float | None, factor: float = FACTOR) -> float:
    """Return the seconds of silence after which a run may be stuck."""
    return GENEROUS if interval is None else max(LEAST, factor * interval)


def is_stuck(quiet: float, gaps: Sequence[float], factor: float = FACTOR) -> bool:
    """Return whether a run that wrote nothing for so many seconds may be stuck."""
    return quiet > patience(usual(gaps), factor)


def gaps_of(path: Path) -> list[float]:
    """Return the seconds between the last rows of a journal, oldest first."""
    try:
        start = max(0, path.stat().st_size - TAIL)
        with path.open("rb") as stream:
            stream.seek(start)
            torn = len(stream.readline()) if start else 0
    except OSError:
        return []
    records = [record for record, _ in journal.read(path, start + torn)]
    times = [record["t"] for record in records if record["kind"] in KINDS][-ROWS:]
    return [later - earlier for earlier, later in pairwise(times)]


class Watch:
    """What one process has seen of the journals of runs, on its own clock."""

    def __init__(self, factor: float = FACTOR, clock: Callable[[], float] = time.monotonic) -> None:
        self.factor, self.clock = factor, clock
        self.seen: dict[Path, tuple[int, float]] = {}
        """Size of a journal, and when it was first seen with that size."""

    def silence(self, run: RunDir, attempt: int) -> dict[str, Any]:
        """Return `quiet`, `patience` and `usual` as evidence about an attempt."""
        path, now = Attempt(run.path, attempt).journal, self.clock()
        try:
            size = os.stat(path).st_size  # noqa: PTH116  asked for each run each second
        except OSError:
            size = 0
        if self.seen.get(path, (-1, 0.0))[0] != size:
            self.seen[path] = (size, now)
        quiet = now - self.seen[path][1]
        if quiet < LEAST:  # the usual case needs no look into the file
            return {"quiet": quiet}
        interval = usual(gaps_of(path))
        return {
            "quiet": quiet, "patience": patience(interval, self.factor), "usual": interval,
        }  # fmt: skip

    def forget(self, living: set[str]) -> None:
        """Drop what was seen of runs that are no longer open."""
        self.seen = {p: v for p, v in self.seen.items() if p.parents[2].name in living}
