"""SOVR (Kanai et al., ICML 2023)."""

import torch
from torch import Tensor

from rpat.losses import ce_each, logit_margin, ovr_each
from rpat.methods.base import Method, Terms
from rpat.step import Step


class Sovr(Method):
    """One-vs-the-rest loss on the images with the smallest logit margin, CE on the others."""

    def loss(self, step: Step) -> Terms:
        """(1/B) [sum_R CE(z(x'), y) + lam sum_S OVR(z(x'), y)]; S: the M % largest margin losses.

        The selection is a constant; |S| = floor(B M / 100), ties by order in the batch.
        """
        z_adv = step.z_adv
        chosen = largest_margins(z_adv.detach(), step.y, self.config.percent)
        ce = torch.where(chosen, 0, ce_each(z_adv, step.y))
        ovr = torch.where(chosen, ovr_each(z_adv, step.y), 0)
        return {"ce": ce.mean(), "ovr": self.config.lam * ovr.mean()}


def largest_margins(logits: Tensor, y: Tensor, percent: float) -> Tensor:
    """Return [B] flags of the images with the largest max_{k != y} z_k - z_y."""
    margins = logit_margin(logits, y)
    count = int(len(y) * percent / 100 + 1e-9)
    order = margins.argsort(descending=True, stable=True)
    chosen = torch.zeros_like(y, dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen
