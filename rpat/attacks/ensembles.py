"""What an evaluation's attack is made of: parts that follow each other on the images still right.

FGSM and PGD attack every image; a further restart of PGD, and AutoAttack's parts, only those
that withstood everything before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from rpat.attacks import autoattack
from rpat.attacks.pgd import pgd
from rpat.errors import ConfigError
from rpat.jobs import EvalJob
from rpat.losses import ce_each
from rpat.randomness import generator


@dataclass(frozen=True, slots=True)
class Attacked:
    """What a part made of a batch."""

    images: Tensor  # [B, 3, H, W] on [0, 1]
    losses: list[float] = field(default_factory=list)  # sum over the batch before each step
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """One attack of an ensemble."""

    name: str
    perturb: Callable[[nn.Module, Tensor, Tensor, int], Attacked]
    """Network, images [B, 3, H, W], labels [B] and the number of the batch."""
    cost: float
    """Passes for an image that withstands; a gradient to the image counts as one more."""
    everyone: bool = False
    """Also attacks images that are misclassified already."""
    examine: Callable[[nn.Module, Tensor, Tensor], list[str]] | None = None
    """Looks at the network before the first part; returns warnings."""


def ensemble(job: EvalJob, attack: str, position: int, num_classes: int) -> list[Part]:
    """Return the parts of one of `jobs.ATTACKS`.

    `position` is the epoch of the weights: with the job's seed and the batch's number it decides
    PGD's random start, as in the evaluation of each epoch while training.
    """
    if attack == "pgd":
        return [_pgd(job, position, restart) for restart in range(job.restarts)]
    if attack == "fgsm":
        return [_fgsm(job, position)]
    possible = autoattack.parts(num_classes)
    if attack != "aa" and attack not in possible:
        raise ConfigError(
            f"--attack {attack} compares {autoattack.DLR_CLASSES} classes and there are "
            f"{num_classes}; choose of {', '.join(possible)}"
        )
    names = possible if attack == "aa" else (attack,)
    return _package(job, names, num_classes)


def _pgd(job: EvalJob, position: int, restart: int) -> Part:
    settings = replace(job.attack, bn=job.numerics.bn)
    purpose = "evaluation" if restart == 0 else f"evaluation/restart {restart}"

    def perturb(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Attacked:
        losses: list[float] = []

        def probe(k: int, logits: Tensor) -> None:
            losses.append(ce_each(logits, y).sum().item())

        draws = generator(x.device, job.seed, purpose, position, batch)
        ascent = _climb(y)
        x_adv = pgd(net, x, ascent, job.threat, settings, draws, probe=probe)
        return Attacked(x_adv, losses if restart == 0 else [])

    name = "pgd" if restart == 0 else f"pgd restart {restart + 1}"
    return Part(name, perturb, 2.0 * settings.steps + 1, everyone=restart == 0)


def _fgsm(job: EvalJob, position: int) -> Part:
    settings = replace(
        job.attack, steps=1, step_size=job.threat.epsilon, start="zero", bn=job.numerics.bn
    )

    def perturb(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Attacked:
        draws = generator(x.device, job.seed, "evaluation", position, batch)  # none are drawn
        return Attacked(pgd(net, x, _climb(y), job.threat, settings, draws))

    return Part("fgsm", perturb, 3.0, everyone=True)


def _climb(y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: ce_each(logits, y)


def _package(job: EvalJob, names: tuple[str, ...], num_classes: int) -> list[Part]:
    made: dict[nn.Module, Any] = {}

    def package(net: nn.Module, device: torch.device) -> Any:
        if net not in made:
            made[net] = autoattack.package(net, job.threat, num_classes, job.seed, device)
        return made[net]

    def examine(net: nn.Module, x: Tensor, y: Tensor) -> list[str]:
        return autoattack.examine(package(net, x.device), x, y)

    def part(name: str) -> Part:
        def perturb(net: nn.Module, x: Tensor, y: Tensor, batch: int) -> Attacked:
            with autoattack.heard() as warnings:
                x_adv = autoattack.perturb(package(net, x.device), name)(x, y)
            return Attacked(x_adv, warnings=warnings)

        cost = autoattack.cost(name, num_classes)
        return Part(name, perturb, cost, examine=examine if name == names[0] else None)

    return [part(name) for name in names]
