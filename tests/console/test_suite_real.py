"""Short real trainings fill the holes of a suite, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Rpat

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SUITE = """
title = "Two methods with and without RPAT on digits"
eval = "aa"
seeds = "0-1"

[[rows]]
label = "PGD-AT"
method = "pgd-at"
dataset = "digits"

[[rows]]
label = "PGD-AT + RPAT"
method = "pgd-at"
with = ["rpat"]
dataset = "digits"

[[rows]]
label = "TRADES"
method = "trades"
dataset = "digits"

[[rows]]
label = "TRADES + RPAT"
method = "trades"
with = ["rpat"]
dataset = "digits"
"""
SHORT = (
    "--epochs", "1", "--set", "data.train_n=96", "--set", "data.test_n=24", "--set",
    "optim.batch_size=32", "--set", "attack.steps=2", "--set", "eval.aa_n=4",
)  # fmt: skip


def states(rpat: Rpat) -> dict[tuple[str, int, str], str]:
    cells = rpat("suite", "status", "mine.toml", *SHORT, "--json").json["cells"]
    return {(c["row"], c["seed"], c["measure"]): c["state"] for c in cells}


def rest(rpat: Rpat) -> list[tuple[str, int, str]]:
    plan = rpat("suite", "run", "mine.toml", *SHORT, "--fill", "--dry-run", "--json").json
    return [(p["row"], p["seed"], p["do"]) for p in plan]


def table(rpat: Rpat) -> dict[str, dict[str, Any]]:
    return {r["label"]: r for r in rpat("table", "--suite", "mine.toml", *SHORT, "--json").json}


def test_real_runs_fill_their_holes_and_nothing_else(
    tmp_path: Path, rpat: Rpat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RPAT_WORKER_IDLE", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SUITE)
    everything = [
        (row, seed, "train")
        for row in ("PGD-AT", "PGD-AT + RPAT", "TRADES", "TRADES + RPAT")
        for seed in (0, 1)
    ]
    assert rest(rpat) == everything

    def run(*words: str) -> None:
        command = [sys.executable, "-m", "rpat_tui", "suite", "run", "mine.toml", *SHORT, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    run("--fill", "--where", "method=trades seed=1")
    filled = {key for key, state in states(rpat).items() if state == "proven"}
    assert filled == {
        (row, 1, measure)
        for row in ("TRADES", "TRADES + RPAT")
        for measure in ("clean", "pgd20", "aa")
    }
    assert set(states(rpat).values()) == {"proven", "missing"}
    assert rest(rpat) == [item for item in everything if item[:2] not in {k[:2] for k in filled}]
    shown = table(rpat)
    assert {name: row["n"] for name, row in shown.items()} == {
        "PGD-AT": 0, "PGD-AT + RPAT": 0, "TRADES": 1, "TRADES + RPAT": 1,
    }  # fmt: skip
    assert all(shown["TRADES"][measure] is not None for measure in ("clean", "pgd20", "aa", "nrr"))
    assert all(shown["PGD-AT"][measure] is None for measure in ("clean", "pgd20", "aa", "nrr"))

    (tmp_path / "paper.tex").write_text(
        rpat("table", "--suite", "mine.toml", *SHORT, "--format", "latex").out
    )
    assert rpat("table", "--verify", "paper.tex").code == 0
    run("--fill", "--where", "method=trades", "--eval", "pgd")
    assert states(rpat)["TRADES", 0, "aa"] == "missing"
    assert ("TRADES", 0, "evaluate") in rest(rpat)
    assert rpat("table", "--verify", "paper.tex").code == 1
    status = rpat("suite", "status", "mine.toml", *SHORT, "--json").json
    assert status["remaining"]["hours"][1] > 0
    run("--fill", "--where", "method=trades")
    assert rest(rpat) == [item for item in everything if item[0].startswith("PGD-AT")]
    assert {key[0] for key, state in states(rpat).items() if state == "proven"} == {
        "TRADES", "TRADES + RPAT",
    }  # fmt: skip
    shown = table(rpat)
    assert [row["n"] for row in shown.values()] == [0, 0, 2, 2]
    assert all(shown["TRADES"][m]["std"] is not None for m in ("clean", "pgd20", "aa", "nrr"))
    assert shown["PGD-AT"]["clean"] is None
