"""AutoAugment's CIFAR-10 policy and Cutout for a whole batch, on the images' device.

The policy (Cubuk et al., CVPR 2019) has 25 sub-policies of two operations. Draws are made on the
CPU, apart from the pixels. Images to which the same operation applies go through it together, and
the result equals torchvision's `AutoAugment` with fill 128, image by image. Cutout is that of
DeVries and Taylor, 2017. torchvision is imported on first use only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

Operation = tuple[str, float]  # name and magnitude with its sign, in torchvision's units
SubPolicy = tuple[tuple[str, float, int | None], tuple[str, float, int | None]]

FILL = 128
BINS = 10
NOTHING: Operation = ("Identity", 0.0)
SHEARS = {"ShearX": 0, "ShearY": 1}
SHIFTS = {"TranslateX": 0, "TranslateY": 1}
MOVES = {*SHEARS, *SHIFTS, "Rotate"}
SIGNED = MOVES | {"Brightness", "Color", "Contrast", "Sharpness"}


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """What is drawn for each image of a batch, on the CPU."""

    policy: Tensor  # [B] int64: which sub-policy
    chance: Tensor  # [B, 2] on [0, 1): an operation happens where its probability reaches this
    positive: Tensor  # [B, 2] bool: sign of a signed magnitude
    centre: Tensor  # [2, B] int64: row and column of the centre of the square cut out


def draw(n: int, height: int, width: int, generator: torch.Generator) -> Draws:
    """Draw what happens to `n` images of a size; `generator` is on the CPU."""
    return Draws(
        torch.randint(len(policies()), (n,), generator=generator),
        torch.rand(n, 2, generator=generator),
        torch.randint(2, (n, 2), generator=generator).bool(),
        torch.stack([torch.randint(side, (n,), generator=generator) for side in (height, width)]),
    )


def augment(images: Tensor, draws: Draws) -> Tensor:
    """Return uint8 images `[B, 3, H, W]` after their sub-policies and Cutout.

    The square cut out has half the side of the images.
    """
    height, width = images.shape[-2:]
    for stage in operations(draws, height, width):
        images = carry_out(images, stage)
    return cutout(images, draws.centre.to(images.device, non_blocking=True), height // 2)


def operations(draws: Draws, height: int, width: int) -> tuple[list[Operation], list[Operation]]:
    """Return the first and the second operation of each image, `NOTHING` where none happens."""
    stages: tuple[list[Operation], list[Operation]] = ([], [])
    rows = zip(draws.policy.tolist(), draws.chance.tolist(), draws.positive.tolist(), strict=True)
    for policy, chances, signs in rows:
        for part, (name, probability, level) in enumerate(policies()[policy]):
            size = magnitude(name, level, height, width)
            size = size if signs[part] or name not in SIGNED else -size
            happens = chances[part] <= probability
            stages[part].append((name, size) if happens else NOTHING)
    return stages


def carry_out(images: Tensor, chosen: list[Operation]) -> Tensor:
    """Return uint8 images `[B, 3, H, W]` after one operation each, done group by group."""
    groups: dict[Operation, list[int]] = {}
    for place, operation in enumerate(chosen):
        if operation != NOTHING:
            groups.setdefault(operation, []).append(place)
    if not groups:
        return images
    places = torch.tensor([place for group in groups.values() for place in group])
    places = places.to(images.device, non_blocking=True)
    parts = images[places].split([len(group) for group in groups.values()])
    done = [apply(part, *operation) for part, operation in zip(parts, groups, strict=True)]
    return images.index_copy(0, places, torch.cat(done))


def apply(images: Tensor, name: str, size: float) -> Tensor:
    """Return uint8 images `[B, 3, H, W]` after an operation of the given signed magnitude."""
    if name in MOVES:
        return _move(images, name, size)
    from torchvision.transforms import functional as F
    from torchvision.transforms.v2 import functional as batched

    match name:
        case "Brightness":
            return F.adjust_brightness(images, 1 + size)
        case "Color":
            return F.adjust_saturation(images, 1 + size)
        case "Contrast":
            return F.adjust_contrast(images, 1 + size)
        case "Sharpness":
            return F.adjust_sharpness(images, 1 + size)
        case "Posterize":
            return F.posterize(images, int(size))
        case "Solarize":
            return F.solarize(images, size)
        case "AutoContrast":
            return F.autocontrast(images)
        case "Equalize":  # the older one goes through the channels of the images one by one
            return batched.equalize(images)
        case "Invert":
            return F.invert(images)
    raise ValueError(f"AutoAugment has no operation {name}")


def cutout(images: Tensor, centre: Tensor, side: int) -> Tensor:
    """Return images `[B, 3, H, W]` with a square of zeros each, clipped at the borders.

    `centre` `[2, B]` is its row and column; the square begins `side // 2` before it.
    """
    inside = []
    for middle, length in zip(centre, images.shape[-2:], strict=True):
        line = torch.arange(length, device=images.device)
        first = middle[:, None] - side // 2
        inside.append((line >= first) & (line < first + side // 2 * 2))
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # [B, 1, H, W]
    return images.masked_fill(square, 0)


@cache
def policies() -> tuple[SubPolicy, ...]:
    """Return the sub-policies: two of (operation, probability, level), as torchvision has them."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    return tuple(cast(list[SubPolicy], AutoAugment(AutoAugmentPolicy.CIFAR10).policies))


def magnitude(name: str, level: int | None, height: int, width: int) -> float:
    """Return the unsigned magnitude of an operation at one of ten levels, 0 if it has none."""
    return 0.0 if level is None else _magnitudes(name, height, width)[level]


@cache
def _magnitudes(name: str, height: int, width: int) -> list[float]:
    if name == "Posterize":  # the bits that stay
        return (8 - (torch.arange(BINS) / ((BINS - 1) / 4)).round()).tolist()
    ends = {
        "ShearX": (0.0, 0.3),
        "ShearY": (0.0, 0.3),
        "TranslateX": (0.0, 150.0 / 331.0 * width),
        "TranslateY": (0.0, 150.0 / 331.0 * height),
        "Rotate": (0.0, 30.0),
        "Solarize": (255.0, 0.0),
    }
    return torch.linspace(*ends.get(name, (0.0, 0.9)), BINS).tolist()


def _move(images: Tensor, name: str, size: float) -> Tensor:
    height, width = images.shape[-2:]
    source = _source(name, size, height, width, images.device)
    moved = images.flatten(2)[:, :, source.clamp(min=0)]
    return moved.masked_fill(source < 0, FILL).unflatten(2, (height, width))


@cache
def _source(name: str, size: float, height: int, width: int, device: torch.device) -> Tensor:
    """Return the pixel that moves to each place, [H W] int64 on `device`; -1 where none does.

    The image of pixel numbers is moved on the CPU: every device then takes the same neighbours.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    numbers = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    how: dict[str, Any] = {"interpolation": InterpolationMode.NEAREST, "fill": [-1.0]}
    if name == "Rotate":
        moved = F.rotate(numbers, size, **how)
    else:
        shear, shift = [0.0, 0.0], [0, 0]
        if name in SHEARS:  # about the corner; the magnitude is the tangent of the angle
            shear[SHEARS[name]] = math.degrees(math.atan(size))
            how["center"] = [0, 0]
        else:
            shift[SHIFTS[name]] = int(size)
        moved = F.affine(numbers, angle=0.0, translate=shift, scale=1.0, shear=shear, **how)
    return moved.flatten().long().to(device)
