"""ReBAT (Wang et al., NeurIPS 2023)."""

from rpat.ema import guarded
from rpat.losses import kl
from rpat.methods.base import Terms
from rpat.step import Step, eval_logits
from rpat.wrappers.wa import Wa


class Rebat(Wa):
    """WA whose average also teaches: the predictions on x' shall stay near the average's."""

    def loss(self, step: Step) -> Terms:
        """Base + beta KL(p_wa(x') || p(x')) once the average is active; finite terms only."""
        terms = self.base.loss(step)
        if step.epoch >= self.active:
            teacher = eval_logits(self.average, step.x_adv)
            terms["rebat"] = self.config.beta * guarded(kl(teacher, step.z_adv))
        return terms
