"""Opening the database: pragmas, migrations, errors. One connection belongs to one thread."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rpat.errors import StoreError
from rpat_tui.home import Home
from rpat_tui.store import spans

LATEST = "m015_packed_points"
"""The newest migration: known without importing sqlite-utils."""
PATIENCE = 30
"""Seconds that a writer waits for another one."""


@contextmanager
def opened(home: Home, *, heal: bool = True) -> Iterator[sqlite3.Connection]:
    """Open the home's database for reading and writing, migrated to the newest schema.

    A database of another home, or one older than its runs, is read again from the run
    directories, unless `heal` is False.
    SQLite's own errors leave as `StoreError`, one line with the file and the remedy.
    """
    with explained(home):
        path = home.make().database
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(connect(path)) as db:
            _migrate(db, path)
            from rpat_tui.store import belonging

            if heal:
                belonging.check(home, db)
            try:
                yield db
            finally:
                belonging.remember(home, db)


@contextmanager
def opened_readonly(home: Home) -> Iterator[sqlite3.Connection]:
    """Open an existing database without writing to it."""
    with explained(home):
        place = readonly_address(home.database)
        with closing(sqlite3.connect(place, uri=True, isolation_level=None)) as db:
            from rpat_tui.store import belonging

            with suppress(sqlite3.OperationalError):  # an older schema knows no facts
                belonging.refuse_stranger(home, db)
            spans.read_older(db)
            yield db


def readonly_address(path: Path) -> str:
    """Return the address of a database that is only read.

    In a folder that takes no file, SQLite reads a database that nobody has open only if it is told
    that nobody will write to it.
    """
    alone = not path.with_name(f"{path.name}-wal").exists()
    fixed = "&immutable=1" if alone and not os.access(path.parent, os.W_OK) else ""
    return f"{path.as_uri()}?mode=ro{fixed}"


def file_of(home: Home) -> tuple[int, int] | None:
    """Return which file the home's database is now; another one after it was replaced."""
    try:
        found = home.database.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def explained(home: Home) -> Iterator[None]:
    """Let SQLite's and the system's errors leave as `StoreError`, with file and remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(error, home.path)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(_explain(sqlite3.OperationalError("full"), home.path)) from error
        where = f" ({error.filename})" if error.filename else ""
        raise StoreError(f"home {home.path}: {error.strerror}{where}") from error


def connect(path: Path) -> sqlite3.Connection:
    """Connect with the pragmas that every writer needs; transactions are explicit."""
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    db.execute("pragma foreign_keys = on")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run a block in one write transaction: all of it or nothing."""
    db.execute("begin immediate")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
    db.execute("commit")


@contextmanager
def hurried(db: sqlite3.Connection) -> Iterator[None]:
    """Let no statement of a block wait long for another writer."""
    db.execute("pragma busy_timeout = 50")
    try:
        yield
    finally:
        db.execute(f"pragma busy_timeout = {PATIENCE * 1000}")


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Let several reads see one state of the database, whatever is written meanwhile."""
    if db.in_transaction:
        yield
        return
    db.execute("begin")
    try:
        yield
    finally:
        db.execute("rollback")


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    if _is_current(db):
        return
    with path.with_suffix(".migrate").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(db):
            return
        from sqlite_utils import Database

        from rpat_tui.store.migrations import migrations

        migrations.apply(Database(db))


def _is_current(db: sqlite3.Connection) -> bool:
    if not db.execute("select 1 from sqlite_master where name = '_sqlite_migrations'").fetchone():
        return False
    found = db.execute(
        "select 1 from _sqlite_migrations where migration_set = 'rpat' and name = ?", (LATEST,)
    )
    return found.fetchone() is not None


def _explain(error: sqlite3.Error, place: Path) -> str:
    text = str(error)
    if "full" in text:
        return f"home {place}: the disk is full; free some space, nothing is lost"
    if "disk I/O" in text:
        return f"home {place}: the disk refuses ({text}): it may be full or failing"
    if "locked" in text:
        return f"home {place}: the database is busy; try again"
    if "malformed" in text or "not a database" in text:
        return f"home {place}: the database is damaged ({text}); run: rpat reindex"
    if "readonly" in text or "unable to open" in text:
        return f"home {place}: the database cannot be opened ({text}); check its permissions"
    return f"home {place}: database error: {text}"
