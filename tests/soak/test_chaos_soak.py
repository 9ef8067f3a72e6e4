"""Hundreds of kills on a disk that fills and a database that is busy and lost: make soak."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from rpat_tui.home import Home
from tests.console.chaos import KINDS, Busy, Chaos, Full, Machine
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
