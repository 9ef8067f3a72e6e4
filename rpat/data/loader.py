"""Batches of a training set, each a function of (seed, epoch, number) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rpat.config import DataConfig
from rpat.data.augment import crop_flip, draw
from rpat.data.dataset import Images
from rpat.errors import ConfigError
from rpat.randomness import generator


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One minibatch on the loader's device."""

    x: Tensor  # [B, 3, H, W] float32 on [0, 1]
    y: Tensor  # [B] int64
    index: Tensor  # [B] int64: positions in the full split


def pixels(images: Tensor) -> Tensor:
    """Return uint8 images as float32 on [0, 1], exactly as torchvision's `ToTensor` does."""
    return images.to(torch.float32).div_(255)


class Loader:
    """Shuffled, augmented batches; the images lie on the device from the start.

    The last batch may be smaller than the others. A last batch of a single image is left out,
    since BatchNorm cannot take it; the order changes, so each epoch leaves out another image.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        config: DataConfig,
        seed: int,
        device: torch.device | str,
    ) -> None:
        """Move the images to `device`; raise `ConfigError` for what cannot make a batch."""
        side = images.images.shape[-1]
        if len(images) < 2:
            raise ConfigError(
                f"{len(images)} training image is left of {config.name}; a batch needs two: "
                "raise data.train_n or lower data.val_n"
            )
        if config.augment != "none" and config.padding_mode == "reflect" and config.padding >= side:
            raise ConfigError(
                f"data.padding is {config.padding}; padding by reflection must be less than the "
                f"image's {side} pixels"
            )
        self.images = images.to(device)
        self.batch_size = batch_size
        self.config = config
        self.seed = seed
        self.device = torch.device(device)

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from batch `start` on, the same as iterating to it."""
        shuffle = generator("cpu", self.seed, "order", epoch)
        order = torch.randperm(len(self.images), generator=shuffle).to(self.device)
        for number in range(start, len(self)):
            first = number * self.batch_size
            yield self._batch(epoch, number, order[first : first + self.batch_size])

    def _batch(self, epoch: int, number: int, positions: Tensor) -> Batch:
        images, config = self.images, self.config
        if config.augment == "none":
            chosen = images.images[positions]
        else:
            random = generator("cpu", self.seed, "augment", epoch, number)
            offsets = draw(config, len(positions), random).to(self.device)
            chosen = crop_flip(
                images.images, positions, offsets, config.padding, config.padding_mode
            )
        return Batch(pixels(chosen), images.labels[positions], images.index[positions])
