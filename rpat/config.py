"""What a run is: one frozen, validated value.

`RunConfig` holds every number that decides a run's result. It is built by a recipe
(`rpat.recipes`), changed only by `RunConfig.override`, written to `config.json`, and read by
the training process; nothing downstream fills in or derives a value. Pixels live on [0, 1];
radii and steps may be written as fractions (`8/255`) and are stored as floats.

To add a method, add its knobs class below with `@method` and a class of the same name in
`rpat/methods/`; what stacks on any method is a `@wrapper` with its class in `rpat/wrappers/`.
Standard library only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, dataclass_transform

from rpat.errors import ConfigError
from rpat.knobs import Section, fields, from_dict, knob, number, section, to_dict, unknown
from rpat.sections import (
    DATASETS,
    MODELS,
    MODES,
    NORMS,
    SECTIONS,
    AttackConfig,
    DataConfig,
    DatasetFacts,
    EvalConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    ThreatConfig,
)

__all__ = [
    "DATASETS", "METHODS", "MODELS", "MODES", "NORMS", "SCHEMA", "SECTIONS", "WRAPPERS",
    "WRAPPER_ORDER", "AttackConfig", "DataConfig", "DatasetFacts", "EvalConfig", "Knobs",
    "MethodConfig", "ModelConfig", "OptimConfig", "RunConfig", "ScheduleConfig", "ThreatConfig",
    "WrapperConfig", "canonical", "incidental", "method", "wrapper",
]  # fmt: skip

SCHEMA = 1
WRAPPER_ORDER = (
    "kd", "cure", "rpat", "awp", "clean-pass", "adr", "rebat", "rpat++", "wa", "swa",
)  # fmt: skip
"""Canonical nesting, innermost first: equal stacks have equal fingerprints."""


# --------------------------------------------------------------------------- methods, wrappers

K = TypeVar("K")
METHODS: dict[str, type[MethodConfig]] = {}
WRAPPERS: dict[str, type[WrapperConfig]] = {}


class Knobs(Section):
    """Base of the knobs of a method or wrapper; the class attributes describe it to people."""

    __slots__ = ()
    NAME: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    CITATION: ClassVar[str] = ""
    OBJECTIVE: ClassVar[str] = ""
    REFUSES: ClassVar[Mapping[str, str]] = {}
    """Wrappers that make no sense on this one, each with the reason."""


class MethodConfig(Knobs):
    """Base of every method's knobs."""

    __slots__ = ()


class WrapperConfig(Knobs):
    """Base of the knobs of what stacks on any method."""

    __slots__ = ()


def _register(
    registry: dict[str, Any], name: str, facts: Mapping[str, Any]
) -> Callable[[type[K]], type[K]]:
    def decorate(cls: type[K]) -> type[K]:
        made = section(name)(cls)
        for attribute, value in {"NAME": name, **facts}.items():
            setattr(made, attribute, value)
        registry[name] = made
        return made

    return decorate


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(knob,))
def method(
    name: str, *, title: str, cite: str, objective: str, refuses: Mapping[str, str] | None = None
) -> Callable[[type[K]], type[K]]:
    """Register a method's knobs under the name that users write."""
    facts = {"TITLE": title, "CITATION": cite, "OBJECTIVE": objective, "REFUSES": refuses or {}}
    return _register(METHODS, name, facts)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(knob,))
def wrapper(name: str, *, title: str, cite: str, objective: str) -> Callable[[type[K]], type[K]]:
    """Register the knobs of a wrapper under the name that `--with` takes."""
    facts = {"TITLE": title, "CITATION": cite, "OBJECTIVE": objective}
    return _register(WRAPPERS, name, facts)


@method(
    "clean",
    title="Clean training",
    cite="-",
    objective="CE(z(x), y)",
    refuses={"rpat": "clean training makes no adversarial image to interpolate to"},
)
class CleanConfig(MethodConfig):
    """Natural training; the reference of Fig. 2."""


@method(
    "random",
    title="Random-noise training",
    cite="-",
    objective="CE(z(x + noise), y)",
    refuses={"rpat": "random-noise training makes no adversarial image to interpolate to"},
)
class RandomConfig(MethodConfig):
    """Training on uniform noise in the ball; the reference of Fig. 2."""


@method(
    "pgd-at",
    title="PGD-AT",
    cite="Madry et al., ICLR 2018",
    objective="CE(z(x'), y)",
)
class PgdAtConfig(MethodConfig):
    """Adversarial training on PGD examples."""


@method(
    "trades",
    title="TRADES",
    cite="Zhang et al., ICML 2019",
    objective="CE(z(x), y) + beta * KL(p(x) || p(x'))",
)
class TradesConfig(MethodConfig):
    """Knobs of TRADES."""

    beta: float = knob("weight of the KL term", default=6.0, low=0)


