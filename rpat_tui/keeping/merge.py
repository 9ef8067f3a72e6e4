"""Runs of a bundle into this home, by uid: new ones are added, known ones brought up to date.

A run that is here is changed only where the bundle's journals go on where its own end; what
people wrote about it here stays. Weights come before journals, so that an import that was cut
short is finished by the next one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import StoreError
from rpat.rundir import Attempt, RunDir, read_json, replace, write_json
from rpat_tui.home import Home
from rpat_tui.keeping import folders
from rpat_tui.keeping.labels import written
from rpat_tui.keeping.unpack import unpack
from rpat_tui.store import carry, findings, queries
from rpat_tui.store.belonging import bump
from rpat_tui.store.db import transaction
from rpat_tui.store.index import admit, highest, run_numbers, settle_in
from rpat_tui.store.ingest import ingest
from rpat_tui.store.meta import META
from rpat_tui.store.queue import OPEN, name_of

NEW, UPDATED, SAME, SKIPPED = "new", "updated", "same", "skipped"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one run of a bundle."""

    uid: str
    was: str  # its id where it comes from
    id: str  # its id here; '' where it was left out
    did: str  # new, updated, same or skipped
    text: str


def take(home: Home, db: sqlite3.Connection, files: Sequence[Path]) -> list[Taken]:
    """Import bundles. All of them are checked before the first run is taken."""
    home.make()
    staging = home.runs / f".import.{os.getpid()}.{time.time_ns()}"
    try:
        bundles = []
        for number, file in enumerate(files):
            place = staging / str(number)
            place.mkdir(parents=True)
            bundles.append((unpack(file, place), place))
        taken = [one for manifest, place in bundles for one in _take_all(home, db, manifest, place)]
    except OSError as error:
        raise StoreError(
            f"home {home.path}: the import stopped ({error.strerror}); free some space and "
            "import again: what is there already is recognised"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    folders.mend(home, db)
    for n in sorted({m for m in (carry.by_uid(db, one.uid) for one in taken) if m is not None}):
        findings.judge(db, queries.subject_of(db, n))
    return taken


def _take_all(home: Home, db: sqlite3.Connection, manifest: Json, place: Path) -> list[Taken]:
    entries = sorted(manifest["runs"], key=lambda e: (e["kind"] != "train", e["uid"]))
    return [_take(home, db, entry, str(manifest["host"]), place / entry["uid"])
            for entry in entries]  # fmt: skip


def _take(home: Home, db: sqlite3.Connection, entry: Json, host: str, folder: Path) -> Taken:
    known = _here(home, db, entry["uid"])
    if known is None:
        return _add(home, db, entry, host, folder)
    state = carry.facts(db, known)["state"]
    run = RunDir(home.runs / name_of(known))
    order = _compare(RunDir(folder), run)
    if order == "same" and not _missing(entry, run):
        ingest(db, known, run)  # an import may have been cut short just before
        return _taken(entry, known, SAME, "has nothing new")
    if order == "older":
        return _taken(entry, known, SAME, "is further here than in the bundle")
    if order == "other":
        return _taken(entry, known, SKIPPED, "has gone on differently here: left as it is")
    if state == "queued" or state in OPEN:
        return _taken(entry, known, SKIPPED, f"is {state} here: left as it is")
    _bring_up(home, db, known, entry, host, folder, newer=order == "newer")
    what = "goes on where it ended here" if order == "newer" else "got files that it lacked"
    return _taken(entry, known, UPDATED, what)


def _here(home: Home, db: sqlite3.Connection, uid: str) -> int | None:
    """Return the number of the run with a uid; rows and directories that lost each other meet."""
    known = carry.by_uid(db, uid)
    if known is not None:
        if RunDir(home.runs / name_of(known)).config.exists():
            return known
        with transaction(db):  # a delete was cut short: the directory is in the trash
            carry.forget(db, known)
        return None
    rows = set(carry.numbers(db))
    for n in run_numbers(home):
        if n not in rows and _uid(home, n) == uid:  # an import was cut short
            with transaction(db):
                admit(db, home, n)
            ingest(db, n, RunDir(home.runs / name_of(n)))
            return n
    return None


def _uid(home: Home, n: int) -> str:
    try:
        return str(read_json(RunDir(home.runs / name_of(n)).config).get("uid"))
    except (OSError, ValueError):
        return ""


def _taken(entry: Json, n: int, did: str, text: str) -> Taken:
    return Taken(entry["uid"], entry["id"], name_of(n), did, text)


# ----------------------------------------------------------------- a run that is not here


def _add(home: Home, db: sqlite3.Connection, entry: Json, host: str, folder: Path) -> Taken:
    run, kept = RunDir(folder), entry["intent"]
    meta = META | (read_json(run.meta) if run.meta.exists() else {})
    needs = {tuple(need) for need in kept["needs"]}
    meta["dependencies"] = sorted([uid, checkpoint] for uid, checkpoint in needs)
    write_json(run.meta, meta | _origin(entry, host))
    run.checkpoints.mkdir(exist_ok=True)
    n = settle_in(home, folder, highest(home, db) + 1)
    here = RunDir(home.runs / name_of(n))
    with transaction(db):
        if carry.by_uid(db, entry["uid"]) is None:  # no reindex has seen it in between
            admit(db, home, n, kept)
    ingest(db, n, here)
    remark = f", {entry['remark']}" if entry["remark"] else ""
    return _taken(entry, n, NEW, f"{entry['text']}, {kept['state']}{remark}")


def _origin(entry: Json, host: str) -> Json:
    """Return what `meta.json` keeps of where a run comes from and how it was there."""
    kept = entry["intent"]
    return {
        "imported": f"bundle from {host}",
        "bundle": {
            "host": host,
            "id": entry["id"],
            "state": kept["state"],
            "reason": kept["reason"],
            "ended": kept["ended"],
            "attempts": entry["attempts"],
            "left_out": entry["left_out"],
        },
    }


# ----------------------------------------------------------------- a run that is here


def _compare(theirs: RunDir, ours: RunDir) -> str:
    """Return whether a bundle's run is `newer`, `older`, the `same`, or an `other` history."""
    numbers = sorted({a.number for a in theirs.attempts()} | {a.number for a in ours.attempts()})
    found = set()
    for number in numbers:
        for file in ("journal", "attendant"):
            found.add(_compare_files(
                getattr(Attempt(theirs.path, number), file),
                getattr(Attempt(ours.path, number), file),
            ))  # fmt: skip
    found -= {"same"}
    return (found.pop() if len(found) == 1 else "other") if found else "same"


def _compare_files(theirs: Path, ours: Path) -> str:
    mine, other = _bytes(ours), _bytes(theirs)
    if mine == other:
        return "same"
    if other.startswith(mine):
        return "newer"
    return "older" if mine.startswith(other) else "other"


def _bytes(path: Path) -> bytes:
    """Return a journal's whole lines."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def _missing(entry: Json, run: RunDir) -> list[str]:
    return [name for name in entry["files"] if not (run.path / name).exists()]


def _bring_up(
    home: Home, db: sqlite3.Connection, n: int, entry: Json, host: str, folder: Path, *, newer: bool
) -> None:
    """Copy what a run lacks here, weights first and journals last, then its row."""
    run = RunDir(home.runs / name_of(n))
    wanted = [name for name in entry["files"] if "/" in name] if newer else _missing(entry, run)
    weights = [name for name in wanted if not name.startswith("attempts/")]
    for name in weights:
        _copy(folder / name, run.path / name)
    if newer:
        _go_on(home, db, n, entry, host)
    for name in sorted(set(wanted) - set(weights)):
        _copy(folder / name, run.path / name)
    ingest(db, n, run)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as opened:
        replace(target, lambda stream: shutil.copyfileobj(opened, stream))


def _go_on(home: Home, db: sqlite3.Connection, n: int, entry: Json, host: str) -> None:
    """Take over how a run ended elsewhere; what people wrote about it here stays."""
    kept, run = entry["intent"], RunDir(home.runs / name_of(n))
    with transaction(db):
        meta = written(home, n)
        ours = {tuple(need) if isinstance(need, list) else (need, "")
                for need in meta["dependencies"]}  # fmt: skip
        needs = sorted(ours | {tuple(need) for need in kept["needs"]})
        origin = _origin(entry, host)
        write_json(run.meta, meta | origin | {"dependencies": [list(need) for need in needs]})
        carry.put(db, n, kept["state"], kept["reason"], kept["ended"])
        carry.recall(db, n, kept)
        carry.mark(db, n, imported=origin["imported"], config=queries.config_of(db, n))
        bump(db)
