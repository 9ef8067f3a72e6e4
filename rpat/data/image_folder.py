"""Any image folder: `train/<class>/` and `test/<class>/` or `val/<class>/`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder

from rpat.data.decode import Decoded, decode
from rpat.data.locate import evaluation_folder
from rpat.errors import ConfigError


def read(path: Path) -> Decoded:
    """Return the images under `path`; classes and files in the order of their names.

    Where both `test` and `val` exist, `test` is read. Raises `ConfigError` where the two splits
    have different classes or a class has no image.
    """
    train, test = _list(path / "train"), _list(evaluation_folder(path))
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise ConfigError(
            f"{train.root} has {len(train.classes)} classes and {test.root} {len(test.classes)}, "
            f"of which '{odd[0]}' is only in one; give both splits the same class folders"
        )
    return Decoded(
        decode([Path(file) for file, _ in train.samples]),
        np.asarray(train.targets, np.int64),
        decode([Path(file) for file, _ in test.samples]),
        np.asarray(test.targets, np.int64),
        tuple(train.classes),
    )


def _list(split: Path) -> ImageFolder:
    try:
        return ImageFolder(split)
    except OSError as error:
        raise ConfigError(
            f"{split} is not an image folder ({str(error).splitlines()[0]}); "
            "give every class a folder with at least one image"
        ) from error
