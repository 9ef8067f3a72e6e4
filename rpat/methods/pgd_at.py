"""PGD-AT (Madry et al., ICLR 2018)."""

from rpat.losses import ce
from rpat.methods.base import Method, Terms
from rpat.step import Step


class PgdAt(Method):
    """CE on PGD examples."""

    def loss(self, step: Step) -> Terms:
        """CE(z(x'), y)."""
        return {"ce": ce(step.z_adv, step.target)}
