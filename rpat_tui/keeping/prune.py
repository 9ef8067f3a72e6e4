"""Freeing disk by rule: what may go, what is needed and by whom, and what has gone.

A file that goes is noted in the run's `meta.json` before it is removed, so that whoever misses it
later can be told. Weights that a stored evaluation, a student, an open job or a waiting run needs
never go.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpat.errors import ConfigError, StoreError
from rpat.rundir import RunDir, read_json, write_json
from rpat_tui.home import Home
from rpat_tui.keeping.labels import written
from rpat_tui.keeping.usage import size_of
from rpat_tui.store import carry
from rpat_tui.store.db import transaction
from rpat_tui.store.queue import FINAL, name_of

KEEP = ("best", "final", "last")
"""What `--keep` knows: weights of the best and the last epoch, and the state to go on from."""

_WEIGHTS = re.compile(r"^(best|final|epoch)-(?:(\d+)-)?(\w+)\.pt$")
FRESH = 600.0
"""Seconds that a snapshot is left alone: somebody may be queueing runs that refer to it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder that may go, or that is kept and why."""

    path: Path  # below the home
    size: int
    why: str
    n: int | None = None  # the run it belongs to
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What shall stay of the runs."""

    keep: tuple[str, ...] = ("best", "final")
    epochs: bool = False  # remove the weights of single epochs

    def check(self) -> None:
        """Refuse words that mean nothing."""
        for word in self.keep:
            if word not in KEEP:
                raise ConfigError(f"--keep {word}: choose of {', '.join(KEEP)}, as best,final")
        if not self.keep:
            raise ConfigError("--keep is empty; rpat delete removes whole runs")


# ----------------------------------------------------------------- runs


def of_run(home: Home, db: sqlite3.Connection, n: int, rule: Rule) -> list[Item]:
    """Return what of a run may go, and what the rule names but somebody needs."""
    facts = carry.facts(db, n)
    if facts["state"] not in FINAL:
        return []
    run = RunDir(home.runs / facts["id"])
    needed = _needed(db, n, run)
    done = facts["state"] == "done"
    return [
        Item(
            path.relative_to(home.path), size_of(path), needed.get(path.name, why), n,
            kept=path.name in needed,
        )
        for path, why in _candidates(run, rule, done)
    ]  # fmt: skip


def _candidates(run: RunDir, rule: Rule, done: bool) -> Iterator[tuple[Path, str]]:
    for path in sorted(_listed(run.checkpoints)):
        match = _WEIGHTS.match(path.name)
        if match and match[1] == "epoch":
            if rule.epochs:
                yield path, f"weights of epoch {int(match[2])}"
        elif match and done and match[1] not in rule.keep:
            yield path, f"{match[1]} weights"
        elif path == run.last and done and "last" not in rule.keep:
            yield path, "training state of a run that is done"
        elif done and path.name.startswith(("next-best-", ".")):
            yield path, "left behind by an attempt that died"
    if done:
        for path in sorted(run.path.glob("checkpoints.*")):
            yield path, "moved aside when the run began again"
        for path in sorted(_listed(run.results)):
            if path.name.startswith("."):
                yield path, "left behind by an attempt that died"


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _needed(db: sqlite3.Connection, n: int, run: RunDir) -> dict[str, str]:
    """Return the names of the files that somebody needs, and who."""
    found: dict[str, str] = {}
    names = [path.name for path in _listed(run.checkpoints)]
    networks = {match[3] for name in names if (match := _WEIGHTS.match(name))}
    for checkpoint, network, who in carry.weights_in_use(db, n):
        for one in networks if network == "*" else {network}:
            for path in _files(run, checkpoint, one):
                found.setdefault(path.name, who)
    return found


