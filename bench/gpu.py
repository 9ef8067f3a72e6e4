"""Everything that a GPU has to show, in one go of at most ten minutes.

    python bench/gpu.py OUT_FOLDER [--minutes 9] [--data CIFAR10_FOLDER] [--device cuda] [--tiny]

Parts, in the order of their weight, each written to OUT_FOLDER/gpu.json and gpu.md as soon as it
is done; what no longer fits into the time is named as left out:

1. steps of ResNet-18 and WRN-34-10 in every mode, with images a second and the share of the
   device's measured bfloat16 peak (MFU, of the minimum arithmetic of the method);
2. the same with `--compiled` (CUDA graphs of the attacked twins) beside the eager modes;
3. whole epochs, loader included;
4. where an epoch makes the host wait for the device, in every mode, compiled ones too;
5. an attack iteration of the twins: eager, as a CUDA graph of these operations, and compiled;
6. evaluation with BatchNorm folded: decisions and seconds;
7. accuracy of `fast` against `exact`: up to three seeds each, a short schedule.

Compiling takes a minute or more of the ten; what is compiled stands in parts of its own, so that
one which fails leaves the others.

cuDNN is set as a run sets it: deterministic, no search for algorithms. `--tiny` runs all of it in
a minute on a CPU, to test the script; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import autoattack
import epoch
import parity
import step
import torch
from torch._dynamo.utils import counters

import rpat
from rpat import modes
from rpat.config import ModelConfig
from rpat.errors import ConfigError
from rpat.models import build
from rpat.recipes import recipe
from rpat.twin import Twin

FORWARD = {"resnet18": 1.1108, "wrn-34-10": 13.3178, "preactresnet18": 1.1108, "resnet8": 0.025}
"""GFLOP of a forward pass of one 32x32 image, a multiply-add counted as two."""

PASSES = {"pgd-at": 23, "pgd-at+rpat": 29, "trades": 27, "trades+rpat": 30, "mart": 26,
          "mart+rpat": 29}  # fmt: skip
"""Forward-equivalents of a step's minimum arithmetic with ten attack steps: two an attack step,
three for each training pass, one for TRADES' clean prediction."""


class Report:
    """What is known so far, in a folder."""

    def __init__(self, folder: Path, minutes: float, device: torch.device, data: str) -> None:
        self.folder, self.until = folder, time.monotonic() + 60 * minutes
        folder.mkdir(parents=True, exist_ok=True)
        self.found: dict[str, Any] = {
            "machine": step.machine(device),
            "rpat": f"{rpat.__version__}, commit {commit()}",
            "images": f"CIFAR-10 of {data}" if data else "random; accuracies on embedded digits",
            "cuda, cudnn": f"{torch.version.cuda}, {torch.backends.cudnn.version()}",
            "cudnn": f"deterministic {torch.backends.cudnn.deterministic}, "
            f"benchmark {torch.backends.cudnn.benchmark}",
            "tf32": f"convolutions {torch.backends.cudnn.allow_tf32}, "
            f"matrix products {torch.backends.cuda.matmul.allow_tf32}",
        }
        self.texts = [f"{name}: {value}" for name, value in self.found.items()]

    def part(self, name: str, work: Callable[[], tuple[Any, str]]) -> None:
        """Do a part where there is time, and write down what it found or why it failed."""
        if time.monotonic() > self.until:
            self.texts.append(f"## {name}\n\nLeft out: no time.")
        else:
            clock = time.monotonic()
            try:
                self.found[name], text = work()
            except Exception as error:  # the parts after it may still be measured
                text = f"Failed: {type(error).__name__}: {error}"
                self.found[name] = text
            text += f"\n\n({time.monotonic() - clock:.0f} s)"
            self.texts.append(f"## {name}\n\n{text}")
        print(self.texts[-1], flush=True)
        (self.folder / "gpu.json").write_text(json.dumps(self.found, indent=1), "utf-8")
        (self.folder / "gpu.md").write_text("\n\n".join(self.texts) + "\n", "utf-8")


