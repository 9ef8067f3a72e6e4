"""How straight the logits run from an image to its adversarial one, the paper's central claim.

Along x + alpha (x' - x), alpha in [0, 1]: how far the logits leave the straight line, which is
what the regulariser holds down (Wang & Liu, ICCV 2025, Eq. 2); their second difference (its
Theorem 1); and the change of their Jacobian from end to end (its Theorem 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rpat.config import AttackConfig, ThreatConfig
from rpat.data.dataset import Images, balanced
from rpat.data.loader import pixels
from rpat.errors import ConfigError
from rpat.evaluate import full_precision, percent
from rpat.randomness import generator
from rpat.regularizer import interpolate
from rpat.step import mode
from rpat.studies.averages import Progress, cases, finite, mean, silent
from rpat.studies.jacobian import end_norms, exact_norms
from rpat.studies.perception import worst


@dataclass(frozen=True, slots=True, eq=False)
class Smoothness:
    """How each image's logits run; tensors on the CPU.

    Jacobians are NaN where they were not measured, or where the logits are.
    """

    alphas: tuple[float, ...]  # A of them, evenly from 0 (clean) to 1 (adversarial)
    jacobian_how: str  # exact or power iteration; empty: not measured
    clean: Tensor  # [N] bool: the clean image is classified correctly
    robust: Tensor  # [N] bool: the adversarial image is
    deviation: Tensor  # [N, A]: squared distance of the logits to the line, mean over the classes
    second: Tensor  # [N, A-2]: |z(a+h) - 2 z(a) + z(a-h)| / h^2, a Euclidean norm over the classes
    jacobian_change: Tensor  # [N]: |J(x') - J(x)|, a spectral norm as the next two
    jacobian_clean: Tensor  # [N]: |J(x)|
    jacobian_adv: Tensor  # [N]: |J(x')|
    jacobian_last: Tensor  # [N]: relative change in their last power iteration, the largest

    def averages(self) -> dict[str, Any]:
        """Return accuracies in percent and the means of all, success and failure images.

        A success is an adversarial image that is classified correctly. What no image has is None.
        """
        found: dict[str, Any] = {
            "alphas": list(self.alphas),
            "clean_acc": percent(self.clean),
            "robust_acc": percent(self.robust),
            "jacobian_how": self.jacobian_how or None,
        }
        return found | {case: self._means(chosen) for case, chosen in cases(self.robust).items()}

    def _means(self, chosen: Tensor) -> dict[str, Any]:
        deviation, second = self.deviation[chosen], self.second[chosen]
        curve = [mean(column) for column in deviation.unbind(1)]
        measured = chosen & ~self.jacobian_last.isnan()
        change, clean = self.jacobian_change[measured], self.jacobian_clean[measured]
        last = self.jacobian_last[measured]
        return {
            "n": int(chosen.sum()),
            "deviation": curve if len(deviation) else None,
            "deviation_mid": curve[len(curve) // 2],
            "second_max": mean(second.amax(1)),
            "second_mean": mean(second.mean(1)),
            "n_jacobian": int(measured.sum()),
            "jacobian_change": mean(change),
            "jacobian_clean": mean(clean),
            "jacobian_adv": mean(self.jacobian_adv[measured]),
            "jacobian_relative": mean((change / clean)[clean > 0]),
            "jacobian_last": finite(last.max().item()) if len(last) else None,
        }


def smoothness(
    model: nn.Module,
    images: Images,
    threat: ThreatConfig,
    attack: AttackConfig,
    *,
    alphas: int = 11,
    jacobian_n: int = 0,
    iterations: int = 20,
    batch_size: int,
    seed: int,
    tf32: bool = False,
    progress: Progress = silent,
) -> Smoothness:
    """Attack every image once and follow its logits on the way there.

    The way has `alphas` points, an odd number, so that the middle is one. Jacobians are measured
    on a class-balanced choice of `jacobian_n` images (0: all): exactly where that takes no more
    passes than `iterations` of the power method, by those otherwise (0: not at all). BatchNorm is
    in eval mode throughout, whatever the attack says. `seed` decides the attack's start and that
    of the power method.
    """
    if alphas < 3 or alphas % 2 == 0:
        raise ConfigError(f"alphas is {alphas}; write an odd number from 3 on, for example 11")
    grid = tuple(k / (alphas - 1) for k in range(alphas))
    measured = _measured(images, jacobian_n if iterations else -1)
    parts: list[tuple[Tensor, ...]] = []
    how = ""
    with full_precision(tf32), mode(model, False):
        for number, start in enumerate(range(0, len(images), batch_size)):
            rows = slice(start, start + batch_size)
            x, y = pixels(images.images[rows]), images.labels[rows]
            draws = generator(x.device, seed, "smoothness", number)
            x_adv = worst(model, x, y, threat, attack, draws)
            z = along(model, x, x_adv, grid)
            how = _how(z.shape[2], iterations)
            draws = generator(x.device, seed, "jacobian", number)
            u = torch.randn(z[0].shape, generator=draws, device=z.device, dtype=z.dtype)
            norms = _norms(model, x, x_adv, u, measured[rows].to(x.device), iterations, how)
            verdicts = z[0].argmax(1) == y, z[-1].argmax(1) == y
            parts.append((*verdicts, deviation(z, grid), second(z), *norms))
            progress(min(start + batch_size, len(images)), len(images))
    columns = [torch.cat(column).cpu() for column in zip(*parts, strict=True)]
    return Smoothness(grid, how, *columns)


def along(model: nn.Module, x: Tensor, x_adv: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Return the logits at each point of the way, [A, B, C]; its ends are `x` and `x_adv`."""
    with torch.no_grad():
        way = [model(interpolate(x, x_adv, alpha)) for alpha in alphas[1:-1]]
        return torch.stack([model(x), *way, model(x_adv)])


