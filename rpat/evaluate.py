"""Clean accuracy, PGD accuracy and logit MSE of a network after an epoch: images to results.

Evaluation is fp32 with eval-mode BatchNorm and TF32 off. Accuracies are percent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rpat.attacks.pgd import pgd
from rpat.config import AttackConfig, EvalConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.data.loader import pixels
from rpat.losses import ce_each
from rpat.randomness import generator
from rpat.step import mode


@dataclass(frozen=True, slots=True)
class Judged:
    """A network's verdict on each image; tensors of [N] on the CPU."""

    clean: Tensor  # bool: the clean image is classified correctly
    robust: Tensor  # bool: the perturbed image is classified correctly
    gap: Tensor  # float: squared logit difference of the two, mean over classes

    def metrics(self, split: str) -> dict[str, float | None]:
        """Return the journaled numbers; success and failure are of the perturbed image.

        A mean over no images is None.
        """
        return {
            f"{split}/clean_acc": percent(self.clean),
            f"{split}/pgd_acc": percent(self.robust),
            f"{split}/logit_mse": _mean(self.gap),
            f"{split}/logit_mse_success": _mean(self.gap[self.robust]),
            f"{split}/logit_mse_failure": _mean(self.gap[~self.robust]),
        }


def attack_of(config: EvalConfig, steps: int) -> AttackConfig:
    """Return the evaluation's PGD: eval-mode BatchNorm, random start, last iterate."""
    return AttackConfig(
        steps=steps,
        step_size=config.step_size,
        start=config.start,
        order=config.order,
        reduction=config.reduction,
        floor=config.floor,
        bn="eval",
    )


def judge(
    model: nn.Module,
    images: Images,
    threat: ThreatConfig,
    attack: AttackConfig,
    *,
    batch_size: int,
    seed: int,
    position: int,
) -> Judged:
    """Attack every image once and compare predictions and logits before and after.

    `seed` and `position` (an epoch) decide the attack's random start.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with full_precision(), mode(model, False):
        for number, start in enumerate(range(0, len(images), batch_size)):
            rows = slice(start, start + batch_size)
            x, y = pixels(images.images[rows]), images.labels[rows]
            draws = generator(x.device, seed, "evaluation", position, number)
            x_adv = pgd(model, x, partial(ce_each, target=y), threat, attack, draws)
            with torch.no_grad():
                z, z_adv = model(x), model(x_adv)
            parts.append((z.argmax(1) == y, z_adv.argmax(1) == y, (z - z_adv).square().mean(1)))
    clean, robust, gap = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return Judged(clean, robust, gap)


def percent(flags: Tensor) -> float:
    """Return the share of true flags in percent."""
    return 100.0 * int(flags.sum()) / len(flags)


def index_digest(index: Tensor) -> str:
    """Return the SHA-256 of the evaluated images' positions in their split."""
    return hashlib.sha256(index.cpu().numpy().astype(np.int64).tobytes()).hexdigest()


@contextmanager
def full_precision(tf32: bool = False) -> Iterator[None]:
    """Switch TF32 off (or on) for matrix products and convolutions, and restore it."""
    flags: list[tuple[Any, bool]] = [
        (place, place.allow_tf32) for place in (torch.backends.cuda.matmul, torch.backends.cudnn)
    ]
    for place, _ in flags:
        place.allow_tf32 = tf32
    try:
        yield
    finally:
        for place, flag in flags:
            place.allow_tf32 = flag


def _mean(values: Tensor) -> float | None:
    return values.double().mean().item() if len(values) else None