def commit() -> str:
    """Return the commit of the checkout, and whether files differ from it."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", here, *words], capture_output=True, text=True)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "HEAD") or "unknown") + changed


def peak(device: torch.device, size: int) -> float:
    """Return the TFLOP/s of a bfloat16 matrix product of random numbers."""
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    taken = min(step.timed(lambda: [a @ b for _ in range(10)] and None, device) for _ in range(3))
    return 10 * 2 * size**3 / taken / 1e12


def steps(
    model: str, methods: str, device: torch.device, a: Any, batch: int,
    compare: str = "reference,exact,fast", compiled: bool = False,
) -> tuple[Any, str]:  # fmt: skip
    """Compare the modes' steps; add rates and the share of the peak."""
    top, before = peak(device, 512 if a.tiny else 8192), left_out()
    options = SimpleNamespace(
        model=model, batch_size=batch, steps=a.steps, rounds=a.rounds, data=a.data,
        modes=compare, compiled=compiled,
    )  # fmt: skip
    lines = [f"batch {batch}, peak {top:.3g} TFLOP/s", ""]
    found = []
    for name in methods.split(","):
        row = step.compare(name, options, device)
        row["images_per_s"] = {mode: batch / s for mode, s in row["median"].items()}
        work = FORWARD[model] * (PASSES[name] - 2 * (10 - a.steps)) / 1e3  # TFLOP an image
        row["mfu"] = {mode: rate * work / top for mode, rate in row["images_per_s"].items()}
        found.append(row)
    lines.append(step.table(found))
    lines.append("")
    for row in found:
        shown = (f"{mode} {row['images_per_s'][mode]:.0f} ({share:.1%})"
                 for mode, share in row["mfu"].items())  # fmt: skip
        lines.append(f"- {row['method']}: images a second (MFU): {', '.join(shown)}")
        took = (f"{mode} {row['first'][mode]:.0f} s" for mode in row["first"] if "+" in mode)
        lines += [f"  first step, with compiling: {', '.join(took)}"] * compiled
    if compiled:
        lines.append(f"\nCUDA graphs that torch left out: {left_out() - before}")
    return found, "\n".join(lines)


def left_out() -> int:
    """Return how many pieces of compiled code torch has not made a CUDA graph of."""
    return int(counters["inductor"]["cudagraph_skips"])


def iterations(model: str, device: torch.device, batch: int, repeat: int) -> tuple[Any, str]:
    """Time an attack iteration through the network, its twins, their CUDA graphs, their code."""
    net = build(ModelConfig(name=model), 10, 32).to(device).eval()
    x = torch.rand(batch, 3, 32, 32, device=device, requires_grad=True)
    types = {"twin": None, "bfloat16 twin": torch.bfloat16}
    ways: dict[str, Callable[..., Any]] = {"network": net}
    ways |= {name: Twin(net, dtype) for name, dtype in types.items()}
    lost = []
    for name, dtype in types.items() if device.type == "cuda" else ():
        try:
            ways[f"{name}, graph"] = torch.cuda.make_graphed_callables(Twin(net, dtype), (x,))
        except RuntimeError as error:  # the eager ways may still be measured
            lost.append(f"\n{name}, graph: {error}")
    for name, dtype in types.items():
        way = Twin(net, dtype, compiled=batch)
        try:
            for _ in range(3):  # makes the code, records graphs, replays them
                torch.autograd.grad(way(x).logsumexp(1).sum(), x)
            ways[f"{name}, compiled"] = way
        except (RuntimeError, ConfigError) as error:
            lost.append(f"\n{name}, compiled: {error}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeat + 1):
        for name, way in ways.items():

            def climb(way: Callable[..., Any] = way) -> None:
                for _ in range(repeat):
                    torch.autograd.grad(way(x).logsumexp(1).sum(), x)

            taken = step.timed(climb, device) / repeat
            if number:
                seconds[name].append(taken)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    lines = ["| way | ms an iteration | times the network |", "| :-- | --: | --: |"]
    for name, value in found.items():
        lines.append(f"| {name} | {value * 1e3:.3g} | {found['network'] / value:.2f} |")
    return found, f"{model}, batch {batch}\n\n" + "\n".join(lines + lost)


def epochs(model: str, device: torch.device, a: Any, images: int) -> tuple[Any, str]:
    """Time whole epochs."""
    options = SimpleNamespace(
        model=model, method="pgd-at", stack="rpat", images=images, batch_size=a.batch_size,
        steps=a.steps, modes="reference,exact,fast", epochs=1, data=a.data,
    )  # fmt: skip
    found = epoch.compare(options, device)
    return found, f"{model}, {images} images\n\n{epoch.table(found)}"


def waits(
    model: str, device: torch.device, a: Any, compare: str = "reference,exact,fast"
) -> tuple[Any, str]:
    """Count, by line of this package, what made the host wait in an epoch of ten batches.

    The loss that is journaled every 50 steps is not among them. Without CUDA there is no count.
    """
    if device.type != "cuda":
        return {}, "There is nothing to wait for on this device."
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as place:
        for mode in compare.split(","):
            name, _, compiled = mode.partition("+")
            changes = {"mode": name, "compiled": bool(compiled)}
            config = recipe("pgd-at", ("rpat",), model=model).override(changes)
            some = epoch.images("", 10 * config.optim.batch_size)
            run = epoch.prepared(config, some, device, Path(place) / mode)
            run.train_epoch(0, 0)
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    run.train_epoch(1, 0)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            lines = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in seen)
            found[mode] = dict(lines)
    return found, "\n".join(f"- {mode}: {lines or 'none'}" for mode, lines in found.items())


