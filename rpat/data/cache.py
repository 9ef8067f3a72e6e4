"""Decoded images kept on the disk, so that a data set is decoded once.

    <cache>/<fingerprint>/train.npy  test.npy     pixels, uint8 [N, 3, H, W]
    <cache>/<fingerprint>/facts.json              labels and class names; written last
    <cache>/sources/<signature>.json              files as they lay on the disk -> fingerprint

The fingerprint is computed again from what was read, so a damaged entry is never used. Every
file is replaced whole; several processes may write the same entry.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from rpat.data.decode import Decoded
from rpat.data.locate import EVALUATION_SPLITS, Found
from rpat.rundir import read_json, replace, write_json

DECODER = 1
"""Raised when a reader would make other bytes of the same files."""


def signature(found: Found) -> str:
    """Return a digest of the data set's path and of its files' names, sizes and dates."""
    path = found.path.resolve()
    digest = hashlib.sha256(f"{DECODER}\n{found.source}\n{path}\n".encode())
    lines = _lines(path, ".", deep=False) if found.source == "official" else []
    for split in ("train", *EVALUATION_SPLITS):
        lines += _lines(path / split, split, deep=True)
    for line in sorted(lines):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def load(cache: Path, key: str) -> tuple[Decoded, str] | None:
    """Return the images kept for a signature and their fingerprint; None to decode again."""
    try:
        fingerprint = str(read_json(_source(cache, key))["fingerprint"])
        folder = cache / fingerprint
        facts = read_json(folder / "facts.json")
        decoded = Decoded(
            np.load(folder / "train.npy"),
            np.array(facts["train_labels"], np.int64),
            np.load(folder / "test.npy"),
            np.array(facts["test_labels"], np.int64),
            tuple(facts["classes"]),
        )
        return (decoded, fingerprint) if decoded.fingerprint() == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def save(cache: Path, key: str, decoded: Decoded, fingerprint: str) -> None:
    """Keep decoded images under their fingerprint; raise `OSError` where that is impossible."""
    folder = cache / fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    _source(cache, key).parent.mkdir(exist_ok=True)
    replace(folder / "train.npy", lambda stream: np.save(stream, decoded.train_images))
    replace(folder / "test.npy", lambda stream: np.save(stream, decoded.test_images))
    facts = {
        "train_labels": decoded.train_labels.tolist(),
        "test_labels": decoded.test_labels.tolist(),
        "classes": decoded.classes,
    }
    write_json(folder / "facts.json", facts)
    write_json(_source(cache, key), {"fingerprint": fingerprint})


def _source(cache: Path, key: str) -> Path:
    return cache / "sources" / f"{key}.json"


def _lines(folder: Path, name: str, *, deep: bool) -> list[str]:
    """Return a line of facts for every file of a folder; none where there is no folder."""
    lines = []
    waiting = [(str(folder), name)] if folder.is_dir() else []
    while waiting:
        place, prefix = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                label = f"{prefix}/{entry.name}"
                if not entry.is_dir():
                    facts = entry.stat()
                    lines.append(f"{label}\0{facts.st_size}\0{facts.st_mtime_ns}\n")
                elif deep:
                    waiting.append((entry.path, label))
    return lines
