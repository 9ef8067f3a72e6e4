"""AutoAttack (Croce & Hein, ICML 2020), as its authors distribute it in `pyautoattack`.

The attacks are the package's own, with its own settings. What it lacks, progress, a stop and a
resume in the middle, is built around them (`rpat.trial`): each of its attacks seeds the random
generator itself for every batch, so batches do not depend on what ran before them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyautoattack import AutoAttack, checks
from torch import Tensor, nn

from rpat.config import ThreatConfig

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of the standard version, in order."""

TARGETS = 9
"""Target classes of the targeted parts in the standard version."""

DLR_CLASSES = 4
"""Classes that the loss of `apgd-t` compares."""

COSTS = {"apgd-ce": 205.0, "apgd-t": 1745.0, "fab-t": 2720.0, "square": 5010.0}
"""Forward passes for an image that withstands the part, an input gradient counted as one more;
counted with the package on a network of 48 % robust accuracy."""

Perturb = Callable[[Tensor, Tensor], Tensor]
"""Images [B, 3, H, W] and labels [B] to perturbed images."""


def is_standard(num_classes: int) -> bool:
    """Return whether the standard version fits: its targeted parts need ten classes."""
    return num_classes > TARGETS


def parts(num_classes: int) -> tuple[str, ...]:
    """Return the parts that run for a number of classes: with fewer than four no `apgd-t`."""
    return tuple(p for p in PARTS if p != "apgd-t" or num_classes >= DLR_CLASSES)


def remark(num_classes: int) -> str:
    """Return in which respect AutoAttack is not the standard version; '' where it is."""
    if is_standard(num_classes):
        return ""
    note = f"{num_classes - 1} target classes: not standard"
    return note if num_classes >= DLR_CLASSES else f"no apgd-t, {note}"


def cost(part: str, num_classes: int) -> float:
    """Return the passes that a part costs for an image that withstands it."""
    targets = min(TARGETS, num_classes - 1)
    return COSTS[part] * (targets / TARGETS if part.endswith("-t") else 1)


def package(
    model: nn.Module, threat: ThreatConfig, num_classes: int, seed: int, device: object
) -> AutoAttack:
    """Return the package's standard version for a frozen network in eval mode.

    With fewer than ten classes the targeted parts use every wrong class.
    """
    attack = AutoAttack(
        model,
        norm={"linf": "Linf", "l2": "L2"}[threat.norm],
        eps=threat.epsilon,
        version="standard",
        seed=seed,
        device=device,
    )
    targets = min(TARGETS, num_classes - 1)
    attack.apgd_targeted.n_target_classes = targets
    attack.fab.n_target_classes = targets
    attack.attacks_to_run = list(parts(num_classes))
    return attack


def perturb(attack: AutoAttack, part: str) -> Perturb:
    """Return one part as a function, set up as the package's own loop does for each batch."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        if part == "apgd-ce":
            attack.apgd.loss = "ce"
        if part == "fab-t":
            attack.fab.targeted = True
            attack.fab.n_restarts = 1
        place = {
            "apgd-ce": attack.apgd,
            "apgd-t": attack.apgd_targeted,
            "fab-t": attack.fab,
            "square": attack.square,
        }[part]
        place.seed = attack.get_seed()
        # The package views gradients, which take the layout of the images.
        return place.perturb(x.contiguous(), y)

    return run


def examine(attack: AutoAttack, x: Tensor, y: Tensor) -> list[str]:
    """Run the package's checks of the defence on a batch; return its warnings.

    They look for randomised networks, outputs that are probabilities, and passes that compute
    gradients by themselves.
    """
    with heard() as warnings:
        logger = attack.logger
        checks.check_randomized(attack.get_logits, x, y, bs=len(x), logger=logger)
        checks.check_range_output(attack.get_logits, x, logger=logger)
        checks.check_dynamic(attack.model, x, False, logger=logger)
    return warnings


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect the warnings that the package logs; each text once."""
    found: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage().partition(" See flags_doc")[0]
            text = re.sub(r"^there are \d+ points", "there are points", text)
            if text not in found:
                found.append(text)

    logger, ear = logging.getLogger("auto-attack"), Ear(logging.WARNING)
    logger.addHandler(ear)
    spread, logger.propagate = logger.propagate, False
    try:
        yield found
    finally:
        logger.removeHandler(ear)
        logger.propagate = spread


def frozen(model: nn.Module) -> None:
    """Keep AutoAttack's `.backward()` from computing parameter gradients nobody reads."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
