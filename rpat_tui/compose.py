"""From what a person asks to complete configs: recipe × axes → `RunConfig`s.

Comma lists are axes of a grid, in the order method, data set, network, norm, radius, lam,
alpha, seed. Whatever is wrong is refused here, before anything is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpat.config import DATASETS, RunConfig
from rpat.data.locate import DOWNLOADABLE, locate, missing
from rpat.errors import ConfigError
from rpat.recipes import preset, recipe

MAX_RUNS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `rpat run` was asked; empty means the recipe's own value."""

    methods: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()
    preset: str = ""
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    epochs: int = 0
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # dotted key -> values
    fixed: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value
    data_dir: Path | None = None  # where to look
    data_dir_given: bool = False  # somebody named it: then the data set must be there


def compose(request: Request) -> list[RunConfig]:
    """Return one config a combination; raises `ConfigError` before anything is made."""
    base = preset(request.preset) if request.preset else None
    methods = request.methods or ((base.method,) if base else ())
    if not methods:
        raise ConfigError("--method is missing; name one (rpat methods lists them) or a --preset")
    stack = tuple(dict.fromkeys([*(base.wrappers if base else ()), *request.wrappers]))
    datasets = request.datasets or ((base.dataset,) if base else ("cifar10",))
    models = request.models or ((base.model,) if base else ("",))
    norms = request.norms or ("linf",)
    epochs = request.epochs or (base.epochs if base else 0)
    configs = []
    names = tuple(request.axes)
    for method, dataset, model, norm, *values in itertools.product(
        methods, datasets, models, norms, *request.axes.values()
    ):
        config = recipe(method, stack, dataset=dataset, model=model, norm=norm, epochs=epochs)
        changes = {**request.fixed, **dict(zip(names, values, strict=True))}
        changes |= _place(config.data.name, request)
        configs.append(config.override(changes))
        if len(configs) > MAX_RUNS:
            raise ConfigError(f"the lists make more than {MAX_RUNS} runs; shorten one of them")
    _refuse_twins(configs)
    return configs


def _place(dataset: str, request: Request) -> dict[str, Any]:
    """Find the data set, or decide that the trainer may download it."""
    root = request.data_dir
    found = locate(dataset, root) if root is not None else None
    if found is not None and found.source == "embedded":
        return {"data.source": "embedded"}
    if found is not None:
        return {"data.dir": str(root), "data.source": found.source}
    if dataset in DOWNLOADABLE and root is not None and not request.data_dir_given:
        return {"data.dir": str(root), "data.source": "official"}
    raise ConfigError(missing(dataset, root or Path()))


def _refuse_twins(configs: Iterable[RunConfig]) -> None:
    seen: set[str] = set()
    for config in configs:
        if (key := config.fingerprint()) in seen:
            raise ConfigError(
                f"the same run is asked for twice (method {config.method.NAME}, "
                f"seed {config.seed}); name each value of a list once"
            )
        seen.add(key)


def words(text: str | None) -> tuple[str, ...]:
    """Split a comma list."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def assignments(texts: Iterable[str] | None) -> dict[str, str]:
    """Read `--set key=value` options; the last one of a key wins."""
    out: dict[str, str] = {}
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {text}: write key=value, for example attack.steps=7")
        out[key.strip()] = value.strip()
    return out


def seeds(text: str) -> tuple[str, ...]:
    """Read `0-2`, `0,3,7` or a mixture of both."""
    out: list[str] = []
    for part in words(text):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ConfigError(f"--seeds {text}: '{part}' is not a seed; write 0-2 or 0,1,2")
        if dash and int(last) < int(first):
            raise ConfigError(f"--seeds {text}: '{part}' runs backwards; write {last}-{first}")
        out += [str(n) for n in range(int(first), int(last or first) + 1)]
    return tuple(dict.fromkeys(out))


def title(dataset: str) -> str:
    """Return a data set's name for people."""
    return DATASETS[dataset].title if dataset in DATASETS else dataset
