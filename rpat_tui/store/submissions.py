"""The jobs that a cluster was asked to run: a row each, and what the cluster said of it last.

The file `submissions/N.json` of a run is written first and is the truth; the row is its index.
A submission is `submitting` until its job has a number, `submitted` while the job may exist, and
`over` once the cluster says so. `closed` means that the run's fate does not follow it any more.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.store.memory import GPUS
from rpat_tui.store.queue import FOLLOWED, ORDER, SUBMITTABLE, name_of

SUBMITTING, SUBMITTED, OVER = "submitting", "submitted", "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One job, as far as it is known."""

    run: int
    number: int
    name: str
    after: int  # attempts that the run had before
    t: float
    state: str
    job: str = ""
    said: str = ""  # the cluster's word for its state
    why: str = ""
    node: str = ""
    trouble: str = ""  # what was wrong with the node when the job was taken off it
    exit: str = ""  # code:signal, where accounting tells
    seen: float | None = None  # when the cluster was last asked about it and answered
    since: float | None = None  # when it was first seen in this state
    missing: float | None = None  # since when the cluster knows nothing of it
    asked: str = ""  # what a person wants: stop, pause, kill
    asked_at: float | None = None
    closed: float | None = None
    restarts: int | None = None  # turns of the job that have ended, as the cluster counts them


_COLUMNS = (
    "run, number, name, after, t, state, job, said, why, node, trouble, exit, seen, since, "
    "missing, asked, asked_at, closed, restarts"
)


def of_run(db: sqlite3.Connection, n: int) -> list[Submission]:
    """Return the submissions of a run, oldest first."""
    return _read(db, "run = ? order by number", (n,))


def current(db: sqlite3.Connection, n: int) -> Submission | None:
    """Return the submission that a run's fate follows, if there is one."""
    found = _read(db, "run = ? and closed is null order by number desc limit 1", (n,))
    return found[0] if found else None


def newest(db: sqlite3.Connection, n: int) -> Submission | None:
    """Return the last submission of a run, closed or not."""
    found = _read(db, "run = ? order by number desc limit 1", (n,))
    return found[0] if found else None


def followed(db: sqlite3.Connection) -> list[Submission]:
    """Return every submission whose job may still exist."""
    return _read(db, f"{FOLLOWED} order by run, number", ())


def _read(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Submission]:
    names = [name.strip() for name in _COLUMNS.split(",")]
    rows = db.execute(f"select {_COLUMNS} from submissions where {where}", values)
    return [Submission(**dict(zip(names, row, strict=True))) for row in rows]


