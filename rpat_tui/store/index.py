"""Run directories into rows: when a run is queued, and when the database is made again."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rpat.config import RunConfig
from rpat.errors import RpatError, StoreError
from rpat.jobs import KINDS, Job
from rpat.recipes import label
from rpat.rundir import RunDir, new_uid, newest_code, read_json, write_json
from rpat_tui import placement
from rpat_tui.compose import needs
from rpat_tui.home import Home
from rpat_tui.store import carry, submissions
from rpat_tui.store.belonging import bump, fact
from rpat_tui.store.db import transaction
from rpat_tui.store.memory import GPUS
from rpat_tui.store.meta import META
from rpat_tui.store.queue import OPEN, name_of, place_of

Task = RunConfig | Job
"""What a run directory can hold: a training run, an evaluation or a study."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wrote beside a config."""

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    sweep: str = ""
    priority: int = 50
    retries: int = 0
    after: tuple[str, ...] = ()  # uids of runs that must be done before
    launcher: str | None = None  # where it executes: local or slurm; None: as configured
    resources: Mapping[str, str] = field(default_factory=dict)  # what it asks of a cluster


def enqueue(
    home: Home,
    db: sqlite3.Connection,
    configs: Sequence[Task],
    wish: Wish,
    provenance: Mapping[str, Any],
) -> list[int]:
    """Make a run directory for each config, then queue all of them in one transaction.

    A directory is built under a temporary name, flushed and renamed, so it exists whole or not
    at all; when anything fails, what was made is taken back. Returns the runs' numbers.
    """
    wish = _placed(wish)
    for config in configs:
        placement.check_cards(wish.resources, getattr(config, "gpus", 1))
    made: list[int] = []
    try:
        number = highest(home, db) + 1
        for config in configs:
            number = _make(home, number, config, wish, provenance)
            made.append(number)
            number += 1
        with transaction(db):
            for n, config in zip(made, configs, strict=True):
                index(db, home, n, "queued")
                db.execute(
                    "update runs set priority = ?, retries = ? where n = ?",
                    (wish.priority, wish.retries, n),
                )
                depend(db, n, config)
                db.executemany(
                    "insert or ignore into dependencies values (?, ?, '')",
                    [(n, uid) for uid in wish.after],
                )
            bump(db)
    except BaseException as error:
        for n in made:
            _remove(home.runs / name_of(n))
        if isinstance(error, OSError):
            raise StoreError(
                f"home {home.path}: nothing was queued ({error.strerror}); "
                "free some space or name another folder with --home"
            ) from error
        raise
    return made


def _placed(wish: Wish) -> Wish:
    """Return a wish that says where its runs execute, and what they ask of a cluster."""
    launcher, resources = placement.resolve(wish.launcher, wish.resources)
    return replace(wish, launcher=launcher, resources=resources)


def place(
    home: Home, db: sqlite3.Connection, n: int, launcher: str | None, changes: Mapping[str, str]
) -> None:
    """Let a run that has ended execute elsewhere, or ask a cluster for something else.

    What was asked for before stays where it is not changed. Raises `ConfigError`.
    """
    old, asked = place_of(db, n)
    word = launcher if launcher is not None else old or "local"
    kept = asked if word == "slurm" else {}
    launcher, resources = placement.resolve(word, {**kept, **changes})
    (cards,) = db.execute(f"select {GPUS} from runs where n = ?", (n,)).fetchone()
    placement.check_cards(resources, cards)
    run = RunDir(home.runs / name_of(n))
    meta = META | _read_or_empty(run.meta)
    write_json(run.meta, meta | {"launcher": launcher, "resources": resources})
    db.execute(
        "update runs set launcher = ?, resources = ? where n = ?",
        (launcher, json.dumps(resources), n),
    )


def want_evaluations(
    db: sqlite3.Connection, configs: Sequence[RunConfig], twins: Mapping[str, Mapping[str, Any]]
) -> None:
    """Let runs that are taken in the place of new ones be evaluated as the new ones would be."""
    with transaction(db):
        for config in configs:
            twin = twins.get(config.fingerprint())
            if twin is not None and config.eval.attack == "aa":
                db.execute("update runs set wants = 'aa' where n = ?", (twin["n"],))


