"""What runs need of a card's memory, and who has a place: what starting runs is decided from.

A run needs what it was measured to take (`memory_mb`, the peak of its samples). One that was not
measured needs what its like took: same kind, network, data, batches, method, wrappers, numerics.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from rpat_tui.store.queue import OPEN, ORDER, READY

REFRESH = 60.0
"""Seconds after which the runs that have ended are counted again."""

GPUS = "coalesce(json_extract(config, '$.gpus'), 1)"
"""How many cards a run wants; configs of the first release say nothing."""

_LIKE = f"""json_array(kind, model, dataset, method, rpat, json_extract(config, '$.wrappers'),
    json_extract(config, '$.optim.batch_size', '$.eval.batch_size', '$.batch_size'),
    json_extract(config, '$.mode', '$.numerics'), json_extract(config, '$.attacks', '$.study'),
    {GPUS})"""

# Nothing counts as measured before the first steps. An evaluation within a training may take more
# than a step: before the first one has been seen, the peak is scaled by the batches.
_OWN = "case when step > 0 then memory_mb end"
_SETTLED = "(epoch > 0 or kind <> 'train')"
_SCALE = f"""case when {_SETTLED} then 1.0 else max(1.0, 1.0 *
    json_extract(config, '$.eval.batch_size') / json_extract(config, '$.optim.batch_size')) end"""

_GREEDY = "exists (select 1 from attempts a where a.run = n and a.error_reason = 'out of memory')"

_MEASURE = f"{_OWN}, {_LIKE}, {_SCALE}, {_SETTLED}, {_GREEDY}"


@dataclass(frozen=True, slots=True)
class Head:
    """A queued run that nothing but a place is missing to."""

    n: int
    name: str
    device: str
    gpus: int
    need_mb: int | None


@dataclass(frozen=True, slots=True)
class Occupant:
    """A run that has a slot, and the processes that it is known by."""

    n: int
    name: str
    slot: str
    attempt: int
    trainer: dict[str, Any] | None
    attendant: dict[str, Any] | None
    launcher: dict[str, Any] | None
    need_mb: int | None


class Needs:
    """What kinds of runs were measured to need; kept by the worker from look to look."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._read_at = -REFRESH

    def heads(self, db: sqlite3.Connection, each: int) -> list[Head]:
        """Return the first `each` queued runs of each device that wait for no other, in order.

        Runs that want another number of cards count on their own.
        """
        rows = db.execute(
            f"select n, id, device, {GPUS}, {_MEASURE} from runs "
            "where n in (select n from (select n, row_number() over "
            f"(partition by device, {GPUS} order by {ORDER}) as number from runs "
            f"where {READY}) where number <= ?) "
            f"order by {ORDER}",
            (each,),
        ).fetchall()
        if rows:
            self._refresh(db)
        return [Head(n, name, on, gpus, self._need(*rest)) for n, name, on, gpus, *rest in rows]

    def occupants(self, db: sqlite3.Connection) -> list[Occupant]:
        """Return the runs that have a slot, with the processes of their newest attempt."""
        marks = ", ".join("?" for _ in OPEN)
        rows = db.execute(
            "select r.n, r.id, r.slot, coalesce(a.number, 0), a.trainer, a.attendant, "
            "case when l.pid then json_object('host', l.host, 'boot', l.boot, 'pid', l.pid, "
            f"'started', l.started) end, {_MEASURE} "
            "from runs r left join launches l on l.run = r.n "
            "left join attempts a on a.run = r.n and a.number = "
            "(select max(number) from attempts where run = r.n) "
            f"where r.state in ({marks}) and r.slot <> '' order by r.n",
            OPEN,
        ).fetchall()
        found = []
        for n, name, slot, number, trainer, attendant, launcher, *measure in rows:
            known = _parsed(trainer), _parsed(attendant), _parsed(launcher)
            found.append(Occupant(n, name, slot, number, *known, self._need(*measure)))
        return found

    def need(self, db: sqlite3.Connection, n: int) -> int | None:
        """Return what a run needs, where that is known."""
        self._refresh(db)
        row = db.execute(f"select {_MEASURE} from runs where n = ?", (n,)).fetchone()
        return self._need(*row)

    def _need(
        self, own: int | None, like: str, scale: float, settled: int, greedy: int
    ) -> int | None:
        """Return what a run needs; unknown where it is not measured, or once had too little."""
        if greedy:
            return None
        usual = self._peaks.get(like)
        if own is not None and settled:
            self._peaks[like] = usual = max(own, usual or 0)
        if usual is not None:
            return max(usual, own or 0)
        return None if own is None else round(own * scale)

    def _refresh(self, db: sqlite3.Connection) -> None:
        if time.monotonic() - self._read_at < REFRESH:
            return
        self._read_at = time.monotonic()
        for like, peak in db.execute(
            f"select {_LIKE} as alike, max(memory_mb) from runs where memory_mb is not null "
            f"and step > 0 and {_SETTLED} group by alike"
        ):
            self._peaks[like] = max(peak, self._peaks.get(like, 0))


def _parsed(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None
