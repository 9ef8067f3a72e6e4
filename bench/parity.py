"""Accuracy after a short schedule in each mode, three seeds each, with a test of the difference.

    python bench/parity.py [--data CIFAR10_FOLDER] [--model resnet18] [--method pgd-at]
                           [--stack rpat] [--epochs 6] [--steps 10] [--seeds 3] [--train-n 10000]
                           [--test-n 2000] [--test-steps 20] [--modes exact,fast] [--device cpu]
                           [--json FILE]

Images are CIFAR-10's where there is a folder, else the embedded digits. Clean and PGD accuracy of
the last epoch as mean and sample standard deviation, each mode's difference to the first one with
its 95 % interval, and the two-sided p value of rpat's own statistics (`rpat_tui.statistics`): the
t test is paired, since every mode has the same seeds. Each run is printed as soon as it is done,
and FILE is written anew after each.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import epoch
import torch
from scipy.stats import t as student
from step import machine

from rpat.config import RunConfig
from rpat.data.dataset import DataSet, load
from rpat.recipes import recipe
from rpat_tui import statistics as tests

MEASURES = {"clean": "test/clean_acc", "PGD": "test/pgd_acc"}

Found = dict[str, Any]
"""What was asked; `accuracy` holds mode -> seed -> measure -> percent, `seconds` the same."""


def compare(a: argparse.Namespace, device: torch.device, until: float = math.inf) -> Found:
    """Train every seed in every mode; begin no seed that would end after `until` (monotonic)."""
    name = "cifar10" if a.data else "digits"
    place = {"data.source": "image-folder", "data.dir": a.data} if a.data else {}
    found: Found = {**vars(a), "data": name, "machine": machine(device)}
    found |= {"accuracy": {mode: {} for mode in a.modes.split(",")}, "seconds": {}}
    stack = tuple(filter(None, a.stack.split(",")))
    base = recipe(a.method, stack, dataset=name, model=a.model, epochs=a.epochs).override({
        "attack.steps": a.steps, "data.train_n": a.train_n, "data.test_n": a.test_n,
        "optim.batch_size": a.batch_size, "eval.selection_steps": a.test_steps, **place,
    })  # fmt: skip
    data = load(base.data)
    longest = 0.0
    for seed in range(a.seeds):
        began = time.monotonic()
        if began + longest > until:
            break
        for mode, runs in found["accuracy"].items():
            clock = time.process_time()
            runs[seed] = trained(base.override({"mode": mode, "seed": seed}), data, device)
            taken = found["seconds"].setdefault(mode, {})[seed] = time.process_time() - clock
            print(f"seed {seed}, {mode}: {runs[seed]}, {taken:.0f} s", file=sys.stderr, flush=True)
            if a.json:
                Path(a.json).write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        longest = max(longest, time.monotonic() - began)
    return found


def trained(config: RunConfig, data: DataSet, device: torch.device) -> dict[str, float]:
    """Train and return the last clean and PGD accuracy, in percent."""
    with tempfile.TemporaryDirectory() as place:
        run = epoch.prepared(config, data, device, Path(place) / "run")
        for number in range(config.schedule.epochs):
            run.train_epoch(number, 0)
            run.method.epoch_end(run.facts, number)
        values = run.test("online", run.model, config.schedule.epochs)
    return {name: float(values[key] or 0) for name, key in MEASURES.items()}


def table(found: Found) -> str:
    """Return the figures as Markdown."""
    modes = list(found["accuracy"])
    lines = [
        f"{found['model']}, {found['method']}+{found['stack']}, {found['data']} "
        f"({found['train_n'] or 'all'} training, {found['test_n'] or 'all'} test images), "
        f"{found['epochs']} epochs of batches of {found['batch_size']}, {found['steps']} attack "
        f"steps, PGD-{found['test_steps']}, {len(found['accuracy'][modes[0]])} seeds",
        "",
        f"| mode | accuracy | mean ± std | seeds | difference to `{modes[0]}` | test |",
        "| :-- | :-- | --: | :-- | --: | :-- |",
    ]
    done = {
        (measure, mode): tests.compare(
            column(found, modes[0], measure), column(found, mode, measure)
        )
        for measure in MEASURES for mode in modes[1:]
    }  # fmt: skip
    done = tests.together(done)
    for measure in MEASURES:
        for mode in modes:
            values = list(column(found, mode, measure).values())
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells = [mode, measure, f"{statistics.mean(values):.2f}{spread}"]
            cells += [", ".join(f"{value:.1f}" for value in values)]
            cells += verdict(done[measure, mode]) if mode != modes[0] else ["", ""]
            lines.append(f"| {' | '.join(cells)} |")
    if said := tests.method(done):
        lines += ["", f"{said}. The interval is that of 95 %, uncorrected."]
    return "\n".join(lines)


def column(found: Found, mode: str, measure: str) -> dict[int, float]:
    """Return a mode's accuracy by seed."""
    return {seed: values[measure] for seed, values in found["accuracy"][mode].items()}


def verdict(test: tests.Test) -> list[str]:
    """Return a difference with its interval, and what the test says of it."""
    if test.p is None or test.t is None or test.df is None or test.corrected is None:
        return [f"{test.diff:+.2f}", test.reason]
    half = abs(test.diff / test.t) * float(student.ppf(0.975, test.df))
    found = f"{test.diff:+.2f} ({test.diff - half:+.2f} to {test.diff + half:+.2f})"
    corrected = tests.p_text(test.corrected).removeprefix("p")
    return [found, f"{tests.p_text(test.p)}, corrected {corrected}"]


def options() -> argparse.ArgumentParser:
    """Return the options that decide the work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="", help="image folder of CIFAR-10")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--method", default="pgd-at")
    parser.add_argument("--stack", default="rpat")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-n", type=int, default=0)
    parser.add_argument("--test-n", type=int, default=0)
    parser.add_argument("--test-steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--modes", default="exact,fast")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", default="")
    return parser


def main() -> None:
    """Compare and print a table."""
    a = options().parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    found = compare(a, torch.device(a.device))
    print(found["machine"])
    print(table(found))


if __name__ == "__main__":
    main()