def depend(db: sqlite3.Connection, n: int, config: Task) -> None:
    """Let a run wait for the newest runs that make the weights it needs.

    A job waits for the end of its run where it needs the final weights, or where there are none
    at all yet.
    """
    if isinstance(config, Job):
        if config.subject.run:
            db.execute(
                "insert or ignore into dependencies "
                "select ?, uid, 'final' from runs where uid = ? and (? or epoch = 0)",
                (n, config.subject.run, "final" in config.subject.checkpoints),
            )
        return
    for fingerprint, kind in needs(config):
        row = db.execute(
            "select uid from runs where fingerprint = ? and state not in ('failed', 'stopped') "
            "and imported not like 'log:%' "
            "order by n desc limit 1",
            (fingerprint,),
        ).fetchone()
        if row is not None:
            db.execute("insert or ignore into dependencies values (?, ?, ?)", (n, row[0], kind))


def index(
    db: sqlite3.Connection, home: Home, n: int, state: str, reason: str = "", *, name: str = ""
) -> None:
    """Insert the row of a run directory; the caller holds a transaction.

    `name` is what the directory and the run are called where that is not the number's id.
    """
    name = name or name_of(n)
    run = RunDir(home.runs / name)
    job, meta = read_json(run.config), META | _read_or_empty(run.meta)
    provenance = _read_or_empty(run.provenance)
    row = {
        "n": n,
        "id": name,
        "uid": job["uid"],
        "kind": job["kind"],
        "name": meta["name"],
        "note": meta["note"],
        "sweep": meta["sweep"],
        "archived": int(meta["archived"]),
        **_facts(job["kind"], job["config"]),
        **({"wants": ""} if meta.get("waived") else {}),
        "config": json.dumps(job["config"]),
        "imported": meta["imported"],
        **_place(meta),
        "snapshot": newest_code(provenance).get("snapshot", ""),
        "state": state,
        "reason": reason,
        "created": provenance.get("queued", run.config.stat().st_mtime),
    }
    columns = ", ".join(row)
    marks = ", ".join(f":{column}" for column in row)
    db.execute(f"insert into runs ({columns}) values ({marks})", row)
    db.executemany("insert into tags values (?, ?)", [(n, tag) for tag in meta["tags"]])
    db.executemany(
        "insert or ignore into dependencies values (?, ?, ?)",
        [(n, need, "") if isinstance(need, str) else (n, *need) for need in meta["dependencies"]],
    )


