"""Consistency-AT (Tack et al., AAAI 2022)."""

from rpat.losses import ce, js
from rpat.methods.base import Method, Terms
from rpat.step import Step


class ConsistencyAt(Method):
    """PGD-AT on two augmentations of each image, whose attacked predictions shall agree."""

    views = 2

    def loss(self, step: Step) -> Terms:
        """CE(z(X'), Y) + lam JS_T(z(x1'), z(x2')); one pass of the 2B images."""
        first, second = step.z_adv.chunk(2)
        agree = js(first, second, self.config.temperature)
        return {"ce": ce(step.z_adv, step.target), "js": self.config.lam * agree}
