"""MMA: max-margin adversarial training (Ding et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rpat.losses import ce_each, soft_margin
from rpat.methods.base import Method, Run, Terms
from rpat.step import Step, mode


class Mma(Method):
    """Trains correct images at their estimated margin, wrong ones where they are."""

    radius: Tensor  # [N]: last estimated margin of each image, 0 for wrong ones

    def setup(self, run: Run) -> None:
        """Allocate the memory of margins."""
        device = next(run.model.parameters()).device
        self.register_buffer("radius", torch.zeros(run.n_train, device=device))

    def craft(self, step: Step) -> Tensor:
        """Attack the correct images with a radius of their own, then search their margin.

        "Correct" means SLM(z(x), y) < 0 on the train-mode pass, stricter than argmax. The point
        x + eps u may leave [0, 1] a little, as in the authors' code.
        """
        correct = soft_margin(step.z_clean.detach(), step.y) < 0
        eps = torch.zeros(len(step.y), device=step.x.device, dtype=step.x.dtype)
        x_adv = step.x.clone()
        if bool(correct.any()):
            part = Subset(step, correct)
            e = self.radius[part.index].to(step.x.dtype).clamp(min=self.config.eps_min)
            found = self.pgd(
                part.step, part.margin, epsilon=e, step_size=2.5 * e / self.attack.steps
            )
            u = (found - part.x) / (column(e, found) + 1e-12)
            eps[correct] = self.search(part, u, e)
            x_adv[correct] = part.x + column(eps[correct], u) * u
        step.aux |= {"correct": correct, "eps": eps}
        return x_adv

    def search(self, part: Subset, u: Tensor, start: Tensor) -> Tensor:
        """Bisect along u for the zero of SLM; BatchNorm is in `search_mode`, no graph is built."""
        high = 1.05 * self.config.d_max

        def margin(eps: Tensor) -> Tensor:
            point = (part.x + column(eps, u) * u).clamp(0, 1)
            return soft_margin(part.step.model(point), part.y)

        with torch.no_grad(), mode(part.step.model, self.config.search_mode == "train"):
            return bisect(margin, start, high, self.config.search_steps)

    def loss(self, step: Step) -> Terms:
        """c CE(z(x), y) + (1-c) mean_i [hinged CE at the margin | CE of a wrong image].

        Correct images with eps >= d_max contribute nothing to the second part, but are in its
        batch.
        """
        share, correct = self.config.clean_coeff, step.aux["correct"]
        counts = ~correct | (step.aux["eps"] < self.config.d_max)
        clean = ce_each(step.z_clean, step.y).mean()
        margin = ce_each(step.z_adv, step.y) * counts
        return {"clean": share * clean, "margin": (1 - share) * margin.mean()}

    def after_step(self, step: Step) -> None:
        """Remember the margins; wrong images start again at eps_min."""
        self.radius[step.index] = step.aux["eps"].to(self.radius.dtype)


class Subset:
    """Some images of a batch, as a step of their own for the attack."""

    def __init__(self, step: Step, rows: Tensor) -> None:
        self.x, self.y, self.index = step.x[rows], step.y[rows], step.index[rows]
        self.step = Step(
            step.model, self.x, self.y, self.index, step.epoch, step.t, step.total, step.seed
        )

    def margin(self, logits: Tensor) -> Tensor:
        """What the attack climbs."""
        return soft_margin(logits, self.y)


def bisect(margin: Callable[[Tensor], Tensor], start: Tensor, high: float, steps: int) -> Tensor:
    """Return the radii [B] after so many halvings; a negative margin means still correct."""
    eps = start
    low, top = torch.zeros_like(eps), torch.full_like(eps, high)
    value = margin(eps)
    for _ in range(steps):
        inside = value < 0
        low = torch.where(inside, torch.maximum(low, eps), low)
        top = torch.where(inside, top, torch.minimum(top, eps))
        eps = (low + top) / 2
        value = margin(eps)
    return eps


def column(values: Tensor, like: Tensor) -> Tensor:
    """Shape [B] values so that they broadcast over images."""
    return values.view(-1, *[1] * (like.dim() - 1))
