"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016), without dropout.

Modules are named as in the code of TRADES (Zhang et al., ICML 2019). Initialisation as there:
convolutions Kaiming-normal over the fan-out, BatchNorm one and zero, the linear bias zero.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class WideBlock(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, twice; a convolved shortcut starts activated."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.convShortcut: nn.Conv2d | None = None
        if inputs != width:
            self.convShortcut = nn.Conv2d(inputs, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, width, H/stride, W/stride]`."""
        active = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + shortcut


class WideGroup(nn.Module):
    """Blocks of one width; the first may change the size of the image."""

    def __init__(self, inputs: int, width: int, stride: int, depth: int) -> None:
        super().__init__()
        first = WideBlock(inputs, width, stride)
        self.layer = nn.Sequential(first, *(WideBlock(width, width, 1) for _ in range(depth - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, width, H/stride, W/stride]`."""
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """A stem of 16 channels, three groups of blocks, a final BatchNorm and a linear layer."""

    def __init__(self, depth: int, widen: int, num_classes: int, stem_stride: int) -> None:
        """Make groups of (depth - 4) / 6 blocks, `widen` times as wide as the plain network."""
        super().__init__()
        blocks = (depth - 4) // 6
        widths = (16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(3, 16, 3, stride=stem_stride, padding=1, bias=False)
        self.block1 = WideGroup(16, widths[0], 1, blocks)
        self.block2 = WideGroup(widths[0], widths[1], 2, blocks)
        self.block3 = WideGroup(widths[1], widths[2], 2, blocks)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` on [0, 1] to logits `[B, C]`."""
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        out = F.relu(self.bn1(out))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)  # [B, channels]
        logits: Tensor = self.fc(out)
        return logits


def wrn_28_10(num_classes: int, stem_stride: int = 1) -> WideResNet:
    """Return WRN-28-10: 36,479,194 parameters for 10 classes."""
    return WideResNet(28, 10, num_classes, stem_stride)


def wrn_34_10(num_classes: int, stem_stride: int = 1) -> WideResNet:
    """Return WRN-34-10: 46,160,474 parameters for 10 classes."""
    return WideResNet(34, 10, num_classes, stem_stride)
