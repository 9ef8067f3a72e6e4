"""AutoAttack (Croce & Hein, ICML 2020), as its authors distribute it in `pyautoattack`."""

from __future__ import annotations

from pyautoattack import AutoAttack
from torch import Tensor, nn

from rpat.config import ThreatConfig

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of the standard version, in order."""

TARGETS = 9
"""Target classes of the targeted parts in the standard version."""

DLR_CLASSES = 4
"""Classes that the loss of `apgd-t` compares."""


def is_standard(num_classes: int) -> bool:
    """Return whether the standard version fits: its targeted parts need ten classes."""
    return num_classes > TARGETS


def auto_attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatConfig,
    *,
    num_classes: int,
    seed: int,
    batch_size: int,
) -> Tensor:
    """Return which images withstand the standard version, [N] booleans on the CPU.

    `x` is [N, 3, H, W] on [0, 1] and `y` is [N]. The network is in eval mode with frozen
    parameters. With fewer than ten classes the targeted parts use every wrong class, which is
    not the standard version any more (`is_standard`); with fewer than four there is no `apgd-t`.
    """
    attack = AutoAttack(
        model,
        norm={"linf": "Linf", "l2": "L2"}[threat.norm],
        eps=threat.epsilon,
        version="standard",
        seed=seed,
        device=x.device,
    )
    targets = min(TARGETS, num_classes - 1)
    attack.apgd_targeted.n_target_classes = targets
    attack.fab.n_target_classes = targets
    if num_classes < DLR_CLASSES:
        attack.attacks_to_run = [part for part in attack.attacks_to_run if part != "apgd-t"]
    x = x.contiguous()  # the package views gradients, which take the layout of the images
    _, predicted = attack.run_standard_evaluation(x, y, batch_size=batch_size)
    return (predicted == y).cpu()


def frozen(model: nn.Module) -> None:
    """Keep AutoAttack's `.backward()` from computing parameter gradients nobody reads."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
