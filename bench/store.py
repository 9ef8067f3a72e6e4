"""What ingest, size, tables and polls cost, beside plain JSON lines and plain sqlite3.

    python bench/store.py [--runs 1000] [--epochs 200] [--repeat 15]

Builds a home of that many finished runs, made the way a real one comes about: journals, then
ingest. The plain way takes turns with ours in the same run, on the same journals and rows. Seconds
are the processor's, so that what else the machine does counts less. Prints a Markdown table with
the targets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rpat.config import NORMS
from rpat.recipes import RADIUS, recipe
from rpat.rundir import RunDir
from rpat_tui import pools
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index, ingest, queries
from rpat_tui.store.queue import name_of
from rpat_tui.store.window import Reader

DATASETS = ("cifar10", "cifar100", "tiny-imagenet")
MODELS = ("resnet18", "preactresnet18", "wrn-34-10", "resnet26-bottleneck")
METHODS = ("pgd-at", "trades", "mart")
METRICS = (
    "train/loss", "train/ce", "train/adv_acc", "test/clean_acc", "test/pgd_acc", "test/logit_mse",
    "test/logit_mse_success", "test/logit_mse_failure", "lr", "time/epoch_s",
)  # fmt: skip


class Built(NamedTuple):
    """What building the store took."""

    points: int
    ingest_s: float
    bytes: int


def environment(home: Path) -> dict[str, str]:
    """Return an environment for commands of a home, with modules compiled as once installed."""
    made = {**os.environ, "RPAT_HOME": str(home)}
    if made.pop("PYTHONDONTWRITEBYTECODE", None):
        made["PYTHONPYCACHEPREFIX"] = str(home / "compiled")
    return made


def build(
    folder: Path, runs: int, epochs: int, beside: Callable[[int, RunDir], None] | None = None
) -> Built:
    """Fill a new home with runs of 200 epochs and ten metrics and index them.

    `beside` is called after each run has been read, and not counted.
    """
    home = Home(folder).make()
    configs = []
    axes = itertools.product(
        (1.0, 0.5, 2.0), DATASETS, MODELS, NORMS, METHODS, ((), ("rpat",)), range(3)
    )
    for lam, dataset, model, norm, method, stack, seed in itertools.islice(axes, runs):
        base = recipe(method, stack, dataset=dataset, model=model, norm=norm, epochs=epochs)
        change = {"rpat.lam": lam} if stack else {"optim.weight_decay": 5e-4 * lam}
        configs.append(base.override({"seed": seed, **change}))
    with database.opened(home) as db:
        numbers = index.enqueue(home, db, configs, index.Wish(), {})
        for n in numbers:
            _journal(RunDir(home.runs / name_of(n)), n, configs[n - 1].threat.norm, epochs)
        seconds = 0.0
        for n in numbers:
            run = RunDir(home.runs / name_of(n))
            clock = time.process_time()
            ingest.ingest(db, n, run)
            seconds += time.process_time() - clock
            if beside is not None:
                beside(n, run)
        db.execute("update runs set state = 'done', started = created, ended = created + 3600")
        points = db.execute("select count(*) from points").fetchone()[0]
        db.execute("pragma wal_checkpoint(truncate)")
        size = home.database.stat().st_size
        pools.keep(db)  # what tables report, as a worker does when a run ends
        db.execute("pragma wal_checkpoint(truncate)")
    return Built(points, seconds, size)


def _journal(run: RunDir, n: int, norm: str, epochs: int) -> None:
    attempt = run.take_attempt()
    me = {"host": "bench", "boot": "bench", "pid": 1, "started": "1"}
    lines = [
        {"kind": "begin", "v": 1, "attempt": 1, "from_step": 0, **me, "device_name": "bench"},
        {"kind": "notice", "what": "data", "fingerprint": "f" * 64},
    ]
    for epoch in range(1, epochs + 1):
        values = {name: 50 + 40 * math.sin(n + epoch / 20 + i) for i, name in enumerate(METRICS)}
        lines.append({"kind": "epoch", "epoch": epoch, "step": epoch * 391, "values": values})
    for kind in ("best", "final"):
        for attack, steps in (("pgd", 20), ("aa", 0)):
            lines.append(_evaluation(n, norm, kind, attack, steps, epochs))
    lines.append({"kind": "end", "epoch": epochs, "step": epochs * 391})
    text = "".join(
        json.dumps({"seq": i, "t": 1.7e9 + i, **x}) + "\n" for i, x in enumerate(lines, 1)
    )
    attempt.journal.write_text(text, "utf-8")


def _evaluation(
    n: int, norm: str, kind: str, attack: str, steps: int, epochs: int
) -> dict[str, object]:
    robust = 45 + 5 * math.sin(n) - (4 if attack == "aa" else 0)
    fixed = {
        "network": "online", "weights": "0" * 64, "split": "test", "n": 10_000, "of": 10_000,
        "indices": "0" * 64, "seed": 0, "dtype": "float32", "step_size": 2 / 255, "restarts": 1,
        "note": "",
    }  # fmt: skip
    return {
        "kind": "eval",
        "checkpoint": kind,
        "epoch": epochs,
        "selected_on": "test" if kind == "best" else "",
        "step": epochs * 391,
        "attack": attack,
        "norm": norm,
        "epsilon": RADIUS[norm],
        "steps": steps,
        "clean": 80 + 2 * math.cos(n),
        "robust": robust,
        **fixed,
    }


# ------------------------------------------------------------- the measurement


class Plain:
    """A table of points and nothing else, filled with `json.loads` and `executemany`."""

    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, 0.0
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute("pragma synchronous = normal")
        self.db.execute(
            "create table points (series integer, step integer, epoch integer, value real, "
            "primary key (series, step)) without rowid"
        )

    def read(self, n: int, run: RunDir) -> None:
        """Read a run's journal, in one transaction."""
        clock = time.process_time()
        rows = []
        for line in run.attempts()[-1].journal.read_bytes().splitlines():
            record = json.loads(line)
            if record["kind"] == "epoch":
                for at, value in enumerate(record["values"].values()):
                    rows.append((n * len(METRICS) + at, record["step"], record["epoch"], value))
        rows.sort()
        self.db.execute("begin")
        self.db.executemany("insert into points values (?, ?, ?, ?)", rows)
        self.db.execute("commit")
        self.seconds += time.process_time() - clock