def _files(run: RunDir, checkpoint: str, network: str) -> list[Path]:
    if checkpoint == "best":
        return [run.best(network)]
    if checkpoint == "final":
        return [run.final(network)]
    kind, _, epoch = checkpoint.partition(":")
    if kind != "epoch" or not epoch.isdigit():
        return []
    kept = run.kept(network, int(epoch))
    return [kept] if kept.exists() else [run.best(network), run.final(network)]


# ----------------------------------------------------------------- the home


def snapshots(home: Home, db: sqlite3.Connection) -> list[Item]:
    """Return the snapshots of code that no run refers to, here or in the trash."""
    used = set(carry.snapshots_in_use(db))
    for folder in [*_listed(home.trash), *_listed(home.runs)]:  # known to the database or not
        used |= _snapshots_of(folder)
    return [
        Item(folder.relative_to(home.path), size_of(folder), "code that no run refers to")
        for folder in sorted(_listed(home.snapshots))
        if folder.name not in used and time.time() - folder.stat().st_mtime > FRESH
    ]


def _snapshots_of(folder: Path) -> set[str]:
    """Return the code that a run has, or had before it was moved to other code."""
    try:
        facts = read_json(RunDir(folder).provenance)
    except (OSError, ValueError):
        return set()
    return {str(part.get("snapshot", "")) for part in (facts, *facts.get("history", []))}


def cache(home: Home, db: sqlite3.Connection, days: float) -> list[Item]:
    """Return decoded images that nobody has read for some days and no open run needs."""
    used, limit = carry.data_in_use(db), time.time() - days * 86_400
    found = []
    for folder in sorted(_listed(home.cache)):
        if folder.name == "sources" or folder.name in used or not folder.is_dir():
            continue
        read = max(
            (max(file.stat().st_atime, file.stat().st_mtime) for file in _listed(folder)),
            default=folder.stat().st_mtime,
        )
        if read < limit:
            text = f"decoded images, unread for {(time.time() - read) / 86_400:.0f} days"
            found.append(Item(folder.relative_to(home.path), size_of(folder), text))
    return found


# ----------------------------------------------------------------- away


def carry_out(
    home: Home, db: sqlite3.Connection, items: Sequence[Item], rule: Rule, days: float | None
) -> int:
    """Remove what may go, after looking again whether it still may; returns the bytes freed."""
    freed = 0
    for n in dict.fromkeys(item.n for item in items if item.n is not None):
        with transaction(db):  # nobody queues a job that needs them meanwhile
            still = [item for item in of_run(home, db, n, rule) if not item.kept]
            freed += _remove_of_run(home, n, still)
    with transaction(db):
        others = [*snapshots(home, db), *(cache(home, db, days) if days is not None else [])]
        agreed = {item.path for item in items}
        freed += sum(_remove(home, item) for item in others if item.path in agreed)
    return freed


def _remove_of_run(home: Home, n: int, items: Sequence[Item]) -> int:
    if not items:
        return 0
    folder = home.runs / name_of(n)
    meta = written(home, n)
    gone = {note["file"]: note for note in meta.get("pruned", [])}
    for item in items:
        name = str((home.path / item.path).relative_to(folder))
        if not name.rpartition("/")[2].startswith("."):
            gone[name] = {"file": name, "bytes": item.size, "t": round(time.time(), 3)}
    write_json(RunDir(folder).meta, meta | {"pruned": [gone[name] for name in sorted(gone)]})
    return sum(_remove(home, item) for item in items)


def _remove(home: Home, item: Item) -> int:
    path = home.path / item.path
    try:
        if path.is_dir() and not path.is_symlink():
            gone = path.with_name(f".{path.name.lstrip('.')}.gone")
            path.rename(gone)  # never half there under its name
            shutil.rmtree(gone)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check its permissions") from error
    return item.size


def pruned(home: Home, n: int) -> list[str]:
    """Return what was pruned of a run and is not there again."""
    folder = home.runs / name_of(n)
    notes = written(home, n).get("pruned", [])
    return [note["file"] for note in notes if not (folder / note["file"]).exists()]
