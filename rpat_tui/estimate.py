"""How long runs and the queue will still take, from measured history, with uncertainty.

Pure functions; a time is a pair of seconds, lower and upper end of what is to be expected. Where
nothing comparable was measured there is no time: unknown is said, not guessed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Span = tuple[float, float]
"""Seconds: lower and upper end."""

WIDTH = 1.64
"""Standard deviations on each side: nine of ten, were the errors normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A run that goes on or waits, and what is known of its pace.

    `paces` are seconds an epoch, oldest first: its own, or of runs of its kind. `overhead` is
    what comes on top of the epochs: start, data, final evaluation.
    """

    n: int
    running: bool
    epochs_left: float
    paces: Sequence[float] = ()
    overhead: float = 0.0
    slot: str = ""
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Everything open, in the order in which it would start, and the slots there are."""

    loads: Sequence[Load] = ()
    slots: int = 1


@dataclass(slots=True)
class Forecast:
    """When runs start and end, in seconds from now."""

    starts: dict[int, Span] = field(default_factory=dict)
    ends: dict[int, Span] = field(default_factory=dict)
    total: Span | None = None


def left(load: Load) -> Span | None:
    """Return the time that a run still needs, None where no pace is known.

    The mean of the newest paces carries their spread; one epoch's deviations average out over
    the epochs to come, a wrong mean does not.
    """
    newest = [pace for pace in load.paces if math.isfinite(pace) and pace > 0][-20:]
    if not newest:
        return None
    mean = math.fsum(newest) / len(newest)
    spread = 0.5 * mean
    if len(newest) > 1:
        squares = math.fsum((pace - mean) ** 2 for pace in newest)
        spread = math.sqrt(squares / (len(newest) - 1))
    epochs = max(load.epochs_left, 0.0)
    error = WIDTH * spread * math.sqrt(epochs + epochs**2 / len(newest))
    middle = mean * epochs + load.overhead
    return max(middle - error, 0.0), middle + error


def forecast(work: Workload) -> Forecast:
    """Return when each open run starts and ends, were the queue worked off as it stands.

    Both ends of each span are followed through the queue on their own. Behind a run of unknown
    length on the only slot nothing is known; runs that wait for a person are left out.
    """
    found = Forecast()
    lower, upper = _simulate(work, 0), _simulate(work, 1)
    for n, (start, end) in lower.items():
        late_start, late_end = upper.get(n, (None, None))
        if start is not None and late_start is not None:
            found.starts[n] = (start, late_start)
        if end is not None and late_end is not None:
            found.ends[n] = (end, late_end)
    expected = [load.n for load in work.loads if not load.blocked]
    if expected and all(n in found.ends for n in expected):
        found.total = (
            max(found.ends[n][0] for n in expected),
            max(found.ends[n][1] for n in expected),
        )
    return found


def _simulate(work: Workload, side: int) -> Mapping[int, tuple[float | None, float | None]]:
    """Work the queue off with the lower (0) or the upper (1) end of each span."""
    free: list[float] = []
    out: dict[int, tuple[float | None, float | None]] = {}
    running = [load for load in work.loads if load.running]
    for load in running:
        span = left(load)
        out[load.n] = (0.0, span[side] if span else None)
        free.append(span[side] if span else math.inf)
    free += [0.0] * max(work.slots - len(running), 0)
    heapq.heapify(free)
    for load in work.loads:
        if load.running or load.blocked or not free:
            continue
        start = heapq.heappop(free)
        span = left(load)
        end = start + span[side] if span and math.isfinite(start) else math.inf
        heapq.heappush(free, end)
        out[load.n] = (
            start if math.isfinite(start) else None,
            end if math.isfinite(end) else None,
        )
    return out
