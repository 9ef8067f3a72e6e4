"""What the database alone knows of a run, as plain values and back; and who needs a run.

A run that is deleted or carried to another home takes its history and its dependencies along.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from rpat_tui.store.queue import DUE

Json = dict[str, Any]


def intent(db: sqlite3.Connection, n: int) -> Json:
    """Return a run's state, history and dependencies as plain values."""
    state, reason, ended, priority, retries = db.execute(
        "select state, reason, ended, priority, retries from runs where n = ?", (n,)
    ).fetchone()
    moves = db.execute(
        "select old, new, t, reason, evidence from transitions where run = ? order by id", (n,)
    ).fetchall()
    needs = db.execute(
        "select needs, checkpoint from dependencies where run = ? order by needs", (n,)
    ).fetchall()
    return {
        "state": state,
        "reason": reason,
        "ended": ended,
        "priority": priority,
        "retries": retries,
        "history": [[*move[:4], json.loads(move[4])] for move in moves],
        "needs": [list(need) for need in needs],
    }


def recall(db: sqlite3.Connection, n: int, kept: Mapping[str, Any]) -> None:
    """Give a run's row its order, history and dependencies again; the state is `put`'s."""
    if "priority" in kept:
        db.execute(
            "update runs set priority = ?, retries = ? where n = ?",
            (kept["priority"], kept["retries"], n),
        )
    there = set(db.execute("select t, old, new from transitions where run = ?", (n,)))
    db.executemany(
        "insert into transitions (run, old, new, t, reason, evidence) values (?, ?, ?, ?, ?, ?)",
        [
            (n, old, new, t, reason, json.dumps(evidence))
            for old, new, t, reason, evidence in kept["history"]
            if (t, old, new) not in there
        ],
    )
    db.executemany(
        "insert or ignore into dependencies values (?, ?, ?)",
        [(n, needs, checkpoint) for needs, checkpoint in kept["needs"]],
    )


def put(db: sqlite3.Connection, n: int, state: str, reason: str, ended: float | None) -> None:
    """Set the state of a row that was just made; every later change is a move."""
    db.execute(
        "update runs set state = ?, reason = ?, ended = ? where n = ?", (state, reason, ended, n)
    )


def forget(db: sqlite3.Connection, n: int) -> None:
    """Remove a run's row and everything that was read of it."""
    db.execute("delete from runs where n = ?", (n,))


def label(
    db: sqlite3.Connection, n: int, *, name: str, note: str, tags: Sequence[str], archived: bool
) -> None:
    """Bring a run's row up to what people wrote about it."""
    db.execute(
        "update runs set name = ?, note = ?, archived = ? where n = ?",
        (name, note, int(archived), n),
    )
    db.execute("delete from tags where run = ?", (n,))
    db.executemany("insert into tags values (?, ?)", [(n, tag) for tag in tags])


def mark(db: sqlite3.Connection, n: int, *, imported: str, config: Mapping[str, Any]) -> None:
    """Bring a run's row up to what an import changed."""
    db.execute(
        "update runs set imported = ?, config = ? where n = ?", (imported, json.dumps(config), n)
    )


def waive(db: sqlite3.Connection, n: int) -> None:
    """Let no evaluation follow a run by itself any more."""
    db.execute("update runs set wants = '' where n = ?", (n,))


def by_uid(db: sqlite3.Connection, uid: str) -> int | None:
    """Return the number of the run with a uid."""
    row = db.execute("select n from runs where uid = ?", (uid,)).fetchone()
    return int(row[0]) if row else None


def facts(db: sqlite3.Connection, n: int) -> Json:
    """Return who a run is: id, uid, kind, state, what it trained, where it came from."""
    cursor = db.execute(
        "select n, id, uid, kind, state, reason, parent, method, rpat, lam, dataset, name, "
        "fingerprint, snapshot, data_key, archived, imported, attempt from runs where n = ?",
        (n,),
    )
    names = [column[0] for column in cursor.description]
    return dict(zip(names, cursor.fetchone(), strict=True))


