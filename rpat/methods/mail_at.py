"""MAIL on PGD-AT (Wang et al., NeurIPS 2021)."""

import torch
from torch import Tensor

from rpat.losses import probability_margin
from rpat.methods.weighted import WeightedAt
from rpat.step import Step


class MailAt(WeightedAt):
    """Images with a small probabilistic margin count more."""

    def weights(self, step: Step) -> Tensor:
        """sigmoid(slope (bias - PM)), scaled; equal weights before the burn-in ends."""
        if step.epoch < self.begins(self.config.burn_in):
            return torch.ones_like(step.z_adv[:, 0])
        return margin_weights(step.z_adv, step.y, self.config)


def margin_weights(z_adv: Tensor, y: Tensor, config: object) -> Tensor:
    """Return MAIL's weights [B] from PM = p_y(x') - max_{k != y} p_k(x').

    `normalise = mean` divides by the batch mean (the paper), `times3` multiplies by 3 (its code).
    """
    slope, bias = config.slope, config.bias  # type: ignore[attr-defined]
    raw = torch.sigmoid(slope * (bias - probability_margin(z_adv.detach(), y)))
    return raw / raw.mean() if config.normalise == "mean" else 3 * raw  # type: ignore[attr-defined]
