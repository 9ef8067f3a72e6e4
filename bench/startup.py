"""How long commands take, beside `python -c pass`, in the same run.

    python bench/startup.py [--runs 1000] [--epochs 200] [--repeat 15]

Builds a home of that many finished runs with ten metrics an epoch, then times each command as a
whole process, in turn, and prints medians and their ratio to a bare interpreter.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from store import build, environment

TARGETS = {"rpat --help": 0.150}
"""Seconds of the wall's clock, on a machine that does nothing else."""


def main() -> None:
    """Build the store, time the commands, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    rpat = str(Path(sys.executable).with_name("rpat"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        built = build(home, options.runs, options.epochs)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "rpat --help": [rpat, "--help"],
            "rpat run --method mart --rpat --dry-run": [
                rpat, "run", "--method", "mart", "--rpat", "--dry-run",
            ],
            "rpat table --format json": [rpat, "table", "--format", "json"],
            "rpat table": [rpat, "table"],
            "rpat list --json": [rpat, "list", "--json"],
        }  # fmt: skip
        times = measure(commands, environment(home), options.repeat)
    report(options, built, times)


def measure(
    commands: dict[str, list[str]], env: dict[str, str], repeat: int
) -> dict[str, list[float]]:
    """Return the wall seconds of each command's runs, alternating between the commands."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeat + 1):
        for name, command in commands.items():
            clock = time.perf_counter()
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
            if turn:  # the first one warms the disk
                times[name].append(time.perf_counter() - clock)
    return times


def report(options: argparse.Namespace, built: tuple, times: dict[str, list[float]]) -> None:
    """Print the figures as Markdown."""
    points, ingest_s, size = built
    bare = statistics.median(times["python -c pass"])
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
          f"{os.cpu_count()} cores, {platform.machine()}")  # fmt: skip
    print(
        f"\n{options.runs} runs x {options.epochs} epochs x 10 metrics: {points:,} points, "
        f"ingest {points / ingest_s:,.0f} points/s, {size / points:.1f} bytes a point"
    )
    print(f"\n| command (medians of {options.repeat}) | ms | x python -c pass | target ms | |")
    print("| :-- | --: | --: | --: | :-- |")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        target = TARGETS.get(name)
        verdict = "" if target is None else "met" if median <= target else "missed"
        print(f"| `{name}` | {median * 1000:.0f} | {median / bare:.1f} | "
              f"{'' if target is None else f'{target * 1e3:.0f}'} | {verdict} |")  # fmt: skip


if __name__ == "__main__":
    main()
