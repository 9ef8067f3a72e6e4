"""Sixteen writers at ten rows a second, with readers: nobody finds the database locked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.chaos import Machine, check_rows
from tests.console.conftest import enqueuer, until
from tests.soak.conftest import Summary

WRITERS, RATE, PER_EPOCH, READERS = 16, 10, 5, 4

READ = """
import sys, time
from pathlib import Path
from rpat_tui.cli.output import reading
from rpat_tui.store import queries, window
count, longest = 0, 0.0
while not Path(sys.argv[1]).exists():
    clock = time.perf_counter()
    with reading(None) as (_, db):
        rows = queries.runs(db)
        window.window(db, window.Query(sort="pgd"), 0, 60)
        queries.latest(db, [row["n"] for row in rows])
        queries.points(db, rows[count % len(rows)]["n"], "step/loss")
    longest = max(longest, time.perf_counter() - clock)
    count += 1
    time.sleep(0.05)
print(count, longest)
"""


@pytest.fixture
def machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Sixteen places for runs, on an ordinary disk."""
    monkeypatch.setenv("RPAT_CPU_SLOTS", str(WRITERS))
    return Machine(home)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_writers_for_some_seconds(home: Home, machine: Machine, tmp_path: Path) -> None:
    try:
        write_and_read(home, tmp_path, seconds=15)
    finally:
        machine.clear()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_sixteen_writers_for_minutes(
    home: Home, machine: Machine, tmp_path: Path, summary: Summary
) -> None:
    seconds = int(os.environ.get("RPAT_SOAK_SECONDS", "600"))
    try:
        found = write_and_read(home, tmp_path, seconds)
    finally:
        machine.clear()
    summary("Sixteen writers with readers", f"RPAT_SOAK_SECONDS={seconds} make soak", found)


def write_and_read(home: Home, folder: Path, seconds: int) -> list[tuple[str, str]]:
    """Let sixteen stand-in trainers write for a while under readers; returns a summary."""
    epochs = seconds * RATE // PER_EPOCH
    over = folder / "over"
    with database.opened(home) as db:
        numbers = enqueuer(home, db)(WRITERS, f"pace={1 / RATE} per_epoch={PER_EPOCH}", epochs)
        worker.ensure(home)
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READ, str(over)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(READERS)
        ]  # fmt: skip
        clock = time.monotonic()
        try:
            until(lambda: not queries.unfinished(db, numbers), 240 + 4 * seconds)
        finally:
            took = time.monotonic() - clock
            over.touch()
            said = [reader.communicate(timeout=60) for reader in readers]
        assert [error for _, error in said] == [""] * READERS
        assert [reader.returncode for reader in readers] == [0] * READERS
        log = home.worker_log.read_text("utf-8")
        assert not [word for word in ("locked", "busy", "Traceback") if word in log], log
        checked = [check_rows(home, db, n, epochs, PER_EPOCH) for n in numbers]
        attempts = [len(queries.attempts(db, n)) for n in numbers]
    assert attempts == [1] * WRITERS
    reads = [int(out.split()[0]) for out, _ in said]
    longest = max(float(out.split()[1]) for out, _ in said)
    rows, acknowledged = (sum(column) for column in zip(*checked, strict=True))
    return [
        ("writers, rows a second each", f"{WRITERS}, {RATE} and {RATE / PER_EPOCH:g} epochs"),
        ("readers, reads in all", f"{READERS}, {sum(reads):,}"),
        ("longest read", f"{longest * 1000:.0f} ms"),
        ('"database is locked"', "0"),
        ("points, records acknowledged", f"{rows:,}, {acknowledged:,}"),
        ("points lost, doubled", "0, 0"),
        ("duration", f"{took:.0f} s"),
    ]
