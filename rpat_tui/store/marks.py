"""What another machine must know of a run, and a short mark that changes whenever that does.

Marks are compared in groups, so that two machines that agree exchange one digest, and two that
differ in one run a few kilobytes, however many runs there are. They follow from what is stored
alone: a database that was made again or restored from a backup needs no counter to be believed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from rpat_tui.store import carry

Json = dict[str, Any]
Marks = Mapping[int, str]

GROUP = 64
"""Numbers of runs that share a digest."""

CARRIED = (
    "created", "started", "rank", "held", "retried", "slot", "launcher", "wants",
)  # fmt: skip
"""Columns that say how a run stands, beside what `carry.intent` tells."""

_MARKED = f"""
select r.n, r.uid, r.state, r.reason, r.ended, r.priority, r.retries, r.name, r.note, r.archived,
    r.sweep, r.imported, {", ".join(f"r.{column}" for column in CARRIED)},
    (select group_concat(tag) from tags t where t.run = r.n),
    (select count(*) || ' ' || max(t) from transitions t where t.run = r.n),
    (select group_concat(needs || checkpoint) from dependencies d where d.run = r.n),
    (select group_concat(attempt || file || offset || '/' || seq) from journals j
        where j.run = r.n and file <> 'monitor'),
    (select count(*) from findings f where f.run = r.n)
from runs r
"""


def marks(db: sqlite3.Connection) -> dict[int, str]:
    """Return the mark of every run by its number.

    Its first eight signs are the end of the uid: another run under the same number shows.
    """
    return {row[0]: _mark(row) for row in db.execute(f"{_MARKED} order by r.n")}


def marks_of(db: sqlite3.Connection, n: int) -> str:
    """Return the mark of one run."""
    return _mark(db.execute(f"{_MARKED} where r.n = ?", (n,)).fetchone())


def _mark(row: tuple[Any, ...]) -> str:
    return f"{row[1][-8:]}{digest(repr(row))}"


def same_run(mark: str, other: str) -> bool:
    """Return whether two marks are of one run."""
    return mark[:8] == other[:8]


def groups(known: Marks) -> dict[int, str]:
    """Return a digest for each group of neighbouring numbers."""
    members: dict[int, list[str]] = {}
    for n in sorted(known):
        members.setdefault(n // GROUP, []).append(f"{n}:{known[n]}")
    return {group: digest(",".join(words)) for group, words in members.items()}


def whole(found: Mapping[int, str]) -> str:
    """Return one digest of all groups."""
    return digest(",".join(f"{group}:{found[group]}" for group in sorted(found)))


def within(known: Marks, some: Iterable[int]) -> dict[int, str]:
    """Return the marks of some groups."""
    wanted = set(some)
    return {n: mark for n, mark in known.items() if n // GROUP in wanted}


def digest(text: str) -> str:
    """Return 64 bits of a text as 16 hex digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def standing(db: sqlite3.Connection, n: int) -> Json:
    """Return how a run stands, as plain values: what no file of its directory tells."""
    columns = ", ".join(CARRIED)
    row = db.execute(f"select {columns} from runs where n = ?", (n,)).fetchone()
    found = db.execute(
        "select rule, checkpoint, network, level, text, do, evidence from findings where run = ? "
        "order by rule, checkpoint, network",
        (n,),
    ).fetchall()
    return {
        **carry.intent(db, n),
        **dict(zip(CARRIED, row, strict=True)),
        "findings": [list(one) for one in found],
    }


def stand(db: sqlite3.Connection, n: int, said: Json) -> None:
    """Bring a run's row to what was said of it elsewhere; in the caller's transaction."""
    carry.put(db, n, said["state"], said["reason"], said["ended"])
    for table in ("transitions", "dependencies", "findings"):
        db.execute(f"delete from {table} where run = ?", (n,))
    carry.recall(db, n, said)
    sets = ", ".join(f"{column} = :{column}" for column in CARRIED)
    db.execute(f"update runs set {sets} where n = :n", {**said, "n": n})
    db.executemany(
        "insert or ignore into findings (run, rule, checkpoint, network, level, text, do, "
        "evidence) values (?, ?, ?, ?, ?, ?, ?, ?)",
        [(n, *row) for row in said["findings"]],
    )


# ----------------------------------------------------------------- what has been taken over


def keep_marks(db: sqlite3.Connection) -> None:
    """Let a database remember which marks it was brought to; nothing where it does."""
    db.execute(
        "create table if not exists joined (n integer primary key, uid text not null, "
        "mark text not null) strict"
    )


def kept(db: sqlite3.Connection) -> dict[int, tuple[str, str]]:
    """Return the uid and the mark that each run was brought to."""
    rows = db.execute("select n, uid, mark from joined").fetchall()
    return {n: (uid, mark) for n, uid, mark in rows}


def keep(db: sqlite3.Connection, rows: Sequence[tuple[int, str, str]]) -> None:
    """Note what runs were brought to: number, uid, mark."""
    db.executemany("insert or replace into joined values (?, ?, ?)", rows)


def drop(db: sqlite3.Connection, n: int) -> None:
    """Forget a run and what it was brought to."""
    carry.forget(db, n)
    db.execute("delete from joined where n = ?", (n,))


def keep_all(db: sqlite3.Connection, known: Marks) -> None:
    """Note marks of runs that are in the database already."""
    uids = dict(db.execute("select n, uid from runs").fetchall())
    keep(db, [(n, uids[n], mark) for n, mark in known.items() if n in uids])


def evidence_is_plain(text: Any) -> bool:
    """Return whether a finding's evidence is what the database keeps: an object as JSON."""
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False
