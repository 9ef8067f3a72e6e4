"""How long the run list takes: a window of rows, beside one walk over the summary.

    python bench/window.py [--runs 10000] [--points 100] [--repeat 30] [--keep FOLDER]

Builds a home of that many runs with ten metrics of that many points each, then prints medians:
the order by several columns, a window of 60 rows, a tick that changes nothing. `walk` is the plain
baseline in the same process: one scan of `latest_best`.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rpat.recipes import recipe
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import window

METRICS = (
    "train/loss", "train/ce", "train/adv_acc", "test/clean_acc", "test/pgd_acc", "test/logit_mse",
    "test/logit_mse_success", "test/logit_mse_failure", "lr", "time/epoch_s",
)  # fmt: skip
STATES = ("done",) * 12 + ("running", "queued", "failed", "stopped")
SEEDS = 3


def build(home: Home, runs: int, points: int) -> None:
    """Fill a home's database with runs and metrics; there are no run directories."""
    with database.opened(home) as db:
        db.execute("pragma synchronous = off")
        db.execute("begin")
        columns = list(next(_runs(1)))
        marks = ", ".join(f":{column}" for column in columns)
        db.executemany(f"insert into runs ({', '.join(columns)}) values ({marks})", _runs(runs))
        db.executemany(
            "insert into series (id, run, name) values (?, ?, ?)",
            (
                ((n - 1) * len(METRICS) + at, n, name)
                for n in range(1, runs + 1)
                if STATES[n % len(STATES)] != "queued"
                for at, name in enumerate(METRICS, 1)
            ),
        )
        db.execute(
            "insert into points (series, step, epoch, value) "
            "with recursive t(x) as (select 1 union all select x + 1 from t where x < ?) "
            "select s.id, t.x * 391, t.x, 50 + 40 * sin(s.id + t.x / 20.0) "
            "from series s, t order by s.id, t.x",
            (points,),
        )
        db.execute(
            "insert into latest_best select s.id, ?1 * 391, ?1, 50 + 40 * sin(s.id + ?1 / 20.0), "
            "90 - abs(sin(s.id)), 1 + s.id % ?1, 10, 1, ?1 from series s",
            (points,),
        )
        db.execute("commit")
        db.execute("pragma wal_checkpoint(truncate)")


def _runs(count: int) -> Iterator[dict[str, object]]:
    bases = [
        (method, stack, dataset, recipe(method, stack, dataset=dataset))
        for method in ("pgd-at", "trades", "mart")
        for stack in ((), ("rpat",))
        for dataset in ("cifar10", "cifar100", "tiny-imagenet")
    ]
    values = [config.to_dict() for *_, config in bases]
    for n in range(1, count + 1):
        group = n // SEEDS
        at = group % len(bases)
        method, stack, dataset, config = bases[at]
        text = json.dumps(_varied(values[at], group // len(bases)))
        yield {
            "n": n, "id": f"r{n:04d}", "uid": f"u{n:026d}", "kind": "train", "method": method,
            "rpat": int(bool(stack)), "lam": (group % 7 + 1) / 2 if stack else None,
            "dataset": dataset, "source": "official", "norm": "linf", "model": config.model.name,
            "seed": n % SEEDS, "epochs": config.schedule.epochs, "fingerprint": f"{n:064x}",
            "group_key": f"{group:064x}", "data_key": dataset, "config": text,
            "device": "auto", "state": STATES[n % len(STATES)], "attempt": 1,
            "epoch": n % 110, "step": n % 110 * 391, "steps": 110 * 391, "created": 1.7e9 + n,
            "started": 1.7e9 + n, "ended": 1.7e9 + n + 3600, "archived": int(n % 50 == 0),
        }  # fmt: skip


def _varied(config: dict[str, Any], turn: int) -> dict[str, Any]:
    """Return a config of its own for each group: another learning rate, another weight decay."""
    optim = config["optim"] | {
        "lr": config["optim"]["lr"] * (1 + turn % 20) / 10,
        "weight_decay": config["optim"]["weight_decay"] * (1 + turn // 20),
    }
    return config | {"optim": optim}


def main() -> None:
    """Build the store, time the reads, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="a folder to build in, or to use again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(options.keep or Path(folder) / "home")
        if not home.exists():
            build(home, options.runs, options.points)
        measure(home, options.repeat)


def measure(home: Home, repeat: int) -> None:
    """Print how long each kind of read takes, beside one walk over the summary."""
    reader = window.Reader(home)
    with reader.reading() as db:
        runs = db.execute("select count(*) from runs").fetchone()[0]
        points = db.execute("select sum(points) from latest_best").fetchone()[0]
        middle = runs // 2
        listing = reader.listing(window.Query(sort="pgd"))
        listing.refresh()
        reads: dict[str, Callable[[], object]] = {
            "walk over latest_best": lambda: db.execute(
                "select sum(value), max(max_value) from latest_best"
            ).fetchone(),
            "nothing new": listing.refresh,
            "60 rows of a known order": lambda: listing.window(middle, 60),
            "count": lambda: window.totals(db, window.Query()),
        }
        for label, query in {
            "by id": window.Query(),
            "by method": window.Query(sort="method", descending=False),
            "by PGD": window.Query(sort="pgd"),
            "by NRR": window.Query(sort="nrr"),
            "by PGD, filtered": window.Query(where="method:mart pgd>50", sort="pgd"),
            "by NRR, seeds folded": window.Query(sort="nrr", group_seeds=True),
        }.items():
            reads[f"60 rows, {label}"] = functools.partial(window.window, db, query, middle, 60)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in reads}
        for turn in range(repeat + 1):
            for name, read in reads.items():
                wall, cpu = time.perf_counter(), time.process_time()
                read()
                if turn:  # the first one warms the cache
                    times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    reader.close()
    print(f"{runs:,} runs, {points:,} points, Python {platform.python_version()}, "
          f"SQLite {sqlite3.sqlite_version}, medians of {repeat}\n")  # fmt: skip
    print("| read | CPU ms | wall ms |\n| --- | --: | --: |")
    for name, taken in times.items():
        wall, cpu = (statistics.median(part) * 1e3 for part in zip(*taken, strict=True))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} |")


if __name__ == "__main__":
    main()
