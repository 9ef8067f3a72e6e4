"""Temporal ensembling in adversarial training (Dong et al., ICLR 2022)."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rpat.attacks.pgd import Ascent
from rpat.losses import ce, ce_each, kl, kl_each
from rpat.methods.base import Method, Run, Terms
from rpat.step import Step, eval_logits


class Te(Method):
    """Pulls predictions to a running average of the network's own, from shortly before the decay.

    `base = "pgd-at"` (the comparison's row) or `"trades"`.
    """

    memory: Tensor  # [N, C]: running average of clean predictions, zero before the first visit

    def setup(self, run: Run) -> None:
        """Allocate the memory."""
        shape = (run.n_train, run.num_classes)
        device = next(run.model.parameters()).device
        self.register_buffer("memory", torch.zeros(shape, device=device))

    def craft(self, step: Step) -> Tensor:
        """Update the memory of the batch's images, then attack base + pull."""
        if self.weight(step):
            step.aux["clean"] = eval_logits(step.model, step.x)
            fresh = F.softmax(step.aux["clean"], 1).to(self.memory.dtype)
            step.aux["soft"] = self.remember(step.index, fresh).to(step.x.dtype)
        elif self.config.base == "trades":
            step.aux["clean"] = eval_logits(step.model, step.x)
        return self.pgd(step, self.ascent(step))

    def remember(self, index: Tensor, p: Tensor) -> Tensor:
        """Move the rows towards predictions p [B, C]; return them scaled to sum 1."""
        momentum = self.config.momentum
        self.memory[index] = momentum * self.memory[index] + (1 - momentum) * p
        rows = self.memory[index]
        return rows / rows.sum(1, keepdim=True)

    def ascent(self, step: Step) -> Ascent:
        """CE, or KL to the clean prediction, plus the pull on the adversarial prediction."""
        weight = self.weight(step)

        def climb(logits: Tensor) -> Tensor:
            if self.config.base == "trades":
                each = self.config.beta * kl_each(step.aux["clean"], logits)
            else:
                each = ce_each(logits, step.target)
            return each + weight * pull_each(logits, step.aux["soft"]) if weight else each

        return climb

    def loss(self, step: Step) -> Terms:
        """Base + w mean_{i,c} (p - q)^2, with p(x') for PGD-AT and p(x) for TRADES."""
        if self.config.base == "trades":
            pulled = step.z_clean
            terms = {"ce": ce(pulled, step.target)}
            terms["kl"] = self.config.beta * kl(pulled, step.z_adv)
        else:
            pulled = step.z_adv
            terms = {"ce": ce(pulled, step.target)}
        if weight := self.weight(step):
            terms["te"] = weight * pull_each(pulled, step.aux["soft"]).mean()
        return terms

    def weight(self, step: Step) -> float:
        """300 exp(-5 (1 - t)^2), t from 0 to 1 over the ramp; 0 before it (epochs from 1)."""
        start, end = self.begins(self.config.start), self.begins(self.config.end)
        return ramp(step.epoch + 1, start, end) * float(self.config.weight)


def ramp(epoch: int, start: int, end: int) -> float:
    """Return TE's weight as a share, for an epoch counted from 1."""
    if epoch < start:
        return 0.0
    t = min(max((epoch - start) / max(end - start, 1), 0.0), 1.0)
    return math.exp(-5 * (1 - t) ** 2)


def pull_each(logits: Tensor, soft: Any) -> Tensor:
    """Squared distance of the prediction to soft labels, mean over classes, [B]."""
    return (F.softmax(logits, 1) - soft).square().mean(1)
