"""The embedded data set: scikit-learn's 1,797 handwritten digits, at 32x32 in three channels.

A rule without random draws. Every fifth image is a test image. Values 0..16 become bytes by
`round(v * 255 / 16)`, then 8x8 pixels become 32x32 by `F.interpolate(mode="bilinear",
align_corners=False)` on floats, rounded (half to even) to bytes again; the weights are
multiples of 1/64, so float32 is exact and every machine gets the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rpat.data.decode import Decoded

SIDE = 32
TEST_EVERY = 5


def read(path: Path) -> Decoded:
    """Return the 1,437 training and 360 test images; `path` is not looked at."""
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import

    bunch = load_digits()
    small = torch.from_numpy(np.round(bunch.images * 255 / 16)).float()[:, None]  # [N, 1, 8, 8]
    large = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == 0
    classes = tuple(str(digit) for digit in bunch.target_names)
    return Decoded(images[~test], labels[~test], images[test], labels[test], classes)
