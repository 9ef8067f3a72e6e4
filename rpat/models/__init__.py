"""The networks, by the names that `model.name` takes.

Every network takes images `[B, 3, H, W]` on [0, 1] and gives logits `[B, C]`; normalisation is
an optional first layer, so that an attack always acts on pixels. The convolution stem has
stride 1 on 32-pixel images and 2 on 64-pixel images; the rest of a network is the same for
both. To add a network, write its module and name its builder here and in `config.MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from rpat.config import ModelConfig
from rpat.errors import ConfigError
from rpat.models.normalize import STATISTICS, Normalize, Normalized
from rpat.models.preact_resnet import preactresnet18
from rpat.models.resnet import resnet8, resnet18, resnet26_bottleneck
from rpat.models.wide_resnet import wrn_28_10, wrn_34_10

BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": resnet8,
    "resnet18": resnet18,
    "resnet26-bottleneck": resnet26_bottleneck,
    "preactresnet18": preactresnet18,
    "wrn-28-10": wrn_28_10,
    "wrn-34-10": wrn_34_10,
}
"""Name of a network -> function of (number of classes, stride of the stem)."""

STEM_STRIDES = {32: 1, 64: 2}
"""Side of the image in pixels -> stride of the stem."""


def build(config: ModelConfig, num_classes: int, image_size: int) -> nn.Module:
    """Return a freshly initialised network for square images of `image_size` pixels.

    The weights are drawn from torch's global generator: seed it to get the same ones again.
    Raises `ConfigError` for an image size that no stem fits.
    """
    net = BUILDERS[config.name](num_classes, stem_stride(config.name, image_size))
    if config.normalize == "none":
        return net
    return Normalized(Normalize(*STATISTICS[config.normalize]), net)


def stem_stride(name: str, image_size: int) -> int:
    """Return the stride of a network's stem; raises `ConfigError` where no stem fits."""
    if image_size not in STEM_STRIDES:
        sizes = " or ".join(str(size) for size in STEM_STRIDES)
        raise ConfigError(
            f"the images are {image_size} pixels wide; model '{name}' takes {sizes}: "
            "resize the images, or choose another data set with --dataset"
        )
    return STEM_STRIDES[image_size]
