"""Disk use: of runs by what it is for, and of the home beside them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat_tui.home import Home
from rpat_tui.store import carry

PARTS = ("checkpoints", "journals", "results", "logs", "other")
"""What the files of a run are for."""


@dataclass(frozen=True, slots=True)
class Use:
    """The bytes of a run; `snapshot` is its share of code that several runs may refer to."""

    id: str
    kind: str
    state: str
    method: str
    parts: dict[str, int]
    snapshot: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values()) + self.snapshot


def of_runs(home: Home, db: sqlite3.Connection, numbers: Sequence[int]) -> list[Use]:
    """Return what runs use, the largest first."""
    shared = carry.snapshots_in_use(db)
    sizes = {digest: size_of(home.snapshots / digest) for digest in shared}
    found = []
    for n in numbers:
        run = carry.facts(db, n)
        share = sizes.get(run["snapshot"], 0) // shared.get(run["snapshot"], 1)
        parts = _parts(home.runs / run["id"])
        method = run["method"] + ("+rpat" if run["rpat"] else "")
        found.append(Use(run["id"], run["kind"], run["state"], method, parts, share))
    return sorted(found, key=lambda use: (-use.total, use.id))


def of_home(home: Home) -> dict[str, int]:
    """Return what the home uses in all, and in what."""
    parts = {
        "runs": size_of(home.runs),
        "snapshots": size_of(home.snapshots),
        "cache": size_of(home.cache),
        "trash": size_of(home.trash),
        "data": size_of(home.path / "data"),
        "weights": size_of(home.path / "weights"),
        "remotes": size_of(home.path / "remotes") + size_of(home.path / "together"),
        "database": sum(
            file.stat().st_size for file in home.database.parent.glob(f"{home.database.name}*")
        ),
    }
    return {**parts, "total": sum(parts.values())}


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 where there is nothing."""
    try:
        if not path.is_dir():
            return path.lstat().st_size
        total = 0
        with os.scandir(path) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    total += size_of(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
        return total
    except OSError:  # removed meanwhile
        return 0


def _parts(folder: Path) -> dict[str, int]:
    parts = dict.fromkeys(PARTS, 0)
    for base, _, names in os.walk(folder):
        inside = Path(base).relative_to(folder).parts
        for name in names:
            parts[_part(inside, name)] += size_of(Path(base) / name)
    return parts


def _part(inside: tuple[str, ...], name: str) -> str:
    top = inside[0] if inside else ""
    if top.startswith("checkpoints"):
        return "checkpoints"
    if top == "results":
        return "results"
    if top == "attempts" and name.endswith(".jsonl"):
        return "journals"
    return "logs" if name.endswith(".log") else "other"


def human(size: float) -> str:
    """Return bytes as people say them: 999 B, 1.2 kB, 34 MB, 5.6 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.{int(size < 9.95)}f} {unit}"
        size /= 1000
    return f"{size:.{int(size < 9.95)}f} TB"


def plain(use: Use) -> dict[str, Any]:
    """Return what a run uses as JSON has it."""
    return {
        "id": use.id, "kind": use.kind, "state": use.state, "method": use.method, **use.parts,
        "snapshot": use.snapshot, "total": use.total,
    }  # fmt: skip
