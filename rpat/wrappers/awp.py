"""AWP: adversarial weight perturbation (Wu, Xia & Wang, NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rpat.methods.base import Terms, Wrapper, total
from rpat.step import Step, statistics_kept


class Awp(Wrapper):
    """Takes each gradient at weights moved in the direction that raises the full loss."""

    def backward(self, step: Step, loss: Callable[[Step], Terms]) -> Terms:
        """Perturb the weights, then let the base differentiate `loss` there.

        The direction comes from a train-mode pass that does not move BatchNorm's running
        statistics (the authors use a proxy copy).
        """
        self.moves: dict[str, Tensor] = {}
        if step.epoch >= self.begins(self.config.warmup):
            named = perturbed(step.model)
            with statistics_kept(step.model):
                objective = total(loss(step.fresh()))
                gradients = torch.autograd.grad(objective, list(named.values()), allow_unused=True)
            for (name, weight), gradient in zip(named.items(), gradients, strict=True):
                if gradient is not None:
                    self.moves[name] = self.config.gamma * direction(weight, gradient)
            shift(named, self.moves, +1)
            step.adopt(step.fresh())
        return self.base.backward(step, loss)

    def after_step(self, step: Step) -> None:
        """Take the perturbation back, then let the base do its work.

        The optimiser's step, weight decay included, has seen the perturbed weights.
        """
        shift(perturbed(step.model), self.moves, -1)
        self.moves = {}
        self.base.after_step(step)


def perturbed(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what is perturbed: weights with more than one dimension; no BatchNorm, no bias."""
    return {n: p for n, p in model.named_parameters() if p.dim() > 1 and "weight" in n}


def direction(weight: Tensor, gradient: Tensor) -> Tensor:
    """|W| G / |G|, the ascent direction at the scale of the tensor."""
    return weight.detach().norm() * gradient / (gradient.norm() + 1e-20)


@torch.no_grad()
def shift(weights: dict[str, nn.Parameter], moves: dict[str, Tensor], sign: int) -> None:
    """Add or subtract the moves in place."""
    for name, move in moves.items():
        weights[name].add_(move, alpha=sign)
