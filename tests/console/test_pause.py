"""Pause and resume by the commands, in the middle of an epoch of a real training."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.store import queries
from tests.console import real
from tests.console.conftest import until

COMMAND = [sys.executable, "-m", "rpat_tui"]


def state(db: sqlite3.Connection, n: int) -> str:
    return str(db.execute("select state from runs where n = ?", (n,)).fetchone()[0])


@pytest.mark.slow
def test_a_pause_in_the_middle_of_an_epoch_changes_no_bit(
    home: Home, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RPAT_CPU_SLOTS", "1")
    paused, whole = real.enqueue(home, db, [0, 0])
    worker.ensure(home)
    until(lambda: len(queries.points(db, paused, "step/loss")) > real.PER_EPOCH + 3, 240)
    subprocess.run([*COMMAND, "pause", f"r{paused}"], check=True, capture_output=True)
    until(lambda: state(db, paused) == "paused", 60)
    (stop,) = queries.events(db, paused, ["stop"])
    assert stop["word"] == "pause"
    assert stop["step"] % real.PER_EPOCH > 0, "it was to be the middle of an epoch"
    until(lambda: state(db, whole) == "running", 60)  # its place was free at once
    subprocess.run([*COMMAND, "resume", f"r{paused}"], check=True, capture_output=True)
    until(lambda: not queries.unfinished(db, [paused, whole]), 240)
    assert [state(db, n) for n in (paused, whole)] == ["done", "done"]
    (_, second) = queries.attempts(db, paused)
    assert second["from_step"] == stop["step"]
    assert real.numbers(db, paused) == real.numbers(db, whole)
