"""RPAT: Robust Perception on top of any method (Wang & Liu, ICCV 2025)."""

from rpat.methods.base import Terms, Wrapper
from rpat.regularizer import divergence, smoothness_eq3
from rpat.step import Step


class Rpat(Wrapper):
    """Adds the term that makes logits change evenly from the clean to the adversarial image."""

    def alpha(self, step: Step) -> float:
        """Weight of the adversarial end; one draw a batch where it is random (Fig. 4b)."""
        alpha = self.config.alpha
        if isinstance(alpha, float):
            return alpha
        b = step.scalar("alpha").betavariate(0.75, 0.75)
        b = min(max(b, 1e-6), 1 - 1e-6)
        return min(b, 1 - b) if alpha == "beta-" else max(b, 1 - b)

    def loss(self, step: Step) -> Terms:
        """The base's terms + lam R; passes after the base's: x', x~, x where not yet made.

        With `lam = 0`, or before its start epoch, the term makes no forward pass at all, so
        that BatchNorm's running statistics are the base method's.
        """
        terms = self.base.loss(step)
        if self.config.lam and step.epoch >= self.config.start_epoch:
            alpha = self.alpha(step)
            z_adv, z_mid, z_clean = step.z_adv, step.z_mid(alpha), step.z_clean
            if self.config.form == "eq3":
                gap = smoothness_eq3(z_clean, z_mid, z_adv, alpha)
            else:
                gap = divergence(self.config.criterion, z_clean, z_mid, z_adv, alpha)
            terms["rpat"] = self.config.lam * gap
        return terms
