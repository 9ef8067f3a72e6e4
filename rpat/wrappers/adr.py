"""ADR: annealing self-distillation rectification (Wu, Wang & Chen, ICLR 2024)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rpat.ema import follow, frozen_copy
from rpat.methods.base import Run, Wrapper
from rpat.step import Step, eval_logits


class Adr(Wrapper):
    """Replaces the label by one that an averaged teacher has rectified, everywhere."""

    average: nn.Module

    def setup(self, run: Run) -> None:
        """Copy the network: the teacher follows it from the first step on."""
        super().setup(run)
        self.average = frozen_copy(run.model)

    def craft(self, step: Step) -> Tensor:
        """Set the rectified label before anything else reads it."""
        c, share = self.config, step.t / step.total
        teacher = eval_logits(self.average, step.x)
        tau = cosine(c.tau_high, c.tau_low, share)
        lam = cosine(c.lam_low, c.lam_high, share)
        step.target = rectified(teacher, step.y, tau, lam)
        return self.base.craft(step)

    def after_step(self, step: Step) -> None:
        """Let the teacher follow, weights and running statistics, after the base's work."""
        self.base.after_step(step)
        follow(self.average, step.model, self.config.decay)

    def models(self, model: nn.Module) -> dict[str, nn.Module]:
        """The student, and the teacher as an averaged network."""
        return {**self.base.models(model), "wa": self.average}


def cosine(first: float, last: float, share: float) -> float:
    """Anneal from `first` (share 0) to `last` (share 1)."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * share))


def rectified(teacher: Tensor, y: Tensor, tau: float, lam: float) -> Tensor:
    """Return labels [B, C]: lam_i P + (1 - lam_i) onehot(y), P = softmax(teacher / tau).

    lam_i = clip(lam - (max P - P_y), 0, 1), which keeps y the most probable class.
    """
    p = F.softmax(teacher / tau, 1)
    lead = p.amax(1) - p.gather(1, y[:, None])[:, 0]
    trust = (lam - lead).clamp(0, 1)[:, None]
    sure = torch.zeros_like(p).scatter_(1, y[:, None], 1.0)  # one_hot would read the labels first
    return trust * p + (1 - trust) * sure
