"""What a line of the journal costs the trainer, beside plain JSON and one write.

    python bench/logcost.py [--repeat 20000] [--steps 30]

`Journal.write` of ten values and `json.dumps` of the same with `os.write` take turns in one
process, so that both meet the same machine. Then a small real training says how long its steps
take. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rpat import journal
from rpat.journal import Journal
from rpat.recipes import recipe
from rpat.rundir import RunDir, new_uid, write_json

GPU_STEP = 0.050
"""Seconds of a step of ResNet-18 with PGD-10 on a large GPU, the order of magnitude."""


def main() -> None:
    """Time both writers, then a training; print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = write(Path(folder), options.repeat)
        step = train(Path(folder) / "runs" / "r0001", options.steps)
    report(options.repeat, ours, plain, step)


def write(folder: Path, repeat: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each call of the journal and of each plain line."""
    log = Journal(folder / "journal.jsonl")
    fd = os.open(folder / "plain.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours, plain = [], []
    names = [f"train/metric_{i}" for i in range(10)]
    for step in range(repeat):
        values = {name: 50 + i + step / 7 for i, name in enumerate(names)}
        clock = time.perf_counter()
        log.write("log", epoch=1, step=step, values=values)
        middle = time.perf_counter()
        os.write(fd, (json.dumps({"epoch": 1, "step": step, "values": values}) + "\n").encode())
        plain.append(time.perf_counter() - middle)
        ours.append(middle - clock)
    log.close()
    os.close(fd)
    return ours, plain


def train(folder: Path, steps: int) -> float:
    """Return the median seconds of a step of a small training that journals each one."""
    changes = {
        "data.train_n": 32 * steps, "data.test_n": 32, "optim.batch_size": 32,
        "schedule.epochs": 1, "eval.attack": "none", "log_every": 1, "device": "cpu",
    }  # fmt: skip
    config = recipe("pgd-at", ("rpat",), dataset="digits").override(changes)
    folder.mkdir(parents=True)
    job = {"schema": 1, "uid": new_uid(), "kind": "train", "config": config.to_dict()}
    write_json(folder / "config.json", job)
    run = RunDir(folder)
    run.checkpoints.mkdir()
    done = subprocess.run([sys.executable, "-m", "rpat", str(folder)], capture_output=True)
    done.check_returncode()
    records = [record for record, _ in journal.read(run.attempts()[0].journal)]
    times = [record["t"] for record in records if record["kind"] == "log"]
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def report(repeat: int, ours: list[float], plain: list[float], step: float) -> None:
    """Print the figures as Markdown."""
    mine, theirs = (statistics.median(times) for times in (ours, plain))
    long, others = (sum(t > 1e-3 for t in times) for times in (ours, plain))
    met = "met" if mine <= theirs else f"missed: {mine / theirs:.2f} times"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {repeat:,} lines each\n")
    print("| what | figure | target | |\n| :-- | --: | --: | :-- |")
    print(
        f"| `Journal.write` of ten values, median | {mine * 1e6:.1f} us | "
        f"at most the plain {theirs * 1e6:.1f} us | {met} |"
    )
    print(f"| the same, 99th percentile | {sorted(ours)[repeat * 99 // 100] * 1e6:.0f} us | | |")
    print(
        f"| calls of more than 1 ms (plain: {others}) | {long} | 0 | "
        f"{'met' if not long else 'missed, as by the plain ones' if others else 'missed'} |"
    )
    print(f"| plain `json.dumps` and one `os.write`, median | {theirs * 1e6:.1f} us | | |")
    print(
        f"| step of a small training here (digits, ResNet-8, batch 32) | {step * 1e3:.0f} ms | | |"
    )
    print(f"| a line a step, share of that step | {mine / step:.4%} | below 0.1 % | "
          f"{'met' if mine < step / 1e3 else 'missed'} |")  # fmt: skip
    print(f"| share of a GPU-sized step of {GPU_STEP * 1e3:.0f} ms | {mine / GPU_STEP:.4%} "
          f"| below 0.1 % | {'met' if mine < GPU_STEP / 1e3 else 'missed'} |")  # fmt: skip


if __name__ == "__main__":
    main()
