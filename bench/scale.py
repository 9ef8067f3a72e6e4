"""How long the store's questions take among 10,000 runs with 10 million metric rows.

    python bench/scale.py [--runs 10000] [--points 107] [--repeat 7] [--keep FOLDER]

Builds that home with ten metrics of that many points a run and four evaluations a run, three
seeds to a config of its own (rows are inserted directly: there are no journals), then times
commands, each as a fresh process beside `python -c pass` in turn, and the queries of the
interface in process, and every kind of table in every format, from the question to its last byte
(`--tables` times those alone). Prints Markdown tables. The worker's lock is held meanwhile, as
while runs go on: commands only read.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import window as windows
from store import environment

from rpat.rundir import RunDir, read_json, write_json
from rpat_tui import exports, paper_table, pools
from rpat_tui.home import Home
from rpat_tui.launch.locks import held
from rpat_tui.paper_table import Ask
from rpat_tui.store import db as database
from rpat_tui.store import queries, window
from rpat_tui.uncollected import uncollected

TABLES = {
    "one data set": Ask(dataset="cifar100"),
    "everything": Ask(),
    "the same, `--paper`": Ask(paper=True),
    "`--checkpoint final`": Ask(checkpoint="final"),
    "`--checkpoint ''`": Ask(checkpoint=""),
    "`--robust pgd20`": Ask(robust="pgd20"),
    "`--layout paper`": Ask(layout="paper"),
    "`--select nrr`": Ask(select="nrr"),
    "`--select lex:0.5`": Ask(select="lex:0.5"),
    "`--select lex:0.3`": Ask(select="lex:0.3"),
    "`--test`": Ask(test=True),
    "`--suite table1 --paper`": Ask(suite="table1", paper=True),
    "`--suite table3 --test`": Ask(suite="table3", test=True),
}
"""What `rpat table` is asked among all runs."""
BUDGETS = {"runs window": 10, "table": 150, "8x2 curves": 10, "rpat --help": 150}
"""Milliseconds."""


def build(home: Home, runs: int, points: int) -> None:
    """Fill a home's database with runs, metrics and evaluations; a few runs go on."""
    windows.build(home, runs, points)
    with database.opened(home) as db:
        db.execute("pragma synchronous = off")
        db.execute("begin")
        db.execute("update runs set state = 'done' where state = 'running' and n > 128")
        db.execute("update runs set epoch = epochs, step = steps where state = 'done'")
        columns = list(next(_evaluations(db)))
        marks = ", ".join(f":{column}" for column in columns)
        db.executemany(
            f"insert into evaluations ({', '.join(columns)}) values ({marks})",
            list(_evaluations(db)),
        )
        db.execute("commit")
        pools.keep(db)
        db.execute("pragma wal_checkpoint(truncate)")
    middle = RunDir(home.runs / f"r{runs // 2:04d}")
    middle.checkpoints.mkdir(parents=True, exist_ok=True)
    with database.opened(home) as db:
        config = queries.config_of(db, runs // 2)
    write_json(middle.config, {"schema": 1, "uid": "", "kind": "train", "config": config})
    read_json(middle.config)


def _evaluations(db: sqlite3.Connection) -> Iterator[dict[str, object]]:
    chance = random.Random(0)
    for n, epsilon, epochs in db.execute(
        "select n, json_extract(config, '$.threat.epsilon'), epochs from runs "
        "where state = 'done' order by n"
    ).fetchall():
        for at, (checkpoint, attack) in enumerate(
            (c, a) for c in ("best", "final") for a in ("pgd", "aa")
        ):
            robust = 48 + 4 * math.sin(n // 3) + chance.gauss(0, 0.2) - 3 * (attack == "aa")
            yield {
                "run": n, "attempt": 1, "seq": 1000 + at, "t": 1.7e9 + n, "step": epochs * 391,
                "checkpoint": checkpoint, "network": "online", "epoch": epochs,
                "weights": f"{n:032d}{checkpoint:>32}",
                "selected_on": "test" if checkpoint == "best" else "", "attack": attack,
                "norm": "linf", "epsilon": epsilon, "steps": 20 if attack == "pgd" else 0,
                "step_size": 2 / 255, "restarts": 1, "split": "test", "n": 10_000,
                "of_n": 10_000, "indices": "0" * 64, "seed": 0, "dtype": "float32", "note": "",
                "state": "done", "clean": 80 + chance.gauss(0, 0.2), "robust": robust,
            }  # fmt: skip


def main() -> None:
    """Build the store, time the questions, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=107)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="a folder to build in, or to use again")
    parser.add_argument("--tables", action="store_true", help="time tables alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.keep or Path(folder) / "home")
        if not home.exists():
            build(home, options.runs, options.points)
        with held(home.worker_lock, {"pid": os.getpid()}):
            report(home, options)


def commands(home: Home, runs: int) -> dict[str, list[str]]:
    """The commands that are timed, `python -c pass` first."""
    start = [sys.executable, "-m", "rpat_tui"]
    middle = f"r{runs // 2}"
    words = {
        "rpat --help": ["--help"],
        "rpat list": ["list"],
        "rpat list --json": ["list", "--json"],
        'rpat list --where "method:mart pgd>50"': ["list", "--where", "method:mart pgd>50"],
        'rpat list --json --where "method:mart pgd>50"': [
            "list", "--json", "--where", "method:mart pgd>50",
        ],
        "rpat table --dataset cifar100": ["table", "--dataset", "cifar100"],
        "rpat table": ["table"],
        "rpat table --dataset cifar100 --format json": [
            "table", "--dataset", "cifar100", "--format", "json",
        ],
        f"rpat show {middle}": ["show", middle],
    }  # fmt: skip
    return {"python -c pass": [sys.executable, "-c", "pass"]} | {
        name: [*start, *rest] for name, rest in words.items()
    }


def reads(db: sqlite3.Connection, runs: int) -> dict[str, tuple[str, Callable[[], object]]]:
    """The queries of the interface, each with the budget that it has."""
    middle = runs // 2
    shown = [n for (n,) in db.execute("select n from runs where state = 'done' limit 8")]
    pgd = window.Query(sort="pgd")
    known = window.order(db, pgd)

    def curves() -> list[object]:
        return [
            queries.points(db, n, name)
            for n in shown
            for name in ("test/clean_acc", "test/pgd_acc")
        ]

    return {
        "60 rows of a known order": ("runs window",
            lambda: window.lines(db, pgd, known[middle : middle + 60])),
        "60 rows by id": ("runs window", lambda: window.window(db, window.Query(), middle, 60)),
        "60 rows by PGD": ("runs window", lambda: window.window(db, pgd, middle, 60)),
        "60 rows by PGD, `method:mart pgd>50`": ("runs window", lambda: window.window(
            db, window.Query(where="method:mart pgd>50", sort="pgd"), 100, 60)),
        "8 runs x 2 curves, whole": ("8x2 curves", curves),
    }  # fmt: skip


Times = dict[str, list[tuple[float, float]]]
"""Name -> seconds on the wall and of the processor, a pair each turn."""


def measure(commands: dict[str, list[str]], env: dict[str, str], repeat: int) -> Times:
    """Time whole processes, in turn."""
    times: Times = {name: [] for name in commands}
    for turn in range(repeat + 1):
        for name, command in commands.items():
            clock = time.perf_counter()
            child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            assert status == 0, command
            child.returncode = 0
            if turn:  # the first one warms the disk
                wall = time.perf_counter() - clock
                times[name].append((wall, used.ru_utime + used.ru_stime))
    return times


def medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of both, in milliseconds."""
    wall, cpu = (statistics.median(part) * 1e3 for part in zip(*times, strict=True))
    return wall, cpu


@uncollected()
def write_table(db: sqlite3.Connection, ask: Ask, name: str) -> int:
    """Make and write a table as `rpat table` does; returns how many rows it has."""
    made = paper_table.build(db, ask, stamp=bool(ask.suite) or name != "rich")
    exports.write(name, made, io.StringIO())
    return len(made.rows)


def print_tables(home: Home, repeat: int) -> None:
    """Print how long each kind of table takes in each format: reading, making, writing."""
    from scipy.special import stdtr  # start-up of those with tests

    assert stdtr(3.0, 0.0) == 0.5
    times: dict[tuple[str, str], list[float]] = {}
    rows: dict[str, int] = {}
    with database.opened_readonly(home) as db:
        db.execute("pragma cache_size = -65536")
        for turn in range(repeat + 1):
            for kind, ask in TABLES.items():
                for name in exports.names():
                    cpu = time.process_time()
                    rows[kind] = write_table(db, ask, name)
                    if turn:  # the first one warms the cache
                        times.setdefault((kind, name), []).append(time.process_time() - cpu)
    print(f"CPU ms from the question to the last byte, in process; budget {BUDGETS['table']} ms\n")
    print(f"| table | rows | {' | '.join(exports.names())} |")
    print("| :-- | --: |" + " --: |" * len(exports.names()))
    for kind in TABLES:
        taken = [statistics.median(times[kind, name]) * 1e3 for name in exports.names()]
        print(f"| {kind} | {rows[kind]:,} | {' | '.join(f'{ms:.0f}' for ms in taken)} |")
    print()


def report(home: Home, options: argparse.Namespace) -> None:
    """Print what was measured."""
    if options.tables:
        print_tables(home, options.repeat)
        return
    env = {**environment(home.path), "COLUMNS": "160"}
    times = measure(commands(home, options.runs), env, options.repeat)
    bare = medians(times["python -c pass"])[1]
    with database.opened_readonly(home) as db:
        db.execute("pragma cache_size = -65536")
        inside: Times = {}
        questions = reads(db, options.runs)
        for turn in range(options.repeat + 1):
            for name, (_, read) in questions.items():
                clock, cpu = time.perf_counter(), time.process_time()
                read()
                if turn:  # the first one warms the cache
                    pair = (time.perf_counter() - clock, time.process_time() - cpu)
                    inside.setdefault(name, []).append(pair)
        runs, points, evaluations = (
            db.execute(f"select count(*) from {table}").fetchone()[0]
            for table in ("runs", "points", "evaluations")
        )
    print(f"{runs:,} runs, {points:,} points, {evaluations:,} evaluations, "
          f"{home.database.stat().st_size / 1e6:.0f} MB; Python {platform.python_version()}, "
          f"SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores, "
          f"medians of {options.repeat}\n")  # fmt: skip
    print("| what | CPU ms | wall ms | CPU, x python -c pass | budget ms |")
    print("| :-- | --: | --: | --: | --: |")
    for name, taken in times.items():
        wall, cpu = medians(taken)
        print(f"| `{name}` | {cpu:.0f} | {wall:.0f} | {cpu / bare:.1f} | {BUDGETS.get(name, '')} |")
    for name, taken in inside.items():
        wall, cpu = medians(taken)
        budget = BUDGETS.get(questions[name][0], "")
        print(f"| {name}, in process | {cpu:.1f} | {wall:.1f} | | {budget} |")
    print()
    print_tables(home, options.repeat)


if __name__ == "__main__":
    main()
