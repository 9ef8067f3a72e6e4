"""A new person's walk, by keys alone on a real terminal: from an empty home to a LaTeX table.

The window, the worker and the attendants are real processes; the stand-in core trains.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rpat_tui.draft import FIELDS
from rpat_tui.home import Home
from rpat_tui.launch import control
from rpat_tui.store import db as database
from rpat_tui.store import queries
from tests.console.conftest import STANDIN, freeze_the_standin, until
from tests.tui.pseudo import Terminal
from tests.tui.test_app_pty import left

ENTER, ESC, TAB, CTRL_R, CTRL_S = "\r", "\x1b", "\t", "\x12", "\x13"
FORM = {
    "method": "pgd-at", "dataset": "digits", "epochs": "12", "seeds": "0-2",
    "note": "pace=0.15 per_epoch=5",
}  # fmt: skip
"""What is typed, by the names of the fields."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Where a home will be, of which the window knows by its environment alone."""
    for name, value in {
        "RPAT_HOME": str(tmp_path / "home"), "RPAT_CPU_SLOTS": "3", "RPAT_WORKER_IDLE": "1",
        "XDG_CONFIG_HOME": str(tmp_path / "config"), "CUDA_VISIBLE_DEVICES": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    freeze_the_standin(monkeypatch)
    core = tmp_path / "core" / "rpat"  # with the tables, which the window reads in its package
    shutil.copytree(STANDIN / "rpat", core, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(STANDIN.parents[1] / "rpat" / "paper_tables.toml", core)
    monkeypatch.setenv("PYTHONPATH", f"{core.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    return Home(tmp_path / "home")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])
def test_a_new_person_gets_from_an_empty_home_to_a_table(
    place: Home, tmp_path: Path, size: tuple[int, int]
) -> None:
    def state(n: int) -> str:
        with database.opened_readonly(place) as db:
            return str(queries.runs(db, numbers=[n])[0]["state"])

    def press(keys: str, then: str = "", reached: Callable[[], object] | None = None) -> None:
        """Press keys and wait for what they lead to, on the screen or in the home."""
        terminal.send(keys)
        if then:
            terminal.until(then, 60)
        if reached is not None:
            until(lambda: terminal.listen(0.1, 0.3) >= 0 and reached(), 90)

    def at(n: int, word: str) -> bool:
        """Whether the cursor is on a run, and its line says a word."""
        lines = [line for line in terminal.screen.display if "▶" in line]
        return any(f"r{n:04d}" in line and word in line for line in lines)

    with Terminal("rpat_tui", "tui", columns=size[0], rows=size[1], folder=tmp_path) as terminal:
        terminal.until("No runs yet", 60)
        press("n", "--method")
        names = list(FIELDS)
        for name in names[names.index("method") :]:
            terminal.until(f" {FIELDS[name].option}: ", 60)  # the line that explains the field
            press(FORM.get(name, "") + TAB, "rpat: RPAT" if name == "method" else "")
            terminal.send(TAB if name == "method" else "")
        terminal.until("--seeds 0-2", 60)
        terminal.until("3 runs to queue", 60)
        press(CTRL_R, "3 runs would be queued")
        assert not place.exists()
        press(ESC, "^s queue")
        press(CTRL_S, "r0003")
        press("", reached=lambda: state(1) == "running")
        press("G", reached=lambda: at(1, "running"))
        press("s", reached=lambda: state(1) == "stopped")
        press("r", reached=lambda: state(1) in ("queued", "starting", "running"))
        press("", reached=lambda: state(3) == "running")
        press("g", reached=lambda: at(3, "running"))
        press("p", reached=lambda: state(3) == "paused")
        press("2", "Queue")
        press("1p", reached=lambda: state(3) in ("queued", "starting", "running"))
        press("", reached=lambda: [state(n) for n in (1, 2, 3)] == ["done"] * 3)
        press(ENTER, "esc back")
        press(ESC, "space mark")
        press("5", "what it reported")
        press("1*3", "n=3")
        press("4", "PGD-AT")
        press("e", "export as")
        press("latex" + ENTER, "written")
        assert "PGD-AT" in (tmp_path / "table.tex").read_text("utf-8")
        press("q")
        assert left(terminal, 30) == 0
    with database.opened(place) as db:
        for row in queries.runs(db):
            assert row["note"] == FORM["note"]
            if row["state"] not in ("done", "failed", "stopped"):
                control.stop(place, db, row["n"], "kill")