def _place(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return where a run executes; one that came from elsewhere is not bound to a cluster there."""
    if meta["imported"] or "bundle" in meta:
        return {"launcher": "", "resources": "{}"}
    return {"launcher": meta["launcher"], "resources": json.dumps(meta["resources"])}


def task(kind: str, values: Mapping[str, Any]) -> Task:
    """Return what a run directory of a kind holds, from its config."""
    return RunConfig.from_dict(values) if kind == "train" else KINDS[kind].from_dict(values)


def _facts(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that say what a job is."""
    job = task(kind, values)
    if isinstance(job, RunConfig):
        config = job
        rpat = config.wrapper("rpat")
        return {
            **_common(config),
            "parent": None,
            "method": label(config),
            "rpat": int(rpat is not None),
            "lam": rpat.lam if rpat is not None else None,
            "epochs": config.schedule.epochs,
            "group_key": config.group(),
            "wants": "aa" if config.eval.attack == "aa" else "",
        }
    subject = job.subject
    return {
        **_common(job),
        "parent": subject.run or None,
        "method": subject.method or Path(subject.file).stem,
        "rpat": int(subject.rpat),
        "lam": subject.lam if subject.rpat else None,
        "epochs": 0,
        "group_key": job.fingerprint(),
        "wants": "",
    }


def _common(task: Task) -> dict[str, Any]:
    return {
        "dataset": task.data.name,
        "source": task.data.source,
        "norm": task.threat.norm,
        "model": task.model.name,
        "seed": task.seed,
        "fingerprint": task.fingerprint(),
        "device": task.device,
    }


def run_numbers(home: Home) -> list[int]:
    """Return the numbers of the run directories that hold a job."""
    return sorted(
        int(entry.name[1:])
        for entry in _entries(home)
        if entry.name[1:].isdigit() and RunDir(entry).config.is_file()
    )


def _entries(home: Home) -> list[Path]:
    try:
        return [entry for entry in home.runs.iterdir() if entry.name.startswith("r")]
    except FileNotFoundError:
        return []


def highest(home: Home, db: sqlite3.Connection) -> int:
    """Return the highest number that a run has or had: a deleted run's id names no other."""
    there = [int(e.name[1:]) for e in _entries(home) if e.name[1:].isdigit()]
    rows = db.execute("select coalesce(max(n), 0) from runs").fetchone()[0]
    return max([*there, int(rows), int(fact(db, "highest") or 0)])


def adopt(
    home: Home,
    db: sqlite3.Connection,
    config: Task,
    wish: Wish,
    provenance: Mapping[str, Any],
    fill: Callable[[RunDir], object],
    *,
    imported: str,
) -> int:
    """Index a run that somebody else computed; returns its number.

    `fill` writes what it found into the directory before that gets its name, so that it exists
    whole or not at all. It is `lost` until its journal is read: the evidence moves it on, also
    when this process dies in between.
    """
    more = {"imported": imported}
    n = _make(home, highest(home, db) + 1, config, wish, provenance, fill, more)
    try:
        with transaction(db):
            reason = f"imported from {imported.partition(':')[2]}"
            index(db, home, n, "lost", reason)
            db.execute(
                "insert into transitions (run, old, new, t, reason, evidence) "
                "values (?, 'queued', 'lost', ?, ?, '{}')",
                (n, time.time(), reason),
            )
    except BaseException:
        _remove(home.runs / name_of(n))
        raise
    return n


def _make(
    home: Home,
    number: int,
    config: Task,
    wish: Wish,
    provenance: Mapping[str, Any],
    fill: Callable[[RunDir], object] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> int:
    """Claim the next free number with `mkdir`, then rename the finished directory onto it."""
    number, target = _claim(home, number)
    building = home.runs / f".{target.name}.{os.getpid()}"
    try:
        building.mkdir()
        _fill(RunDir(building), config, wish, provenance, meta or {})
        if fill is not None:
            fill(RunDir(building))
        sync(building)
        building.rename(target)  # onto the empty folder that claimed the name
        sync(home.runs)
    except BaseException:
        _remove(building)
        _remove(target)
        raise
    return number


def _claim(home: Home, number: int) -> tuple[int, Path]:
    while True:
        target = home.runs / name_of(number)
        try:
            target.mkdir()
            return number, target
        except FileExistsError:
            number += 1


def settle_in(home: Home, folder: Path, number: int) -> int:
    """Move a run directory that is whole to `runs/`; returns the number that it got.

    That is `number` where it is free, else the next one that is.
    """
    number, target = _claim(home, number)
    try:
        sync(folder)
        folder.rename(target)
    except BaseException:
        with suppress(OSError):
            target.rmdir()
        raise
    sync(home.runs)
    return number


def _fill(
    run: RunDir,
    config: Task,
    wish: Wish,
    provenance: Mapping[str, Any],
    more: Mapping[str, Any],
) -> None:
    job = {
        "schema": 1,
        "uid": new_uid(),
        "kind": "train" if isinstance(config, RunConfig) else config.KIND,
        "fingerprint": config.fingerprint(),
        "config": config.to_dict(),
    }
    write_json(run.config, job)
    write_json(run.provenance, {"queued": time.time(), **provenance})
    meta = {
        "name": wish.name, "tags": list(wish.tags), "note": wish.note, "sweep": wish.sweep,
        "dependencies": list(wish.after), "launcher": wish.launcher or "",
        "resources": dict(wish.resources),
    }  # fmt: skip
    write_json(run.meta, META | meta | dict(more))
    run.checkpoints.mkdir()


def sync(folder: Path) -> None:
    """Flush a directory to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(folder: Path) -> None:
    import shutil

    with suppress(OSError):
        shutil.rmtree(folder)


def _read_or_empty(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def index_all(db: sqlite3.Connection, home: Home) -> tuple[int, list[str]]:
    """Forget everything derived and read the run directories again; in the caller's transaction.

    Runs that were queued stay queued in their order; a directory that the database did not know
    becomes `stopped`, reason "never queued", until its journals say more. Returns the number of
    runs and one line for each directory that could not be read.
    """
    queued = {
        uid
        for (uid,) in db.execute(
            "select uid from runs where state = 'queued' or (state = 'starting' and attempt = 0)"
        )
    }
    held = {
        uid: (state, *rest)
        for uid, state, *rest in db.execute("select uid, state, reason, ended from runs")
        if state in ("stopped", "paused")
    }
    wishes = db.execute(
        "select priority, rank, held, retries, retried, notified, uid from runs"
    ).fetchall()
    running = {uid for (uid,) in db.execute(f"select uid from runs where state in {OPEN}")}
    seen = dict(db.execute("select uid, attempt from runs").fetchall())
    moves = db.execute(
        "select r.uid, t.old, t.new, t.t, t.reason, t.evidence from transitions t "
        "join runs r on r.n = t.run order by t.id"
    ).fetchall()
    waits = db.execute(
        "select r.uid, d.needs, d.checkpoint from dependencies d join runs r on r.n = d.run"
    ).fetchall()
    jobs = submissions.kept(db)
    db.execute("delete from runs")
    problems: list[str] = []
    numbers = run_numbers(home)
    for n in numbers:
        try:
            index(db, home, n, "stopped", "never queued")
        except (RpatError, KeyError, ValueError, OSError) as error:
            problems.append(f"{name_of(n)}: {error}")
        except sqlite3.IntegrityError:
            problems.append(
                f"{name_of(n)}: a copy of another run, with its uid; remove one of them"
            )
    known = dict(db.execute("select uid, n from runs").fetchall())
    for uid, n in known.items():
        attempts = RunDir(home.runs / name_of(n)).attempts()
        known_last = not attempts or attempts[-1].number <= seen.get(uid, 0)
        if uid in queued and known_last:
            db.execute("update runs set state = 'queued', reason = '' where n = ?", (n,))
        elif uid in held and known_last:
            carry.put(db, n, *held[uid])
        elif uid not in running and (bundled := _bundled(home, n)):
            carry.put(db, n, *bundled)
        elif attempts:
            carry.put(db, n, "lost", "reindexed", None)
    submissions.restore(db, home, jobs)
    db.executemany(
        "update runs set priority = ?, rank = ?, held = ?, retries = ?, retried = ?, notified = ? "
        "where uid = ?",
        wishes,
    )
    db.executemany(
        "insert into transitions (run, old, new, t, reason, evidence) values (?, ?, ?, ?, ?, ?)",
        [(known[uid], *rest) for uid, *rest in moves if uid in known],
    )
    db.executemany(
        "insert or ignore into dependencies values (?, ?, ?)",
        [(known[uid], *rest) for uid, *rest in waits if uid in known],
    )
    return len(numbers) - len(problems), problems


def admit(
    db: sqlite3.Connection, home: Home, n: int, kept: Mapping[str, Any] | None = None
) -> None:
    """Insert the row of a run directory that has come back, or come from elsewhere.

    `kept` is what `carry.intent` said of it; without it the journals decide, as in a new index.
    The caller holds a transaction, and reads the journals afterwards.
    """
    index(db, home, n, "stopped", "never queued")
    bundled = _bundled(home, n)
    if bundled:
        carry.put(db, n, *bundled)
    elif kept:
        carry.put(db, n, kept["state"], kept["reason"], kept["ended"])
    elif RunDir(home.runs / name_of(n)).attempts():
        carry.put(db, n, "lost", "reindexed", None)
    if kept:
        carry.recall(db, n, kept)
    bump(db)


def _bundled(home: Home, n: int) -> tuple[str, str, float | None] | None:
    """Return the state that a run brought from elsewhere, until it is executed here."""
    run = RunDir(home.runs / name_of(n))
    bundle = _read_or_empty(run.meta).get("bundle")
    attempts = run.attempts()
    if not bundle or (attempts and attempts[-1].number > bundle["attempts"]):
        return None
    return bundle["state"], bundle["reason"], bundle["ended"]
