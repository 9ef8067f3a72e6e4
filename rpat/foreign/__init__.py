"""Weights of other code bases, recognised by their keys and shapes.

    found = load(Path("model_best.pth"))    # which of our networks, how many classes, …
    network = build(found, image_size=32)   # that network with these weights

A file is read without unpickling anything but tensors and plain values (`files`). What other
code wraps around a network is taken off (`wrapping`): dictionaries, prefixes of keys, the
statistics of a normalisation. What is left must have the keys and shapes of one of our networks
(`fitting`), or is refused with what differs (`naming`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rpat import models
from rpat.errors import ConfigError
from rpat.foreign import fitting, wrapping
from rpat.foreign.files import read
from rpat.foreign.wrapping import Statistics
from rpat.models.normalize import Normalize, Normalized

__all__ = ["Found", "build", "load", "read", "recognise"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A network that was recognised, with its weights under our names."""

    model: str  # one of config.MODELS
    num_classes: int
    normalize: Statistics | None  # mean and standard deviation of each channel, if they are inside
    state: dict[str, Tensor]  # fits models.BUILDERS[model] strictly
    text: str  # one line for people: what was found and what was taken off
    origin: str  # "rpat" for a checkpoint of ours, else "state_dict" or "safetensors"
    config: dict[str, Any] | None  # of the run that wrote a checkpoint of ours
    epoch: int | None  # of a checkpoint of ours
    network: str  # of a checkpoint of ours: "online" or an average's name; else ""


def load(path: Path, model: str = "auto", key: str = "") -> Found:
    """Read a file and recognise its network; see `recognise`.

    Raises `ConfigError`, whose text begins with the path.
    """
    try:
        found = recognise(read(path), model, key)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if path.suffix == ".safetensors":
        found = dataclasses.replace(found, origin="safetensors")
    return found


def recognise(content: Mapping[str, Any], model: str = "auto", key: str = "") -> Found:
    """Return the network in a file's content.

    `model` names the network that is expected; `auto` takes what is there. `key` chooses one of
    several networks in the content; without it, the plain one is taken rather than an average.
    Raises `ConfigError` where there is no network or none of ours.
    """
    own = wrapping.own(content)
    where, tensors, notes = wrapping.choose(content, key)
    bare = wrapping.unwrap(tensors, own.normalize if own else None)
    fit = fitting.fit(bare.state, model)
    if own and where == "model":
        notes.append("a training state: the network as it was last saved")
    elif not own and "optimizer" in content:
        notes.append("a training state, whose optimiser is not used")
    about = [f"{fit.model}, {fit.num_classes} classes", *notes, *bare.notes, *fit.notes]
    return Found(
        model=fit.model,
        num_classes=fit.num_classes,
        normalize=bare.normalize,
        state=fit.state,
        text="; ".join(about),
        origin="rpat" if own else "state_dict",
        config=own.config if own else None,
        epoch=own.epoch if own else None,
        network="" if own is None else own.network if where in ("weights", "model") else where,
    )


def build(found: Found, image_size: int) -> nn.Module:
    """Return the network with its weights, behind its normalisation where that was inside.

    No random numbers are drawn, and `found` keeps tensors of its own. Raises `ConfigError` for
    an image size that no stem fits.
    """
    stride = models.stem_stride(found.model, image_size)
    with torch.device("meta"):
        net = models.BUILDERS[found.model](found.num_classes, stride)
    state = {name: tensor.clone() for name, tensor in found.state.items()}
    net.load_state_dict(state, strict=True, assign=True)
    return Normalized(Normalize(*found.normalize), net) if found.normalize else net
