"""Accuracy after a short schedule in each mode, three seeds each.

    python bench/parity.py [--data CIFAR10_FOLDER] [--model resnet18] [--method pgd-at]
                           [--stack rpat] [--epochs 6] [--steps 10] [--seeds 3] [--train-n 10000]
                           [--test-n 2000] [--modes reference,fast] [--device cpu]

Images are CIFAR-10's where there is a folder, else the embedded digits. Clean and PGD accuracy of
the last epoch as mean and sample standard deviation, the difference to the first mode, and the p
value of a two-sided t test over the seeds, which are the same in every mode (paired).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import epoch
import torch
from scipy.stats import ttest_rel
from step import machine

from rpat.config import RunConfig
from rpat.data.dataset import load
from rpat.recipes import recipe

MEASURES = ("clean", "PGD")


def compare(a: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Train every seed in every mode; returns what was asked and each run's accuracies."""
    name = "cifar10" if a.data else "digits"
    place = {"data.source": "image-folder", "data.dir": a.data} if a.data else {}
    found: dict[str, Any] = {"images": name, **vars(a), "accuracy": {}}
    found["data"] = name
    for seed in range(a.seeds):
        for mode in a.modes.split(","):
            stack = tuple(filter(None, a.stack.split(",")))
            config = recipe(a.method, stack, dataset=name, model=a.model, epochs=a.epochs)
            config = config.override({
                "mode": mode, "seed": seed, "attack.steps": a.steps, "data.train_n": a.train_n,
                "data.test_n": a.test_n, "optim.batch_size": a.batch_size, **place,
            })  # fmt: skip
            found["accuracy"].setdefault(mode, []).append(trained(config, device))
    return found


def trained(config: RunConfig, device: torch.device) -> tuple[float, float]:
    """Train and return the last clean and PGD accuracy, in percent."""
    with tempfile.TemporaryDirectory() as place:
        run = epoch.prepared(config, load(config.data), device, Path(place) / "run")
        for number in range(config.schedule.epochs):
            run.train_epoch(number, 0)
        values = run.test("online", run.model, config.schedule.epochs)
    return float(values["test/clean_acc"] or 0), float(values["test/pgd_acc"] or 0)


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    said = (
        f"{found['model']}, {found['method']}+{found['stack']}, {found['images']} "
        f"({found['train_n'] or 'all'} training, {found['test_n'] or 'all'} test images), "
        f"{found['epochs']} epochs, {found['steps']} attack steps, {found['seeds']} seeds"
    )
    head = "| mode | " + " | ".join(f"{m} | difference | p" for m in MEASURES) + " |"
    lines = [said, "", head, "| :-- |" + " --: |" * 3 * len(MEASURES)]
    first = next(iter(found["accuracy"].values()))
    for mode, rows in found["accuracy"].items():
        cells = []
        for own, base in zip(zip(*rows, strict=True), zip(*first, strict=True), strict=True):
            spread = f" ± {statistics.stdev(own):.2f}" if len(own) > 1 else ""
            cells.append(f"{statistics.mean(own):.2f}{spread}")
            if rows is first:
                cells += ["", ""]
                continue
            gap = statistics.mean(own) - statistics.mean(base)
            p = ttest_rel(own, base).pvalue if len(own) > 2 else float("nan")
            cells += [f"{gap:+.2f}", f"{p:.2f}"]
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--modes", default="reference,fast")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    return parser


def main() -> None:
    """Compare and print a table."""
    a = options().parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    found = compare(a, device)
    print(machine(device))
    print(table(found))


if __name__ == "__main__":
    main()
