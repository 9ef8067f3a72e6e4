"""The worker: one a home; it starts queued runs in free slots and keeps states true.

`python -m rpat_tui.launch.worker HOME` is what commands start in the background. It owns no
run: attendants live in process sessions of their own, and a new worker finds them by their
identities. A worker that has had nothing to do for a while leaves.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from rpat.errors import RpatError
from rpat.identity import Identity, process_identity
from rpat_tui.home import Home, settings
from rpat_tui.launch import control
from rpat_tui.launch.automatic import queue_evaluations
from rpat_tui.launch.box import Box, rules
from rpat_tui.launch.cards import Driver, visible_devices
from rpat_tui.launch.launcher import Launcher
from rpat_tui.launch.local import Local
from rpat_tui.launch.locks import held, holder
from rpat_tui.launch.monitor import Monitor
from rpat_tui.launch.notify import tell
from rpat_tui.launch.reconcile import reconcile
from rpat_tui.launch.slurm.side import Slurm
from rpat_tui.launch.stuck import Watch
from rpat_tui.settings import stamp
from rpat_tui.store import db as database
from rpat_tui.store import queries, queue, submissions

TICK = 0.5
"""Seconds between two looks."""

Say = Callable[[str], None]


class Worker:
    """The loop behind `rpat worker`."""

    def __init__(self, home: Home, idle: float, box: Box, say: Say) -> None:
        self.home, self.idle, self.box, self.say = home, idle, box, say
        self.monitor = Monitor(home, box, settings()["monitor_every"].value)
        self.me: Identity = process_identity()
        self.sides: list[Launcher] = [Local(home, box, say), Slurm(home, say)]
        self.leaving = False
        self.watch = Watch(settings()["stuck_factor"].value)
        self.restarts_stuck = settings()["stuck_action"].value == "restart"
        self._settings = stamp()

    def run(self) -> bool:
        """Work until idle or told to leave; returns False when another worker lives."""
        while True:
            with held(self.home.worker_lock, dict(self.me)) as free:
                if not free:
                    return False
                try:
                    self._work()
                finally:
                    self.monitor.close()
                    for side in self.sides:
                        side.close()
            # Whoever queued a run while the lock was still held counts on this worker.
            with database.opened(self.home) as db:
                if self.leaving or not queue.work_left(db):
                    return True

    def leave(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End after the present look; runs go on."""
        self.leaving = True

    def _work(self) -> None:
        busy_at = time.monotonic()
        while not self.leaving and time.monotonic() - busy_at < self.idle:
            try:
                with database.opened(self.home) as db:
                    mine = database.file_of(self.home)
                    while not self.leaving and time.monotonic() - busy_at < self.idle:
                        if database.file_of(self.home) != mine:
                            self.say("the database was replaced: it is opened again")
                            break
                        self._look_at_settings()
                        news = [side.poll(db) for side in self.sides]
                        reconcile(self.home, db, watch=self.watch, clusters=news[1])
                        self._restart_stuck(db)
                        queue_evaluations(self.home, db)
                        tell(db, self.say)
                        for side in self.sides:
                            side.submit(db)
                        self.monitor.look(db)
                        if queue.work_left(db):
                            busy_at = time.monotonic()
                        time.sleep(TICK)
            except (RpatError, OSError) as error:  # a full disk, a slip in a file: runs go on
                self.say(str(error))
                time.sleep(2)

    def _look_at_settings(self) -> None:
        """Take what the settings say of places, where a file of theirs has changed."""
        if (now := stamp()) == self._settings:
            return
        self._settings = now
        self.box.rules = rules()
        self.say("the settings have changed: places are given by them from now on")

    def _restart_stuck(self, db: sqlite3.Connection) -> None:
        """End runs that are stuck, where the settings ask for it; the verdict queues them again."""
        for n in queries.stuck(db) if self.restarts_stuck else ():
            if control.restart(self.home, db, n):
                self.say(f"{queue.name_of(n)} is stuck and is started again")


_started: list[int] = []
"""Workers this process has started: they outlive it, but must be reaped while it lives."""


def ensure(home: Home) -> None:
    """Start a worker in the background, in a session of its own, when none lives."""
    _started[:] = [pid for pid in _started if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    if holder(home.worker_lock) is not None:
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(home.worker_log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    command = [sys.executable, "-m", "rpat_tui.launch.worker", str(home.path)]
    _started.append(
        os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsid=True)
    )


def ensure_for(home: Home, db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Start a worker where requests about these runs have to be passed on to a cluster."""
    asked = set(numbers)
    if any(s.run in asked for s in submissions.followed(db)):
        ensure(home)


def serve(home: Home, idle: float, say: Say) -> bool:
    """Be the home's worker in this process; returns False when another one lives."""
    driver = Driver(visible=visible_devices())
    worker = Worker(home, idle, Box(rules(), driver.read), say)
    signal.signal(signal.SIGTERM, worker.leave)
    signal.signal(signal.SIGINT, worker.leave)
    return worker.run()


def main(folder: str) -> int:
    """Serve in the background, with a log line for each start."""

    def say(text: str) -> None:
        sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stdout.flush()

    os.chdir(folder)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    serve(Home(Path(folder)), settings()["worker_idle"].value, say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
