"""How far a perturbation moves the logits of success and of failure cases (Fig. 2).

The finding of Wang & Liu, ICCV 2025: after adversarial training the logits of failure cases move
less than those of success cases, so a network perceives better exactly what it gets wrong.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rpat.attacks.norms import NORMS, length
from rpat.attacks.pgd import pgd
from rpat.config import AttackConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.data.loader import pixels
from rpat.evaluate import full_precision, percent
from rpat.losses import ce_each
from rpat.randomness import generator
from rpat.regularizer import interpolate
from rpat.step import mode
from rpat.studies.averages import Progress, cases, mean, quotient, silent

KINDS = ("noise", "pgd")
WEIGHTS = ("sample", "batch")


@dataclass(frozen=True, slots=True, eq=False)
class Perception:
    """What one kind of perturbation did to each image; tensors of [N] on the CPU.

    Each MSE is a squared difference of logits, mean over the classes.
    """

    kind: str  # noise or pgd
    clean: Tensor  # bool: the clean image is classified correctly
    success: Tensor  # bool: the perturbed image is; the clean prediction plays no role
    mse: Tensor  # between x and the perturbed image
    mse_clean_mid: Tensor  # between x and the midpoint of both
    mse_mid_pert: Tensor  # between the midpoint and the perturbed image
    batch: Tensor  # int64: number of the image's batch

    def averages(self, how: str = "sample") -> dict[str, float | None]:
        """Return the MSEs of all, success and failure images, and the accuracies in percent.

        `sample` is the mean over the images of a kind. `batch` is the average of the authors'
        release: the mean over a kind's images in each batch, weighted by the size of the whole
        batch, so that an image counts more where its kind is rare. There a batch without any
        image of a kind is a NaN that no later batch removes; that average is None. The release
        has batches of 100. `ratio` is failure to success: below 1 failures are better learned.
        """
        if how not in WEIGHTS:
            raise ValueError(f"averages are over {' or '.join(WEIGHTS)}, not '{how}'")
        found: dict[str, float | None] = {}
        groups = cases(self.success)
        for name, values in (
            ("mse", self.mse),
            ("clean_mid", self.mse_clean_mid),
            ("mid_pert", self.mse_mid_pert),
        ):
            for case, chosen in groups.items():
                key = name if case == "all" else f"{name}_{case}"
                found[key] = mean(
                    values[chosen] if how == "sample" else self._weigh(values, chosen)
                )
        found["ratio"] = quotient(found["mse_failure"], found["mse_success"])
        found |= {"clean_acc": percent(self.clean), "perturbed_acc": percent(self.success)}
        return found | {f"n_{case}": int(groups[case].sum()) for case in ("success", "failure")}

    def _weigh(self, values: Tensor, chosen: Tensor) -> Tensor:
        """Give each image of [N] the mean of its batch's chosen ones; NaN where there are none."""
        sums, counts = (
            torch.zeros(int(self.batch.max()) + 1, dtype=torch.float64).index_add_(
                0, self.batch[chosen], what[chosen].double()
            )
            for what in (values, torch.ones_like(values))
        )
        return (sums / counts)[self.batch]


def perceive(
    model: nn.Module,
    images: Images,
    threat: ThreatConfig,
    attack: AttackConfig | None,
    *,
    kind: str,
    batch_size: int,
    seed: int,
    tf32: bool = False,
    progress: Progress = silent,
) -> Perception:
    """Perturb every image once, by `noise` or by `pgd`, and compare its logits.

    `attack` says how PGD climbs the cross-entropy; noise needs none. BatchNorm is in eval mode
    throughout, whatever the attack says. `seed` decides the noise and the attack's start.
    """
    if kind not in KINDS or (kind == "pgd" and attack is None):
        raise ValueError(f"kind '{kind}' is not noise, nor pgd with an attack")
    parts: list[tuple[Tensor, ...]] = []
    with full_precision(tf32), mode(model, False):
        for number, start in enumerate(range(0, len(images), batch_size)):
            rows = slice(start, start + batch_size)
            x, y = pixels(images.images[rows]), images.labels[rows]
            draws = generator(x.device, seed, "perception", number)
            if kind == "noise" or attack is None:
                x_pert = noise(x, threat, draws)
            else:
                x_pert = worst(model, x, y, threat, attack, draws)
            batch = torch.full_like(y, number)
            parts.append((*compare(model, x, x_pert, y), batch))
            progress(min(start + batch_size, len(images)), len(images))
    return Perception(kind, *(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def compare(
    model: nn.Module, x: Tensor, x_pert: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return both verdicts and the three MSEs of a batch, in `Perception`'s order; [B] each."""
    with torch.no_grad():
        z, z_mid, z_pert = model(x), model(interpolate(x, x_pert, 0.5)), model(x_pert)
    gaps = [(a - b).square().mean(1) for a, b in ((z, z_pert), (z, z_mid), (z_mid, z_pert))]
    return z.argmax(1) == y, z_pert.argmax(1) == y, gaps[0], gaps[1], gaps[2]


def noise(x: Tensor, threat: ThreatConfig, draws: torch.Generator) -> Tensor:
    """Return the images with random noise, clipped to [0, 1].

    l_inf: uniform in the cube, each pixel on its own. l_2: a uniform direction at the full radius,
    near which a uniform point of a ball of so many dimensions lies anyway. (Training on noise
    draws the radius as well.)
    """
    if threat.norm == "linf":
        delta = NORMS["linf"].start("uniform", x, threat.epsilon, draws)
    else:
        direction = torch.randn(x.shape, generator=draws, device=x.device, dtype=x.dtype)
        delta = threat.epsilon * direction / length(direction)
    return (x + delta).clamp(0, 1)


def worst(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatConfig,
    attack: AttackConfig,
    draws: torch.Generator,
) -> Tensor:
    """Return PGD's images against the labels, crafted with eval-mode BatchNorm."""
    frozen = dataclasses.replace(attack, bn="eval")
    return pgd(model, x, partial(ce_each, target=y), threat, frozen, draws)
