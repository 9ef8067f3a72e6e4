"""Runs made again: a new run of an old config, and an old run moved to the code of today."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rpat.config import RunConfig
from rpat.errors import ConfigError
from rpat.rundir import RunDir, newest_code, write_json
from rpat_tui.home import Home
from rpat_tui.launch import frozen
from rpat_tui.launch.origin import provenance_of as provenance_of
from rpat_tui.store import queries, queue
from rpat_tui.store.index import Wish, enqueue

CODE = ("rpat", "python", "packages", "snapshot", "snapshot_path", "git")
"""Keys of the provenance that say what a run executes."""


def rerun(
    home: Home,
    db: sqlite3.Connection,
    numbers: Sequence[int],
    *,
    seeds: Sequence[int] = (),
    changes: Mapping[str, Any] | None = None,
    code: str = "now",
    command: str = "rpat rerun",
) -> list[int]:
    """Queue new runs of the configs of others; returns their numbers.

    `seeds` makes one run a seed. Tags, note and priority are taken along. With code `frozen` they
    execute what the old runs were queued with, else the code of today. Everything is checked
    before anything is made.
    """
    made: list[tuple[dict[str, Any], list[RunConfig]]] = []
    seen: set[str] = set()
    for row in queries.runs(db, numbers=numbers, archived=True):
        if row["kind"] != "train":
            kind = row["kind"]
            raise ConfigError(f"run {row['id']} is of kind {kind}; rpat {kind} makes it again")
        base = RunConfig.from_dict(queries.config_of(db, row["n"])).override(changes or {})
        wanted = [base.override({"seed": seed}) for seed in seeds] or [base]
        if seeds or changes:  # then runs that differed before may have become the same
            wanted = [c for c in wanted if c.fingerprint() not in seen]
            seen |= {c.fingerprint() for c in wanted}
        made.append((row, wanted))
    provenances = [_provenance(home, row, code, command) for row, _ in made]
    numbers_made: list[int] = []
    for (row, configs), provenance in zip(made, provenances, strict=True):
        launcher, resources = queue.place_of(db, row["n"])
        wish = Wish(
            tags=tuple(row["tags"]), note=row["note"], priority=row["priority"],
            launcher=launcher, resources=resources,
        )  # fmt: skip
        numbers_made += enqueue(home, db, configs, wish, provenance)
    return numbers_made


def _provenance(home: Home, row: dict[str, Any], code: str, command: str) -> dict[str, Any]:
    now = {
        **frozen.provenance(home, command),
        "rerun_of": {"id": row["id"], "uid": row["uid"]},
        "code": code,
    }
    if code == "now":
        return now
    old = newest_code(provenance_of(home, row["id"]))
    snapshot = old.get("snapshot_path", "")
    if not snapshot or not (Path(snapshot) / "rpat").is_dir():
        raise ConfigError(
            f"--code frozen: the code that {row['id']} was queued with is not kept; use --code now"
        )
    return now | {key: old[key] for key in CODE if key in old}


def to_present_code(home: Home, db: sqlite3.Connection, n: int) -> str:
    """Let a failed or stopped run execute the code of today; returns one line that says so.

    The first facts stay as they were; what it will execute is appended to `history`.
    """
    row = queries.runs(db, numbers=[n], archived=True)[0]
    if row["state"] not in ("failed", "stopped"):
        raise ConfigError(
            f"run {row['id']} is {row['state']}; only failed and stopped runs are moved to "
            "other code"
        )
    facts = provenance_of(home, row["id"])
    before = newest_code(facts)
    code = frozen.code(home)
    if code["snapshot"] == before.get("snapshot"):
        return f"{row['id']} has the code of today already"
    first = {key: facts[key] for key in CODE if key in facts} | {"t": facts.get("queued")}
    history = [*(facts.get("history") or [first]), {**code, "t": time.time()}]
    write_json(RunDir(home.runs / row["id"]).provenance, {**facts, "history": history})
    db.execute("update runs set snapshot = ? where n = ?", (code["snapshot"], n))
    was = str(before.get("snapshot", ""))[:10] or "unknown code"
    return f"{row['id']} is moved from code {was} to {code['snapshot'][:10]}"
