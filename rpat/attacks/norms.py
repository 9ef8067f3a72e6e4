"""What PGD needs to know of a norm: where to start, how to climb, how to stay in the ball.

Images and perturbations are [B, ...]; `epsilon` and `step_size` are floats or [B] tensors, in
pixels on [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = float | Tensor


def per_image(size: Size, like: Tensor) -> Size:
    """Shape a [B] tensor so that it broadcasts over images; a float stays one."""
    return size.view(-1, *[1] * (like.dim() - 1)) if isinstance(size, Tensor) else size


class Linf:
    """The largest change of a pixel."""

    @staticmethod
    def start(kind: str, x: Tensor, epsilon: Size, generator: torch.Generator) -> Tensor:
        """Draw a perturbation: `uniform` in the cube, each pixel on its own."""
        if kind == "uniform":
            return per_image(epsilon, x) * _uniform(x, generator).mul_(2).sub_(1)
        return _common_start(kind, x, generator)

    @staticmethod
    def ascend(gradient: Tensor, step_size: Size, floor: str) -> Tensor:
        """A step along the sign of the gradient; sign(0) = 0."""
        return per_image(step_size, gradient) * gradient.sign()

    @staticmethod
    def project(delta: Tensor, epsilon: Size) -> Tensor:
        """The nearest perturbation in the ball."""
        radius = per_image(epsilon, delta)
        return torch.clamp(delta, -radius, radius) if isinstance(radius, float) else torch.minimum(
            torch.maximum(delta, -radius), radius
        )  # fmt: skip


class L2:
    """The Euclidean length of an image's change."""

    @staticmethod
    def start(kind: str, x: Tensor, epsilon: Size, generator: torch.Generator) -> Tensor:
        """Draw a perturbation.

        `box`: towards a uniform point of the image box, on the sphere for natural images
        (Consistency-AT code); `direction`: Gaussian direction, radius r * epsilon with
        r ~ U(0, 1) (Rice et al., AWP, ReBAT code).
        """
        if kind == "box":
            return L2.project(_uniform(x, generator) - x, epsilon)
        if kind == "direction":
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            radius = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
            return noise / length(noise) * per_image(radius * epsilon, x)
        return _common_start(kind, x, generator)

    @staticmethod
    def ascend(gradient: Tensor, step_size: Size, floor: str) -> Tensor:
        """A step along the gradient's direction; `floor` guards its norm from zero.

        `max:TINY` divides by max(norm, TINY), `add:TINY` by norm + TINY.
        """
        kind, _, tiny = floor.partition(":")
        norm = length(gradient)
        norm = norm.clamp(min=float(tiny)) if kind == "max" else norm + float(tiny)
        return per_image(step_size, gradient) * gradient / norm

    @staticmethod
    def project(delta: Tensor, epsilon: Size) -> Tensor:
        """The nearest perturbation in the ball."""
        norm = length(delta).clamp(min=1e-12)
        return delta * (per_image(epsilon, delta) / norm).clamp(max=1)


NORMS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}


def length(delta: Tensor) -> Tensor:
    """Euclidean length of each image's change, shaped to broadcast, [B, 1, ...]."""
    return delta.flatten(1).norm(dim=1).view(-1, *[1] * (delta.dim() - 1))


def _common_start(kind: str, x: Tensor, generator: torch.Generator) -> Tensor:
    name, _, sigma = kind.partition(":")
    if name == "normal":
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return float(sigma) * noise
    if name == "zero":
        return torch.zeros_like(x)
    raise ValueError(f"start '{kind}' does not exist for this norm")


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