MINIMAL = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for row in db.execute(
    "select r.id, r.method, max(case s.name when 'test/clean_acc' then b.value end), "
    "max(case s.name when 'test/pgd_acc' then b.max_value end) from runs r "
    "join series s on s.run = r.n join latest_best b on b.series = s.id "
    "where s.name in ('test/clean_acc', 'test/pgd_acc') group by r.n limit 250"
):
    print(*row, sep=" | ")
"""
"""The least that shows 250 runs from a summary table."""


def processes(commands: list[list[str]], env: dict[str, str], repeat: int) -> list[float]:
    """Return the median processor milliseconds of commands, each a new process, in turns."""
    taken: list[list[float]] = [[] for _ in commands]
    for turn in range(repeat + 1):
        for times, command in zip(taken, commands, strict=True):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if turn:  # the first one warms the disk
                spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                times.append(spent * 1e3)
    return [statistics.median(times) for times in taken]


def in_turns(ways: list[Callable[[], object]], repeat: int = 2000) -> list[float]:
    """Return the median microseconds of calls, in turns."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(repeat):
        for times, way in zip(taken, ways, strict=True):
            clock = time.perf_counter()
            way()
            times.append((time.perf_counter() - clock) * 1e6)
    return [statistics.median(times) for times in taken]


def line(what: str, ours: float, plain: float, target: float, met: bool, unit: str) -> str:
    """Return a row of the table."""
    verdict = "met" if met else f"missed, {ours / target:.2f} of it"
    return (
        f"| {what} | {ours:,.4g} {unit} | {plain:,.4g} {unit} | {target:,.4g} {unit} | {verdict} |"
    )


def main() -> None:
    """Build, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain = Plain(Path(folder) / "plain.db")
        home = Home(Path(folder) / "home")
        built = build(home.path, options.runs, options.epochs, plain.read)
        plain.db.execute("pragma wal_checkpoint(truncate)")
        report(home, built, plain, options)


def report(home: Home, built: Built, plain: Plain, options: argparse.Namespace) -> None:
    """Measure tables and polls, and print everything."""
    rate, plain_rate = built.points / built.ingest_s, built.points / plain.seconds
    size, plain_size = built.bytes / built.points, plain.path.stat().st_size / built.points
    rpat = [sys.executable, "-m", "rpat_tui"]
    table, some, minimal, bare = processes(
        [
            [*rpat, "table", "--format", "json"],
            [*rpat, "table", "--dataset", "cifar10", "--norm", "linf", "--format", "json"],
            [sys.executable, "-c", MINIMAL, str(home.database)],
            [sys.executable, "-c", "pass"],
        ],
        environment(home.path), options.repeat,
    )  # fmt: skip
    reader, middle, seen = Reader(home), options.runs // 2, 391 * (options.epochs - 50)
    with reader.reading() as db:
        series = "select step, epoch, value from points where series = ? and step > ?"
        known = middle * len(METRICS) + METRICS.index("test/pgd_acc")
        assert len(plain.db.execute(series, (known, seen)).fetchall()) == 50
        new, plain_new, nothing, plain_nothing = in_turns([
            lambda: queries.points(db, middle, "test/pgd_acc", seen),
            lambda: plain.db.execute(series, (known, seen)).fetchall(),
            reader.pulse,
            lambda: db.execute("pragma data_version").fetchone(),
        ])  # fmt: skip
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
          f"{os.cpu_count()} cores; {options.runs:,} runs, {built.points:,} points\n")  # fmt: skip
    print("| what | ours | plain, in the same run | target | |")
    print("| :-- | --: | --: | --: | :-- |")
    print(line("ingest, summary kept up, points a second", rate, plain_rate, 350_000,
               rate >= 350_000, ""))  # fmt: skip
    print(line("database, a point", size, plain_size, 25, size <= 25, "bytes"))
    most = 2.5 * minimal
    print(line("`rpat table`, everything", table, minimal, most, table <= most, "ms"))
    print(line("`rpat table`, one data set and norm", some, minimal, most, some <= most, "ms"))
    print(line("poll, 50 new points", new, plain_new, 60, new <= 60, "us"))
    print(line("poll, nothing new", nothing, plain_nothing, 10, nothing <= 10, "us"))
    print(f"\nA bare interpreter takes {bare:.0f} ms of the same processor time.")


if __name__ == "__main__":
    main()
