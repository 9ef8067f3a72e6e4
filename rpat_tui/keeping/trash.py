"""Deleting runs, and bringing them back: a run directory moves to the trash, then its row goes.

    <home>/trash/r0007-20260102T030405/   the run directory as it was
        deleted.json                      what only the database knew of it

Both happen in one transaction, the rename before the commit. Whoever dies in between leaves a row
whose directory is in the trash: deleting it again, `rpat undelete` and `rpat reindex` all heal it.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError, StoreError
from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.keeping import folders
from rpat_tui.keeping.labels import written
from rpat_tui.keeping.usage import human, size_of
from rpat_tui.store import carry, findings, queries
from rpat_tui.store.belonging import bump, fact, set_fact
from rpat_tui.store.db import transaction
from rpat_tui.store.index import admit, highest, settle_in, sync
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import OPEN, name_of

KEPT = "deleted.json"


@dataclass(frozen=True, slots=True)
class Doomed:
    """A run that will be deleted, and why where nobody named it."""

    n: int
    id: str
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in the trash."""

    path: Path
    id: str
    uid: str
    size: int
    t: float
    text: str


# ----------------------------------------------------------------- away


def plan(home: Home, db: sqlite3.Connection, numbers: Sequence[int]) -> list[Doomed]:
    """Return the runs that go when these are deleted: jobs about them first, then they.

    Raises `ConfigError` for a run that is queued or may have a process, and for one whose weights
    a run needs that is not done and does not go too.
    """
    named = set(numbers)
    jobs = [job for n in numbers for job in queries.jobs_of(db, [n]) if job not in named]
    order = sorted({*jobs, *named}, key=lambda n: (carry.facts(db, n)["parent"] is None, -n))
    for n in order:
        run = carry.facts(db, n)
        _refuse_living(run, "" if n in named else f", and {_parent(db, n)} is to be deleted")
        others = [name_of(m) for m in carry.waiting_for(db, n) if m not in {*jobs, *named}]
        if others:
            raise ConfigError(
                f"run {run['id']} has weights that {', '.join(others)} still needs; "
                "name it too, or wait until it is done"
            )
    return [_doomed(home, db, n) for n in order]


def _parent(db: sqlite3.Connection, n: int) -> str:
    return name_of(queries.subject_of(db, n))


def _refuse_living(run: dict[str, Any], more: str = "") -> None:
    if run["state"] == "queued" or run["state"] in OPEN:
        raise ConfigError(
            f"run {run['id']} is {run['state']}{more}; only runs that have ended are deleted "
            f"(rpat stop {run['id']} ends it)"
        )


def _doomed(home: Home, db: sqlite3.Connection, n: int) -> Doomed:
    run = carry.facts(db, n)
    size = size_of(home.runs / run["id"])
    return Doomed(n, run["id"], size, f"{run['id']}  {_title(run)}, {human(size)}")


def _title(run: dict[str, Any]) -> str:
    about = {"eval": "evaluation of ", "study": "study of "}.get(run["kind"], "")
    name = f" “{run['name']}”" if run["name"] else ""
    rpat = "+rpat" if run["rpat"] else ""
    return f"{about}{run['method']}{rpat} on {run['dataset']}{name}, {run['state']}"


def delete(home: Home, db: sqlite3.Connection, doomed: Sequence[Doomed]) -> list[str]:
    """Move runs to the trash, one after the other; returns a line for each."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for one in doomed:
        _delete(home, db, one.n, stamp)
    return [f"{one.id} is deleted; rpat undelete {one.id} brings it back" for one in doomed]


def _delete(home: Home, db: sqlite3.Connection, n: int, stamp: str) -> None:
    with transaction(db):
        run = carry.facts(db, n)
        _refuse_living(run)
        _waive(home, db, run)
        folder = home.runs / run["id"]
        target = _free(home.trash / f"{run['id']}-{stamp}")
        if folder.is_dir():
            write_json(folder / KEPT, {"t": time.time(), **carry.intent(db, n)})
            home.trash.mkdir(exist_ok=True)
            folder.rename(target)
            sync(home.trash)
            sync(home.runs)
        carry.forget(db, n)
        set_fact(db, "highest", str(max(n, int(fact(db, "highest") or 0))))
        set_fact(db, f"deleted:{run['id']}", target.name)
        bump(db)


def _waive(home: Home, db: sqlite3.Connection, job: dict[str, Any]) -> None:
    """Note that a run's evaluation was deleted: the worker shall not queue it again."""
    parent = carry.by_uid(db, job["parent"] or "")
    if "automatic" not in written(home, job["n"])["tags"]:
        return
    if parent is not None and (home.runs / name_of(parent)).is_dir():
        write_json(
            RunDir(home.runs / name_of(parent)).meta, written(home, parent) | {"waived": True}
        )
        carry.waive(db, parent)


