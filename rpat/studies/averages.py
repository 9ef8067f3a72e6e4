"""Means of a study that JSON can hold: plain floats, and None for what does not exist."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Progress = Callable[[int, int], None]
"""Called after each batch with the images done and the images in all; it may raise to interrupt."""


def silent(done: int, total: int) -> None:
    """Tell nobody."""


def cases(success: Tensor) -> dict[str, Tensor]:
    """Return which images are counted in each kind of average."""
    return {"all": torch.ones_like(success), "success": success, "failure": ~success}


def mean(values: Tensor) -> float | None:
    """Return the mean; None over no values, or where a value is not finite."""
    return finite(values.double().mean().item()) if len(values) else None


def quotient(above: float | None, below: float | None) -> float | None:
    """Return above / below; None where either is missing or `below` is zero."""
    return finite(above / below) if above is not None and below else None


def finite(value: float) -> float | None:
    """Return the value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
