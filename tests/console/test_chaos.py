"""Twenty kills at random moments: states stay true, and no row is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rpat_tui.cli.output import reading
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.store import queries
from rpat_tui.store.queue import FINAL, MOVES
from tests.console.conftest import Enqueue, until

KILLS = ["trainer"] * 8 + ["worker"] * 4 + ["attendant"] * 4 + ["client"] * 4
NOTE, EPOCHS, PER_EPOCH = "pace=0.01", 140, 5
COMMAND = [sys.executable, "-m", "rpat_tui"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc"
)


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


@pytest.fixture
def machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("RPAT_CPU_SLOTS", "2")
    made = Machine(home)
    yield made
    made.clear()


def listing(by_command: bool) -> dict[str, dict[str, Any]]:
    """What `rpat list --json` says, by the command or by the functions under it."""
    if by_command:
        said = subprocess.run([*COMMAND, "list", "--json"], check=True, capture_output=True)
        rows = json.loads(said.stdout)
    else:
        with reading(None) as (_, db):
            rows = [queries.public(row) for row in queries.runs(db)]
    return {row["id"]: row for row in rows}


def is_true(row: dict[str, Any], before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether a row agrees with the processes seen before and after it was read."""
    run, state = row["id"], row["state"]
    if state in ("running", "starting"):
        return state == "starting" or run in before or run in after
    return state in ("queued", *FINAL) and run not in after


def has_ended(home: Home, run: str) -> bool:
    return '"kind":"end"' in newest(home.runs / run, "journal.jsonl")


def test_twenty_kills_leave_true_states_and_every_row_once(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, machine: Machine
) -> None:
    seed = int(os.environ.get("RPAT_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    try:
        numbers = torment(random.Random(seed), home, db, enqueue, machine)
        for n in numbers:
            check_rows(home, db, n)
            check_history(db, n)
    except BaseException as error:
        error.add_note(f"to repeat: RPAT_CHAOS_SEED={seed}")
        raise


def torment(
    chance: random.Random, home: Home, db: sqlite3.Connection, enqueue: Enqueue, machine: Machine
) -> list[int]:
    """Kill twenty times, checking after each; returns the runs, all done."""
    numbers = enqueue(3, NOTE, EPOCHS)
    kills = chance.sample(KILLS, len(KILLS))

    def follow() -> None:
        word = chance.choice(["wait", "watch"])
        machine.follow([word, *(f"r{n:04d}" for n in numbers)])

    follow()
    for count, kind in enumerate(kills):
        moment = time.monotonic() + chance.uniform(0, 0.5)
        until(lambda moment=moment: machine.trainers() is not None and time.monotonic() > moment)
        if not queries.unfinished(db, numbers) or len(machine.trainers()) < 2:
            numbers += enqueue(1, NOTE, EPOCHS)
        follow()
        run, pid = choose(chance, machine, kind)
        lived = machine.trainers()
        kill(pid)
        check_states(home, machine, kind, run, pid, lived, by_command=count % 4 == 0)
        if kind == "trainer" and not has_ended(home, run):
            subprocess.run([*COMMAND, "requeue", run], check=True, capture_output=True)
    worker.ensure(home)
    until(lambda: machine.trainers() is not None and not queries.unfinished(db, numbers), 120)
    ends = {row["id"]: (row["state"], row["reason"]) for row in listing(True).values()}
    assert set(ends.values()) == {("done", "")}, ends
    done = subprocess.run([*COMMAND, "wait", *map(str, numbers)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return numbers


def choose(chance: random.Random, machine: Machine, kind: str) -> tuple[str, int]:
    """A living process of a kind, with its run if it has one."""
    found: dict[str, int] = {}

    def look() -> bool:
        if kind in ("worker", "client"):
            client = machine.client
            pid = machine.worker() if kind == "worker" else client.pid if client else 0
            found.update({"": pid} if pid else {})
        else:
            found.update(machine.trainers() if kind == "trainer" else machine.attendants())
        return bool(found)

    until(look)
    return chance.choice(sorted(found.items()))


def check_states(
    home: Home,
    machine: Machine,
    kind: str,
    run: str,
    pid: int,
    lived: dict[str, int],
    *,
    by_command: bool,
) -> None:
    """Within five seconds every state is true, and what was not killed lives on."""
    said: dict[str, dict[str, Any]] = {}

    def settled() -> bool:
        nonlocal said
        before = machine.trainers()
        said = listing(by_command)
        after = machine.trainers()
        if kind == "trainer":
            row = said[run]
            reason = "SIGKILL" in row["reason"] or "vanished" in row["reason"]
            if not (row["state"] == "failed" and reason) and not has_ended(home, run):
                return False
        return all(is_true(row, before, after) for row in said.values())

    try:
        until(settled, 5)
    except AssertionError as error:
        rows = [(row["id"], row["state"], row["reason"]) for row in said.values()]
        error.add_note(f"after killing the {kind} of '{run}' ({pid}): {rows}; lived {lived}")
        raise
    for other, trainer in lived.items():
        if trainer == pid:
            continue
        assert said[other]["state"] in ("starting", "running", "done"), (kind, said[other])
        assert machine.trainers().get(other) == trainer or has_ended(home, other)


# ----------------------------------------------------------------- the rows at the end


def records(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, read without the code under test."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def check_rows(home: Home, db: sqlite3.Connection, n: int) -> None:
    """The points are the journals merged by `from_step`, and hold each acknowledged row."""
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
    total = EPOCHS * PER_EPOCH
    assert [step for name, step, *_ in rows if name == "step/loss"] == list(range(1, total + 1))
    assert [epoch for name, _, epoch, _ in rows if name == "train/loss"] == [*range(1, EPOCHS + 1)]
    state, step, epoch = db.execute(
        "select state, step, epoch from runs where n = ?", (n,)
    ).fetchone()
    assert (state, step, epoch) == ("done", total, EPOCHS)


def check_history(db: sqlite3.Connection, n: int) -> None:
    """Every move was legal, each goes on from the one before, and the last one is to done."""
    history = queries.transitions(db, n)
    assert [moved["old"] for moved in history] == ["queued", *(m["new"] for m in history[:-1])]
    for moved in history:
        assert moved["new"] == moved["old"] or moved["new"] in MOVES[moved["old"]], moved
    assert history[-1]["new"] == "done"
    assert "lost" not in {moved["new"] for moved in history}