def folded(device: torch.device, a: Any, n: int) -> tuple[Any, str]:
    """Compare evaluations with BatchNorm folded and plain."""
    found, lines = [], []
    options = autoattack.options().parse_args(["--n", str(n), "--data", a.data])
    options.batch_size = n
    autoattack.quicken()
    for attack in ("pgd", "apgd-ce", "square") if a.tiny else ("pgd", "aa"):
        row = autoattack.compare(*autoattack.prepared(options, device), attack, device)
        found.append(row)
        took = ", ".join(f"{way} {value:.3g} s" for way, value in row["seconds"].items())
        differ = row["decisions that differ"], row["predictions that differ"]
        lines.append(f"- {attack}, {n} images: {took}, ratio {row['ratio']:.2f}; robust "
                     f"{row['robust']}; decisions, predictions that differ: {differ[0]}, "
                     f"{differ[1]}")  # fmt: skip
    return found, "\n".join(lines) + "\n\nAutoAttack with a twentieth of its budgets."


def accuracies(
    model: str, device: torch.device, a: Any, length: int, until: float
) -> tuple[Any, str]:
    """Compare the modes' accuracies after a short schedule, as many seeds as fit."""
    arguments = ["--model", model, "--epochs", str(length), "--steps", str(a.steps)]
    arguments += ["--data", a.data] if a.data else []
    arguments += ["--train-n", "64", "--test-n", "20"] if a.tiny else []
    arguments += ["--train-n", "15000", "--test-n", "5000"] if a.data and not a.tiny else []
    found = parity.compare(parity.options().parse_args(arguments), device, until)
    return found, parity.table(found)


def main() -> None:
    """Measure everything that there is time for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--data", default="", help="image folder of CIFAR-10")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args()
    device = torch.device(a.device)
    small = a.tiny
    a.steps, a.rounds, a.batch_size = (1, 1, 8) if small else (10, 10, 128)
    a.repeat = 2 if small else 20
    first, second = ("resnet8", "resnet8") if small else ("resnet18", "wrn-34-10")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    report = Report(a.folder, a.minutes, device, a.data)
    if reason := modes.no_bfloat16(device):
        raise SystemExit(f"bench/gpu.py measures mode fast, and {reason}")
    methods = "pgd-at+rpat,trades+rpat,mart+rpat"
    few = a if small else SimpleNamespace(**{**vars(a), "rounds": 3})
    size = a.batch_size
    report.part("Steps", lambda: steps(first, methods, device, a, size))
    report.part(
        "Steps of the large network", lambda: steps(second, "pgd-at+rpat", device, few, size)
    )
    report.part(
        "Compiled steps",
        lambda: steps(first, "pgd-at+rpat,trades+rpat", device, a, size, "exact,fast", True),
    )
    report.part("Epochs", lambda: epochs(first, device, a, 64 if small else 25_600))
    report.part("Waiting", lambda: waits(first, device, a))
    report.part("Attack iterations", lambda: iterations(first, device, size, a.repeat))
    report.part(
        "Compiled steps of the large network",
        lambda: steps(second, "pgd-at+rpat", device, few, size, "fast", True),
    )
    report.part(
        "Waiting, compiled", lambda: waits(first, device, a, "exact+compiled,fast+compiled")
    )
    report.part("Evaluation", lambda: folded(device, a, 2 if small else 512))
    report.part("Accuracy", lambda: accuracies(first, device, a, 1 if small else 8, report.until))


if __name__ == "__main__":
    main()
