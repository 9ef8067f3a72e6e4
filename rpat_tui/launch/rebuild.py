"""The database made again from the run directories, when it is lost, damaged or doubted."""

from __future__ import annotations

import time
from contextlib import closing

from rpat.errors import ConfigError, StoreError
from rpat_tui import pools
from rpat_tui.home import Home
from rpat_tui.launch.locks import held, holder
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.store import db as database
from rpat_tui.store.belonging import renew


def rebuild(home: Home) -> tuple[int, list[str]]:
    """Index every run directory anew; returns how many, and a line for each that is unreadable.

    A readable database keeps its intent: queue, priorities, history. A damaged one is moved
    aside. Raises `ConfigError` where there is no home and `StoreError` while a worker lives.
    """
    if not home.path.is_dir():
        raise ConfigError(f"home {home.path} does not exist; name it with --home or RPAT_HOME")
    home.make()
    with held(home.worker_lock) as free:
        if not free:
            pid = (holder(home.worker_lock) or {}).get("pid", "?")
            raise StoreError(
                f"home {home.path} has a worker (pid {pid}); stop it with kill {pid}, runs go on, "
                "and reindex again"
            )
        _set_damaged_aside(home)
        with database.opened(home, heal=False) as db:
            with held(home.ingest_lock):
                found = renew(home, db)
            reconcile(home, db)
            pools.keep(db)
    return found


def _set_damaged_aside(home: Home) -> None:
    path = home.database
    if not path.exists():
        return
    import sqlite3

    try:
        with closing(sqlite3.connect(path)) as db:
            ok = db.execute("pragma quick_check").fetchone()[0] == "ok"
    except sqlite3.Error:
        ok = False
    if ok:
        return
    mark = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(part.with_name(f"{part.name}.damaged-{mark}"))
