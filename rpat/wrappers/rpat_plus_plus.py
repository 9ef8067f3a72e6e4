"""RPAT++: Robust Perception with an averaged teacher (Wang & Liu, ICCV 2025, Section 5.3)."""

from rpat.ema import guarded
from rpat.losses import kl
from rpat.methods.base import Terms
from rpat.regularizer import interpolate
from rpat.step import Step, eval_logits
from rpat.wrappers.wa import Wa


class RpatPlusPlus(Wa):
    """WA plus: alpha z(x') shall match what the average says of the way to x'."""

    def loss(self, step: Step) -> Terms:
        """Base + beta KL(softmax(z_wa(x~) - (1-alpha) z_wa(x)) || softmax(alpha z(x'))).

        As released, the term replaces ReBAT's; `keep_rebat_kl` adds beta KL(p_wa(x') || p(x')).
        Only z(x') carries gradient. Finite terms only.
        """
        terms = self.base.loss(step)
        if step.epoch >= self.active:
            alpha, beta = self.config.alpha, self.config.beta
            clean = eval_logits(self.average, step.x)
            middle = eval_logits(self.average, interpolate(step.x, step.x_adv, alpha))
            gap = kl(middle - (1 - alpha) * clean, alpha * step.z_adv)
            terms["rpat++"] = beta * guarded(gap)
            if self.config.keep_rebat_kl:
                teacher = eval_logits(self.average, step.x_adv)
                terms["rebat"] = beta * guarded(kl(teacher, step.z_adv))
        return terms
