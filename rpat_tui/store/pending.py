"""Work that is open: what tables show in the place of numbers that are on their way."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from rpat_tui.store.flat import FlatConfig
from rpat_tui.store.rows import Measurement

STATES = ("queued", "starting", "running", "pausing", "paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An open run, or an open evaluation of a run; `attacks` is what an evaluation will add."""

    id: str
    n: int
    state: str
    epoch: int
    epochs: int
    attacks: tuple[str, ...]
    subject: Measurement
    """The run that the numbers will belong to, without numbers."""


def pending(
    db: sqlite3.Connection, *, dataset: str = "", norm: str = "", model: str = ""
) -> list[Pending]:
    """Return open training runs and open evaluations, oldest first."""
    chosen = {"p.dataset": dataset, "p.norm": norm, "p.model": model}
    kept = {column: value for column, value in chosen.items() if value}
    clause = "".join(f" and {column} = ?" for column in kept)
    rows = db.execute(
        "select j.id, j.n, j.state, j.epoch, j.epochs, j.kind, j.config, p.id, p.seed, "
        "p.group_key, p.data_key, p.dataset, p.source, p.norm, p.model, p.method, p.rpat, "
        "p.config from runs j "
        "join runs p on p.uid = case when j.kind = 'train' then j.uid else j.parent end "
        f"where j.kind in ('train', 'eval') and j.state in ({', '.join('?' for _ in STATES)}) "
        f"and p.kind = 'train' and not p.archived and not j.archived{clause} order by j.n",
        [*STATES, *kept.values()],
    )
    return [
        Pending(
            id=row[0], n=row[1], state=row[2], epoch=row[3], epochs=row[4],
            attacks=() if row[5] == "train" else tuple(json.loads(row[6]).get("attacks", ())),
            subject=Measurement(
                run=row[7], seed=row[8], group=row[9], data=row[10], dataset=row[11],
                source=row[12], norm=row[13], model=row[14], method=row[15], rpat=bool(row[16]),
                checkpoint="best", config=FlatConfig(json=row[17]),
            ),
        )
        for row in rows
    ]  # fmt: skip
