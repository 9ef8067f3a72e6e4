"""ReBAT (Wang et al., NeurIPS 2023)."""

from typing import Any

from rpat.config import RunConfig
from rpat.ema import guarded
from rpat.losses import kl
from rpat.methods.base import Method, Terms
from rpat.schedules import growing_weight, learning_rate
from rpat.step import Step, eval_logits
from rpat.wrappers.wa import Wa


class Rebat(Wa):
    """WA whose average also teaches: the predictions on x' shall stay near the average's."""

    def __init__(self, config: Any, run_config: RunConfig, base: Method) -> None:
        super().__init__(config, run_config, base)
        self.lr, self.schedule = run_config.optim.lr, run_config.schedule

    def beta(self, step: Step) -> float:
        """Weight of the KL term, which may grow as the learning rate falls."""
        if self.config.weighting == "fixed":
            return float(self.config.beta)
        batches = step.total // self.epochs
        fraction = (step.t % batches + 1) / batches
        lr = learning_rate(self.lr, self.schedule, step.epoch, fraction)
        return float(self.config.beta) * growing_weight(self.lr, lr)

    def loss(self, step: Step) -> Terms:
        """Base + beta KL(p_wa(x') || p(x')) once the average is active; finite terms only."""
        terms = self.base.loss(step)
        if step.epoch >= self.active:
            teacher = eval_logits(self.average, step.x_adv)
            terms["rebat"] = self.beta(step) * guarded(kl(teacher, step.z_adv))
        return terms
