"""Batches of a training set, each a function of (seed, epoch, number) and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rpat.config import DataConfig
from rpat.data import autoaugment
from rpat.data.augment import crop_flip, draw
from rpat.data.cutmix import mix
from rpat.data.dataset import Images
from rpat.errors import ConfigError
from rpat.randomness import generator


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One minibatch on the loader's device.

    Of V views, B is V times the number of images: all in their first view, then all in the next.
    """

    x: Tensor  # [B, 3, H, W] float32 on [0, 1]
    y: Tensor  # [B] int64
    index: Tensor  # [B] int64: positions in the full split
    target: Tensor  # [B] int64: y; or [B, C] float32: distributions over the classes, by CutMix


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
        views: int = 1,
        epochs: int = 1,
        num_classes: int = 0,
    ) -> None:
        """Move the images to `device`; raise `ConfigError` for what cannot make a batch.

        Each batch has `views` independent augmentations of its images. The length of the run,
        `epochs`, says when `autoaug-late` begins; CutMix alone needs `num_classes`.
        """
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
        if config.cutmix and views > 1:
            raise ConfigError(
                f"data.cutmix is on, and the method compares {views} views of each image; mixed, "
                "these would show different images: turn data.cutmix off"
            )
        if config.cutmix and num_classes < 1:
            raise ValueError("CutMix mixes labels: the loader needs num_classes")
        self.images = images.to(device)
        self.batch_size = batch_size
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.views, self.epochs, self.num_classes = views, epochs, num_classes

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
        views = [self._view(epoch, number, positions, view) for view in range(self.views)]
        x = pixels(torch.cat(views))
        rows = positions.repeat(self.views)
        y = target = self.images.labels[rows]
        if self.config.cutmix:
            random = generator("cpu", self.seed, "cutmix", epoch, number)
            x, target = mix(x, y, self.num_classes, random)
        return Batch(x, y, self.images.index[rows], target)

    def _view(self, epoch: int, number: int, positions: Tensor, view: int) -> Tensor:
        images, config = self.images.images, self.config
        if config.augment == "none":
            return images[positions]
        purpose = f"augment/{view}" if view else "augment"
        random = generator("cpu", self.seed, purpose, epoch, number)
        offsets = draw(config, len(positions), random).to(self.device)
        moved = crop_flip(images, positions, offsets, config.padding, config.padding_mode)
        if not self._autoaugments(epoch):
            return moved
        height, width = moved.shape[-2:]
        return autoaugment.augment(moved, autoaugment.draw(len(positions), height, width, random))

    def _autoaugments(self, epoch: int) -> bool:
        late = epoch + 1 > self.epochs / 2  # counted from 1, the first half includes E/2
        return self.config.augment == "autoaug" or (self.config.augment == "autoaug-late" and late)
