"""A home on a small file system of its own, and the summaries that soak tests leave."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rpat
from rpat_tui.home import Home
from tests.console.chaos import Machine
from tests.console.conftest import home as home

RESULTS = Path(__file__).parents[2] / "bench" / "results"
SIZE = "96m"

Summary = Callable[[str, str, list[tuple[str, str]]], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[str]:
    """Mount a small tmpfs where the home will be; yields why not, or ''."""
    place = tmp_path / "home"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)],
        capture_output=True, text=True,
    )  # fmt: skip
    yield done.stderr.strip()
    if not done.returncode:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def machine(
    small_disk: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """The processes of a home on a small disk, with modules compiled as in an installed program."""
    monkeypatch.setenv("RPAT_CPU_SLOTS", "2")
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    made = Machine(home)
    yield made
    made.clear()


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Summary:
    """Print a summary, and keep it as a section of `bench/results/soak.md`."""

    def keep(title: str, command: str, lines: list[tuple[str, str]]) -> None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        text = [
            f"## {title}\n",
            f"`{command}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores shared with other "
            f"work, {memory:.0f} GiB memory, rpat {rpat.__version__}, Python "
            f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}\n",
            "| | |",
            "| :-- | :-- |",
            *(f"| {name} | {value} |" for name, value in lines),
        ]
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print("\n" + "\n".join(text))  # noqa: T201
        file = RESULTS / "soak.md"
        old = file.read_text("utf-8") if file.exists() else "# What soak tests found\n"
        head, *sections = old.split("\n## ")
        kept = {part.partition("\n")[0]: part.partition("\n")[2] for part in sections}
        kept[title] = "\n".join(text).partition("\n")[2] + "\n"
        body = [head.rstrip("\n"), *(f"## {name}\n{part.rstrip()}" for name, part in kept.items())]
        file.write_text("\n\n".join(body) + "\n", "utf-8")

    return keep
