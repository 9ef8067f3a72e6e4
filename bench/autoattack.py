"""Evaluations with BatchNorm folded beside the plain path: seconds, and equal image for image?

    python bench/autoattack.py [--attack pgd] [--n 64] [--batch-size 64] [--epsilon 0.5/255]
                               [--model FILE] [--data CIFAR10_FOLDER] [--device cpu]

The network is the one in FILE, by default the naturally trained ResNet-18 that ships with
pyautoattack, for which the radius must be small. `--attack aa` takes AutoAttack's full budgets
unless `--quick` cuts them to a twentieth. Images are CIFAR-10 test images where there is a folder,
else random ones with the network's own answers as labels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pyautoattack
import torch
from step import machine, synchronize
from torch import nn

from rpat import foreign
from rpat.attacks import autoattack
from rpat.attacks.ensembles import ensemble
from rpat.config import AttackConfig, DataConfig, ThreatConfig
from rpat.data.dataset import Images, balanced, load
from rpat.data.loader import pixels
from rpat.evaluate import full_precision
from rpat.jobs import EvalJob, SubjectConfig
from rpat.trial import Trial
from rpat.twin import Twin

EXAMPLE = Path(pyautoattack.__file__).parent / "examples" / "model_test.pt"


def pictures(net: nn.Module, folder: str, n: int, device: torch.device) -> Images:
    """Return test images, or random ones that the network is right about by definition."""
    if folder:
        test = load(DataConfig(name="cifar10", source="image-folder", dir=folder)).test
        return test.take(balanced(test, n, "bench")).to(device)
    draw = torch.Generator().manual_seed(0)
    some = torch.randint(0, 256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8).to(device)
    with torch.no_grad(), full_precision():
        labels = net(pixels(some)).argmax(1)
    return Images(some, labels, torch.arange(n, device=device))


def quicken() -> None:
    """Cut the package's budgets to a twentieth."""
    real = autoattack.package

    def package(*arguments: Any) -> Any:
        made = real(*arguments)
        for part in (made.apgd, made.apgd_targeted, made.fab):
            part.n_iter = 5
        made.square.n_queries = 250
        return made

    autoattack.package = package


def compare(
    net: nn.Module, images: Images, job: EvalJob, attack: str, device: torch.device
) -> dict[str, Any]:
    """Try a network both ways; returns seconds and how many decisions differ."""
    found: dict[str, Any] = {"attack": attack, "n": len(images), "seconds": {}}
    states = {}
    warm = images.take(torch.arange(min(len(images), job.batch_size)))
    for name, network in (("plain", net), ("folded", Twin(net))):
        with full_precision():
            if attack == "pgd":
                Trial(network, warm, ensemble(job, attack, 0, 10), batch_size=job.batch_size).run()
            synchronize(device)
            clock = time.perf_counter()
            parts = ensemble(job, attack, 0, 10)
            states[name] = Trial(network, images, parts, batch_size=job.batch_size).run()
            synchronize(device)
        found["seconds"][name] = time.perf_counter() - clock
    plain, folded = states["plain"], states["folded"]
    found["clean"] = int(plain.clean.sum())
    found["robust"] = int(plain.robust.sum())
    found["decisions that differ"] = int((plain.robust != folded.robust).sum())
    found["predictions that differ"] = int((plain.predicted != folded.predicted).sum())
    found["ratio"] = found["seconds"]["plain"] / found["seconds"]["folded"]
    return found


def prepared(a: argparse.Namespace, device: torch.device) -> tuple[nn.Module, Images, EvalJob]:
    """Return the network, its images and the settings of the attack."""
    net = foreign.build(foreign.load(Path(a.model)), 32).eval().requires_grad_(False).to(device)
    job = EvalJob(
        subject=SubjectConfig(sha256="bench"),
        threat=ThreatConfig(norm="linf", epsilon=a.epsilon),
        attack=AttackConfig(steps=20, step_size=a.step),
        batch_size=a.batch_size,
    )  # fmt: skip
    return net, pictures(net, a.data, a.n, device), job


def options() -> argparse.ArgumentParser:
    """Return the options that decide the work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--attack", default="pgd")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epsilon", default="0.5/255")
    parser.add_argument("--step", default="0.125/255")
    parser.add_argument("--model", default=str(EXAMPLE))
    parser.add_argument("--data", default="", help="image folder of CIFAR-10")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    return parser


def main() -> None:
    """Compare and print."""
    a = options().parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.quick:
        quicken()
    device = torch.device(a.device)
    print(machine(device))
    for name, value in compare(*prepared(a, device), a.attack, device).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