def deviation(z: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Return the squared distance to the line between the ends, mean over the classes, [B, A].

    Its mean over a batch is `rpat.regularizer.smoothness`.
    """
    alpha = torch.tensor(alphas, dtype=z.dtype, device=z.device).view(-1, 1, 1)
    line = (1 - alpha) * z[0] + alpha * z[-1]
    return (z - line).square().mean(2).T


def second(z: Tensor) -> Tensor:
    """Return the length of the second difference quotient in alpha at each inner point, [B, A-2].

    Of logits in float32 it cannot tell less than about 1e-6 |z| / h^2 from zero.
    """
    h = 1 / (len(z) - 1)
    return ((z[2:] - 2 * z[1:-1] + z[:-2]).norm(dim=2) / h**2).T


def _how(classes: int, iterations: int) -> str:
    """Choose the cheaper way: a class costs 2 passes, an iteration of three norms 8 or so."""
    if not iterations:
        return ""
    return "exact" if classes <= 4 * iterations else "power iteration"


def _norms(
    model: nn.Module,
    x: Tensor,
    x_adv: Tensor,
    u: Tensor,
    chosen: Tensor,
    iterations: int,
    how: str,
) -> list[Tensor]:
    """Return the norms at the ends of a batch's chosen images, NaN for others, [B] each."""
    found = [u.new_full((len(u),), torch.nan) for _ in range(4)]
    if chosen.any():
        ends = x[chosen], x_adv[chosen]
        norms = (
            exact_norms(model, *ends, u.shape[1])
            if how == "exact"
            else end_norms(model, *ends, u[chosen], iterations)
        )
        for column, values in zip(found, norms, strict=True):
            column[chosen] = values
    return found


def _measured(images: Images, n: int) -> Tensor:
    """Return which images get a Jacobian, [N]: `n` of them, all for 0 and none for -1."""
    if n == 0 or n >= len(images):
        return torch.ones(len(images), dtype=torch.bool)
    flags = torch.zeros(len(images), dtype=torch.bool)
    if n > 0:
        flags[balanced(images, n, "jacobian_n")] = True
    return flags
