"""Normalisation as the first layer of a network, so that attacks act in pixel space.

The statistics are those of the training images: CIFAR-10 as customary, CIFAR-100 and
Tiny-ImageNet as in the released code of KD+SWA (Chen et al., ICLR 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny-imagenet": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}
"""Data set -> mean and standard deviation of each channel, on [0, 1]."""


class Normalize(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation.

    The statistics are constants of the configuration, not weights: they move with the module
    but stay out of its state.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` on [0, 1] to normalised ones."""
        return (x - self.mean) / self.std


class Normalized(nn.Module):
    """A network behind its normalisation."""

    def __init__(self, normalize: Normalize, net: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` on [0, 1] to logits `[B, C]`."""
        logits: Tensor = self.net(self.normalize(x))
        return logits
