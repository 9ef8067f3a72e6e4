"""Decoded images of a whole data set, and how files become them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rpat.errors import ConfigError, RunError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Both splits of a data set, in the order of its files."""

    train_images: Pixels  # [N, 3, H, W]
    train_labels: Labels  # [N]
    test_images: Pixels  # [M, 3, H, W]
    test_labels: Labels  # [M]
    classes: tuple[str, ...]

    def fingerprint(self) -> str:
        """Return the SHA-256 of shapes, pixels, labels and class names, as 64 hex digits.

        Paths, dates and the form of the files say nothing: equal images have equal fingerprints.
        """
        shapes = [list(images.shape) for images in (self.train_images, self.test_images)]
        digest = hashlib.sha256(json.dumps([shapes, self.classes]).encode())
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.test_images, self.test_labels),
        ):
            digest.update(np.ascontiguousarray(images).data)
            digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
        return digest.hexdigest()


def decode(paths: Sequence[Path]) -> Pixels:
    """Return the images of the files as RGB, `[N, 3, H, W]`; all must be squares of one size.

    Raises `RunError` (reason `data`) for a file that is not an image and `ConfigError` for one
    of another size.
    """
    images: Pixels | None = None
    for position, path in enumerate(paths):
        pixels = _decode_file(path)
        height, width, _ = pixels.shape
        if images is None:
            images = np.empty((len(paths), 3, height, height), np.uint8)
        side = images.shape[-1]
        if (height, width) != (side, side):
            raise ConfigError(
                f"{path} is {width}x{height} pixels where {side}x{side} is expected; "
                "resize the images to squares of one size"
            )
        images[position] = pixels.transpose(2, 0, 1)
    assert images is not None, "a split without images"
    return images


def _decode_file(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files
        raise RunError(
            f"{path} cannot be read as an image ({error}); replace or delete the file", "data"
        ) from error
