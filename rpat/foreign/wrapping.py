"""What other code puts around a network: dictionaries, prefixes of keys and a normalisation.

`choose` finds the network among the dictionaries of a file, `unwrap` takes off the rest. A
prefix, a dictionary or a statistic that other code names differently is one word more here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rpat.checkpoint import SCHEMA
from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat.models.normalize import STATISTICS

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

PLAIN = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "state", "params")
"""Keys under which the trained network itself is saved, the likeliest first."""

AVERAGED = {"ema", "swa", "wa", "avg", "average", "averaged", "teacher", "proxy", "polyak"}
"""Words in the keys of other networks than the trained one."""

PREFIXES = {
    "module", "model", "net", "network", "backbone", "encoder", "student", "_orig_mod",
    "0", "1", "2",
}  # fmt: skip
"""First words of keys that wrappers add: DataParallel, torch.compile, nn.Sequential, …"""

MEANS = ("mean", "new_mean", "mu")
DEVIATIONS = ("std", "new_std", "sigma", "sd")
DEPTH = 3
"""How many dictionaries deep a network is looked for."""


@dataclass(frozen=True, slots=True)
class Own:
    """What a checkpoint of ours says about its network."""

    config: dict[str, Any]
    epoch: int | None
    network: str
    normalize: Statistics | None


@dataclass(frozen=True, slots=True)
class Bare:
    """The tensors of a network without what was around them."""

    state: dict[str, Tensor]
    normalize: Statistics | None
    notes: list[str]


def own(content: Mapping[str, Any]) -> Own | None:
    """Return what a checkpoint of ours says, or None where the content is none."""
    config = content.get("config")
    if "schema" not in content or not isinstance(config, dict):
        return None
    if content["schema"] != SCHEMA:
        raise ConfigError(
            f"a checkpoint of rpat with schema {content['schema']}; this version reads {SCHEMA}"
        )
    model = config.get("model")
    name = model.get("normalize", "none") if isinstance(model, dict) else "none"
    if name != "none" and name not in STATISTICS:
        raise ConfigError(f"config.model.normalize: {unknown(str(name), STATISTICS)}")
    statistics = None if name == "none" else STATISTICS[name]
    return Own(config, content.get("epoch"), content.get("network", "online"), statistics)


# ----------------------------------------------------------------------------- dictionaries


def choose(content: Mapping[str, Any], key: str = "") -> tuple[str, dict[str, Tensor], list[str]]:
    """Return the key of the network in a file's content, its tensors, and notes."""
    inside = dict(_networks(content, ""))
    if not inside:
        raise ConfigError(_nothing(content))
    where = _asked(inside, key) if key else _plainest(list(inside))
    tensors = {k: v for k, v in inside[where].items() if isinstance(v, Tensor)}
    notes = [f"from key '{where}'"] if where else []
    others = [f"'{name}'" for name in inside if name != where]
    if others:
        notes.append(f"also in the file: {', '.join(others)}")
    return where, tensors, notes


