"""KD: two teachers, one trained naturally and one robustly (Chen et al., ICLR 2021)."""

import torch
from torch import nn

from rpat.losses import distillation
from rpat.methods.base import Run, Terms, Wrapper
from rpat.step import Step


class Kd(Wrapper):
    """0.3 of the base's loss, and agreement with both teachers on x'."""

    natural: nn.Module
    robust: nn.Module

    def setup(self, run: Run) -> None:
        """Load the teachers; they are part of the state from then on."""
        super().setup(run)
        self.natural = run.teacher(self.config.natural)
        self.robust = run.teacher(self.config.robust)

    def loss(self, step: Step) -> Terms:
        """w_ce base + w_natural KD(z(x'), z_T1(x')) + w_robust KD(z(x'), z_T2(x')), T = 2."""
        c = self.config
        terms = {name: c.w_base * term for name, term in self.base.loss(step).items()}
        with torch.no_grad():
            natural, robust = self.natural(step.x_adv), self.robust(step.x_adv)
        terms["kd_natural"] = c.w_natural * distillation(step.z_adv, natural, c.temperature)
        terms["kd_robust"] = c.w_robust * distillation(step.z_adv, robust, c.temperature)
        return terms
