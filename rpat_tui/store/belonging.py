"""Whether a database belongs to its home and is as new as it; what is not is read again.

The home's uid stands in `home.json` and in the database: a database that was copied from another
home is recognised. A generation rises in the database with everything that journals do not tell
of (what was queued, started, labelled, deleted), and is copied to `<home>/generation`: a database
that was restored from a backup, or lost, is older than its home. Both are healed when the
database is opened, since all but intent is in the run directories.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import suppress

from rpat.errors import StoreError
from rpat.rundir import RunDir, read_json, replace
from rpat_tui.home import Home
from rpat_tui.store.db import transaction


def check(home: Home, db: sqlite3.Connection) -> None:
    """Make a database's rows again where it is another home's, or older than its home."""
    if not _trouble(home, db):
        remember(home, db)
        return
    with home.database.with_suffix(".migrate").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trouble = _trouble(home, db)  # another process may have been faster
        if not trouble:
            return
        aside = _keep_stranger(home, db) if trouble == STRANGE else ""
        count, problems = renew(home, db)
        _tell(f"home {home.path}: {trouble}; {count} runs were read again{aside}")
        for problem in problems:
            _tell(f"left out {problem}")


def refuse_stranger(home: Home, db: sqlite3.Connection) -> None:
    """Raise `StoreError` for another home's database, where it cannot be made again."""
    known = fact(db, "home")
    if known and known != uid_of(home):
        raise StoreError(f"home {home.path}: {STRANGE}, and the home is read-only")


STRANGE = "its database is that of another home"
OLD = "its database is older than its runs"


def _trouble(home: Home, db: sqlite3.Connection) -> str:
    uid, known = uid_of(home), fact(db, "home")
    if uid and known and uid != known:
        return STRANGE
    if generation(db) < _written(home):
        return OLD
    if uid and not known:
        with transaction(db):
            set_fact(db, "home", uid)
    return ""


def renew(home: Home, db: sqlite3.Connection) -> tuple[int, list[str]]:
    """Read every run directory again; returns how many, and a line for each unreadable one.

    That all of it has been read is noted last, so that a crash before only repeats it.
    """
    from rpat_tui.store import findings, queries
    from rpat_tui.store.index import index_all
    from rpat_tui.store.ingest import ingest

    with transaction(db):
        found = index_all(db, home)
    runs = db.execute("select n, id from runs").fetchall()
    for n, name in runs:
        ingest(db, n, RunDir(home.runs / name))
    for n in sorted({queries.subject_of(db, n) for n, _ in runs}):
        findings.judge(db, n)  # once the jobs about a run have been read as well
    with transaction(db):
        set_fact(db, "home", uid_of(home))
        set_fact(db, "generation", str(max(generation(db), _written(home))))
    return found


def _keep_stranger(home: Home, db: sqlite3.Connection) -> str:
    """Copy another home's database aside: it may be the only one that knows its queue."""
    path = home.database
    aside = path.with_name(f"{path.name}.of-{fact(db, 'home')[:12]}-{time.time_ns() // 1_000_000}")
    db.execute("vacuum into ?", (str(aside),))
    return f"; the other home's is kept as {aside.name}"


def bump(db: sqlite3.Connection) -> None:
    """Note that something has changed that journals do not tell of; in a transaction."""
    db.execute(
        "insert into facts values ('generation', '1') on conflict (key) "
        "do update set value = cast(cast(value as integer) + 1 as text)"
    )


def remember(home: Home, db: sqlite3.Connection) -> None:
    """Copy the generation to the home, where an older database will be recognised by it."""
    with suppress(OSError, sqlite3.Error):
        mine = generation(db)
        if mine > _written(home):
            replace(home.generation, lambda stream: stream.write(f"{mine}\n".encode()))


def generation(db: sqlite3.Connection) -> int:
    """Return how often the database has changed beyond what journals tell."""
    return int(fact(db, "generation") or 0)


def fact(db: sqlite3.Connection, key: str) -> str:
    """Return a fact of the home, or ''."""
    row = db.execute("select value from facts where key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def set_fact(db: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a fact of the home; '' forgets it."""
    db.execute("delete from facts where key = ?", (key,))
    if value:
        db.execute("insert into facts values (?, ?)", (key, value))


def uid_of(home: Home) -> str:
    """Return the uid of a home, or ''."""
    try:
        return str(read_json(home.identity)["uid"])
    except (OSError, ValueError, KeyError):
        return ""


def _written(home: Home) -> int:
    try:
        return int(home.generation.read_text("ascii"))
    except (OSError, ValueError):
        return 0


def _tell(text: str) -> None:
    import logging  # a line on standard error, unless the program has another place for it

    logging.getLogger("rpat").warning("%s", text)
