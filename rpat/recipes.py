"""The papers' experiments as complete configs.

A recipe turns (method, data set, network, norm) into a `RunConfig` in which nothing is left to
derive. Defaults that depend on each other meet here and nowhere else. Explicit options come last
and win. Presets are named recipes:

    paper/<method>[+rpat]     the benchmark of Wang & Liu, ICCV 2025, Tables 1 and 2
    release/<method>[+rpat]   the same as its public code runs it: bottleneck network, 200 epochs
    digits/<method>[+rpat]    a minute on a CPU, to try the program
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

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
from rpat.notes import NOTES

RADIUS = {"linf": 8 / 255, "l2": 128 / 255}
STEP = {"linf": 2 / 255, "l2": 15 / 255}
DIGITS_RADIUS = {"linf": 0.1, "l2": 1.0}
PAPER_EPOCHS = 110
LONG_EPOCHS = 200

COMBINATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wa": ("pgd-at", ("wa",)),
    "awp": ("pgd-at", ("awp",)),
    "kd+swa": ("pgd-at", ("kd", "swa")),
    "rebat": ("pgd-at", ("rebat",)),
    "rpat++": ("pgd-at", ("rpat++",)),
    "adr": ("pgd-at", ("adr",)),
    "cure": ("trades", ("cure",)),
}
"""Published names of combinations: the method, and what is stacked on it."""

BENCH = ("clean", "random", "pgd-at", "trades", "mart", "consistency-at")
"""Methods of the benchmark family (Tables 1 and 2, Fig. 2)."""

SOTA = ("kd", "awp", "rebat", "rpat++", "wa", "swa")
"""Wrappers whose experiments belong to the family of Tables 3 and 4 (the ReBAT code base)."""

TRAILED = ("awp", "rebat", "rpat++", "wa")
"""Wrappers whose code passes the clean batch in train mode after each step."""

DIVISOR = {"rebat": 1.5, "rpat++": 1.5}
"""Learning-rate divisors that belong to a wrapper; 10 otherwise. WRN with CutMix: 4."""


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
    cutmix: bool = False

    @property
    def note(self) -> str:
        """Published settings that differ from the recipe, and open questions."""
        return " ".join(NOTES[self.method].split())


def recipe(
    method: str,
    wrappers: Iterable[str] = (),
    *,
    dataset: str = "cifar10",
    model: str = "",
    norm: str = "linf",
    epochs: int = 0,
    cutmix: bool = False,
) -> RunConfig:
    """Return the complete config of a method on a data set.

    `method` may be a published combination (`COMBINATIONS`). An empty `model` or `epochs = 0`
    means the recipe's own. Raises `ConfigError` for names that do not exist and for combinations
    that make no sense.
    """
    stack = list(wrappers)
    if method in COMBINATIONS:
        method, more = COMBINATIONS[method]
        stack = list(dict.fromkeys([*more, *stack]))
    _known("--method", method, [*METHODS, *COMBINATIONS] if method not in METHODS else METHODS)
    _known("--dataset", dataset, DATASETS)
    _known("--norm", norm, NORMS)
    stack = canonical(stack)
    if model:
        _known("--model", model, MODELS)
    if any(name in SOTA for name in stack):
        config = _sota(method, stack, dataset, model, norm, epochs, cutmix)
    elif method in BENCH and not {"adr", "cure"} & set(stack):
        config = _bench(method, stack, dataset, model, norm, epochs)
    else:
        config = _common(method, stack, dataset, model, norm, epochs)
    if cutmix:
        config = replace(config, data=replace(config.data, cutmix=True))
    return _small(config, epochs, model) if dataset == "digits" else config


def _bench(
    method: str, stack: list[str], dataset: str, model: str, norm: str, epochs: int
) -> RunConfig:
    """Tables 1 and 2: ResNet-18, 110 epochs, eval-mode crafting, inputs on [0, 1]."""
    return RunConfig(
        method=METHODS[method](),
        wrappers=tuple(WRAPPERS[name]() for name in stack),
        data=_data(dataset),
        model=ModelConfig(name=model or "resnet18"),
        threat=ThreatConfig(norm=norm, epsilon=RADIUS[norm]),
        attack=_attack(method, norm, STEP[norm]),
        schedule=_schedule(epochs or PAPER_EPOCHS),
        eval=_evaluation(norm, STEP[norm]),
    )


def _sota(
    method: str, stack: list[str], dataset: str, model: str, norm: str, epochs: int, cutmix: bool
) -> RunConfig:
    """Tables 3 and 4, the ReBAT code base: 200 epochs, train-mode crafting, normalised inputs.

    The statistics are CIFAR-10's for every data set, as released (D18). The learning rate
    changes within epochs.
    """
    model = model or "preactresnet18"
    if any(name in TRAILED for name in stack):
        stack = canonical(dict.fromkeys([*stack, "clean-pass"]))
    wide = model == "wrn-34-10" and cutmix
    divisor = max(DIVISOR.get(name, 1.0) for name in stack)
    divisor = 4.0 if wide and divisor > 1 else divisor if divisor > 1 else 10.0
    distilled = "kd" in stack or "swa" in stack
    milestones = (0.25, 0.75) if distilled else (0.5, 0.75)
    attack = _attack(method, norm, STEP[norm])
    if method == "pgd-at" and not distilled:
        attack = AttackConfig(
            step_size=STEP[norm],
            start="uniform" if norm == "linf" else "direction",
            reduction="mean",
            floor="add:1e-10",
            closing_forward=True,
            double_forward=cutmix,
        )
    knobs = {name: {"beta": 2.0} for name in ("rebat", "rpat++") if wide}
    return RunConfig(
        method=METHODS[method](),
        wrappers=tuple(WRAPPERS[name](**knobs.get(name, {})) for name in stack),
        data=replace(_data(dataset), padding_mode="zero" if distilled else "reflect"),
        model=ModelConfig(name=model, normalize="cifar10"),
        threat=ThreatConfig(norm=norm, epsilon=RADIUS[norm]),
        attack=replace(attack, bn="train"),
        schedule=ScheduleConfig(
            epochs=epochs or LONG_EPOCHS,
            milestones=milestones,
            decay=divisor,
            granularity="epoch" if distilled else "iteration",
        ),
        eval=replace(
            _evaluation(norm, STEP[norm]),
            selection_steps=20 if "awp" in stack or distilled else 10,
        ),
    )


def _common(
    method: str, stack: list[str], dataset: str, model: str, norm: str, epochs: int
) -> RunConfig:
    """One recipe for methods whose own ones differ: 200 epochs, eval-mode crafting."""
    knobs = {"beta": 1.0} if method == "trades" and "cure" in stack else {}
    if method == "mma" and norm == "l2":
        knobs = {"d_max": 1.0, "eps_min": 0.5}
    return RunConfig(
        method=METHODS[method](**knobs),
        wrappers=tuple(WRAPPERS[name]() for name in stack),
        data=_data(dataset),
        model=ModelConfig(name=model or "preactresnet18"),
        threat=ThreatConfig(norm=norm, epsilon=RADIUS[norm]),
        attack=_attack(method, norm, STEP[norm]),
        schedule=_schedule(epochs or LONG_EPOCHS, long=True),
        eval=_evaluation(norm, STEP[norm]),
    )


def _small(config: RunConfig, epochs: int, model: str) -> RunConfig:
    """The same on digits: half a minute on two CPU cores, a weak attack, a wide radius."""
    norm = config.threat.norm
    epsilon = DIGITS_RADIUS[norm]
    steps = min(config.attack.steps, 3)
    return replace(
        config,
        wrappers=tuple(map(_quicker, config.wrappers)),
        data=replace(config.data, augment="crop", padding=2),
        model=ModelConfig(name=model or "resnet8"),
        threat=ThreatConfig(norm=norm, epsilon=epsilon),
        attack=replace(config.attack, steps=steps, step_size=epsilon / 2),
        optim=OptimConfig(lr=0.05, batch_size=32),
        schedule=replace(config.schedule, epochs=epochs or 6),
        eval=replace(config.eval, step_size=epsilon / 4, selection_steps=5),
    )


def _quicker(stacked: Any) -> Any:
    """Let averages follow within 45 steps an epoch, not 391."""
    averages = ("wa", "rebat", "rpat++", "adr")
    return replace(stacked, decay=0.97) if stacked.NAME in averages else stacked


def _data(dataset: str) -> DataConfig:
    known = "official" if DATASETS[dataset].known else "image-folder"
    return DataConfig(name=dataset, source="embedded" if dataset == "digits" else known)


def _evaluation(norm: str, step_size: float) -> EvalConfig:
    """A-PGD of the benchmark: the same attack judges every method."""
    return EvalConfig(
        step_size=step_size,
        start="uniform" if norm == "linf" else "box",
        reduction="sum" if norm == "linf" else "mean",
    )


def _attack(method: str, norm: str, step_size: float) -> AttackConfig:
    """The crafting attacks: A-PGD, or the start and order of TRADES, MART and MAIL."""
    if method == "random":
        start = "uniform" if norm == "linf" else "direction"
        return AttackConfig(steps=0, step_size=step_size, start=start)
    if method == "clean":
        return AttackConfig(steps=0, step_size=step_size, start="zero")
    if method in ("trades", "mart", "mail-at", "mail-trades"):
        reduction = "mean" if method == "mart" else "sum"
        return AttackConfig(step_size=step_size, start="normal:0.001", reduction=reduction)
    if norm == "linf":
        return AttackConfig(step_size=step_size, start="uniform", order="clip-project")
    if method == "te":
        return AttackConfig(step_size=step_size, start="normal:0.001")
    start = "direction" if method == "mma" else "box"
    return AttackConfig(
        step_size=step_size, start=start, order="clip-project", reduction="mean", floor="max:1e-06"
    )


def _schedule(epochs: int, *, long: bool = False) -> ScheduleConfig:
    """x0.1 at 100 and 105 of 110 epochs, at 100 and 150 of 200; fractions of both."""
    if long or epochs >= LONG_EPOCHS:
        return ScheduleConfig(epochs=epochs, milestones=(0.5, 0.75))
    return ScheduleConfig(epochs=epochs, milestones=(100 / 110, 105 / 110))


def presets() -> dict[str, Preset]:
    """Return every preset by name."""
    found: dict[str, Preset] = {}
    for method, stack, title in _experiments():
        tail = "+".join([method, *stack])
        about = "110 epochs, Tables 1 and 2" if method in BENCH else "200 epochs, Tables 3 and 4"
        made = [Preset(f"paper/{tail}", method, stack, f"{title}: {about}")]
        if method in BENCH:
            made.append(
                Preset(
                    f"release/{tail}",
                    method,
                    stack,
                    f"{title} as the paper's code runs it: 26-layer bottleneck network, 200 epochs",
                    model="resnet26-bottleneck",
                    epochs=LONG_EPOCHS,
                )
            )
        if method in ("rebat", "rpat++"):
            made.append(
                Preset(
                    f"paper/{tail}+cutmix",
                    method,
                    stack,
                    f"{title} with CutMix: lr / 4, beta 2, Table 4",
                    model="wrn-34-10",
                    cutmix=True,
                )
            )
        made.append(
            Preset(f"digits/{tail}", method, stack, f"{title} on embedded digits", dataset="digits")
        )
        found |= {preset.name: preset for preset in made}
    return found


def _experiments() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield every method and published combination, plain and with RPAT, with its title."""
    for method in (*METHODS, *COMBINATIONS):
        base, stacked = COMBINATIONS.get(method, (method, ()))
        parts = [METHODS[base], *(WRAPPERS[name] for name in stacked)]
        title = METHODS[method].TITLE if method in METHODS else "+".join(
            WRAPPERS[name].TITLE for name in stacked
        )  # fmt: skip
        yield method, (), title
        if not any("rpat" in part.REFUSES for part in parts):
            yield method, ("rpat",), f"{title} + RPAT"


