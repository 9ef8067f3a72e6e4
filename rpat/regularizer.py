"""Robust Perception as pure functions of three logits (Wang & Liu, ICCV 2025, Eq. 2 and 3).

z_clean, z_mid, z_adv are the logits [B, C] at x, at x~ = x + alpha (x' - x) and at x'; alpha is
always the weight of the adversarial end. Gradients flow through all three.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rpat import losses


def interpolate(x: Tensor, x_adv: Tensor, alpha: float) -> Tensor:
    """x~ of Eq. (2): between two images of [0, 1], so it needs no clipping."""
    return x + alpha * (x_adv - x)


def smoothness(z_clean: Tensor, z_mid: Tensor, z_adv: Tensor, alpha: float) -> Tensor:
    """MSE between the logits at x~ and the straight line, as in the authors' release."""
    return F.mse_loss(z_mid, _line(z_clean, z_adv, alpha))


def smoothness_eq3(z_clean: Tensor, z_mid: Tensor, z_adv: Tensor, alpha: float) -> Tensor:
    """Eq. (3) as printed: `smoothness` / (alpha (1 - alpha))^2."""
    return F.mse_loss((z_mid - z_clean) / alpha, (z_adv - z_mid) / (1 - alpha))


def divergence(
    criterion: str, z_clean: Tensor, z_mid: Tensor, z_adv: Tensor, alpha: float
) -> Tensor:
    """The alternatives of Fig. 4(a): KL, JS or cosine instead of the MSE.

    Their formulas are not published; with t the straight line and s the logits at x~ they are
    read as KL(softmax t || softmax s), JS(s, t) and mean(1 - cos(s, t)).
    """
    line = _line(z_clean, z_adv, alpha)
    if criterion == "kl":
        return losses.kl(line, z_mid)
    if criterion == "js":
        return losses.js(z_mid, line)
    if criterion == "cosine":
        return (1 - F.cosine_similarity(z_mid, line, dim=1)).mean()
    return smoothness(z_clean, z_mid, z_adv, alpha)


def _line(z_clean: Tensor, z_adv: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * z_clean + alpha * z_adv
