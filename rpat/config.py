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
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import Section, fields, from_dict, knob, section, to_dict, unknown
from rpat.objectives import (
    METHODS,
    WRAPPER_ORDER,
    WRAPPERS,
    Knobs,
    MethodConfig,
    WrapperConfig,
    method,
    wrapper,
)
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
    mode: str = knob("numeric mode: reference, exact or fast", default="exact", choices=MODES)
    seed: int = knob("seed of every random draw", default=0, low=0, high=2**31 - 1)
    device: str = knob("auto, cpu or cuda:N", default="auto", identity=False)
    gpus: int = knob(
        "cards that share the run; on a CPU, processes", default=1, low=1, high=64, identity=False
    )
    compiled: bool = knob(
        "compile the passes of mode exact or fast; only roundings change",
        default=False,
        identity=False,
    )
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
        for part in (self.method, *self.wrappers):
            for stacked in self.wrappers:
                if reason := part.REFUSES.get(stacked.NAME):
                    raise ConfigError(f"{stacked.NAME} on '{part.NAME}': {reason}")
            if self.data.cutmix and (reason := part.REFUSES.get("cutmix")):
                raise ConfigError(f"data.cutmix on '{part.NAME}': {reason}")
        if self.attack.steps and (reason := self.method.REFUSES.get("attack.steps")):
            raise ConfigError(
                f"attack.steps is {self.attack.steps} on '{self.method.NAME}': {reason}"
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
        if self.gpus > 1 and self.device.startswith("cuda:"):
            self.fail("gpus", f"device {self.device} is one card; use --device cuda, or --gpus 1")
        if self.compiled and self.mode == "reference":
            self.fail(
                "compiled",
                "mode reference makes the authors' own passes: use --mode exact or fast, or leave "
                "out --compiled",
            )

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


_PLAIN = ("mode", "seed", "device", "gpus", "compiled", "log_every", "keep_every")


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