def numbers(db: sqlite3.Connection) -> list[int]:
    """Return the numbers of all runs, of every kind."""
    return [n for (n,) in db.execute("select n from runs order by n")]


def folders(db: sqlite3.Connection) -> list[tuple[int, str]]:
    """Return the jobs whose config names another folder than their run's: number, id of the run.

    A run that is not here has the folder `missing-UID`, so that no other is taken for it.
    """
    return db.execute(
        "select j.n, coalesce(p.id, 'missing-' || j.parent) from runs j "
        "left join runs p on p.uid = j.parent where j.parent is not null "
        "and json_extract(j.config, '$.subject.folder') <> coalesce(p.id, 'missing-' || j.parent)"
    ).fetchall()


# ----------------------------------------------------------------- who needs a run


def waiting_for(db: sqlite3.Connection, n: int) -> list[int]:
    """Return the runs that are not done and need a run's weights, beside the jobs about it."""
    rows = db.execute(
        "select r.n from runs r join dependencies d on d.run = r.n join runs p on p.uid = d.needs "
        "where p.n = ?1 and r.state <> 'done' and coalesce(r.parent, '') <> p.uid "
        "union select r.n from runs r, runs p where p.n = ?1 and r.n <> p.n "
        "and r.state <> 'done' and instr(r.config, 'run:' || p.fingerprint || ':') "
        "and not exists (select 1 from runs q where q.fingerprint = p.fingerprint "
        "and q.n <> p.n and q.state = 'done') order by 1",
        (n,),
    )
    return [found for (found,) in rows]


def weights_in_use(db: sqlite3.Connection, n: int) -> list[tuple[str, str, str]]:
    """Return which weights of a run are needed: checkpoint, network, and by whom.

    `*` is every network. A student that wants its teacher's best weights needs the final ones
    too: they tell that the teacher has finished.
    """
    uid, fingerprint = db.execute("select uid, fingerprint from runs where n = ?", (n,)).fetchone()
    found = [
        (checkpoint, network, f"evaluated by {job} ({attack})")
        for checkpoint, network, attack, job in db.execute(
            "select distinct e.checkpoint, e.network, e.attack, j.id from evaluations e "
            "join runs j on j.n = e.run where (e.run = ?1 and j.kind = 'train') or j.parent = ?2 "
            "order by j.n, e.id",
            (n, uid),
        )
    ]
    for job, kind, state, subject in db.execute(
        "select id, kind, state, json_extract(config, '$.subject') from runs "
        "where parent = ? and state <> 'done' order by n",
        (uid,),
    ):
        chosen = json.loads(subject)
        why = f"{job} ({kind}) is {state}"
        found += [
            (c, network, why) for c in chosen["checkpoints"] for network in chosen["networks"]
        ]
    pattern = re.compile(f"run:{re.escape(fingerprint)}:(\\w+)")
    for student, text in db.execute(
        "select id, config from runs where instr(config, ?) order by n", (f"run:{fingerprint}:",)
    ):
        for kind in pattern.findall(text):
            found += [(c, "online", f"{student} learns from it") for c in {kind, "final"}]
    found += [
        (checkpoint or "final", "*", f"{waits} waits for it")
        for checkpoint, waits in db.execute(
            "select d.checkpoint, r.id from dependencies d join runs r on r.n = d.run "
            "where d.needs = ? and r.state <> 'done' order by r.n",
            (uid,),
        )
    ]
    if db.execute(f"select 1 from runs where n = ? and {DUE}", (n,)).fetchone():
        found += [(c, "*", "its evaluation is still to come") for c in ("best", "final")]
    return found


def snapshots_in_use(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many runs refer to each snapshot of code."""
    rows = db.execute("select snapshot, count(*) from runs where snapshot <> '' group by snapshot")
    return dict(rows.fetchall())


def data_in_use(db: sqlite3.Connection) -> set[str]:
    """Return the data fingerprints of runs that are not over."""
    rows = db.execute("select data_key from runs where state not in ('done', 'failed', 'stopped')")
    return {key for (key,) in rows}
