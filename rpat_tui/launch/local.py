"""This machine as a launcher: attendants in process sessions of their own, and signals."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rpat.identity import is_alive, process_identity
from rpat.ranks import TORCHRUN
from rpat.rundir import RunDir, replace
from rpat_tui.home import Home, settings
from rpat_tui.launch.box import Box, Starting
from rpat_tui.store import db as database
from rpat_tui.store import queries, queue
from rpat_tui.store.queue import name_of


class Local:
    """The machine that this process is on; only a worker gives it a box to start runs in."""

    def __init__(
        self, home: Home, box: Box | None = None, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.home, self.box, self.say = home, box, say
        self.me = process_identity()
        self.children: list[subprocess.Popen[bytes]] = []
        self.avoided: dict[str, str] = {}
        self.grace = str(settings()["stop_grace"].value) if box is not None else ""

    def submit(self, db: sqlite3.Connection) -> None:
        """Start queued runs in free places."""
        assert self.box is not None, "only a worker starts runs"
        for start in self.box.take(db, self.me):
            self._start(db, start)
        for place, who in self.box.avoided.items():
            if place not in self.avoided:
                self.say(f"{place} is left alone: {who}")
        self.avoided = self.box.avoided

    def _start(self, db: sqlite3.Connection, start: Starting) -> None:
        n, name, slot = start.n, start.name, start.slot
        device = db.execute("select device from runs where n = ?", (n,)).fetchone()[0]
        child = subprocess.Popen(
            [sys.executable, "-m", "rpat_tui.launch.attend", str(self.home.runs / name)],
            env={**_own(), **slot.environment(device), "RPAT_STOP_GRACE": self.grace},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None,
            start_new_session=True,
        )
        self.children.append(child)
        with database.transaction(db):
            queue.launched(db, n, process_identity(child.pid))
        self.say(f"{name} starts on {slot.name}")

    def poll(self, db: sqlite3.Connection) -> bool:
        """Reap attendants that have ended; who lives is seen at every look."""
        self.children = [child for child in self.children if child.poll() is None]
        return True

    def stop(self, db: sqlite3.Connection, n: int, word: str) -> str:
        """Write the request where the trainer looks at each step, then signal it."""
        return self._ask(db, n, word, signal.SIGUSR1)

    def kill(self, db: sqlite3.Connection, n: int, word: str = "kill") -> str:
        """Write the request, then kill the trainer and all that it has started."""
        return self._ask(db, n, word, signal.SIGKILL)

    def close(self) -> None:
        """Hold nothing."""

    def _ask(self, db: sqlite3.Connection, n: int, word: str, number: signal.Signals) -> str:
        state = db.execute("select state from runs where n = ?", (n,)).fetchone()[0]
        if state in ("queued", "paused"):
            return ""  # it has no process
        attempts = RunDir(self.home.runs / name_of(n)).attempts()
        if not attempts:
            return f"{name_of(n)} is starting: try again in a moment"
        replace(attempts[-1].stop, lambda stream: stream.write(word.encode()))
        rows = {row["number"]: row for row in queries.attempts(db, n)}
        _signal(rows.get(attempts[-1].number), number)
        return ""


def _own() -> dict[str, str]:
    """Return this process's environment for runs, which are no ranks of whatever started us."""
    return {name: value for name, value in os.environ.items() if name not in TORCHRUN}


def _signal(attempt: dict[str, Any] | None, number: signal.Signals) -> None:
    """Signal the trainer of an attempt, if it is certainly that process.

    SIGKILL goes to its whole process group, so that nothing it has started stays on the device.
    """
    trainer = attempt["trainer"] if attempt else None
    if not trainer or not is_alive(trainer):
        return
    with suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL and os.getpgid(trainer["pid"]) == trainer["pid"]:
            os.killpg(trainer["pid"], number)
        else:
            os.kill(trainer["pid"], number)
