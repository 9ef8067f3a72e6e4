"""Residual networks for small images (He et al., CVPR 2016).

`resnet18` is the BasicBlock network of the paper; `resnet26-bottleneck` is what the release
builds under that name: the same layout from bottleneck blocks. `resnet8` is He et al.'s CIFAR
network 6n+2 with n = 1, with projection shortcuts; it is meant for a CPU. Modules are named as
in the usual public CIFAR code, so that its checkpoints fit. Default PyTorch initialisation.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return the shortcut of a block: empty where the shapes agree."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, width, H/stride, W/stride]`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as many channels come out."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, 4 width, H/stride, W/stride]`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """A 3x3 stem without pooling, stages that halve the image, and a linear layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        widths: tuple[int, ...],
        depth: int,
        num_classes: int,
        stem_stride: int,
    ) -> None:
        """Make one stage of `depth` blocks per width; the first keeps the size of the image."""
        super().__init__()
        channels = widths[0]
        self.conv1 = nn.Conv2d(3, channels, 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = tuple(f"layer{number}" for number in range(1, len(widths) + 1))
        for name, width in zip(self.stages, widths, strict=True):
            blocks = []
            for position in range(depth):
                stride = 2 if position == 0 and name != "layer1" else 1
                blocks.append(block(channels, width, stride))
                channels = width * block.expansion
            self.add_module(name, nn.Sequential(*blocks))
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` on [0, 1] to logits `[B, C]`."""
        out = F.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            out = getattr(self, name)(out)
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)  # [B, channels]
        logits: Tensor = self.linear(out)
        return logits


def resnet8(num_classes: int, stem_stride: int = 1) -> ResNet:
    """Return the smallest CIFAR ResNet: 78,042 parameters for 10 classes."""
    return ResNet(BasicBlock, (16, 32, 64), 1, num_classes, stem_stride)


def resnet18(num_classes: int, stem_stride: int = 1) -> ResNet:
    """Return ResNet-18: 11,173,962 parameters for 10 classes."""
    return ResNet(BasicBlock, (64, 128, 256, 512), 2, num_classes, stem_stride)


def resnet26_bottleneck(num_classes: int, stem_stride: int = 1) -> ResNet:
    """Return the network released as "resnet18": 13,958,986 parameters for 10 classes."""
    return ResNet(Bottleneck, (64, 128, 256, 512), 2, num_classes, stem_stride)