def _networks(content: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield the dictionaries that hold weights, by their dotted keys."""
    if any(
        isinstance(value, Tensor) and isinstance(key, str) and key.endswith(".weight")
        for key, value in content.items()
    ):
        yield path, {key: value for key, value in content.items() if isinstance(key, str)}
    if path.count(".") + bool(path) == DEPTH:
        return
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping):
            yield from _networks(value, f"{path}.{key}" if path else key)


def _nothing(content: Mapping[Any, Any]) -> str:
    if "param_groups" in content:
        return "it holds the state of an optimiser, no network; name the file of the network"
    keys = ", ".join(str(key) for key in list(content)[:5]) or "none at all"
    return f"no network's tensors are in it (its keys: {keys}); save model.state_dict()"


def _asked(inside: Mapping[str, object], key: str) -> str:
    matching = [name for name in inside if name.startswith((f"{key}.", f"{key}_"))]
    if key in inside or len(matching) == 1:
        return key if key in inside else matching[0]
    if list(inside) == [""]:
        raise ConfigError(f"key '{key}': the file holds one network under no key; leave it out")
    raise ConfigError(f"key {unknown(key, matching or [name for name in inside if name])}")


def _plainest(names: list[str]) -> str:
    """Return the trained network's key; raises `ConfigError` where that is not clear."""
    ranked = sorted(names, key=_rank)
    if len(ranked) > 1 and _rank(ranked[0]) == _rank(ranked[1]):
        raise ConfigError(
            f"several networks are in it, under the keys {', '.join(names)}; name the key of one"
        )
    return ranked[0]


def _rank(name: str) -> tuple[int, int]:
    """Return how far a key is from that of the trained network; equal ranks need a choice."""
    if not name:
        return 0, 0
    if AVERAGED & set(re.split(r"[._-]", name.lower())):
        return 3, 0
    first = name.partition(".")[0]
    return (1, PLAIN.index(first)) if first in PLAIN else (2, 0)


# ------------------------------------------------------------------- prefixes and statistics


def unwrap(tensors: Mapping[str, Tensor], normalize: Statistics | None = None) -> Bare:
    """Take prefixes, counters and the statistics of a normalisation off a network's tensors.

    `normalize` is known of a checkpoint of ours, whose statistics are in its config.
    """
    state, notes = _single(dict(tensors))
    inside, source = _statistics(state)
    removed = _strip(state)
    if removed:
        notes.append(f"prefix '{removed}' removed")
    if normalize is None and inside is None and re.search(r"(^|\.)[12]\.", removed):
        notes.append(
            "what came before the network has no weights in the file: if it normalised, its "
            "statistics are missing"
        )
    if found := inside or normalize:
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in found)
        notes.append(
            f"normalisation inside (mean {mean}, std {std}; {source or 'from its config'})"
        )
    else:
        notes.append("no normalisation inside")
    return Bare(state, inside or normalize, notes)


def _single(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out the counter of an average, and the copy in an attacker that holds the model."""
    notes = []
    for key in [key for key in state if key.rpartition(".")[2] == "n_averaged"]:
        del state[key]
        notes.append("an average of weights")
    copies = {key: re.sub(r"(^|\.)attacker\.", r"\1", key) for key in state}
    same = [
        key
        for key, other in copies.items()
        if key != other and other in state and torch.equal(state[key], state[other])
    ]
    if same:
        notes.append("keys left out: attacker.* (a copy)")
        same += [key for key in state if re.search(r"(^|\.)attacker\.normali", key)]
    return {key: value for key, value in state.items() if key not in same}, notes


def _strip(state: dict[str, Tensor]) -> str:
    """Remove, in place, the first words that all keys share; return them."""
    removed = ""
    while state:
        words = {key.partition(".")[0] for key in state}
        if len(words) > 1 or not words <= PREFIXES:
            break
        word = words.pop() + "."
        for key in list(state):
            state[key.removeprefix(word)] = state.pop(key)
        removed += word
    return removed


def _statistics(state: dict[str, Tensor]) -> tuple[Statistics | None, str]:
    """Take the statistics of a normalisation out of a state; return them and their key."""
    means = [key for key in state if _is_statistic(key, state[key], MEANS)]
    deviations = [key for key in state if _is_statistic(key, state[key], DEVIATIONS)]
    if not means and not deviations:
        return None, ""
    if len(means) != 1 or len(deviations) != 1:
        raise ConfigError(
            f"a normalisation needs one mean and one std, and there are: "
            f"{', '.join(means + deviations)}; save the file with one of each or without any"
        )
    mean, std = (_values(state.pop(key)) for key in (means[0], deviations[0]))
    for key, values, fine in (
        (means[0], mean, all(0 <= value <= 1 for value in mean)),
        (deviations[0], std, all(0 < value <= 1 for value in std)),
    ):
        if not fine:
            shown = " ".join(f"{value:g}" for value in values)
            large = max(values) > 1
            raise ConfigError(
                f"{key} is {shown}: "
                + ("statistics on the 0..255 scale, and " if large else "")
                + "pixels live on [0, 1] here; if the network maps those to "
                "0..255 first, save mean / 255 and std / 255"
            )
    return (mean, std), f"key '{means[0]}'"


def _is_statistic(key: str, tensor: Tensor, names: tuple[str, ...]) -> bool:
    shapes = ((3,), (3, 1, 1), (1, 3, 1, 1))
    return key.rpartition(".")[2] in names and tuple(tensor.shape) in shapes


def _values(tensor: Tensor) -> tuple[float, ...]:
    """Return a channel's values as the shortest numbers that give the same float32."""
    return tuple(float(str(value)) for value in tensor.detach().float().flatten().numpy())
