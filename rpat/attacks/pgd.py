"""Projected gradient descent on the images; the one loop behind every attack of this package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rpat.attacks.norms import L2, NORMS, Linf, Size
from rpat.config import AttackConfig, ThreatConfig
from rpat.passes import Network, current
from rpat.step import mode

Ascent = Callable[[Tensor], Tensor]
"""Logits [B, C] to the loss of each image [B] that the attack climbs."""

Probe = Callable[[int, Tensor], None]
"""Called with the iteration and the logits before each update."""


def pgd(
    model: nn.Module,
    x: Tensor,
    ascent: Ascent,
    threat: ThreatConfig,
    attack: AttackConfig,
    generator: torch.Generator,
    *,
    epsilon: Size | None = None,
    step_size: Size | None = None,
    probe: Probe | None = None,
    full: int = 0,
    live_weights: bool = False,
) -> Tensor:
    """Return images [B, 3, H, W] of [0, 1] within `threat` around `x` that climb `ascent`.

    The last iterate is returned. The parameters' `grad` is not touched, and the network's mode is
    restored.
    With `attack.bn = "train"` the passes move BatchNorm's running statistics; `closing_forward`
    and `double_forward` add the passes that some releases make, which matter only for those.
    `epsilon` and `step_size` override the configured ones, per image where they are tensors.
    `full` is the number of first iterations that no mode may compute in less precision. With
    `live_weights` the authors' code computes the gradients to the parameters as well, which play
    no part; the mode decides whether that is done.
    """
    norm = NORMS[threat.norm]
    radius = threat.epsilon if epsilon is None else epsilon
    length = attack.step_size if step_size is None else step_size
    x = x.detach()
    with mode(model, attack.bn == "train"), current().attack(model, full) as network:
        x_adv = x + norm.start(attack.start, x, radius, generator)
        if not attack.start.startswith("normal"):  # TRADES and MART clip after the first step
            x_adv = x_adv.clamp(0, 1)
        elif not attack.steps:
            x_adv = _into_ball(norm, x, x_adv - x, radius, attack.order)
        for k in range(attack.steps):
            leaf, loss = _climbed(model, network(k), x_adv, ascent, attack, k, probe)
            gradient = current().gradient(loss, leaf, model, live_weights)
            moved = x_adv - x + norm.ascend(gradient, length, attack.floor)
            x_adv = _into_ball(norm, x, moved, radius, attack.order)
        if attack.closing_forward:
            with torch.no_grad():
                network(attack.steps)(x_adv)
    return x_adv.detach()


def _climbed(
    model: nn.Module,
    network: Network,
    x: Tensor,
    ascent: Ascent,
    attack: AttackConfig,
    k: int,
    probe: Probe | None,
) -> tuple[Tensor, Tensor]:
    """Return the images as a leaf of their own, and the loss that is climbed from there."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = current().twice(model, network, x) if attack.double_forward else network(x)
        if probe is not None:
            probe(k, logits.detach())
        loss = ascent(logits)
        return x, loss.sum() if attack.reduction == "sum" else loss.mean()


def _into_ball(
    norm: type[Linf] | type[L2], x: Tensor, delta: Tensor, radius: Size, order: str
) -> Tensor:
    if order == "project-clip":
        return (x + norm.project(delta, radius)).clamp(0, 1)
    clipped = (x + delta).clamp(0, 1) - x
    return (x + norm.project(clipped, radius)).clamp(0, 1)  # the clamp removes rounding only
