"""Averages of a network's weights over time."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose parameters never ask for a gradient."""
    twin = copy.deepcopy(model)
    twin.requires_grad_(False)
    return twin.eval()


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an average towards a network: w <- decay w + (1 - decay) w_model, in place.

    The same for BatchNorm's running statistics; counters are copied. `decay = 0` copies exactly.
    """
    state, means = model.state_dict(), average.state_dict()
    moving = [name for name, mean in means.items() if mean.is_floating_point() and decay]
    if moving:
        values = [means[name] for name in moving]
        torch._foreach_mul_(values, decay)
        torch._foreach_add_(values, [state[name] for name in moving], alpha=1 - decay)
    if copied := [name for name in means if name not in set(moving)]:
        torch._foreach_copy_([means[name] for name in copied], [state[name] for name in copied])


@torch.no_grad()
def collect(average: nn.Module, model: nn.Module, count: int) -> None:
    """Add a network to a uniform running mean of `count` earlier ones; parameters only.

    The first collection overwrites the average.
    """
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.add_((value - mean) / (count + 1)) if count else mean.copy_(value)


@torch.no_grad()
def refresh_statistics(model: nn.Module, batches: Callable[[], object]) -> None:
    """Estimate BatchNorm's running statistics anew over one pass of images.

    They are reset and averaged with momentum b / (n + b): the mean weighs each image alike.
    `batches` yields tensors [B, 3, H, W].
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    model.train()
    seen = 0
    for x in batches():  # type: ignore[attr-defined]
        seen += len(x)
        for layer in layers:
            layer.momentum = len(x) / seen
        model(x)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()


def guarded(term: Tensor, limit: float = 1e10) -> Tensor:
    """Return a term, or zero without gradient where it is not below the limit (NaN, infinity)."""
    return torch.where(term < limit, term, torch.zeros_like(term))
