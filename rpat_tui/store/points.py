"""Points into rows, and with them the summary of each series, `latest_best`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import lt
from typing import Any, NamedTuple

from rpat_tui.store import spans

KEEP_SUMMARY = "insert or replace into latest_best values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""Keeps a `_Summary`."""
_INTO = tuple(
    f"{verb} into packed_points {columns}"
    for verb in ("insert", "insert or replace")  # with nothing to replace: a third faster
    for columns in (
        "(at, value) values (? + ?, ?)",  # binding a None would take as long as the rest
        "(at, value, epoch) values (? + ?, ?, ?)",
    )
)
"""Writes points: behind what a series has, and over it; without epochs, and with them."""


class Points(NamedTuple):
    """Values of some series at the same steps, in the order in which they came."""

    steps: Sequence[int]
    epochs: Sequence[int]
    values: Mapping[str, Sequence[float | None]]


class _Summary(NamedTuple):
    """A row of `latest_best`; without points all is None but the series, and `points` is 0."""

    series: int
    step: int | None = None
    epoch: int | None = None
    value: float | None = None
    high: float | None = None
    high_epoch: int | None = None
    low: float | None = None
    low_epoch: int | None = None
    points: int = 0


class _Series(NamedTuple):
    """A series, the steps that its epochs have, where they are known, and its summary."""

    stride: int | None
    summary: _Summary


def write(db: sqlite3.Connection, n: int, new: Sequence[Points], stride: int | None) -> None:
    """Write points of a run and bring `latest_best` up to date; `stride` is an epoch's steps.

    A point that is there already is replaced.
    """
    known = _known(db, n, dict.fromkeys(name for points in new for name in points.values), stride)
    summaries = {name: series.summary for name, series in known.items()}
    rows: dict[str, list[Iterable[tuple[Any, ...]]]] = {into: [] for into in _INTO}
    anew = set()
    for points in new:
        rising = all(map(lt, points.steps, points.steps[1:]))
        untold: dict[int | None, Sequence[int | None]] = {}
        for name, values in points.values.items():
            own, old = known[name].stride, summaries[name]
            if own not in untold:
                untold[own] = _untold(points, own)
            if name not in anew and rising and (old.step is None or old.step < points.steps[0]):
                summaries[name] = _folded(old, points.steps, points.epochs, values)
            else:
                anew.add(name)
            columns = [points.steps, values, *([untold[own]] if untold[own] else [])]
            into = _INTO[2 * (name in anew) + bool(untold[own])]
            rows[into].append(zip(repeat(spans.first(old.series)), *columns, strict=False))
    for into, parts in rows.items():
        if parts:
            db.executemany(into, chain.from_iterable(parts))
    for name in anew:
        summaries[name] = _counted(db, summaries[name].series)
    db.executemany(KEEP_SUMMARY, summaries.values())


def drop_after(db: sqlite3.Connection, n: int, step: int, last: float) -> None:
    """Forget a run's points beyond a step, up to the last one; count the others again."""
    last = min(last, spans.LAST)
    for (series,) in db.execute("select id from series where run = ?", (n,)).fetchall():
        first = spans.first(series)
        dropped = db.execute(
            "delete from packed_points where at > ? and at <= ?", (first + step, first + last)
        )
        if dropped.rowcount:
            left = _counted(db, series)
            if left.points:
                db.execute(KEEP_SUMMARY, left)
            else:
                db.execute("delete from latest_best where series = ?", (series,))


def _untold(points: Points, stride: int | None) -> Sequence[int | None]:
    """Return the epochs, None where the step tells; nothing at all where it tells them all."""
    if not stride:
        return points.epochs
    told = [step // stride for step in points.steps]
    if told == [*points.epochs]:
        return ()
    return [
        None if epoch == other else epoch for epoch, other in zip(points.epochs, told, strict=True)
    ]


def _known(
    db: sqlite3.Connection, n: int, names: Iterable[str], stride: int | None
) -> dict[str, _Series]:
    """Return the series of these names; those of new names are made."""
    found = dict(_kept(db, n))
    new = {name for name in names if name not in found}
    strides = {series.stride for series in found.values()}
    stride = max((known for known in strides if known), default=stride)
    if None in strides and stride:  # what was kept before has all its epochs
        db.execute("update series set stride = ? where run = ? and stride is null", (stride, n))
        found = dict(_kept(db, n))
    if new:
        db.executemany(
            "insert into series (run, name, stride) values (?, ?, ?)",
            ((n, name, stride) for name in names if name in new),
        )
        found = dict(_kept(db, n))
    return {
        name: found[name]._replace(summary=_counted(db, found[name].summary.series))
        if found[name].summary.step is None and name not in new
        else found[name]
        for name in names
    }


def _kept(db: sqlite3.Connection, n: int) -> Iterator[tuple[str, _Series]]:
    rows: Iterable[tuple[Any, ...]] = db.execute(
        "select s.name, s.stride, s.id, b.step, b.epoch, b.value, b.max_value, b.max_epoch, "
        "b.min_value, b.min_epoch, coalesce(b.points, 0) "
        "from series s left join latest_best b on b.series = s.id where s.run = ?",
        (n,),
    )
    for name, stride, *summary in rows:
        yield name, _Series(stride, _Summary(*summary))


def _counted(db: sqlite3.Connection, series: int) -> _Summary:
    """Return the summary of all points that a series has."""
    rows = db.execute(
        f"select {spans.STEP}, {spans.EPOCH}, k.value from series s cross join packed_points k "
        f"where s.id = ? and {spans.after('-1')} order by k.at",
        (series,),
    ).fetchall()
    return _folded(_Summary(series), *zip(*rows, strict=True)) if rows else _Summary(series)


def _folded(
    old: _Summary, steps: Sequence[int], epochs: Sequence[int], values: Sequence[float | None]
) -> _Summary:
    """Fold points behind the known ones into a summary.

    The first of equal extremes keeps its epoch.
    """
    high, high_epoch, low, low_epoch = old.high, old.high_epoch, old.low, old.low_epoch
    known = [value for value in values if value is not None]
    if known:
        top, bottom = max(known), min(known)
        if high is None or top > high:
            high, high_epoch = top, epochs[values.index(top)]
        if low is None or bottom < low:
            low, low_epoch = bottom, epochs[values.index(bottom)]
    return _Summary(
        old.series, steps[-1], epochs[-1], values[-1], high, high_epoch, low, low_epoch,
        old.points + len(steps),
    )  # fmt: skip
