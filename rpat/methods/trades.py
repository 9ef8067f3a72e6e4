"""TRADES (Zhang et al., ICML 2019)."""

from rpat.attacks.pgd import Ascent
from rpat.losses import ce, kl, kl_each
from rpat.methods.base import Method, Terms
from rpat.step import Step, eval_logits


class Trades(Method):
    """Accuracy on clean images plus agreement between clean and adversarial predictions."""

    def ascent(self, step: Step) -> Ascent:
        """Pull predictions away from the clean ones; labels play no part."""
        clean = eval_logits(step.model, step.x)
        return lambda logits: kl_each(clean, logits)

    def loss(self, step: Step) -> Terms:
        """CE(z(x), y) + beta KL(p(x) || p(x')), gradient through both sides.

        The release computes the clean logits of the KL in a second forward pass: same values,
        one more update of BatchNorm's running statistics (passes: x, x', x).
        """
        z_clean, z_adv, z_again = step.z_clean, step.z_adv, step.again("clean")
        return {"ce": ce(z_clean, step.target), "kl": self.config.beta * kl(z_again, z_adv)}
