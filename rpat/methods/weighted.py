"""PGD-AT with a weight for each image: what GAIRAT, EWAT and MAIL-AT have in common."""

from torch import Tensor

from rpat.losses import ce_each
from rpat.methods.base import Method, Terms
from rpat.step import Step


class WeightedAt(Method):
    """mean_i w_i CE(z(x'_i), y_i); the weights are constants."""

    def weights(self, step: Step) -> Tensor:
        """Return the weight of each image, [B]."""
        raise TypeError(f"{type(self).__name__} defines no weights")

    def loss(self, step: Step) -> Terms:
        """The weights never carry gradient."""
        each = ce_each(step.z_adv, step.target)
        return {"ce": (self.weights(step).detach() * each).mean()}
