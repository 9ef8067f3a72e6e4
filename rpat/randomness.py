"""Randomness as a function: every draw belongs to a seed, a purpose and a position.

A generator is made afresh from (run seed, purpose, epoch, step), so a resumed run needs only its
position, and a new kind of draw does not disturb the others.
"""

from __future__ import annotations

import hashlib
import random

import torch


def seed_of(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on every part and on their order."""
    text = ":".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & (2**63 - 1)


def generator(
    device: torch.device | str, seed: int, purpose: str, *position: int
) -> torch.Generator:
    """Return a torch generator on a device for one purpose at one position."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose, *position))


def scalar(seed: int, purpose: str, *position: int) -> random.Random:
    """Return a standard-library generator, for single numbers drawn on the host."""
    return random.Random(seed_of(seed, purpose, *position))
