"""CIFAR-10 and CIFAR-100 from their official files, checked and read by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from rpat.data.decode import Decoded, Labels, Pixels
from rpat.errors import RunError

OFFICIAL: dict[str, type[CIFAR10]] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def read(name: str, path: Path) -> Decoded:
    """Return the images of the folder `path`, which holds the official files of `name`.

    Every file is compared with its official digest before it is unpickled. Raises `RunError`
    (reason `data`) for a file that differs.
    """
    train_images, train_labels, classes = _split(name, path, train=True)
    test_images, test_labels, _ = _split(name, path, train=False)
    return Decoded(train_images, train_labels, test_images, test_labels, classes)


def _split(name: str, path: Path, *, train: bool) -> tuple[Pixels, Labels, tuple[str, ...]]:
    official = OFFICIAL[name]
    here = type(official.__name__, (official,), {"base_folder": path.name})
    try:
        data = here(path.parent, train=train)
    except (RuntimeError, OSError) as error:
        raise RunError(
            f"the files of {name} in {path} are not the official ones ({error}); delete the folder "
            "to download it again, or give another one with --data-dir PATH",
            "data",
        ) from error
    images = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))  # [N, 3, 32, 32]
    return images, np.asarray(data.targets, np.int64), tuple(data.classes)
