"""Which of our networks a state fits: the same keys with the same shapes.

Blocks and the last layer go by several names in public code; those are renamed. Nothing is
guessed: a state that differs from every network of ours in any other key or shape is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from rpat.config import MODELS
from rpat.errors import ConfigError
from rpat.foreign import naming
from rpat.foreign.naming import Shapes
from rpat.knobs import unknown
from rpat.models import BUILDERS

UNUSED = {"sub_block1.": "stored by TRADES and never used"}
"""First word of keys that public code stores and its forward pass never reads -> why."""

COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Fit:
    """A network of ours and its weights."""

    model: str
    num_classes: int
    state: dict[str, Tensor]
    notes: list[str]


def fit(state: Mapping[str, Tensor], model: str = "auto") -> Fit:
    """Return the network that a bare state fits; raises `ConfigError` where it fits none."""
    if model not in ("auto", *MODELS):
        raise ConfigError(f"--model {unknown(model, ('auto', *MODELS))}")
    renamed, notes = _rename(state)
    shapes = {key: tuple(tensor.shape) for key, tensor in renamed.items()}
    last = shapes.get("linear.weight", ())
    classes = last[0] if len(last) == 2 else 0
    for name in MODELS:
        wanted = expected(name, classes) if classes else {}
        if wanted and naming.first_difference(shapes, wanted) is None:
            if model not in ("auto", name):
                raise ConfigError(
                    f"these keys fit {name}, not {model}; leave --model out or write --model {name}"
                )
            return _fitted(name, classes, renamed, notes)
    ours = {name: expected(name, classes or 10) for name in MODELS}
    raise ConfigError(naming.refusal(shapes, ours, model))


def expected(name: str, num_classes: int) -> Shapes:
    """Return key -> shape of a network of ours; its last layer is called `linear` here."""
    shapes = {_head(key, "fc"): shape for key, shape in _template(BUILDERS[name]).items()}
    for key in ("linear.weight", "linear.bias"):
        shapes[key] = (num_classes, *shapes[key][1:])
    return shapes


@cache
def _template(builder: Callable[[int, int], nn.Module]) -> Shapes:
    """Build a network without memory for its weights and return their shapes."""
    with torch.device("meta"):
        state = builder(10, 1).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _head(key: str, name: str) -> str:
    return f"linear.{key.removeprefix(f'{name}.')}" if key.startswith(f"{name}.") else key


def _rename(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Give keys our names and the last layer the name `linear`; leave out what is never used."""
    notes = [f"keys left out: {word}* ({why})" for word, why in UNUSED.items() if _has(state, word)]
    used = {key: value for key, value in state.items() if not key.startswith(tuple(UNUSED))}
    matrices = [key for key, value in used.items() if key.endswith(".weight") and value.ndim == 2]
    head = matrices[0].removesuffix(".weight") if len(matrices) == 1 else "linear"
    renamed = {
        _head(key, head).replace(".downsample.", ".shortcut."): value for key, value in used.items()
    }
    if _has(renamed, "layer") and any(".downsample." in key for key in used):
        notes.append("names of torchvision (a pooling after the stem would leave no key: try it)")
    return renamed, notes


def _has(state: Mapping[str, object], word: str) -> bool:
    return any(key.startswith(word) for key in state)


def _fitted(name: str, classes: int, renamed: dict[str, Tensor], notes: list[str]) -> Fit:
    """Return the weights under our names, as float32, with their counters."""
    kinds = {value.dtype for value in renamed.values() if value.is_floating_point()}
    for kind in sorted(kinds - {torch.float32}, key=str):
        notes.append(f"{str(kind).removeprefix('torch.')} cast to float32")
    state: dict[str, Tensor] = {}
    missing = 0
    for final in _template(BUILDERS[name]):
        key = _head(final, "fc")
        if key.endswith(COUNTER):
            missing += key not in renamed
            state[final] = renamed.get(key, torch.tensor(0)).detach().to(torch.int64)
        else:
            state[final] = _weights(key, renamed[key])
    if missing:
        notes.append(f"{missing} counters of BatchNorm set to 0, as an old torch stored none")
    return Fit(name, classes, state, notes)


def _weights(key: str, tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ConfigError(f"{key} is {kind} {tensor.layout}; save dense floating-point weights")
    found = tensor.detach().to(torch.float32)
    bad = int(found.numel() - torch.isfinite(found).sum())
    if bad:
        raise ConfigError(
            f"{key} has {bad} of {found.numel()} values that are NaN or infinite: the training "
            "diverged or the file is damaged; use an earlier checkpoint"
        )
    return found
