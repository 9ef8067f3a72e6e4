"""Twenty kills at random moments: states stay true, and no row is lost or doubled."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from rpat_tui.home import Home
from tests.console.chaos import Chaos, Machine

KILLS = ["trainer"] * 8 + ["worker"] * 4 + ["attendant"] * 4 + ["client"] * 4

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc"
)


@pytest.fixture
def machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("RPAT_CPU_SLOTS", "2")
    made = Machine(home)
    yield made
    made.clear()


def test_twenty_kills_leave_true_states_and_every_row_once(home: Home, machine: Machine) -> None:
    seed = int(os.environ.get("RPAT_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)
    try:
        chaos = Chaos(chance, home, machine, note="pace=0.01", epochs=140)
        chaos.run(chance.sample(KILLS, len(KILLS)))
        chaos.check()
    except BaseException as error:
        error.add_note(f"to repeat: RPAT_CHAOS_SEED={seed}")
        raise
