"""Hundreds of kills on a disk that fills and a database that is busy and lost: make soak."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console import real
from tests.console.chaos import KINDS, Busy, Chaos, Full, Machine
from tests.console.conftest import until
from tests.soak.conftest import Summary

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(0),
    pytest.mark.skipif(
        not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc"
    ),
]


def test_kills_full_disks_and_busy_databases_lose_nothing(
    small_disk: str, home: Home, machine: Machine, summary: Summary
) -> None:
    kills = int(os.environ.get("RPAT_SOAK_KILLS", "200"))
    seed = int(os.environ.get("RPAT_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)
    kinds = (KINDS * kills)[:kills]
    chance.shuffle(kinds)
    troubles = (Busy,) if small_disk else (Busy, Full)
    chaos = Chaos(chance, home, machine, "pace=0.01", 140, troubles=troubles, people=True)
    try:
        chaos.run(kinds, lose_database_at=kills // 2)
        chaos.check()
    except BaseException as error:
        error.add_note(f"to repeat: RPAT_CHAOS_SEED={seed}; so far: {chaos.tally}")
        raise
    lines = chaos.tally.lines()
    if small_disk:
        lines.append(("the disk was not filled", small_disk))
    command = f"RPAT_SOAK_KILLS={kills} RPAT_CHAOS_SEED={seed} make soak"
    summary("Chaos with the stand-in core", command, lines)


def test_killed_trainings_end_with_the_same_bits(
    small_disk: str, home: Home, machine: Machine, summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed = int(os.environ.get("RPAT_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)

    def make(db: sqlite3.Connection, count: int) -> list[int]:
        return real.enqueue(home, db, list(range(count)), epochs=3)

    with database.opened(home) as db:
        whole = make(db, 3)
        worker.ensure(home)
        until(lambda: not queries.unfinished(db, whole), 600)
        expected = {i: real.numbers(db, n) for i, n in enumerate(whole)}
    kinds = ["trainer"] * 5 + ["worker", "attendant", "client"]
    chance.shuffle(kinds)
    chaos = Chaos(chance, home, machine, "", 3, rest=8.0, make=make)
    try:
        chaos.run(kinds)
        with database.opened(home) as db:
            assert len(chaos.numbers) >= 3
            for n in chaos.numbers:
                of = db.execute("select seed from runs where n = ?", (n,)).fetchone()[0]
                assert real.numbers(db, n) == expected[of]
                chaos.tally.attempts += len(queries.attempts(db, n))
                chaos.tally.rows += len(queries.metrics(db, n))
    except BaseException as error:
        error.add_note(f"to repeat: RPAT_CHAOS_SEED={seed}; so far: {chaos.tally}")
        raise
    shown = [
        line for line in chaos.tally.lines()
        if not line[0].startswith(("disk", "database", "pauses", "runs that fell", "rows"))
    ]  # fmt: skip
    shown.append(("rows", f"{chaos.tally.rows:,}"))
    shown.append(("bits that differ from undisturbed runs", "0, in every point and evaluation"))
    command = f"RPAT_CHAOS_SEED={seed} make soak"
    summary("Chaos with real short trainings (digits, TRADES with RPAT)", command, shown)
