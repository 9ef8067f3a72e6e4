"""CutMix (Yun et al., ICCV 2019): one box of every image comes from another of its batch.

A box is (x1, y1, x2, y2), half-open; as in the authors' code x runs along the first axis of an
image, its height, and y along the second.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Box = tuple[int, int, int, int]


def box(height: int, width: int, lam: float, cx: int, cy: int) -> Box:
    """Return the box around (cx, cy) that leaves a part `lam` of the image, clipped to it."""
    ratio = math.sqrt(1 - lam)
    x1, x2 = _side(height, int(height * ratio), cx)
    y1, y2 = _side(width, int(width * ratio), cy)
    return x1, y1, x2, y2


def outside(height: int, width: int, box: Box) -> float:
    """Return the part of an image that lies outside the box."""
    x1, y1, x2, y2 = box
    return 1 - (x2 - x1) * (y2 - y1) / (height * width)


def mix(
    x: Tensor, y: Tensor, num_classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images `[B, 3, H, W]` with one box from a permutation of them, and their targets.

    lambda ~ Beta(1, 1) gives the area of the box before it is clipped. Targets `[B, C]` weight the
    labels `[B]` of both images by the area that each has in the end. `generator` is on the CPU.
    """
    height, width = x.shape[-2:]
    lam = torch.rand((), dtype=torch.float64, generator=generator).item()
    cx, cy = (int(torch.randint(side, (), generator=generator)) for side in (height, width))
    other = torch.randperm(len(x), generator=generator).to(x.device, non_blocking=True)
    x1, y1, x2, y2 = cut = box(height, width, lam, cx, cy)
    mixed = x.clone()
    mixed[:, :, x1:x2, y1:y2] = x[other, :, x1:x2, y1:y2]
    return mixed, target(y, y[other], num_classes, outside(height, width, cut), x.dtype)


def target(y_a: Tensor, y_b: Tensor, num_classes: int, lam: float, dtype: torch.dtype) -> Tensor:
    """Return the distributions lam onehot(y_a) + (1 - lam) onehot(y_b), `[B, C]`, of labels `[B]`.

    Cross-entropy is linear in its target, so that CE with this is lam CE(y_a) + (1 - lam) CE(y_b).
    """
    zeros = torch.zeros(len(y_a), num_classes, dtype=dtype, device=y_a.device)
    a, b = (zeros.scatter(1, y[:, None], 1.0) for y in (y_a, y_b))
    return lam * a + (1 - lam) * b


def _side(length: int, cut: int, centre: int) -> tuple[int, int]:
    return max(centre - cut // 2, 0), min(centre + cut // 2, length)
