"""Recorded journals played again into a home of their own: the runs behind `rpat tui --demo`.

Nothing is trained and nothing is made up: each run replays what a real short training on the
embedded digits reported, at its pace or a multiple of it. Where a run stands at the beginning is
chosen so that every state is to be seen; it is called "demo", and its note says what it is. Runs
can be stopped, paused, resumed and queued again as any other.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from rpat.config import RunConfig
from rpat.rundir import Attempt, RunDir
from rpat_tui.home import Home
from rpat_tui.keeping import labels
from rpat_tui.store import db as database
from rpat_tui.store import findings, index, queue
from rpat_tui.store.db import transaction
from rpat_tui.store.ingest import ingest
from rpat_tui.store.queue import name_of

NOTE = "replayed recording"
SPEED = 3.0
"""How much faster than it was recorded a run goes on."""

SLOTS = ("cpu:0", "cpu:1", "cpu:2")
"""Where the runs of the demo are said to be."""

WHO = {"host": "demo", "boot": "demo", "pid": 0, "started": "0"}
"""No process: a stop request finds nobody to signal."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run of the cast: which recording, and where it stands when the curtain rises."""

    recording: int
    state: str
    share: float = 1.0
    """How much of the recording has been played by then."""
    ago: float = 0.0
    """Seconds since its last record."""
    tags: tuple[str, ...] = ()


CAST = (
    Part(0, "done", ago=5400, tags=("baseline",)),
    Part(1, "done", ago=4900),
    Part(2, "done", ago=4200, tags=("baseline",)),
    Part(4, "done", ago=3600),
    Part(5, "stopped", 0.7, 3000),
    Part(7, "failed", 0.45, 2700),
    Part(6, "archived", ago=2000),
    Part(4, "lost", 0.3, 1500),
    Part(0, "paused", 0.5, 900),
    Part(3, "running", 0.62),
    Part(6, "running", 0.4),
    Part(5, "starting", 0.0),
    Part(7, "queued"),
    Part(1, "queued"),
    Part(2, "queued"),
)
"""Every state once at least."""


@dataclass(slots=True)
class Playing:
    """A run that is being played."""

    attempt: Attempt
    slot: str
    start: float
    """When its recording would have begun at the speed of the demo."""
    records: list[Any] = field(default_factory=list)
    """What is still to come."""
    seq: int = 0


