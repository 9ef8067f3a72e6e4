"""EWAT (Kim et al., ICML 2021 AML workshop)."""

from torch import Tensor

from rpat.losses import entropy_each
from rpat.methods.weighted import WeightedAt
from rpat.step import Step


class Ewat(WeightedAt):
    """Uncertain adversarial images count more."""

    def weights(self, step: Step) -> Tensor:
        """base + H_i / mean_j H_j, H the entropy of p(x'); divided by base + 1 if asked.

        No code was published. `base = 1` is CE plus an entropy-weighted CE; `base = 0` is the
        abstract's literal "in proportion to the entropy".
        """
        entropy = entropy_each(step.z_adv.detach())
        weights = self.config.base + entropy / entropy.mean()
        return weights / (self.config.base + 1) if self.config.normalise else weights
