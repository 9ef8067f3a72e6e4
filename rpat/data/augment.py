"""Random crop and horizontal flip of a whole batch, by one gather on the images' device.

Offsets are drawn apart from the pixels, always on the CPU, so that every device sees the same
images. With the same offsets the result equals torchvision's pad, crop and hflip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rpat.config import DataConfig


@dataclass(frozen=True, slots=True, eq=False)
class Offsets:
    """Where each image of a batch is cropped and whether it is flipped afterwards."""

    top: Tensor  # [B] int64 in [0, 2 padding]
    left: Tensor  # [B] int64 in [0, 2 padding]
    flip: Tensor  # [B] bool

    def to(self, device: torch.device | str) -> Offsets:
        """Return the offsets on a device."""
        return Offsets(*(part.to(device, non_blocking=True) for part in self._parts()))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.top, self.left, self.flip


def draw(config: DataConfig, n: int, generator: torch.Generator) -> Offsets:
    """Draw the offsets of `n` images; nothing moves with `none`, nothing is flipped with `crop`."""
    centre = torch.full((2, n), config.padding)
    flip = torch.zeros(n, dtype=torch.bool)
    if config.augment != "none":
        centre = torch.randint(0, 2 * config.padding + 1, (2, n), generator=generator)
    if config.augment not in ("none", "crop"):
        flip = torch.randint(0, 2, (n,), generator=generator).bool()
    return Offsets(centre[0], centre[1], flip)


def crop_flip(
    images: Tensor, positions: Tensor, offsets: Offsets, padding: int, padding_mode: str
) -> Tensor:
    """Return the images `[N, 3, H, W]` at `positions` `[B]`, padded, cropped and flipped.

    The crop has the size of the image. Outside of it pixels are 0 (`zero`) or the image mirrored
    at its edge pixels (`reflect`, with `padding` below the size of the image). The result is
    `[B, 3, H, W]` of the same type; all arguments are on one device.
    """
    height, width = images.shape[-2:]
    line = torch.arange(width, device=images.device)
    mirrored = torch.where(offsets.flip[:, None], width - 1 - line, line)
    columns = mirrored + (offsets.left[:, None] - padding)  # [B, W]
    rows = torch.arange(height, device=images.device) + (offsets.top[:, None] - padding)  # [B, H]
    if padding_mode == "reflect":
        inside = None
        rows = (height - 1) - ((height - 1) - rows.abs()).abs()
        columns = (width - 1) - ((width - 1) - columns.abs()).abs()
    else:
        inside = _within(rows, height)[:, None, :, None] & _within(columns, width)[:, None, None]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    channels = torch.arange(images.shape[1], device=images.device)
    cropped = images[
        positions[:, None, None, None],
        channels[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return cropped if inside is None else cropped * inside


def _within(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)
