"""MAIL on TRADES (Wang et al., NeurIPS 2021)."""

from rpat.losses import ce, kl_each
from rpat.methods.base import Terms
from rpat.methods.mail_at import margin_weights
from rpat.methods.trades import Trades
from rpat.step import Step


class MailTrades(Trades):
    """TRADES whose KL term weighs images with a small margin more."""

    def loss(self, step: Step) -> Terms:
        """CE(z(x), y) + beta mean_i w_i KL(p(x_i) || p(x'_i)); passes: x, x'."""
        z_clean, z_adv = step.z_clean, step.z_adv
        each = kl_each(z_clean, z_adv)
        if step.epoch >= self.begins(self.config.burn_in):
            each = margin_weights(z_adv, step.y, self.config) * each
        return {"ce": ce(z_clean, step.target), "kl": self.config.beta * each.mean()}
