"""Which form of a data set a folder holds, told from file names alone.

Standard library only: a command that composes a run asks here and must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rpat.config import DATASETS

CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""Data set -> the folder that its official archive unpacks to."""

CIFAR_FILES = {
    "cifar10": ("batches.meta", "test_batch", *(f"data_batch_{n}" for n in range(1, 6))),
    "cifar100": ("meta", "test", "train"),
}

DOWNLOADABLE = tuple(CIFAR_FOLDERS)
"""Data sets that are downloaded when they are missing."""

TINY_FOLDER = "tiny-imagenet-200"
EVALUATION_SPLITS = ("test", "val")
"""Names of an image folder's second split; the first that exists is the test set."""

WAYS_OUT = "give its folder with --data-dir PATH, or try the program with --dataset digits"


@dataclass(frozen=True, slots=True)
class Found:
    """A data set on the disk, in one of its forms."""

    name: str
    source: str  # official, image-folder or embedded
    path: Path


def locate(name: str, root: Path, source: str = "") -> Found | None:
    """Return where and in which form `root` holds the data set, or None.

    The official files come first, then an image folder that stands in for the named set; with
    `source` only that form counts. `root` may be the data set's own folder or its parent.
    `digits` comes with scikit-learn and is always there.
    """
    if name == "digits":
        return Found(name, "embedded", root)
    for form, holds in (("official", _is_official), ("image-folder", _is_image_folder)):
        if source and source != form:
            continue
        for path in _candidates(name, root, form):
            try:
                if holds(name, path):
                    return Found(name, form, path)
            except OSError:  # a folder that may not be read holds nothing for us
                continue
    return None


def missing(name: str, root: Path, reason: str = "") -> str:
    """Return the one line that says what was looked for, where, and the ways out."""
    text = f"data set '{name}' is not in {root}: expected {_expected(name)} there"
    if reason:
        text += f"; {reason}"
    return f"{text}; {WAYS_OUT}"


def evaluation_folder(path: Path) -> Path:
    """Return the folder of an image folder's test images."""
    return next(
        (path / split for split in EVALUATION_SPLITS if (path / split).is_dir()), path / "test"
    )


def _candidates(name: str, root: Path, form: str) -> list[Path]:
    if name == "image-folder":
        return [root]
    if form == "image-folder":
        return [root, root / f"{name}-images", root / name]
    official = CIFAR_FOLDERS.get(name, TINY_FOLDER)
    return [root / official, root, root / name / official, root / name]


def _expected(name: str) -> str:
    folder = "train/<class>/ with test/<class>/ or val/<class>/"
    if name in CIFAR_FOLDERS:
        return f"{CIFAR_FOLDERS[name]}/ or {folder}"
    if name == "tiny-imagenet":
        return f"{TINY_FOLDER}/ (wnids.txt, train/, val/) or {folder}"
    return folder


def _is_official(name: str, path: Path) -> bool:
    if name in CIFAR_FILES:
        return all((path / file).is_file() for file in CIFAR_FILES[name])
    if name == "tiny-imagenet":
        return (path / "wnids.txt").is_file() and all((path / d).is_dir() for d in ("train", "val"))
    return False


def _is_image_folder(name: str, path: Path) -> bool:
    assert name in DATASETS
    return _has_folders(path / "train") and _has_folders(evaluation_folder(path))


def _has_folders(path: Path) -> bool:
    return path.is_dir() and any(entry.is_dir() for entry in path.iterdir())