def submittable(db: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """Return the first runs that could be given to the cluster, in the order of the queue."""
    cursor = db.execute(
        f"select n, id, uid, device, attempt, sweep, resources, {GPUS} as gpus from runs "
        f"where {SUBMITTABLE} order by {ORDER} limit ?",
        (limit,),
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def in_flight(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many jobs each sweep has with the cluster; '' counts all of them."""
    found: dict[str, int] = {"": 0}
    for sweep, count in db.execute(
        "select r.sweep, count(*) from submissions s join runs r on r.n = s.run "
        f"where {FOLLOWED.replace('state', 's.state').replace('closed', 's.closed')} "
        "group by r.sweep"
    ):
        found[""] += count
        if sweep:
            found[sweep] = count
    return found


def begin(home: Home, db: sqlite3.Connection, n: int, uid: str, attempt: int) -> Submission:
    """Write down that a job is going to be submitted, before it is; in a transaction.

    Its name is unique among all homes, so that the job is found again by it.
    """
    run = RunDir(home.runs / name_of(n))
    last = db.execute("select max(number) from submissions where run = ?", (n,)).fetchone()[0]
    number = max([last or 0, *(int(file.stem) for file in run.submissions.glob("*.json"))]) + 1
    made = Submission(
        run=n, number=number, name=f"rpat-{name_of(n)}-{uid[-8:]}-{number}", after=attempt,
        t=time.time(), state=SUBMITTING,
    )  # fmt: skip
    run.submissions.mkdir(exist_ok=True)
    write_json(run.submission(number), _file(made))
    _insert(db, [made])
    return made


def _file(made: Submission) -> dict[str, Any]:
    return {
        "launcher": "slurm", "name": made.name, "after": made.after, "t": made.t, "job": made.job,
    }  # fmt: skip


def submitted(home: Home, db: sqlite3.Connection, made: Submission, job: str) -> None:
    """Note the job's number."""
    path = RunDir(home.runs / name_of(made.run)).submission(made.number)
    if path.exists():  # else the run was deleted meanwhile
        write_json(path, {**read_json(path), "job": job})
    update(db, made, job=job, state=SUBMITTED)


def update(db: sqlite3.Connection, made: Submission, **changes: Any) -> None:
    """Change what is known of a submission."""
    sets = ", ".join(f"{name} = ?" for name in changes)
    db.execute(
        f"update submissions set {sets} where run = ? and number = ?",
        (*changes.values(), made.run, made.number),
    )


def close(db: sqlite3.Connection, n: int) -> None:
    """Let a run's fate follow no submission any more."""
    db.execute(
        "update submissions set closed = ? where run = ? and closed is null", (time.time(), n)
    )


def withdraw(home: Home, db: sqlite3.Connection, made: Submission, word: str) -> None:
    """Note that a person wants a job to end; the file first: it holds when nothing else works."""
    marker = RunDir(home.runs / name_of(made.run)).withdrawn(made.number)
    if marker.parent.is_dir():
        marker.write_text(word, "utf-8")
    update(db, made, asked=word, asked_at=time.time())


def forget(home: Home, db: sqlite3.Connection, made: Submission) -> None:
    """Take back what was written down and never sent."""
    RunDir(home.runs / name_of(made.run)).submission(made.number).unlink(missing_ok=True)
    db.execute("delete from submissions where run = ? and number = ?", (made.run, made.number))


# ----------------------------------------------------------------- a database made again


def kept(db: sqlite3.Connection) -> dict[tuple[str, int], Submission]:
    """Return what is known of every submission, by the run's uid and its number."""
    uids = dict(db.execute("select n, uid from runs").fetchall())
    return {(uids[s.run], s.number): s for s in _read(db, "1", ())}


def restore(
    db: sqlite3.Connection, home: Home, known: Mapping[tuple[str, int], Submission]
) -> None:
    """Make the rows again from the files; what the cluster had said is taken from `known`.

    A run whose newest job may still exist becomes `lost` until the cluster is asked.
    """
    for n, uid in db.execute("select n, uid from runs where launcher <> ''").fetchall():
        run = RunDir(home.runs / name_of(n))
        files = sorted(run.submissions.glob("*.json"), key=lambda file: int(file.stem))
        made = [_of_file(run, n, int(file.stem)) for file in files]
        made = [_merged(s, known.get((uid, s.number))) for s in made]
        _insert(db, made)
        state = db.execute("select state from runs where n = ?", (n,)).fetchone()[0]
        if made and made[-1].closed is None and state == "stopped":
            db.execute("update runs set state = 'lost', reason = 'reindexed' where n = ?", (n,))


def _of_file(run: RunDir, n: int, number: int) -> Submission:
    values = read_json(run.submission(number))
    wanted = run.is_wanted(number)
    return Submission(
        run=n, number=number, name=values["name"], after=values["after"], t=values["t"],
        job=values["job"], state=SUBMITTED if values["job"] else SUBMITTING,
        closed=None if wanted else values["t"],
    )  # fmt: skip


def _merged(read: Submission, known: Submission | None) -> Submission:
    if known is None or known.name != read.name:
        return read
    return Submission(
        **{name: getattr(known, name) for name in Submission.__slots__} | {"run": read.run}
    )


def _insert(db: sqlite3.Connection, rows: Iterable[Submission]) -> None:
    names = [name.strip() for name in _COLUMNS.split(",")]
    marks = ", ".join("?" for _ in names)
    db.executemany(
        f"insert or ignore into submissions ({_COLUMNS}) values ({marks})",
        [tuple(getattr(row, name) for name in names) for row in rows],
    )
