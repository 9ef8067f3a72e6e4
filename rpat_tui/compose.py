"""From what a person asks to complete configs: recipe × axes → `RunConfig`s.

Comma lists are axes of a grid, in the order method, data set, network, norm, radius, lam,
alpha, seed. Whatever is wrong is refused here, before anything is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rpat.config import DATASETS, RunConfig
from rpat.data.locate import DOWNLOADABLE, locate, missing
from rpat.errors import ConfigError
from rpat.recipes import preset, recipe
from rpat_tui.home import Home, data_folder, settings

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
    cutmix: bool = False
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # dotted key -> values
    fixed: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value
    data_dir: Path | None = None  # where to look
    data_dir_given: bool = False  # somebody named it: then the data set must be there
    source: str = ""  # official or image-folder: images of that kind, without looking for them


def request(
    home: Home,
    *,
    method: str = "",
    rpat: bool = False,
    lam: str = "",
    alpha: str = "",
    rpat_form: str = "",
    stack: Iterable[str] = (),
    cutmix: bool = False,
    preset: str = "",
    model: str = "",
    dataset: str = "",
    data_dir: str | None = None,
    val_split: int | None = None,
    norm: str = "",
    epsilon: str = "",
    steps: int | None = None,
    step_size: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    seeds: str = "",
    mode: str | None = None,
    evaluation: str | None = None,
    changes: Iterable[str] = (),
    device: str | None = None,
    gpus: int | None = None,
    compiled: bool = False,
) -> Request:
    """Read what people write, in a command or in a form, into what is asked.

    Raises `ConfigError` for what cannot be read.
    """
    if seed is not None and seeds:
        raise ConfigError("--seed and --seeds are both given; keep one of them")
    fixed = {
        "data.val_n": val_split,
        "attack.steps": steps,
        "attack.step_size": step_size,
        "optim.batch_size": batch_size,
        "optim.lr": lr,
        "mode": mode,
        "eval.attack": evaluation,
        "device": device,
        "gpus": gpus,
        "compiled": compiled or None,
        "rpat.form": rpat_form or None,
        "seed": seed,
    }
    axes = {
        "threat.epsilon": words(epsilon),
        "rpat.lam": words(lam),
        "rpat.alpha": words(alpha),
        "seed": read_seeds(seeds),
    }
    return Request(
        methods=words(method),
        wrappers=(*(("rpat",) if rpat else ()), *stack),
        preset=preset,
        datasets=words(dataset),
        models=words(model),
        norms=words(norm),
        epochs=epochs or 0,
        cutmix=cutmix,
        axes={key: values for key, values in axes.items() if values},
        fixed={k: v for k, v in fixed.items() if v is not None} | assignments(changes),
        data_dir=data_folder(home, data_dir),
        data_dir_given=data_dir is not None or settings()["data_dir"].origin != "default",
    )


def compose(request: Request) -> list[RunConfig]:
    """Return one config a combination, and those that must come before it.

    Raises `ConfigError` before anything is made.
    """
    asked = combinations(request)
    configs = [config for one in asked for config in with_prerequisites(one)]
    return list({config.fingerprint(): config for config in configs}.values())


def combinations(request: Request) -> list[RunConfig]:
    """Return exactly what was asked for, one config a combination."""
    base = preset(request.preset) if request.preset else None
    methods = request.methods or ((base.method,) if base else ())
    if not methods:
        raise ConfigError("--method is missing; name one (rpat methods lists them) or a --preset")
    stack = tuple(dict.fromkeys([*(base.wrappers if base else ()), *request.wrappers]))
    datasets = request.datasets or ((base.dataset,) if base else ("cifar10",))
    models = request.models or ((base.model,) if base else ("",))
    norms = request.norms or ("linf",)
    epochs = request.epochs or (base.epochs if base else 0)
    configs: list[RunConfig] = []
    names = tuple(request.axes)
    for method, dataset, model, norm, *values in itertools.product(
        methods, datasets, models, norms, *request.axes.values()
    ):
        config = recipe(
            method, stack, dataset=dataset, model=model, norm=norm, epochs=epochs,
            cutmix=request.cutmix or bool(base and base.cutmix),
        )  # fmt: skip
        changes = {**request.fixed, **dict(zip(names, values, strict=True))}
        if request.source:
            changes["data.source"] = source_of(config.data.name, request.source)
        else:
            changes |= find_data(config.data.name, request.data_dir, request.data_dir_given)
        configs.append(config.override(changes))
        if len(configs) > MAX_RUNS:
            raise ConfigError(f"the lists make more than {MAX_RUNS} runs; shorten one of them")
    _refuse_twins(configs)
    return configs


def with_prerequisites(config: RunConfig) -> list[RunConfig]:
    """Return a config with the runs that must come before it, those first.

    KD+SWA needs a naturally and a robustly trained teacher, CURE a natural start: runs of the
    same data, network and schedule, named in the config by their fingerprints.
    """
    before: list[RunConfig] = []
    changes: dict[str, str] = {}
    for key, method, kind in PREREQUISITES:
        part, _, field = key.partition(".")
        knobs = config.wrapper(part)
        if knobs is None or getattr(knobs, field):
            continue
        made = plain(config, method)
        before.append(made)
        changes[key] = f"run:{made.fingerprint()}:{kind}"
    return [*before, config.override(changes) if changes else config]


PREREQUISITES = (
    ("kd.natural", "clean", "final"),
    ("kd.robust", "pgd-at", "best"),
    ("cure.start", "clean", "final"),
)
"""Knob that names weights, the method that trains them, and which of its weights."""


def plain(config: RunConfig, method: str) -> RunConfig:
    """Return the same experiment with a method alone: no wrappers, its own attack."""
    other = recipe(
        method, dataset=config.data.name, model=config.model.name, norm=config.threat.norm
    )
    attack = config.attack if method == config.method.NAME else other.attack
    return replace(config, method=other.method, wrappers=(), attack=attack)


def needs(config: RunConfig) -> list[tuple[str, str]]:
    """Return the fingerprints of the runs a config waits for, each with which weights."""
    found = []
    for key, _, _ in PREREQUISITES:
        part, _, field = key.partition(".")
        word = getattr(config.wrapper(part), field, "")
        if word.startswith("run:"):
            found.append((word.split(":")[1], word.split(":")[2]))
    return found


def source_of(dataset: str, wished: str) -> str:
    """Return the source that a data set's images have; some have only one."""
    return {"digits": "embedded", "image-folder": "image-folder"}.get(dataset, wished)


def find_data(dataset: str, root: Path | None, given: bool) -> dict[str, Any]:
    """Find a data set, or decide that the trainer may download it; returns dotted keys.

    `given` says that somebody named the folder: then the data set must be there.
    """
    found = locate(dataset, root) if root is not None else None
    if found is not None and found.source == "embedded":
        return {"data.source": "embedded"}
    if found is not None:
        return {"data.dir": str(root), "data.source": found.source}
    if dataset in DOWNLOADABLE and root is not None and not given:
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


def read_seeds(text: str) -> tuple[str, ...]:
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
