"""MART (Wang et al., ICLR 2020)."""

from rpat.losses import bce, weighted_kl
from rpat.methods.base import Method, Terms
from rpat.step import Step


class Mart(Method):
    """Boosted CE on adversarial images plus a KL that weighs misclassified images more."""

    def loss(self, step: Step) -> Terms:
        """BCE(z(x'), y) + beta mean (1 - p_y(x)) KL(p(x) || p(x')); passes: x, x'."""
        z_clean, z_adv = step.z_clean, step.z_adv
        beta = self.config.beta
        return {"bce": bce(z_adv, step.y), "kl": beta * weighted_kl(z_clean, z_adv, step.y)}
