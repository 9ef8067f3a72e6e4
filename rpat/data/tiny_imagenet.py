"""Tiny-ImageNet in its official layout, read in place.

    wnids.txt                              the classes
    train/<wnid>/images/*.JPEG             or train/<wnid>/*.JPEG
    val/images/*.JPEG, val/val_annotations.txt
    val/<wnid>/images/*.JPEG               or val/<wnid>/*.JPEG: rearranged for ImageFolder

The 10,000 labelled validation images act as the test set. Classes are in the order of their
names, images in that of their numbers, so both layouts of `val` give the same data set. A part
of the images is enough, as long as every class has some.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rpat.data.decode import Decoded, decode
from rpat.errors import ConfigError

Sample = tuple[Path, int]


def read(path: Path) -> Decoded:
    """Return the images under `path`; raise `ConfigError` where a class or a split has none."""
    classes = tuple(sorted((path / "wnids.txt").read_text("utf-8").split()))
    train = [
        (file, label)
        for label, wnid in enumerate(classes)
        for file in _images(path / "train" / wnid)
    ]
    test = _annotated(path / "val", classes) or _rearranged(path / "val", classes)
    for split, samples in (("train", train), ("val", test)):
        empty = set(range(len(classes))) - {label for _, label in samples}
        if empty:
            raise ConfigError(
                f"{path / split} has no image of class '{classes[min(empty)]}', which wnids.txt "
                "names; unpack the archive again"
            )
    return Decoded(
        decode([file for file, _ in train]),
        np.array([label for _, label in train], np.int64),
        decode([file for file, _ in test]),
        np.array([label for _, label in test], np.int64),
        classes,
    )


def _images(folder: Path) -> list[Path]:
    """Return a class's images by their numbers, `n_2` before `n_10`."""
    inner = folder / "images"
    folder = inner if inner.is_dir() else folder
    return sorted(folder.glob("*.JPEG"), key=_number)


def _number(file: Path) -> tuple[int, str]:
    return len(file.name), file.name


def _annotated(val: Path, classes: tuple[str, ...]) -> list[Sample]:
    """Return the validation images that the annotations name; none if they were moved."""
    annotations = val / "val_annotations.txt"
    if not annotations.is_file():
        return []
    present = {file.name: file for file in (val / "images").glob("*.JPEG")}
    labels = {wnid: label for label, wnid in enumerate(classes)}
    samples = []
    for line in annotations.read_text("utf-8").splitlines():
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if name in present and wnid in labels:
            samples.append((present[name], labels[wnid]))
    return sorted(samples, key=lambda sample: _number(sample[0]))


def _rearranged(val: Path, classes: tuple[str, ...]) -> list[Sample]:
    """Return the validation images that lie in folders of their classes."""
    samples = [(file, label) for label, wnid in enumerate(classes) for file in _images(val / wnid)]
    return sorted(samples, key=lambda sample: _number(sample[0]))
