"""Facts about one run, gathered for people: why it ended, why it waits, how it goes.

Reads the database and the run directory; decides and prints nothing.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.launch.card import Facts, Place
from rpat_tui.launch.locks import holder
from rpat_tui.launch.slurm import report
from rpat_tui.store import queries, queue

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Move:
    """One change of state, with who brought it about."""

    t: float
    old: str
    new: str
    reason: str
    cause: str
    who: str

    def public(self) -> dict[str, Any]:
        """Return plain values with stable keys."""
        return {
            "t": queries.iso(self.t), "old": self.old, "new": self.new, "reason": self.reason,
            "cause": self.cause, "who": self.who,
        }  # fmt: skip


def facts(home: Home, db: sqlite3.Connection, row: dict[str, Any]) -> Facts:
    """Return what the card of a run is made of."""
    n = row["n"]
    folder = RunDir(home.runs / row["id"])
    evidence = _evidence(db, n, row["state"])
    attempts = queries.attempts(db, n)
    newest = attempts[-1] if attempts else None
    who = (newest["trainer"] or newest["attendant"] or {}) if newest else {}
    files = folder.attempts()
    return Facts(
        id=row["id"],
        state=row["state"],
        reason=row["reason"],
        kind=row["kind"],
        cause=evidence.get("cause", ""),
        evidence=evidence,
        host=who.get("host", ""),
        attempt=newest["number"] if newest else 0,
        log_lines=_lines(files[-1]) if files else 0,
        last_row=Place(row["epoch"], row["step"]) if row["step"] else None,
        checkpoint=_checkpoint(db, n, folder),
        damaged=len(queries.events(db, n, ["damaged"])),
        config=queries.config_of(db, n),
        findings=[
            f["text"]
            for f in queries.findings(db, n)
            if f["level"] == "error" and row["kind"] == "train"
        ],
    )


def _evidence(db: sqlite3.Connection, n: int, state: str) -> dict[str, Any]:
    moves = [m for m in queries.transitions(db, n) if m["new"] == state]
    found: dict[str, Any] = moves[-1]["evidence"] if moves else {}
    return found


def _checkpoint(db: sqlite3.Connection, n: int, folder: RunDir) -> Place | None:
    """Return how far the checkpoint is that the run would go on from."""
    if not folder.last.exists():
        return None
    saved = queries.events(db, n, ["checkpoint"])
    return Place(saved[-1]["epoch"], saved[-1]["step"]) if saved else None


def _lines(attempt: Any) -> int:
    """Return how many lines the trainer has printed."""
    count = 0
    try:
        with attempt.output.open("rb") as stream:
            while block := stream.read(CHUNK):
                count += block.count(b"\n")
    except OSError:
        return 0
    return count


def history(db: sqlite3.Connection, row: dict[str, Any]) -> list[Move]:
    """Return every change of a run's state, the queueing first."""
    if row["imported"].startswith("log:"):  # its own times lie before it came here
        what = f"imported from {row['imported'].partition(':')[2]}"
        return [Move(row["created"], "", row["state"], what, "", "a person")]
    first = Move(row["created"], "", "queued", "", "", "a person")
    if row["parent"] and "automatic" in row["tags"]:
        first = Move(row["created"], "", "queued", "", "", "the worker")
    return [
        first,
        *(
            Move(m["t"], m["old"], m["new"], m["reason"], m["evidence"].get("cause", ""), _who(m))
            for m in queries.transitions(db, row["n"])
        ),
    ]


def _who(move: dict[str, Any]) -> str:
    """Return who brought a change about, as far as the evidence tells."""
    evidence, reason = move["evidence"], move["reason"]
    if worker := evidence.get("worker"):
        return f"worker {worker['pid']} on {worker['host']}"
    if evidence.get("by"):
        return str(evidence["by"])
    if reason.endswith("on request") or (move["new"] == "queued" and move["old"] in queue.FINAL):
        return "a person"
    if evidence.get("cause") == "outside stop":
        return "someone outside rpat"
    return "the run itself" if move["new"] in ("running", "done", "failed", "starting") else ""


def waits(home: Home, db: sqlite3.Connection, row: dict[str, Any]) -> list[str]:
    """Return why a queued run does not start yet, the strongest reason first."""
    n, found = row["n"], []
    on_hold = queue.holds(db)
    if db.execute("select held from runs where n = ?", (n,)).fetchone()[0]:
        found.append("it is held back")
    if queue.ALL in on_hold:
        found.append("the whole queue is on hold" + _why(on_hold[queue.ALL]))
    for place, why in on_hold.items():
        if place != queue.ALL:
            found.append(f"{place} is on hold{_why(why)}")
    found += [_dependency(d) for d in queries.waits_for(db, n) if d["state"] != "done"]
    if queue.launcher_of(db, n):
        found += report.lines(db, n)
    else:
        found += _slots(db, row)
    if holder(home.worker_lock) is None:
        found.append("no worker lives: rpat worker, rpat wait or rpat watch start one")
    order = queue.waiting(db)
    found.append(f"position {order.index(n) + 1} of {len(order)} in the queue")
    return found


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _dependency(needed: dict[str, Any]) -> str:
    if needed["id"] is None:
        return "it waits for a run that does not exist any more"
    weights = f" ({needed['checkpoint']} weights)" if needed["checkpoint"] else ""
    hopeless = needed["state"] in ("failed", "stopped", "paused")
    tail = f": rpat explain {needed['id']}" if hopeless else ""
    return f"it waits for {needed['id']}{weights}, which is {needed['state']}{tail}"


def _slots(db: sqlite3.Connection, row: dict[str, Any]) -> list[str]:
    """Return what keeps every place that fits from taking the run; nothing where one is free."""
    from rpat_tui.launch.box import in_the_way, rules
    from rpat_tui.launch.cards import read_cards

    gpus = queries.config_of(db, row["n"]).get("gpus", 1)
    return in_the_way(db, row["n"], row["device"], read_cards(), rules(), gpus)


def progress(home: Home, db: sqlite3.Connection, row: dict[str, Any]) -> dict[str, Any]:
    """Return since when a run goes, its pace, and how old its last row is."""
    moves = queries.transitions(db, row["n"])
    since = next((m["t"] for m in reversed(moves) if m["new"] == row["state"] != m["old"]), None)
    latest = queries.latest(db, [row["n"]])[row["n"]]
    attempts = RunDir(home.runs / row["id"]).attempts()
    age = None
    if attempts:
        try:
            age = max(time.time() - attempts[-1].journal.stat().st_mtime, 0.0)
        except OSError:
            age = None
    return {
        "since": since,
        "epoch_s": latest.get("time/epoch_s"),
        "eval_s": latest.get("time/eval_s"),
        "images_per_s": latest.get("time/images_per_s"),
        "last_row_age_s": None if age is None else round(age, 1),
        "remark": row["reason"],
        "cluster": report.lines(db, row["n"]) if queue.launcher_of(db, row["n"]) else [],
    }
