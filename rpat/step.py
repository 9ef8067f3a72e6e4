"""One minibatch: its inputs, and its logits on first use."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rpat.passes import Update, current
from rpat.randomness import generator, scalar
from rpat.regularizer import interpolate


@dataclass(slots=True)
class Step:
    """Everything about one minibatch; made by the training loop.

    The logits are train-mode forward passes, each with its own BatchNorm statistics, computed
    when first read and kept. BatchNorm's running statistics see them, so the order in which a
    method reads them is part of the method.
    """

    model: nn.Module
    x: Tensor  # [B, 3, H, W] on [0, 1]
    y: Tensor  # [B] class indices
    index: Tensor  # [B] positions in the full training set
    epoch: int  # from 0
    t: int  # optimiser steps before this one
    total: int  # optimiser steps of the whole run
    seed: int = 0
    target: Tensor = None  # type: ignore[assignment]  # y unless something mixed the labels
    x_adv: Tensor = None  # type: ignore[assignment]  # set by the loop after crafting
    aux: dict[str, Tensor] = field(default_factory=dict)  # what craft leaves for loss
    _logits: dict[str, Tensor] = field(default_factory=dict)
    _updates: dict[str, Update | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.target is None:
            self.target = self.y

    @property
    def z_clean(self) -> Tensor:
        """Logits of the clean images, [B, C]."""
        return self._forward("clean", self.x)

    @property
    def z_adv(self) -> Tensor:
        """Logits of the adversarial images, [B, C]."""
        return self._forward("adv", self.x_adv)

    def z_mid(self, alpha: float) -> Tensor:
        """Logits at x + alpha (x' - x), [B, C]."""
        return self._forward(f"mid:{alpha!r}", interpolate(self.x, self.x_adv, alpha))

    def again(self, name: str) -> Tensor:
        """Logits of the `clean` or `adv` images from a second forward pass.

        Values and gradients equal the first pass; only BatchNorm's running statistics move
        once more. A mode may repeat that update instead of the pass.
        """
        if (update := self._updates.get(name)) is not None:
            update.again()
            return self._logits[name]
        x = {"clean": self.x, "adv": self.x_adv}[name]
        return current().trained(self.model, x)[0]

    def seen(self, name: str) -> Tensor | None:
        """The `clean` or `adv` logits if a forward pass made them, else None."""
        return self._logits.get(name)

    def fresh(self) -> Step:
        """The same batch without logits, for weights that were changed in place."""
        return Step(
            self.model, self.x, self.y, self.index, self.epoch, self.t, self.total, self.seed,
            self.target, self.x_adv, self.aux,
        )  # fmt: skip

    def adopt(self, other: Step) -> None:
        """Take over the logits of a `fresh` step, so that its metrics are this step's."""
        self._logits, self._updates = other._logits, other._updates

    def generator(self, purpose: str) -> torch.Generator:
        """A generator on the batch's device that belongs to this step and purpose."""
        return generator(self.x.device, self.seed, purpose, self.epoch, self.t)

    def scalar(self, purpose: str) -> random.Random:
        """A host generator that belongs to this step and purpose."""
        return scalar(self.seed, purpose, self.epoch, self.t)

    def _forward(self, name: str, x: Tensor) -> Tensor:
        if name not in self._logits:
            self._logits[name], self._updates[name] = current().trained(self.model, x)
        return self._logits[name]


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put a network in train or eval mode and restore the mode each of its parts had."""
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before.items():
            module.training = flag


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let train-mode passes use batch statistics without moving BatchNorm's running ones."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])


def eval_logits(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in eval mode without gradient, [B, C]; the network's mode is left as it was."""
    with mode(model, False), torch.no_grad():
        return model(x)
