"""A training epoch as `Training` carries it out, loader and journal included, in each mode.

    python bench/epoch.py [--model resnet18] [--method pgd-at] [--stack rpat] [--images 2048]
                          [--batch-size 128] [--modes reference,exact,fast] [--epochs 2]
                          [--device cpu] [--data CIFAR10_FOLDER]

The modes alternate, one epoch each; the first epoch of each warms up and does not count. What the
loader takes alone (crop, flip, and the way to the device) is measured beside it. Images are random
or real, never constant.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from step import machine, timed

from rpat.config import DataConfig, RunConfig
from rpat.data.dataset import DataSet, Images, load
from rpat.journal import Journal
from rpat.recipes import recipe
from rpat.rundir import RunDir
from rpat.train import Training


def images(folder: str, n: int) -> DataSet:
    """Return real images where there is a folder, else random ones of ten classes."""
    if folder:
        return load(DataConfig(name="cifar10", source="image-folder", dir=folder, train_n=n))
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8)
    some = Images(pixels, torch.randint(10, (n,), generator=draw), torch.arange(n))
    classes = tuple(str(c) for c in range(10))
    return DataSet("cifar10", "embedded", classes, some, some, None, "", n)


def prepared(config: RunConfig, data: DataSet, device: torch.device, folder: Path) -> Training:
    """Return a training on these images whose journal goes to a folder."""
    folder.mkdir()
    run = RunDir(folder)
    attempt = run.take_attempt()
    journal = Journal(attempt.journal)
    return Training(run, attempt, config, data.to(device), journal, lambda: None, device)


def compare(a: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return the seconds of each mode's epochs and of the loader alone."""
    some = images(a.data, a.images)
    with tempfile.TemporaryDirectory() as place:
        runs = {}
        for mode in a.modes.split(","):
            config = recipe(a.method, tuple(filter(None, a.stack.split(","))), model=a.model)
            config = config.override({
                "mode": mode, "optim.batch_size": a.batch_size, "optim.lr": 0.01,
                "attack.steps": a.steps,
            })  # fmt: skip
            runs[mode] = prepared(config, some, device, Path(place) / mode)
        seconds: dict[str, list[float]] = {mode: [] for mode in [*runs, "loader"]}
        for epoch in range(a.epochs + 1):
            for mode, run in runs.items():
                taken = timed(lambda r=run, e=epoch: r.train_epoch(e, 0), device)
                seconds[mode].append(taken)
            loader = next(iter(runs.values())).loader
            taken = timed(lambda x=loader, e=epoch: [None for _ in x.epoch(e)], device)
            seconds["loader"].append(taken)
    counted = {mode: statistics.median(values[1:]) for mode, values in seconds.items()}
    return {
        "model": a.model, "method": "+".join([a.method, a.stack]), "images": len(some.train),
        "seconds": counted, "images_per_s": {m: len(some.train) / s for m, s in counted.items()},
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = ["| part | seconds an epoch | images a second |", "| :-- | --: | --: |"]
    for name, value in found["seconds"].items():
        lines.append(f"| {name} | {value:.3g} | {found['images_per_s'][name]:.4g} |")
    return "\n".join(lines)


def options() -> argparse.ArgumentParser:
    """Return the options that decide the work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--method", default="pgd-at")
    parser.add_argument("--stack", default="rpat")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--modes", default="reference,exact,fast")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="", help="image folder of CIFAR-10")
    return parser


def main() -> None:
    """Compare and print a table."""
    a = options().parse_args()
    device = torch.device(a.device)
    found = compare(a, device)
    print(f"{a.model}, {found['method']}, {found['images']} images, batch {a.batch_size}")
    print(machine(device))
    print(table(found))


if __name__ == "__main__":
    main()