@method(
    "mart",
    title="MART",
    cite="Wang et al., ICLR 2020",
    objective="BCE(z(x'), y) + beta * mean (1 - p_y(x)) KL(p(x) || p(x'))",
)
class MartConfig(MethodConfig):
    """Knobs of MART. The original uses beta 5; 6 is the value of the RPAT benchmark (D14)."""

    beta: float = knob("weight of the misclassification-aware KL term", default=6.0, low=0)


def alpha_word(value: Any) -> str | float:
    """Read RPAT's alpha: a number inside (0, 1), or `beta-` / `beta+` for a draw per batch."""
    if value in ("beta-", "beta+"):
        return str(value)
    alpha = number(value)
    if not 0.001 <= alpha <= 0.999:
        raise ValueError("write a number between 0.001 and 0.999, or beta- or beta+")
    return alpha


@wrapper(
    "rpat",
    title="RPAT",
    cite="Wang & Liu, ICCV 2025",
    objective="+ lam * MSE(z(x~), (1-alpha) z(x) + alpha z(x')),  x~ = x + alpha (x' - x)",
)
class RpatConfig(WrapperConfig):
    """Robust Perception: logits change evenly from the clean to the adversarial image."""

    lam: float = knob("weight of the term", default=1.0, low=0)
    alpha: str | float = knob(
        "weight of the adversarial end; beta- and beta+ draw min or max of (b, 1-b), "
        "b ~ Beta(0.75, 0.75), once a batch",
        default=0.5,
        parse=alpha_word,
    )
    form: str = knob(
        "interp: as released; eq3: as printed, larger by 1/(alpha (1-alpha))^2",
        default="interp",
        choices=("interp", "eq3"),
    )
    criterion: str = knob(
        "distance between the two logits (Fig. 4a)",
        default="mse",
        choices=("mse", "kl", "js", "cosine"),
    )
    start_epoch: int = knob("first epoch, from 0, in which the term is active", default=0, low=0)

    def check(self) -> None:
        """Eq. (3) is a statement about differences of logits: it needs the MSE."""
        if self.form == "eq3" and self.criterion != "mse":
            self.fail("criterion", "the eq3 form is defined for mse only")


# --------------------------------------------------------------------------- the run


