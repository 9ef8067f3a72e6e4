"""The papers' experiments as complete configs.

A recipe turns (method, data set, network, norm) into a `RunConfig` in which nothing is left to
derive. Defaults that depend on each other meet here and nowhere else. Explicit options come last
and win. Presets are named recipes:

    paper/<method>[+rpat]     the benchmark of Wang & Liu, ICCV 2025, Tables 1 and 2
    release/<method>[+rpat]   the same as its public code runs it: bottleneck network, 200 epochs
    digits/<method>[+rpat]    a minute on a CPU, to try the program
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rpat.config import (
    DATASETS,
    METHODS,
    MODELS,
    NORMS,
    WRAPPERS,
    AttackConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    ThreatConfig,
    canonical,
)
from rpat.errors import ConfigError
from rpat.knobs import unknown

RADIUS = {"linf": 8 / 255, "l2": 128 / 255}
STEP = {"linf": 2 / 255, "l2": 15 / 255}
DIGITS_RADIUS = {"linf": 0.1, "l2": 1.0}
PAPER_EPOCHS = 110
LONG_EPOCHS = 200


@dataclass(frozen=True, slots=True)
class Preset:
    """A named recipe; data set, network and norm remain its arguments."""

    name: str
    method: str
    wrappers: tuple[str, ...]
    about: str
    model: str = ""
    dataset: str = "cifar10"
    epochs: int = 0


def recipe(
    method: str,
    wrappers: Iterable[str] = (),
    *,
    dataset: str = "cifar10",
    model: str = "",
    norm: str = "linf",
    epochs: int = 0,
) -> RunConfig:
    """Return the complete config of a method on a data set.

    An empty `model` or `epochs = 0` means the recipe's own. Raises `ConfigError` for names that
    do not exist and for combinations that make no sense.
    """
    _known("--method", method, METHODS)
    _known("--dataset", dataset, DATASETS)
    _known("--norm", norm, NORMS)
    stack = canonical(wrappers)
    if dataset == "digits":
        return _digits(method, stack, model or "resnet8", norm, epochs or 6)
    model = model or "resnet18"
    _known("--model", model, MODELS)
    return RunConfig(
        method=METHODS[method](),
        wrappers=tuple(WRAPPERS[name]() for name in stack),
        data=DataConfig(
            name=dataset, source="official" if DATASETS[dataset].known else "image-folder"
        ),
        model=ModelConfig(name=model),
        threat=ThreatConfig(norm=norm, epsilon=RADIUS[norm]),
        attack=_attack(method, norm, STEP[norm]),
        schedule=_schedule(epochs or PAPER_EPOCHS),
        eval=_evaluation(norm, STEP[norm]),
    )


def _digits(method: str, stack: Iterable[str], model: str, norm: str, epochs: int) -> RunConfig:
    """Half a minute on two CPU cores: a small network, a weak attack, a wide radius."""
    _known("--model", model, MODELS)
    epsilon = DIGITS_RADIUS[norm]
    attack = _attack(method, norm, epsilon / 2)
    return RunConfig(
        method=METHODS[method](),
        wrappers=tuple(WRAPPERS[name]() for name in stack),
        data=DataConfig(name="digits", source="embedded", augment="crop", padding=2),
        model=ModelConfig(name=model),
        threat=ThreatConfig(norm=norm, epsilon=epsilon),
        attack=replace(attack, steps=min(attack.steps, 3)),
        optim=OptimConfig(lr=0.05, batch_size=32),
        schedule=_schedule(epochs),
        eval=replace(_evaluation(norm, epsilon / 4), selection_steps=5),
    )


def _evaluation(norm: str, step_size: float) -> EvalConfig:
    """A-PGD of the benchmark: the same attack judges every method."""
    return EvalConfig(
        step_size=step_size,
        start="uniform" if norm == "linf" else "box",
        reduction="sum" if norm == "linf" else "mean",
    )


def _attack(method: str, norm: str, step_size: float) -> AttackConfig:
    """The benchmark's crafting attacks: A-PGD, or the start and order of TRADES and MART."""
    if method == "random":
        start = "uniform" if norm == "linf" else "direction"
        return AttackConfig(steps=0, step_size=step_size, start=start)
    if method == "clean":
        return AttackConfig(steps=0, step_size=step_size, start="zero")
    if method in ("trades", "mart"):
        reduction = "sum" if method == "trades" else "mean"
        return AttackConfig(step_size=step_size, start="normal:0.001", reduction=reduction)
    if norm == "linf":
        return AttackConfig(step_size=step_size, start="uniform", order="clip-project")
    return AttackConfig(
        step_size=step_size, start="box", order="clip-project", reduction="mean", floor="max:1e-06"
    )


def _schedule(epochs: int) -> ScheduleConfig:
    """x0.1 at 100 and 105 of 110 epochs, at 100 and 150 from 200 epochs on; fractions of both."""
    if epochs >= LONG_EPOCHS:
        return ScheduleConfig(epochs=epochs, milestones=(0.5, 0.75))
    return ScheduleConfig(epochs=epochs, milestones=(100 / 110, 105 / 110))


def presets() -> dict[str, Preset]:
    """Return every preset by name."""
    found: dict[str, Preset] = {}
    for method, knobs in METHODS.items():
        for rpat in (False, True):
            if rpat and "rpat" in knobs.REFUSES:
                continue
            stack = ("rpat",) if rpat else ()
            tail = f"{method}+rpat" if rpat else method
            title = knobs.TITLE + (" + RPAT" if rpat else "")
            for preset in (
                Preset(
                    f"paper/{tail}", method, stack, f"{title}: 110 epochs, as in Tables 1 and 2"
                ),
                Preset(
                    f"release/{tail}",
                    method,
                    stack,
                    f"{title} as the paper's code runs it: 26-layer bottleneck network, 200 epochs",
                    model="resnet26-bottleneck",
                    epochs=LONG_EPOCHS,
                ),
                Preset(
                    f"digits/{tail}", method, stack, f"{title} on embedded digits", dataset="digits"
                ),
            ):
                found[preset.name] = preset
    return found


def preset(name: str) -> Preset:
    """Return a preset; raises `ConfigError` naming the nearest one."""
    known = presets()
    if name not in known:
        raise ConfigError(f"--preset {unknown(name, known)}")
    return known[name]


def label(config: RunConfig) -> str:
    """Return the one label of a combination: wrappers, outermost first, and the method.

    RPAT has a column of its own and is never part of the label.
    """
    stack = [w.NAME for w in reversed(config.wrappers) if w.NAME != "rpat"]
    return "+".join([*stack, config.method.NAME])


def preset_of_row(method: str, rpat: bool) -> str:
    """Return the preset that trains a row of the paper's tables, or '' where none exists yet."""
    name = f"paper/{method}+rpat" if rpat else f"paper/{method}"
    return name if name in presets() else ""


def _known(option: str, value: str, names: Iterable[str]) -> None:
    if value not in (known := list(names)):
        raise ConfigError(f"{option} {unknown(value, known)}")
