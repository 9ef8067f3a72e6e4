"""How a network's passes are carried out: the plain way, unless a numeric mode says otherwise.

Methods, attacks and the loop ask for passes through a network; `rpat.modes` may carry them out
through a faster twin, in another precision, or only once where two would give the same values.
Which way is in force is a matter of scope, as with `torch.no_grad`: `carried_out` sets it for
everything that is called inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

Network = Callable[[Tensor], Tensor]
"""Images [B, 3, H, W] to logits [B, C]."""


class Update:
    """What one train-mode pass did to BatchNorm's running statistics, to do it once more.

    Each pass moves them by r <- (1 - m) r + m s, with s the statistics of its batch; m s is what
    is kept. Another pass of the same images through the same weights adds it again.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at the statistics before the pass."""
        layers: list[Any] = [layer for layer in model.modules() if moves_statistics(layer)]
        self.possible = all(layer.momentum is not None for layer in layers)
        self.counters = [layer.num_batches_tracked for layer in layers]
        # `.data`: the passes' graphs keep the statistics without reading them in train mode, and
        # would take a change for an error.
        self.running = [r.data for layer in layers for r in (layer.running_mean, layer.running_var)]
        self.keep: list[float] = []
        self.share: list[Tensor] = []
        if self.possible and layers:
            self.keep = [1 - layer.momentum for layer in layers for _ in range(2)]
            self.share = list(torch._foreach_mul(self.running, self.keep))

    def made(self) -> None:
        """Look at the statistics after the pass."""
        if self.share:
            before: Any = self.share
            self.share = list(torch._foreach_sub(self.running, before))

    @torch.no_grad()
    def again(self) -> None:
        """Move the statistics as the same pass would have done."""
        if self.share:
            torch._foreach_mul_(self.running, self.keep)
            share: Any = self.share
            torch._foreach_add_(self.running, share)
            torch._foreach_add_(self.counters, 1)


def moves_statistics(layer: nn.Module) -> bool:
    """Return whether a pass through a layer moves running statistics."""
    return (
        isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and layer.training
        and layer.running_mean is not None
    )


class Passes:
    """The plain way: every pass is made, through the network itself."""

    def trained(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Update | None]:
        """Return the logits of a training pass, and how to repeat its update where that will do."""
        return model(x), None

    def twice(self, model: nn.Module, network: Network, x: Tensor) -> Tensor:
        """Return the logits of the second of two passes of the same images."""
        with torch.no_grad():
            network(x)
        return network(x)

    @contextmanager
    def attack(self, model: nn.Module, full: int) -> Iterator[Callable[[int], Network]]:
        """Yield, for the number of an iteration, the network that an attack differentiates.

        The network is in the mode in which it shall be attacked. The first `full` iterations
        need full precision.
        """
        yield lambda k: model

    def gradient(self, loss: Tensor, x: Tensor, model: nn.Module, live_weights: bool) -> Tensor:
        """Return the gradient of an attack's loss to the images `x` that it moves.

        With `live_weights`, those to all parameters are computed too, as by the authors' code,
        and dropped: a third of the attack's arithmetic.
        """
        weights = [p for p in model.parameters() if p.requires_grad] if live_weights else []
        return torch.autograd.grad(loss, [x, *weights], allow_unused=True)[0]

    def judging(self, network: nn.Module) -> Passes:
        """Return how a network is put to the test after an epoch."""
        return Passes()


_current: ContextVar[Passes] = ContextVar("passes")
_PLAIN = Passes()


def current() -> Passes:
    """Return the way that is in force."""
    return _current.get(_PLAIN)


@contextmanager
def carried_out(passes: Passes) -> Iterator[None]:
    """Let passes be carried out in this way inside."""
    token = _current.set(passes)
    try:
        yield
    finally:
        _current.reset(token)
