"""Weights and training states on disk: tensors and plain values only, replaced atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rpat.errors import RunError
from rpat.rundir import replace

SCHEMA = 1


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its target, flush it and rename it over the target."""
    path.parent.mkdir(exist_ok=True)
    try:
        replace(path, lambda stream: torch.save({"schema": SCHEMA, **content}, stream))
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch hides why a write failed
            raise error.__context__ from None
        raise


def sweep(folder: Path) -> None:
    """Remove half-written files that killed attempts have left; their owners may not write."""
    for file in folder.glob(".*.tmp"):
        file.unlink(missing_ok=True)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Return a checkpoint's content, or None where there is none.

    Nothing is unpickled but tensors and plain values. Raises `RunError` for a damaged file.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise RunError(
            f"checkpoint {path} cannot be read ({error}); move it away to start again",
            reason="checkpoint",
        ) from error
    if content.get("schema") != SCHEMA:
        raise RunError(
            f"checkpoint {path} has schema {content.get('schema')}; this version reads {SCHEMA}",
            reason="checkpoint",
        )
    return content


def digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a network's tensors by name, type, shape and bytes.

    It does not depend on the file they are stored in, nor on the device.
    """
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sha.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
