"""Natural training (the reference of Fig. 2)."""

from torch import Tensor

from rpat.losses import ce
from rpat.methods.base import Method, Terms
from rpat.step import Step


class Clean(Method):
    """CE on the images as they are."""

    def craft(self, step: Step) -> Tensor:
        """No adversary."""
        return step.x

    def loss(self, step: Step) -> Terms:
        """CE(z(x), y)."""
        return {"ce": ce(step.z_clean, step.target)}