def _free(path: Path) -> Path:
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.partition('.')[0]}.{number}")
    return path


# ----------------------------------------------------------------- back


def entries(home: Home) -> list[Entry]:
    """Return what is in the trash, the newest first."""
    try:
        found = [folder for folder in home.trash.iterdir() if not folder.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(map(_entry, found), key=lambda e: (e.t, e.path.name), reverse=True)


def _entry(folder: Path) -> Entry:
    run = RunDir(folder)
    job, kept = _read(run.config), _read(folder / KEPT)
    config = job.get("config", {})
    if job.get("kind", "train") == "train":
        method = "+".join([*config.get("wrappers", [])[::-1], str(config.get("method", "?"))])
    else:
        method = f"{job['kind']} of {config['subject'].get('method') or 'a file'}"
    text = f"{method} on {config.get('data', {}).get('name', '?')}, {kept.get('state', '?')}"
    t = kept.get("t") or folder.stat().st_mtime
    name = folder.name.partition("-")[0]
    return Entry(folder, name, job.get("uid", ""), size_of(folder), t, text)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def undelete(home: Home, db: sqlite3.Connection, word: str) -> list[str]:
    """Bring a run back from the trash, with the jobs about it that went with it.

    `word` is its id, its uid, or the name of its folder in the trash. Returns a line for each.
    """
    there = entries(home)
    digits = word.removeprefix("r")
    name = name_of(int(digits)) if digits.isdigit() else word
    found = [e for e in there if name in (e.id, e.uid, e.path.name)]
    if not found:
        raise ConfigError(f"run '{word}' is not in the trash; rpat trash shows what is")
    run = found[0]
    stamp = run.path.name.partition("-")[2].partition(".")[0]
    jobs = [
        e for e in there
        if e is not run and e.path.name.partition("-")[2].startswith(stamp)
        and _read(e.path / "config.json").get("config", {}).get("subject", {}).get("run") == run.uid
    ]  # fmt: skip
    lines = [_undelete(home, db, entry) for entry in [run, *reversed(jobs)]]
    folders.mend(home, db)
    return lines


def _undelete(home: Home, db: sqlite3.Connection, entry: Entry) -> str:
    known = carry.by_uid(db, entry.uid)
    if known is not None and (home.runs / name_of(known)).is_dir():
        raise ConfigError(f"{entry.path.name} is there already, as {name_of(known)}")
    wanted = int(entry.id[1:])
    number = wanted if not (home.runs / entry.id).exists() else highest(home, db) + 1
    kept = _read(entry.path / KEPT)
    n = settle_in(home, entry.path, number)
    run = RunDir(home.runs / name_of(n))
    with transaction(db):
        if known is not None:  # its row was never removed
            carry.forget(db, known)
        admit(db, home, n, kept if "history" in kept else None)
        set_fact(db, f"deleted:{entry.id}", "")
    (run.path / KEPT).unlink(missing_ok=True)
    ingest(db, n, run)
    findings.judge(db, queries.subject_of(db, n))
    new = "" if n == wanted else f" as {name_of(n)}, since {entry.id} is another run now"
    return f"{entry.id} is back{new}"


# ----------------------------------------------------------------- for good


def empty(home: Home, db: sqlite3.Connection, doomed: Sequence[Entry]) -> int:
    """Remove runs from the trash for good; returns the bytes that this frees.

    An entry is renamed out of sight first: what is half removed cannot be brought back.
    """
    freed = 0
    for entry in doomed:
        gone = entry.path.with_name(f".{entry.path.name}")
        try:
            entry.path.rename(gone)
            with transaction(db):
                set_fact(db, f"deleted:{entry.id}", "")
            shutil.rmtree(gone)
        except OSError as error:
            raise StoreError(f"{entry.path}: {error.strerror}; check its permissions") from error
        freed += entry.size
    for rest in home.trash.glob(".*") if home.trash.is_dir() else ():
        shutil.rmtree(rest, ignore_errors=True)
    return freed