@section("")
class RunConfig(Section):
    """Everything that decides a training run's result, and where it shall be computed."""

    method: MethodConfig
    wrappers: tuple[WrapperConfig, ...] = ()
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    threat: ThreatConfig = dataclasses.field(default_factory=ThreatConfig)
    attack: AttackConfig = dataclasses.field(default_factory=AttackConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    mode: str = knob("numeric mode", default="reference", choices=MODES)
    seed: int = knob("seed of every random draw", default=0, low=0, high=2**31 - 1)
    device: str = knob("auto, cpu or cuda:N", default="auto", identity=False)
    log_every: int = knob(
        "steps between two journaled step losses", default=50, low=1, identity=False
    )
    keep_every: int = knob(
        "keep the weights of every N-th epoch; 0: none", default=0, low=0, identity=False
    )

    def check(self) -> None:
        """Refuse what makes no sense together, with the reason."""
        order = [WRAPPER_ORDER.index(w.NAME) for w in self.wrappers]
        if order != sorted(set(order)):
            names = ", ".join(w.NAME for w in self.wrappers)
            raise ConfigError(f"wrappers are {names}; name each once, in canonical order")
        for stacked in self.wrappers:
            if reason := self.method.REFUSES.get(stacked.NAME):
                raise ConfigError(f"--{stacked.NAME} on method '{self.method.NAME}': {reason}")
        if self.mode != "reference":
            raise ConfigError(
                f"mode is {self.mode}; this version computes mode 'reference' only: "
                "leave --mode out"
            )
        starts = {
            "linf": ("zero", "uniform", "normal"),
            "l2": ("zero", "box", "direction", "normal"),
        }
        for place in (self.attack, self.eval):
            if place.start.partition(":")[0] not in starts[self.threat.norm]:
                place.fail(
                    "start", f"{self.threat.norm} takes {', '.join(starts[self.threat.norm])}"
                )
        for place in (self.attack, self.eval):
            if self.threat.norm == "linf" and place.step_size > 1:
                whole = f"{place.step_size:g}"
                raise ConfigError(
                    f"{place.SECTION}.step_size is {whole}; pixels live in [0, 1], so write "
                    f"{whole}/255, not {whole}"
                )
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            self.fail("device", "write auto, cpu or cuda:N")

    def wrapper(self, name: str) -> Any:
        """Return the knobs of a stacked wrapper, or None."""
        return next((w for w in self.wrappers if name == w.NAME), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values, one key a section."""
        out: dict[str, Any] = {"schema": SCHEMA, "method": self.method.NAME}
        out["wrappers"] = [w.NAME for w in self.wrappers]
        out[self.method.NAME] = to_dict(self.method)
        out |= {w.NAME: to_dict(w) for w in self.wrappers}
        out |= {name: to_dict(getattr(self, name)) for name in SECTIONS}
        return out | {name: getattr(self, name) for name in _PLAIN}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunConfig:
        """Build a config from plain values; refuse unknown keys, sections and schemas.

        Raises `ConfigError` with one line that names the key, the value and the remedy.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"a config is a table of sections, not {values!r}")
        given = dict(values)
        schema = given.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise ConfigError(f"schema is {schema}; this version of rpat reads schema {SCHEMA}")
        name = given.pop("method", None)
        if name not in METHODS:
            raise ConfigError(f"method: {unknown(str(name), METHODS)}")
        stacked = given.pop("wrappers", [])
        for wrapped in stacked:
            if wrapped not in WRAPPERS:
                raise ConfigError(f"wrappers: {unknown(str(wrapped), WRAPPERS)}")
        parts: dict[str, Any] = {
            "method": from_dict(METHODS[name], given.pop(name, {}), name),
            "wrappers": tuple(from_dict(WRAPPERS[w], given.pop(w, {}), w) for w in stacked),
        }
        for key, cls in SECTIONS.items():
            parts[key] = from_dict(cls, given.pop(key, {}), key)
        parts |= {key: given.pop(key) for key in _PLAIN if key in given}
        for key in given:
            known = ["schema", "method", "wrappers", name, *stacked, *SECTIONS, *_PLAIN]
            raise ConfigError(f"{key}: {_absent_section(key) or unknown(key, known)}")
        return RunConfig(**parts)

    def override(self, changes: Mapping[str, Any]) -> RunConfig:
        """Return a config with dotted keys changed, as `--set attack.steps=7` does."""
        values = self.to_dict()
        for dotted, value in changes.items():
            *path, key = dotted.split(".")
            place = values
            for part in path:
                if not isinstance(place.get(part), dict):
                    place_names = [k for k, v in place.items() if isinstance(v, dict)]
                    problem = _absent_section(part) or unknown(part, place_names)
                    raise ConfigError(f"{dotted}: {problem}")
                place = place[part]
            if key not in place:
                raise ConfigError(f"{dotted}: {unknown(key, place)}")
            if isinstance(place[key], dict) or dotted in ("schema", "method", "wrappers"):
                raise ConfigError(f"{dotted}={value}: name one value inside it, or use its option")
            place[key] = value
        return RunConfig.from_dict(values)

    def identity(self) -> dict[str, Any]:
        """Return what makes two runs the same experiment: all but place, paths and pace."""
        out = self.to_dict()
        for name, part in [
            *((n, getattr(self, n)) for n in SECTIONS),
            (self.method.NAME, self.method),
            *((w.NAME, w) for w in self.wrappers),
        ]:
            out[name] = _identity(part, out[name])
        plain = _identity(self, {name: out.pop(name) for name in _PLAIN})
        return out | plain

    def fingerprint(self) -> str:
        """Return the SHA-256 of the identity as canonical JSON."""
        return _digest(self.identity())

    def group(self) -> str:
        """Return the fingerprint without the seed: runs of one group may be averaged."""
        return _digest({k: v for k, v in self.identity().items() if k != "seed"})


_PLAIN = ("mode", "seed", "device", "log_every", "keep_every")


def _identity(part: Any, values: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for field in fields(part):
        if field.name not in values or not field.metadata["identity"]:
            continue
        if getattr(part, field.name) != field.metadata["legacy"]:
            kept[field.name] = values[field.name]
    return kept


@cache
def incidental() -> frozenset[str]:
    """Return the dotted keys that say where or how a run is computed, not what it is."""
    named = {**SECTIONS, **METHODS, **WRAPPERS}
    inner = {f"{n}.{f.name}" for n, c in named.items() for f in fields(c) if not _counts(f)}
    return frozenset(inner | {f.name for f in fields(RunConfig) if not _counts(f)})


def _counts(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("identity", True))


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _absent_section(name: str) -> str:
    if name in WRAPPERS:
        add = "--rpat" if name == "rpat" else f"--with {name}"
        return f"'{name}' is not part of this run; add {add}"
    if name in METHODS:
        return f"'{name}' is not this run's method; use --method {name}"
    return ""


def canonical(names: Iterable[str]) -> list[str]:
    """Sort wrapper names innermost first; refuse unknown and repeated ones."""
    chosen = list(names)
    for name in chosen:
        if name not in WRAPPERS:
            raise ConfigError(f"--with {unknown(name, WRAPPERS)}")
        if chosen.count(name) > 1:
            raise ConfigError(f"--with {name} is given twice; name it once")
    return sorted(chosen, key=WRAPPER_ORDER.index)
