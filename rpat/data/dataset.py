"""A data set as tensors: found, decoded once, checked, and cut into its splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rpat.config import DATASETS, DataConfig
from rpat.data import cache as kept
from rpat.data.decode import Decoded, Labels, Pixels
from rpat.data.locate import DOWNLOADABLE, Found, locate, missing
from rpat.errors import ConfigError, RunError
from rpat.randomness import generator

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Some images of one split."""

    images: Tensor  # [N, 3, H, W] uint8
    labels: Tensor  # [N] int64
    index: Tensor  # [N] int64: positions in the full split, the same in every subset

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        """Return the same images on a device."""
        return Images(self.images.to(device), self.labels.to(device), self.index.to(device))

    def take(self, positions: Tensor) -> Images:
        """Return the images at the given positions of this selection, in that order."""
        return Images(self.images[positions], self.labels[positions], self.index[positions])


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The images of a run and what identifies them."""

    name: str
    source: str  # official, image-folder or embedded
    classes: tuple[str, ...]
    train: Images
    test: Images
    val: Images | None  # held-out training images; `index` counts in the full training split
    fingerprint: str  # of the full data set, whatever part of it is used
    n_train_full: int

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self.train.images.shape[-1]

    def to(self, device: torch.device | str) -> DataSet:
        """Return the same data set with its images on a device."""
        val = None if self.val is None else self.val.to(device)
        return replace(self, train=self.train.to(device), test=self.test.to(device), val=val)


def load(
    config: DataConfig, cache: Path | None = None, notify: Notify = lambda text: None
) -> DataSet:
    """Return the data set of a run, on the CPU.

    What is missing and has a download is downloaded to `config.dir`; what had to be decoded is
    kept under `cache`. `train_n` and `test_n` take class-balanced subsets, of which `val_n`
    training images are held out; these choices depend on the data set's name and not on the
    run. Raises `ConfigError` for a request that the data set cannot meet and `RunError` (reason
    `data`) for files that are missing or broken.
    """
    found = _find(config, notify)
    decoded, fingerprint = _decoded(found, cache, notify)
    _check(found, decoded)
    train = _images(decoded.train_images, decoded.train_labels)
    test = _images(decoded.test_images, decoded.test_labels)
    n_train_full, val = len(train), None
    if config.train_n:
        train = train.take(_balanced(config, "train_n", train))
    if config.test_n:
        test = test.take(_balanced(config, "test_n", test))
    if config.val_n:
        if config.val_n >= len(train):
            raise ConfigError(
                f"data.val_n is {config.val_n}, of {len(train)} training images; hold out fewer"
            )
        held_out = _balanced(config, "val_n", train)
        stays = torch.ones(len(train), dtype=torch.bool)
        stays[held_out] = False
        train, val = train.take(stays.nonzero()[:, 0]), train.take(held_out)
    return DataSet(
        config.name, found.source, decoded.classes, train, test, val, fingerprint, n_train_full
    )


def _find(config: DataConfig, notify: Notify) -> Found:
    name = config.name
    if name == "digits":
        return Found(name, "embedded", Path())
    if not config.dir:
        raise ConfigError(
            f"data.dir is empty, and data set '{name}' is read from a folder; give its folder with "
            "--data-dir PATH, or try the program with --dataset digits"
        )
    root = Path(config.dir).expanduser()
    if not DATASETS[name].known:
        found = locate(name, root)
    else:
        found = locate(name, root, config.source)
        other = locate(name, root) if found is None else None
        if other is not None:  # one form must not pass for the other in a run's identity
            raise ConfigError(
                f"data.source is {config.source}, but {other.path} holds {name} as "
                f"{other.source}; give another folder with --data-dir PATH, or write "
                f"--set data.source={other.source}"
            )
    if found is not None:
        return found
    if name in DOWNLOADABLE and config.source == "official":
        from rpat.data.fetch import fetch  # needs torchvision, a found data set may not

        return fetch(name, root, notify)
    raise RunError(missing(name, root), "data")


def _decoded(found: Found, cache: Path | None, notify: Notify) -> tuple[Decoded, str]:
    """Return the images, from the cache where it has them, and their fingerprint."""
    key = ""
    if cache is not None and found.source != "embedded":
        key = kept.signature(found)
        entry = kept.load(cache, key)
        if entry is not None:
            return entry
        notify(f"decoding {found.name} from {found.path}")
    decoded = _read(found)
    fingerprint = decoded.fingerprint()
    if cache is not None and key:
        try:
            kept.save(cache, key, decoded, fingerprint)
        except OSError as error:  # a full disk costs the next run time, not this run its life
            notify(f"decoded images are not kept in {cache} ({error})")
    return decoded, fingerprint


def _read(found: Found) -> Decoded:
    """Read a data set with the module of its form, imported only now."""
    if found.source == "embedded":
        from rpat.data import digits

        return digits.read(found.path)
    if found.source == "image-folder":
        from rpat.data import image_folder

        return image_folder.read(found.path)
    if found.name == "tiny-imagenet":
        from rpat.data import tiny_imagenet

        return tiny_imagenet.read(found.path)
    from rpat.data import cifar

    return cifar.read(found.name, found.path)


def _check(found: Found, decoded: Decoded) -> None:
    """Refuse a stand-in that differs from the known data set in classes or image size."""
    facts = DATASETS[found.name]
    sides = {images.shape[-1] for images in (decoded.train_images, decoded.test_images)}
    if len(sides) != 1:
        raise ConfigError(
            f"the training and test images in {found.path} are {min(sides)} and {max(sides)} "
            "pixels wide; resize them to one size"
        )
    if not facts.known:
        return
    for what, value, expected in (
        ("classes", len(decoded.classes), facts.classes),
        ("pixels a side", sides.pop(), facts.image_size),
    ):
        if value != expected:
            raise ConfigError(
                f"{found.path} has {value} {what}, but {facts.title} has {expected}; "
                "write --dataset image-folder for a data set of your own"
            )


def _images(images: Pixels, labels: Labels) -> Images:
    pixels = torch.from_numpy(images).contiguous()  # readers may repeat or permute in place
    return Images(pixels, torch.from_numpy(labels), torch.arange(len(labels)))


def _balanced(config: DataConfig, field: str, images: Images) -> Tensor:
    n = getattr(config, field)
    if n > len(images):
        raise ConfigError(
            f"data.{field} is {n}, but {config.name} has {len(images)} such images; ask for fewer"
        )
    return balanced(images, n, f"{field}/{config.name}")


def balanced(images: Images, n: int, purpose: str) -> Tensor:
    """Return positions of a class-balanced choice of `n` images, in order.

    The choice depends on `purpose` and not on the run; a smaller one is part of a larger one of
    the same images.
    """
    draw = generator("cpu", 0, purpose)
    labels = images.labels.cpu()
    chosen = []
    for label, quota in enumerate(quotas(n, torch.bincount(labels).tolist())):
        members = (labels == label).nonzero()[:, 0]
        chosen.append(members[torch.randperm(len(members), generator=draw)[:quota]])
    return torch.cat(chosen).sort().values


def quotas(n: int, counts: list[int]) -> list[int]:
    """Share `n` images over classes that have `counts`: equally, the first ones get the rest.

    A class that is too small gives what it has, and the others fill up.
    """
    assert n <= sum(counts)
    shares = [0] * len(counts)
    while n:
        open_classes = [c for c, count in enumerate(counts) if shares[c] < count]
        each = n // len(open_classes)
        takers = open_classes if each else open_classes[:n]
        for c in takers:
            more = min(max(each, 1), counts[c] - shares[c])
            shares[c] += more
            n -= more
    return shares
