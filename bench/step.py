"""One training step of each numeric mode beside the others, in turns, on the same batch.

    python bench/step.py [--model resnet18] [--batch-size 32] [--methods pgd-at+rpat,trades,mart]
                         [--modes reference,exact,fast] [--rounds 5] [--threads 1]
                         [--device cpu] [--data CIFAR10_FOLDER] [--compiled] [--json FILE]

`reference` computes what the authors' code does, in its order, the gradients that its attacks
throw away included. `exact+compiled` and `fast+compiled` are those modes with `--compiled`, which
adds them to the list. Modes alternate within each round, so that what else the machine does meets
all of them; ratios are medians over the rounds of the ratios within a round, to the first mode.
Seconds are the processor's on a CPU, the wall clock's on a GPU. Images are random or real, never
constant.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rpat import modes
from rpat.config import DataConfig, RunConfig
from rpat.data.dataset import load
from rpat.data.loader import pixels
from rpat.methods.base import Run
from rpat.models import build as build_model
from rpat.passes import carried_out
from rpat.recipes import recipe
from rpat.step import Step
from rpat.wrappers import build as build_method


class Candidate:
    """A network, its method and its optimiser in one mode; `+compiled` where it shall be."""

    def __init__(
        self, config: RunConfig, mode: str, device: torch.device, size: int, batch: int = 0
    ) -> None:
        torch.manual_seed(0)
        mode, _, compiled = mode.partition("+")
        self.config, self.device = config, device
        self.model = build_model(config.model, 10, size).to(device)
        self.method = build_method(config)
        rows = batch * self.method.views if compiled else 0
        self.passes = modes.make(mode, self.model, device, rows)
        self.method.setup(Run(self.model, 10, 50_000, config.schedule.epochs, 391))
        self.method.to(device)
        o = config.optim
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=o.lr, momentum=o.momentum, weight_decay=o.weight_decay
        )
        self.t = 0

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one step of training: what `Training.train_step` does."""
        views = self.method.views
        x, y = x.repeat(views, 1, 1, 1), y.repeat(views)
        step = Step(self.model, x, y, torch.arange(len(y), device=x.device), 0, self.t, 100_000)
        with carried_out(self.passes):
            self.model.train()
            step.x_adv = self.method.craft(step)
            self.optimizer.zero_grad(set_to_none=True)
            self.method.backward(step, self.method.loss)
            self.optimizer.step()
            self.method.after_step(step)
        self.t += 1


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Return the seconds that some work takes: on a CPU those of the processor, all threads
    together, which others on the machine disturb least; else those of the clock on the wall.
    """
    read = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    clock = read()
    work()
    synchronize(device)
    return read() - clock


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def configured(name: str, model: str, changes: dict[str, Any]) -> RunConfig:
    """Return the benchmark family's config of a method, `+rpat` where it is to be added."""
    method, _, stacked = name.partition("+")
    return recipe(method, (stacked,) if stacked else (), model=model).override(changes)


def batches(folder: str, n: int, batch: int, size: int, device: torch.device) -> list[Any]:
    """Return batches of real images where there is a folder, else of random ones."""
    draw = torch.Generator().manual_seed(0)
    if folder:
        images = load(DataConfig(name="cifar10", source="image-folder", dir=folder)).test
        rows = torch.randperm(len(images), generator=draw)[: n * batch].split(batch)
        return [(pixels(images.images[r]).to(device), images.labels[r].to(device)) for r in rows]
    made = []
    for _ in range(n):
        x = torch.rand(batch, 3, size, size, generator=draw)
        y = torch.randint(10, (batch,), generator=draw)
        made.append((x.to(device), y.to(device)))
    return made


def compare(name: str, a: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time a method's step in every mode."""
    config = configured(name, a.model, {"optim.lr": 0.01, "attack.steps": a.steps})
    chosen = a.modes.split(",")
    if a.compiled:
        chosen += [f"{mode}+compiled" for mode in chosen if mode != "reference"]
    candidates = {mode: Candidate(config, mode, device, 32, a.batch_size) for mode in chosen}
    data = batches(a.data, a.rounds + 1, a.batch_size, 32, device)
    seconds: dict[str, list[float]] = {mode: [] for mode in chosen}
    first: dict[str, float] = {}
    for number, (x, y) in enumerate(data):
        for mode, candidate in candidates.items():
            rows = len(y)
            if not number and device.type == "cpu" and "+" not in mode:
                rows = 4  # enough to warm up, and much shorter
            part, clock = (x[:rows], y[:rows]), time.perf_counter()
            taken = timed(lambda c=candidate, part=part: c.step(*part), device)
            if number:  # the first round warms up, and compiles
                seconds[mode].append(taken)
            else:
                first[mode] = time.perf_counter() - clock
    base = seconds[chosen[0]]
    ratios = {m: statistics.median(b / s for b, s in zip(base, seconds[m], strict=True))
              for m in chosen}  # fmt: skip
    found: dict[str, Any] = {"method": name, "seconds": seconds, "ratio": ratios, "first": first}
    found["median"] = {mode: statistics.median(s) for mode, s in seconds.items()}
    return found


def machine(device: torch.device) -> str:
    """Return in a line what the figures were measured on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        known = sorted(modes.processor_flags() & {"avx2", "avx512f", *modes.BFLOAT16})
        name = f"CPU ({', '.join(known)}), {torch.get_num_threads()} thread(s)"
    return f"{name}; Python {platform.python_version()}, torch {torch.__version__}"


def table(found: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    base = next(iter(found[0]["median"]))
    lines = [f"| method | mode | seconds a step | times `{base}` |", "| :-- | :-- | --: | --: |"]
    for row in found:
        for mode, median in row["median"].items():
            ratio = row["ratio"][mode]
            lines.append(f"| {row['method']} | {mode} | {median:.4g} | {ratio:.2f} |")
    return "\n".join(lines)


def options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what decides the work."""
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--methods", default="pgd-at+rpat,trades,trades+rpat,mart,mart+rpat")
    parser.add_argument("--modes", default="reference,exact,fast")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="", help="image folder of CIFAR-10")
    parser.add_argument("--compiled", action="store_true", help="compiled modes too")
    parser.add_argument("--json", default="")
    return parser


def main() -> None:
    """Compare and print a table."""
    a = options(argparse.ArgumentParser()).parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    found = [compare(name, a, device) for name in a.methods.split(",")]
    print(f"{a.model}, batch {a.batch_size}, {a.steps} attack steps, {a.rounds} rounds")
    print(machine(device))
    print(table(found))
    if a.json:
        Path(a.json).write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
