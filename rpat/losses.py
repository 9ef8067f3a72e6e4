"""Losses as pure functions of logits and targets.

Logits are [B, C]. A target is a class index per image [B] or a distribution [B, C]. Natural
logarithms. `kl(p_logits, q_logits)` is KL(P || Q) with P the first named, the one that weights.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, mean over the batch."""
    return F.cross_entropy(logits, target)


def ce_each(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each image, [B]."""
    return F.cross_entropy(logits, target, reduction="none")


def kl_each(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(P || Q) of each image, [B]; gradients flow through both."""
    log_p, log_q = F.log_softmax(p_logits, 1), F.log_softmax(q_logits, 1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(P || Q), mean over the batch."""
    return kl_each(p_logits, q_logits).mean()


def js(a_logits: Tensor, b_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence of two softmaxes, mean over the batch.

    The mixture is clamped below at 1e-8 as in Consistency-AT (Tack et al., AAAI 2022).
    """
    p, q = F.softmax(a_logits / temperature, 1), F.softmax(b_logits / temperature, 1)
    log_m = ((p + q) / 2).clamp(min=1e-8).log()
    both = torch.xlogy(p, p) - p * log_m + torch.xlogy(q, q) - q * log_m
    return 0.5 * both.sum(1).mean()


def wrong_class(logits: Tensor, y: Tensor) -> Tensor:
    """Most probable class that is not the label, [B]."""
    return logits.scatter(1, y[:, None], -torch.inf).argmax(1)


def logit_margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y of each image, [B]; negative means correct."""
    wrong = logits.gather(1, wrong_class(logits, y)[:, None])[:, 0]
    return wrong - logits.gather(1, y[:, None])[:, 0]


def soft_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Soft logit margin logsumexp_{k != y} z_k - z_y, [B] (Ding et al., ICLR 2020).

    CE = softplus of it; it is negative exactly where p_y > 1/2.
    """
    others = logits.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    return others - logits.gather(1, y[:, None])[:, 0]


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """p_y - max_{k != y} p_k of each image, [B] (Wang et al., NeurIPS 2021)."""
    p = F.softmax(logits, 1)
    wrong = p.gather(1, wrong_class(logits, y)[:, None])[:, 0]
    return p.gather(1, y[:, None])[:, 0] - wrong


def entropy_each(logits: Tensor) -> Tensor:
    """Entropy of the softmax in nats, [B]."""
    log_p = F.log_softmax(logits, 1)
    return -(log_p.exp() * log_p).sum(1)


def ovr_each(logits: Tensor, y: Tensor) -> Tensor:
    """One-vs-the-rest loss of each image: binary CE summed over classes, [B]."""
    sign = torch.ones_like(logits).scatter(1, y[:, None], -1.0)
    return F.softplus(sign * logits).sum(1)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the soft cross-entropy of softened softmaxes, mean over the batch.

    Chen et al., ICLR 2021: it differs from a KL by the teacher's entropy.
    """
    target = F.softmax(teacher / temperature, 1)
    log_p = F.log_softmax(student / temperature, 1)
    return -(target * log_p).sum(1).mean() * temperature**2


def bce(logits: Tensor, y: Tensor) -> Tensor:
    """MART's boosted cross-entropy: CE plus the margin to the most probable wrong class.

    Wang et al., ICLR 2020, Eq. (9), with the constants of the authors' code.
    """
    p = F.softmax(logits, 1)
    p_wrong = p.gather(1, wrong_class(logits, y)[:, None])[:, 0]
    return ce(logits, y) - (1.0001 - p_wrong + 1e-12).log().mean()


def weighted_kl(clean: Tensor, adv: Tensor, y: Tensor) -> Tensor:
    """MART's KL(p(x) || p(x')), each image weighted by 1 - p_y(x); nothing is detached.

    Wang et al., ICLR 2020, Eq. (10), with the constants of the authors' code.
    """
    p, q = F.softmax(clean, 1), F.softmax(adv, 1)
    each = (p * (F.log_softmax(clean, 1) - (q + 1e-12).log())).sum(1)
    p_label = p.gather(1, y[:, None])[:, 0]
    return (each * (1.0000001 - p_label)).mean()