def recordings() -> list[dict[str, Any]]:
    """Return the recorded runs that the package carries."""
    text = (files("rpat_tui") / "demo" / "recordings.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


class Replay:
    """Plays the recordings into an empty home."""

    def __init__(self, home: Home, speed: float = SPEED, cast: Sequence[Part] = CAST) -> None:
        self.home, self.speed, self.cast = home, speed, cast
        self.folder: Path | None = None
        self.recorded = recordings()
        self.recording_of: dict[int, Mapping[str, Any]] = {}
        self.playing: dict[int, Playing] = {}

    @classmethod
    def somewhere(cls) -> Replay:
        """Return a replay in a temporary home, ready to be shown."""
        folder = Path(tempfile.mkdtemp(prefix="rpat-"))
        replay = cls(Home(folder / "demo"))
        replay.folder = folder
        replay.begin()
        return replay

    def begin(self) -> None:
        """Make the home and its runs, each where it stands at first."""
        with database.opened(self.home) as db:
            for part in self.cast:
                self._enter(db, part)

    def tick(self) -> None:
        """Do what is due: requests, records, starts."""
        with database.opened(self.home) as db:
            for n in list(self.playing):
                if not self._heed(db, n):
                    self._play(db, n)
            self._start_queued(db)

    def remove(self) -> None:
        """Delete the home."""
        shutil.rmtree(self.home.path, ignore_errors=True)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ----------------------------------------------------------------- where runs stand at first

    def _enter(self, db: sqlite3.Connection, part: Part) -> None:
        recorded = self.recorded[part.recording]
        wish = index.Wish(name="demo", note=NOTE, tags=part.tags)
        config = RunConfig.from_dict(recorded["config"])
        (n,) = index.enqueue(self.home, db, [config], wish, {})
        self.recording_of[n] = recorded
        records, now = recorded["records"], time.time()
        past = records[: round(len(records) * part.share)]
        live = part.state in ("running", "starting")
        if part.state == "queued":
            return
        pace = self.speed if live else 1.0
        start = now - part.ago - (past[-1][0] / pace if past else 0.0)
        if not live:
            self._date(db, n, start)
        self._take(db, n, start)
        self._write(n, past, pace)
        ingest(db, n, RunDir(self.home.runs / name_of(n)))
        ended = now - part.ago
        with transaction(db):
            if past:
                queue.move(db, n, "running", t=start)
        if not live:
            self._end(db, n, part.state, ended)

    def _date(self, db: sqlite3.Connection, n: int, t: float) -> None:
        db.execute("update runs set created = ? where n = ?", (t - 5, n))

    def _end(self, db: sqlite3.Connection, n: int, state: str, t: float) -> None:
        """Let a run stand still in a state."""
        words = {"failed": "the recording was cut here for the demo", "lost": "its place is silent",
                 "stopped": "on request", "paused": "on request"}  # fmt: skip
        if state == "failed":
            self._append(n, t, "error", reason="error", message=words[state], traceback="")
        if state in ("stopped", "paused"):
            self._append(n, t, "stop", word=state, step=0)
        ingest(db, n, RunDir(self.home.runs / name_of(n)))
        del self.playing[n]
        with transaction(db):
            there = "done" if state == "archived" else state
            queue.move(db, n, there, words.get(there, ""), t=t)
            db.execute("update runs set slot = '' where n = ?", (n,))
        findings.judge(db, n)
        if state == "archived":
            labels.archive(self.home, db, n)

    # ----------------------------------------------------------------- playing

    def _take(self, db: sqlite3.Connection, n: int, start: float, step: int = 0) -> None:
        """Begin another attempt of a run, behind what it has done already."""
        attempt = RunDir(self.home.runs / name_of(n)).take_attempt()
        slot = next((s for s in SLOTS if s not in queue.busy_slots(db)), SLOTS[0])
        left = [
            r for r in self.recording_of[n]["records"] if r[2].get("step", 0) > step or not step
        ]
        self.playing[n] = Playing(attempt, slot, start, left)
        with transaction(db):
            queue.move(db, n, "starting", t=start)
            db.execute("update runs set slot = ? where n = ?", (slot, n))
        versions = self.recording_of[n]["versions"]
        self._append(
            n, start, "begin", v=1, attempt=attempt.number, from_step=step, **WHO,
            versions=versions, device="cpu", device_name="recording", threads=1,
        )  # fmt: skip
        attempt.output.write_text(f"{NOTE}: nothing is trained here\n", "utf-8")

    def _write(self, n: int, due: Sequence[Any], pace: float) -> None:
        part = self.playing[n]
        for at, kind, values in due:
            more = {"fingerprint": "demo"} if values.get("what") == "data" else {}
            if kind == "eval":
                more = {"weights": f"demo-{n}-{values['checkpoint']}", "indices": "demo"}
            self._append(n, part.start + at / pace, kind, **values, **more)
        part.records = part.records[len(due) :]

    def _append(self, run: int, t: float, kind: str, /, **values: Any) -> None:
        part = self.playing[run]
        part.seq += 1
        record = {"seq": part.seq, "t": round(t, 3), "kind": kind, **values}
        with part.attempt.journal.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def _play(self, db: sqlite3.Connection, n: int) -> None:
        """Write what is due of a run; end it with its recording."""
        part, now = self.playing[n], time.time()
        due = [r for r in part.records if part.start + r[0] / self.speed <= now]
        if not due:
            return
        self._write(n, due, self.speed)
        ingest(db, n, RunDir(self.home.runs / name_of(n)))
        with transaction(db):
            queue.move(db, n, "running", t=now)
        findings.judge(db, n)
        if not part.records:
            self._end(db, n, "done", now)

    def _heed(self, db: sqlite3.Connection, n: int) -> bool:
        """Do what was asked of a run."""
        request = self.playing[n].attempt.stop
        try:
            word = request.read_text("utf-8").strip()
        except OSError:
            return False
        self._end(db, n, "paused" if word == "pause" else "stopped", time.time())
        return True

    def _start_queued(self, db: sqlite3.Connection) -> None:
        """Start the next runs where a slot is free, unless the queue is on hold."""
        held = queue.holds(db)
        while queue.ALL not in held and len(self.playing) < len(SLOTS):
            ready = [n for n in queue.waiting(db) if n in self.recording_of]
            if not ready:
                return
            n = ready[0]
            (step,) = db.execute("select step from runs where n = ?", (n,)).fetchone()
            self._take(db, n, time.time(), step)
            part = self.playing[n]
            if part.records:
                part.start -= max(part.records[0][0] / self.speed - 2.0, 0.0)
            ingest(db, n, RunDir(self.home.runs / name_of(n)))
