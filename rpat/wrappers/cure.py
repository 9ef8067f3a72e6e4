"""CURE: conserve, update, revise (Gowda, Zonooz & Arani, ICLR 2024)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rpat.ema import frozen_copy
from rpat.losses import ce, kl
from rpat.methods.base import Run, Terms, Wrapper, total
from rpat.step import Step


class Cure(Wrapper):
    """TRADES from a naturally trained start: few weights move, and a slow copy conserves."""

    revision: nn.Module
    steps: Tensor

    def setup(self, run: Run) -> None:
        """Start from natural weights where they are named; the revision network copies them."""
        super().setup(run)
        if self.config.start:
            run.model.load_state_dict(run.teacher(self.config.start).state_dict())
        self.revision = frozen_copy(run.model)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def loss(self, step: Step) -> Terms:
        """Base + gamma [KL(p_rev(x) || p(x)) + KL(p_rev(x') || p(x'))].

        The revision network runs in train mode: its BatchNorm uses batch statistics.
        """
        terms = self.base.loss(step)
        self.revision.train()
        with torch.no_grad():
            clean, adv = self.revision(step.x), self.revision(step.x_adv)
        conserve = kl(clean, step.z_clean) + kl(adv, step.z_adv)
        terms["conserve"] = self.config.gamma * conserve
        return terms

    def backward(self, step: Step, loss: Callable[[Step], Terms]) -> Terms:
        """Differentiate, then clear the gradient of weights with little prominence.

        Prominence: alpha |dCE(x)/dw| + (1-alpha) |dCE(x')/dw|; the classifier is spared.
        """
        terms = loss(step)
        named = masked(step.model)
        weights = list(named.values())
        if self.config.score == "rgp":
            natural = torch.autograd.grad(ce(step.z_clean, step.y), weights, retain_graph=True)
            robust = torch.autograd.grad(ce(step.z_adv, step.y), weights, retain_graph=True)
        total(terms).backward()
        for i, weight in enumerate(weights):
            assert weight.grad is not None
            if self.config.score == "rgp":
                score = prominence(natural[i], robust[i], self.config.alpha)
            else:
                score = weight.grad.abs()
            weight.grad.mul_(kept(score, self.config.percent))
        return terms

    def after_step(self, step: Step) -> None:
        """With probability r, let the revision network follow; parameters only."""
        self.base.after_step(step)
        self.steps += 1
        if step.scalar("revision").random() < self.config.rate:
            decay = revision_decay(int(self.steps), self.config.decay)
            with torch.no_grad():
                pairs = zip(self.revision.parameters(), step.model.parameters(), strict=True)
                for slow, fast in pairs:
                    slow.mul_(decay).add_(fast, alpha=1 - decay)


def masked(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the tensors whose gradient is masked: all but the classifier's, the last two."""
    named = dict(model.named_parameters())
    return {n: p for n, p in named.items() if n.split(".")[-2:-1] not in (["linear"], ["fc"])}


def prominence(natural: Tensor, robust: Tensor, alpha: float) -> Tensor:
    """alpha |g_natural| + (1 - alpha) |g_robust|, entry by entry."""
    return alpha * natural.abs() + (1 - alpha) * robust.abs()


def kept(score: Tensor, percent: float) -> Tensor:
    """Return [..] flags of entries at or above the tensor's percentile (linear interpolation)."""
    flat = score.flatten().sort().values
    place = (len(flat) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(flat) - 1)
    threshold = flat[low] + (flat[high] - flat[low]) * (place - low)
    return score >= threshold


def revision_decay(steps: int, limit: float) -> float:
    """min(1 - 1/(t+1), limit) with t optimiser steps done."""
    return min(1 - 1 / (steps + 1), limit)
