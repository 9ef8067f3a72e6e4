"""GAIRAT (Zhang et al., ICLR 2021)."""

import torch
from torch import Tensor

from rpat.methods.weighted import WeightedAt
from rpat.step import Step


class Gairat(WeightedAt):
    """Images that the attack breaks early count more."""

    def craft(self, step: Step) -> Tensor:
        """PGD that counts kappa: at how many of its iterates the image is still correct.

        The iterates are those seen before each update, the random start among them.
        """
        kappa = torch.zeros_like(step.y)

        def count(k: int, logits: Tensor) -> None:
            kappa.add_(logits.argmax(1) == step.y)

        x_adv = self.pgd(step, self.ascent(step), probe=count)
        step.aux["kappa"] = kappa
        return x_adv

    def weights(self, step: Step) -> Tensor:
        """omega(kappa), scaled to mean 1; equal weights before the burn-in ends."""
        kappa = step.aux["kappa"]
        if step.epoch < self.begins(self.config.burn_in):
            return torch.ones_like(kappa, dtype=step.z_adv.dtype)
        return geometry_weights(
            kappa.to(step.z_adv.dtype), self.attack.steps, self.config.lam, self.config.weight
        )


def geometry_weights(kappa: Tensor, steps: int, lam: float, form: str) -> Tensor:
    """Return GAIRAT's weights of [B] counts, scaled to mean 1 (its Eq. 6 and the code's forms)."""
    if not steps:
        return torch.ones_like(kappa)
    half = steps // 2 if steps % 2 and steps > 1 else steps / 2
    lean = lam + 5 * (half - kappa) / half
    raw = {
        "tanh": lambda: (1 + torch.tanh(lean)) / 2,
        "sigmoid": lambda: torch.sigmoid(lean),
        "discrete": lambda: (steps + 1 - kappa) / (steps + 1),
    }[form]()
    return raw / raw.mean()
