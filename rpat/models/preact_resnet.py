"""The pre-activation ResNet-18 (He et al., ECCV 2016) of AWP, KD+SWA, ReBAT and RPAT++.

The form with a final BatchNorm: the stem has none, a projection shortcut starts from the
activated tensor and an identity shortcut from the raw one. Modules are named as in the public
code of these methods. Default PyTorch initialisation.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, twice, beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut: nn.Sequential | None = None
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, width, H/stride, W/stride]`."""
        active = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + shortcut


class PreActResNet(nn.Module):
    """A 3x3 stem, four stages of two blocks, a final BatchNorm and a linear layer."""

    def __init__(self, num_classes: int, stem_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=stem_stride, padding=1, bias=False)
        self.layer1 = _stage(64, 64, 1)
        self.layer2 = _stage(64, 128, 2)
        self.layer3 = _stage(128, 256, 2)
        self.layer4 = _stage(256, 512, 2)
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` on [0, 1] to logits `[B, C]`."""
        out = self.conv1(x)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        out = F.relu(self.bn(out))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)  # [B, 512]
        logits: Tensor = self.linear(out)
        return logits


def _stage(inputs: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(PreActBlock(inputs, width, stride), PreActBlock(width, width, 1))


def preactresnet18(num_classes: int, stem_stride: int = 1) -> PreActResNet:
    """Return PreActResNet-18: 11,172,170 parameters for 10 classes."""
    return PreActResNet(num_classes, stem_stride)
