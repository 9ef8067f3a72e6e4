"""Kills at random moments, full disks and busy databases; what must be true after each.

`Chaos` is used by the twenty kills of the normal tests and by the hundreds of `make soak`. What is
true is read from /proc and from the journals, never from the code under test.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpat.errors import StoreError
from rpat_tui.cli.output import reading
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.store.queue import FINAL, MOVES
from tests.console.conftest import Enqueue, enqueuer, until

COMMAND = [sys.executable, "-m", "rpat_tui"]
KINDS = ["trainer"] * 2 + ["worker", "attendant", "client"]
"""What is killed, in these shares."""

LIMIT = 5.0
"""Seconds within which every state is true, on a machine that starts Python in `QUIET`."""

QUIET = 0.025

KILLED = ("SIGKILL", "vanished")
FULL = ("disk", "No space left", "could not be started")
"""Words of the reasons that killed runs and runs on a full disk may give."""


class Machine:
    """The processes of a home, as the kernel shows them: the store is not asked."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.client: subprocess.Popen[bytes] | None = None

    def pids(self, module: str) -> dict[str, list[int]]:
        """Folder or run id -> living processes of `python -m module FOLDER`."""
        found: dict[str, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")[1:-1]
                if words[:2] != ["-m", module] or len(words) != 3:
                    continue
                if words[2].startswith(str(self.home.path)):
                    found.setdefault(Path(words[2]).name, []).append(int(entry.name))
        return found

    def trainers(self) -> dict[str, int]:
        """Run -> its trainer; no run ever has two."""
        found = self.pids("rpat")
        assert all(len(pids) == 1 for pids in found.values()), f"two trainers of a run: {found}"
        return {run: pids[0] for run, pids in found.items()}

    def attendants(self) -> dict[str, int]:
        """Run -> its attendant, once that has said whom it attends."""
        return {
            run: pids[0]
            for run, pids in self.pids("rpat_tui.launch.attend").items()
            if f'"pid":{pids[0]},' in (said := newest(self.home.runs / run, "attendant.jsonl"))
            and '"kind":"started"' in said
        }

    def worker(self) -> int:
        """The worker's pid, or 0."""
        return self.pids("rpat_tui.launch.worker").get(self.home.path.name, [0])[0]

    def follow(self, words: list[str]) -> None:
        """Have a foreground client that waits for or watches all runs."""
        if self.client is None or self.client.poll() is not None:
            self.client = subprocess.Popen(
                [*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def leave(self) -> None:
        """End the client and the worker; runs go on."""
        if self.client is not None:
            self.client.kill()
            self.client.wait()
        for pids in self.pids("rpat_tui.launch.worker").values():
            for pid in pids:
                kill(pid)
        until(lambda: not self.worker())

    def clear(self) -> None:
        """End whatever still runs."""
        if self.client is not None:
            self.client.kill()
            self.client.wait()
        for module in ("rpat_tui.launch.worker", "rpat_tui.launch.attend", "rpat"):
            for pids in self.pids(module).values():
                for pid in pids:
                    kill(pid)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def newest(run: Path, file: str) -> str:
    """The text of a file of the newest attempt."""
    attempts = sorted((run / "attempts").glob("*"))
    try:
        return (attempts[-1] / file).read_text()
    except (OSError, IndexError):
        return ""


def has_ended(home: Home, run: str) -> bool:
    return '"kind":"end"' in newest(home.runs / run, "journal.jsonl")


def has_said_its_last_word(journal: Path) -> bool:
    """Whether a trainer had ended or saved its work before it was killed."""
    try:
        text = journal.read_text()
    except OSError:
        return False
    return '"kind":"end"' in text or '"kind":"stop"' in text


def listing(by_command: bool) -> dict[str, dict[str, Any]]:
    """What `rpat list --json` says, by the command or by the functions under it."""
    if by_command:
        said = subprocess.run([*COMMAND, "list", "--json"], capture_output=True)
        if said.returncode:
            raise StoreError(said.stderr.decode())
        rows = json.loads(said.stdout)
    else:
        with reading(None) as (_, db):
            rows = [queries.public(row) for row in queries.runs(db)]
    return {row["id"]: row for row in rows}


def is_true(row: dict[str, Any], before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether a row agrees with the processes seen before and after it was read."""
    run, state = row["id"], row["state"]
    if state in ("running", "pausing", "starting"):
        return state == "starting" or run in before or run in after
    return state in ("queued", "paused", *FINAL) and run not in after


# ----------------------------------------------------------------- what else goes wrong


class Trouble:
    """Something that keeps the database from being written for a while, in the background."""

    def __init__(self, home: Home, seconds: float) -> None:
        self.home = home
        self.began, self.ended = time.monotonic(), float("inf")
        self.thread = threading.Thread(target=self._run, args=(seconds,), daemon=True)
        self.thread.start()

    @property
    def active(self) -> bool:
        return self.ended == float("inf")

    def _run(self, seconds: float) -> None:
        try:
            self.act(seconds)
        finally:
            self.ended = time.monotonic()

    def act(self, seconds: float) -> None:
        """Do it, and take it back after so many seconds."""


class Full(Trouble):
    """The file system of the home is filled to its last byte, then freed."""

    def act(self, seconds: float) -> None:
        ballast = self.home.path / "ballast"
        try:
            with ballast.open("wb", buffering=0) as stream:
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline:  # what others free is taken too
                    for size in (1 << 20, 1 << 12, 1):
                        with suppress(OSError):
                            while stream.write(bytes(size)) == size:
                                pass
                    time.sleep(0.02)
        finally:
            ballast.unlink(missing_ok=True)


HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("begin immediate")
time.sleep(float(sys.argv[2]))
db.execute("rollback")
"""


class Busy(Trouble):
    """Another process holds the database's write lock."""

    def act(self, seconds: float) -> None:
        subprocess.run(
            [sys.executable, "-c", HOLD, str(self.home.database), str(seconds)],
            stderr=subprocess.DEVNULL,
        )


@dataclass
class Tally:
    """What was done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    fills: int = 0
    fill_s: float = 0.0
    busy: int = 0
    busy_s: float = 0.0
    lost_databases: int = 0
    pauses: int = 0
    again: int = 0
    retried: int = 0
    fell: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    longest_after: str = ""
    longest_start: float = 0.0
    longest_in_all: float = 0.0
    looks: int = 0
    late: int = 0
    slowest_start: float = 0.0
    runs: int = 0
    attempts: int = 0
    rows: int = 0
    acknowledged: int = 0
    seconds: float = 0.0

    def lines(self) -> list[tuple[str, str]]:
        """The summary as pairs of words and figures."""
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.kills.items()))
        fell = ", ".join(f"{n} x {reason}" for reason, n in self.fell.most_common())
        return [
            ("kills (`kill -9`)", f"{sum(self.kills.values())}: {kinds}"),
            ("disk filled to the last byte", f"{self.fills} times, {self.fill_s:.0f} s in all"),
            ("database held by another writer", f"{self.busy} times, {self.busy_s:.0f} s in all"),
            ("database file deleted", f"{self.lost_databases} times"),
            ("pauses and resumes", str(self.pauses)),
            ("queued again by `rpat requeue` / by `--retries`", f"{self.again} / {self.retried}"),
            ("runs that fell to a full disk", fell or "none"),
            ("runs, attempts", f"{self.runs}, {self.attempts}"),
            ("rows, of them acknowledged", f"{self.rows:,}, {self.acknowledged:,}"),
            ("rows lost, doubled", "0, 0"),
            ("runs done", f"{self.runs} of {self.runs}"),
            ("longest time to true states",
             f"{self.longest:.1f} s by the clock, after {self.longest_after}; Python took "
             f"{self.longest_start * 1000:.0f} ms to start then"),
            (f"times over {LIMIT:g} s (allowed as this machine starts Python slower than "
             f"{QUIET * 1000:.0f} ms)", f"{self.late} of {self.looks}"),
            ("longest, full disk and busy database included", f"{self.longest_in_all:.1f} s"),
            ("slowest `python -c pass` meanwhile", f"{self.slowest_start * 1000:.0f} ms"),
            ("duration", f"{self.seconds:.0f} s"),
        ]  # fmt: skip


class Chaos:
    """Kills processes of a home and checks after each that all is true."""

    def __init__(
        self, chance: random.Random, home: Home, machine: Machine, note: str, epochs: int,
        *, troubles: tuple[type[Trouble], ...] = (), people: bool = False, rest: float = 0.5,
        make: Callable[[sqlite3.Connection, int], list[int]] | None = None,
    ) -> None:  # fmt: skip
        self.chance, self.home, self.machine = chance, home, machine
        self.note, self.epochs = note, epochs
        self.troubles, self.people = troubles, people
        self.longest_rest, self.make = rest, make
        self.trouble: Trouble | None = None
        self.full: list[Full] = []
        self.numbers: list[int] = []
        self.paused: set[int] = set()
        self.tally = Tally()
        self.start, self.pace = 0.0, 1.0

    # ------------------------------------------------------------- the course of it

    def run(self, kinds: list[str], lose_database_at: int = -1) -> Tally:
        """Kill what `kinds` names, one after another; ends when all runs are done.

        Before the kill of that number the database is deleted.
        """
        began = time.monotonic()
        self.enqueue(3)
        for count, kind in enumerate(kinds):
            self.measure_pace()
            self.rest(self.chance.uniform(0, self.longest_rest))
            self.top_up()
            if count == lose_database_at:
                self.lose_the_database()
            self.steer()
            self.disturb()
            self.follow()
            self.strike(kind, by_command=count % 4 == 0)
            self.mend()
        self.finish()
        self.tally.seconds = time.monotonic() - began
        return self.tally

    def rest(self, seconds: float) -> None:
        """Wait, and see all the while that no run has two trainers."""
        moment = time.monotonic() + seconds
        until(lambda: self.machine.trainers() is not None and time.monotonic() > moment)

    def measure_pace(self) -> None:
        """See how slow the machine is now: what it must do in time is measured by that."""
        clock = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds = time.monotonic() - clock
        self.tally.slowest_start = max(self.tally.slowest_start, seconds)
        self.start, self.pace = seconds, max(1.0, seconds / QUIET)

    def enqueue(self, count: int) -> None:
        with database.opened(self.home) as db:
            if self.make is not None:
                self.numbers += self.make(db, count)
                return
            make: Enqueue = enqueuer(self.home, db)
            retries = self.chance.choice([0, 0, 2]) if self.people else 0
            self.numbers += make(count, self.note, self.epochs, retries=retries)

    def follow(self) -> None:
        word = self.chance.choice(["wait", "watch"])
        self.machine.follow([word, *(f"r{n:04d}" for n in self.numbers)])

    def top_up(self) -> None:
        """Have enough runs that something is there to be killed."""
        if not self.troubled():
            with database.opened(self.home) as db:
                left = set(queries.unfinished(db, self.numbers)) - self.paused
            if len(left) < 2:
                self.enqueue(2 if self.people else 1)

    def finish(self) -> None:
        """Let everything come to its end, and see that it has come to a good one."""
        if self.trouble:
            self.trouble.thread.join()
        self.note_trouble()
        for n in sorted(self.paused):
            self.resume(n)

        def over() -> bool:
            self.mend()
            worker.ensure(self.home)
            assert self.machine.trainers() is not None
            with database.opened(self.home) as db:
                return not queries.unfinished(db, self.numbers)

        until(over, 300)
        self.mend()
        until(over, 300)
        ends = {row["id"]: (row["state"], row["reason"]) for row in listing(True).values()}
        assert set(ends.values()) == {("done", "")}, ends
        done = subprocess.run([*COMMAND, "wait", *map(str, self.numbers)], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        self.tally.runs = len(self.numbers)

    # ------------------------------------------------------------- what is done to it

    def disturb(self) -> None:
        """Start something that keeps the database from being written, now and then."""
        if not self.troubles or self.troubled() or self.chance.random() > 0.35:
            return
        self.note_trouble()
        kind = self.chance.choice(self.troubles)
        self.trouble = kind(self.home, self.chance.uniform(0.3, 3.0))
        if isinstance(self.trouble, Full):
            self.full.append(self.trouble)
        time.sleep(self.chance.uniform(0, 0.5))

    def troubled(self) -> bool:
        return self.trouble is not None and self.trouble.active

    def note_trouble(self) -> None:
        """Count the trouble that is over."""
        if self.trouble is None:
            return
        seconds = self.trouble.ended - self.trouble.began
        if isinstance(self.trouble, Full):
            self.tally.fills, self.tally.fill_s = self.tally.fills + 1, self.tally.fill_s + seconds
        else:
            self.tally.busy, self.tally.busy_s = self.tally.busy + 1, self.tally.busy_s + seconds
        self.trouble = None

    def lose_the_database(self) -> None:
        """Delete the database under the runs; `rpat reindex` makes it again."""
        if self.trouble:
            self.trouble.thread.join()
            self.note_trouble()
        self.machine.leave()
        for file in self.home.path.glob("rpat.db*"):
            file.unlink()
        subprocess.run([*COMMAND, "reindex"], check=True, capture_output=True)
        self.tally.lost_databases += 1
        self.settle("the loss of the database", lambda: None, by_command=True)
        self.mend()

    def steer(self) -> None:
        """Pause and resume as people do."""
        if not self.people or self.troubled():
            return
        for n in sorted(self.paused):
            if self.chance.random() < 0.5:
                self.resume(n)
        if self.chance.random() < 0.25 and (living := self.machine.trainers()):
            run = self.chance.choice(sorted(living))
            if run in self.machine.attendants() and self.command("pause", run):
                self.settle(f"a pause of {run}", lambda: self.is_paused(run))
                if listing(False)[run]["state"] == "paused":
                    self.paused.add(int(run[1:]))
                    self.tally.pauses += 1

    def is_paused(self, run: str) -> bool:
        """Whether a run has followed the request, or ended before it could."""
        return listing(False)[run]["state"] not in ("running", "pausing")

    def resume(self, n: int) -> None:
        if self.command("resume", f"r{n:04d}"):
            self.paused.discard(n)

    def command(self, *words: str) -> bool:
        """Run a command; one that fails under a full disk or a busy database may be repeated."""
        done = subprocess.run([*COMMAND, *words], capture_output=True)
        if done.returncode:
            assert self.trouble or b"starting" in done.stderr, (words, done.stderr)
        return not done.returncode

    def choose(self, kind: str) -> tuple[str, int]:
        """A living process of a kind, with its run if it has one."""
        found: dict[str, int] = {}
        machine = self.machine

        def look() -> bool:
            if kind in ("worker", "client"):
                self.follow()
                pid = machine.worker() if kind == "worker" else machine.client.pid
                found.update({"": pid} if pid else {})
            else:
                found.update(machine.trainers() if kind == "trainer" else machine.attendants())
            if not found and not self.troubled():
                self.mend()
                self.top_up()
                self.follow()
            return bool(found)

        until(look, 60)
        return self.chance.choice(sorted(found.items()))

    def strike(self, kind: str, *, by_command: bool) -> None:
        """Kill a process of a kind and see that every state is soon true."""
        run, pid = self.choose(kind)
        lived, moment, clock = self.machine.trainers(), time.time(), time.monotonic()
        attempts = sorted((self.home.runs / run / "attempts").glob("*")) if run else []
        kill(pid)
        self.tally.kills[kind] += 1

        def told() -> bool:
            return kind != "trainer" or self.tells_of_the_kill(run, attempts[-1], moment)

        try:
            said = self.settle(f"the kill of a {kind}", told, by_command=by_command)
        except AssertionError as error:
            error.add_note(f"after killing the {kind} of '{run}' ({pid}); lived {lived}")
            raise
        filled = any(full.ended > clock - 0.5 for full in self.full)
        for other, trainer in lived.items():
            if trainer == pid or filled:
                continue
            row = said[other]
            assert row["state"] in ("starting", "running", "done") or int(other[1:]) in self.paused
            assert self.machine.trainers().get(other) == trainer or has_ended(self.home, other)

    def tells_of_the_kill(self, run: str, attempt: Path, moment: float) -> bool:
        """Whether the history says that a trainer was killed, unless it had ended before."""
        if has_said_its_last_word(attempt / "journal.jsonl"):
            return True
        with database.opened(self.home) as db:
            moves = queries.transitions(db, int(run[1:]))
        words = KILLED + (FULL if self.full else ())
        return any(
            moved["new"] == "failed"
            and moved["t"] > moment - 1
            and any(word in moved["reason"] for word in words)
            for moved in moves
        )

    # ------------------------------------------------------------- what must be true

    def settle(
        self, what: str, more: Callable[[], bool | None], *, by_command: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Wait until every state is true, not longer than may be; returns what is listed.

        Nothing can be written on a full disk or into a busy database: time counts from their end.
        """
        began = time.monotonic()
        said: dict[str, dict[str, Any]] = {}

        def holds() -> bool:
            nonlocal said
            before = self.machine.trainers()
            said = listing(by_command)
            after = self.machine.trainers()
            untrue = [row for row in said.values() if not is_true(row, before, after)]
            return more() is not False and not untrue

        while True:
            with self.forgiving(began):
                if holds():
                    break
            waited = time.monotonic() - self.quiet_since(began)
            if waited > LIMIT * self.pace:
                rows = [(row["id"], row["state"], row["reason"]) for row in said.values()]
                raise AssertionError(f"{what}: not true after {waited:.1f} s: {rows}")
            time.sleep(0.02)
        now = time.monotonic()
        took = now - self.quiet_since(began)
        self.tally.looks += 1
        self.tally.late += took > LIMIT
        self.tally.longest_in_all = max(self.tally.longest_in_all, now - began)
        if took > self.tally.longest:
            self.tally.longest, self.tally.longest_after = took, what
            self.tally.longest_start = self.start
        return said

    def forgiving(self, began: float) -> Any:
        """Let commands be refused while the disk is full or the database busy."""
        troubled = self.trouble is not None and self.trouble.ended > began - 1
        return suppress(*([StoreError, sqlite3.OperationalError] if troubled else []))

    def quiet_since(self, began: float) -> float:
        if self.trouble is None:
            return began
        return max(began, min(self.trouble.ended, time.monotonic()))

    def mend(self) -> None:
        """Queue again what has failed, once its reason was read and found right."""
        if self.troubled():
            return
        for row in listing(False).values():
            if row["state"] == "failed" or row["reason"] == "never queued":
                right = any(word in row["reason"] for word in (*KILLED, "never queued"))
                full = bool(self.full) and any(word in row["reason"] for word in FULL)
                assert right or full, (row["id"], row["state"], row["reason"])
                if full:
                    self.tally.fell[row["reason"].partition(":")[0]] += 1
                if self.command("requeue", row["id"]):
                    self.tally.again += 1
            elif row["state"] == "paused":  # asked for, and killed before it had said so
                self.paused.add(int(row["id"][1:]))

    def check(self) -> None:
        """Compare every row with the journals, and every history with the allowed moves."""
        per_epoch = 5
        with database.opened(self.home) as db:
            for n in self.numbers:
                rows, acknowledged = check_rows(self.home, db, n, self.epochs, per_epoch)
                self.tally.rows += rows
                self.tally.acknowledged += acknowledged
                self.tally.attempts += len(queries.attempts(db, n))
                check_history(db, n, whole=not self.tally.lost_databases)
                self.tally.retried += sum(
                    moved["reason"].startswith("try ") for moved in queries.transitions(db, n)
                )


# ----------------------------------------------------------------- the rows at the end


def records(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, read without the code under test."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def check_rows(
    home: Home, db: sqlite3.Connection, n: int, epochs: int, per_epoch: int
) -> tuple[int, int]:
    """The points are the journals merged by `from_step`, and hold each acknowledged row.

    Returns how many there are, and how many of them were acknowledged.
    """
    folder = home.runs / f"r{n:04d}"
    points: dict[tuple[str, int], tuple[int, float | None]] = {}
    acknowledged: set[tuple[str, int]] = set()
    for attempt in sorted((folder / "attempts").iterdir()):
        for record in records(attempt / "journal.jsonl"):
            if record["kind"] == "begin":
                start = record["from_step"]
                points = {key: v for key, v in points.items() if key[1] <= start}
                acknowledged = {ack for ack in acknowledged if ack[1] <= start}
            for name, value in record.get("values", {}).items():
                points[name, record["step"]] = (record["epoch"], value)
        if (attempt / "acks").exists():
            lines = (attempt / "acks").read_text().split("\n")[:-1]
            acknowledged |= {(kind, int(step)) for kind, step in map(str.split, lines)}

    rows = [(p["name"], p["step"], p["epoch"], p["value"]) for p in queries.metrics(db, n)]
    found = {(name, step): (epoch, value) for name, step, epoch, value in rows}
    assert len(found) == len(rows), "a row is doubled"
    assert found == points
    names = {"log": "step/loss", "epoch": "train/loss"}
    assert {(names[kind], step) for kind, step in acknowledged} <= set(found)
    total = epochs * per_epoch
    assert [step for name, step, *_ in rows if name == "step/loss"] == list(range(1, total + 1))
    assert [epoch for name, _, epoch, _ in rows if name == "train/loss"] == [*range(1, epochs + 1)]
    state, step, epoch = db.execute(
        "select state, step, epoch from runs where n = ?", (n,)
    ).fetchone()
    assert (state, step, epoch) == ("done", total, epochs)
    return len(rows), len(acknowledged)


def check_history(db: sqlite3.Connection, n: int, *, whole: bool = True) -> None:
    """Every move was legal, each goes on from the one before, and the last one is to done.

    A history that was lost with its database begins with what the run directory told.
    """
    history = queries.transitions(db, n)
    first = "queued" if whole else history[0]["old"]
    assert first in ("queued", "lost", "stopped")
    assert [moved["old"] for moved in history] == [first, *(m["new"] for m in history[:-1])]
    for moved in history:
        assert moved["new"] == moved["old"] or moved["new"] in MOVES[moved["old"]], moved
    assert history[-1]["new"] == "done"
    assert "lost" not in {moved["new"] for moved in history}
