"""How long commands take, beside `python -c pass`, in the same run.

    python bench/startup.py [--runs 1000] [--epochs 200] [--repeat 15]

Builds a home of that many finished runs with ten metrics an epoch, then times each command as a
whole process, in turn, and prints medians and their ratio to a bare interpreter. The ratio is that
of the processor's time, which what else the machine does changes less.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
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


COMMANDS = (
    "--help", "run --method mart --rpat --dry-run", "table --format json", "table", "list --json",
    "list", "show r0001",
)  # fmt: skip


def main() -> None:
    """Build the store, time the commands, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        built = build(home, options.runs, options.epochs)
        rpat = [sys.executable, "-m", "rpat_tui"]
        commands = {"python -c pass": [sys.executable, "-c", "pass"]}
        commands |= {f"rpat {words}": [*rpat, *words.split()] for words in COMMANDS}
        times = measure(commands, environment(home), options.repeat)
    report(options, built, times)


def measure(
    commands: dict[str, list[str]], env: dict[str, str], repeat: int
) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of each command's runs, in turns: the wall's clock, the processor's."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(repeat + 1):
        for name, command in commands.items():
            clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if turn:  # the first one warms the disk
                spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                times[name].append((time.perf_counter() - clock, spent))
    return times


def report(
    options: argparse.Namespace, built: tuple, times: dict[str, list[tuple[float, float]]]
) -> None:
    """Print the figures as Markdown."""
    points, ingest_s, size = built
    medians = {name: [*map(statistics.median, zip(*of, strict=True))] for name, of in times.items()}
    bare = medians["python -c pass"][1]
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} "
        f"cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"\n{options.runs} runs x {options.epochs} epochs x 10 metrics: {points:,} points, "
        f"ingest {points / ingest_s:,.0f} points/s, {size / points:.1f} bytes a point"
    )
    print(f"\n| command (medians of {options.repeat}) | ms of the processor | x python -c pass | "
          "ms | target ms | |")  # fmt: skip
    print("| :-- | --: | --: | --: | --: | :-- |")
    for name, (wall, spent) in medians.items():
        target = TARGETS.get(name)
        verdict = "" if target is None else "met" if wall <= target else "missed"
        print(f"| `{name}` | {spent * 1e3:.0f} | {spent / bare:.1f} | {wall * 1e3:.0f} | "
              f"{'' if target is None else f'{target * 1e3:.0f}'} | {verdict} |")  # fmt: skip


if __name__ == "__main__":
    main()