def preset(name: str) -> Preset:
    """Return a preset; raises `ConfigError` naming the nearest one."""
    known = presets()
    if name not in known:
        raise ConfigError(f"--preset {unknown(name, known)}")
    return known[name]


def label(config: RunConfig) -> str:
    """Return the one label of a combination: a published name, else wrappers and method.

    Wrappers come outermost first. RPAT has a column of its own and is never part of the label;
    the clean pass belongs to the recipes and is not named.
    """
    stack = [w.NAME for w in config.wrappers if w.NAME not in ("rpat", "clean-pass")]
    for name, (method, stacked) in COMBINATIONS.items():
        if (config.method.NAME, tuple(stack)) == (method, tuple(canonical(stacked))):
            return name
    return "+".join([*reversed(stack), config.method.NAME])


def reported_network(wrappers: Iterable[str]) -> str:
    """Return the network whose numbers stand for a run: the average where that is the method.

    ADR's average is a teacher; its published row is the student.
    """
    averages = {"wa": "wa", "rebat": "wa", "rpat++": "wa", "swa": "swa"}
    return next((averages[name] for name in wrappers if name in averages), "online")


def preset_of_row(method: str, rpat: bool, cutmix: bool = False) -> str:
    """Return the preset that trains a row of the paper's tables, or '' where none exists."""
    name = f"paper/{method}" + ("+rpat" if rpat else "") + ("+cutmix" if cutmix else "")
    return name if name in presets() else ""


def _known(option: str, value: str, names: Iterable[str]) -> None:
    if value not in (known := list(names)):
        raise ConfigError(f"{option} {unknown(value, known)}")
