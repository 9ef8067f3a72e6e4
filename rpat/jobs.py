"""What a job beside training is: an evaluation or a study of weights that exist; frozen values.

A job is a run directory like a training run (`config.json` with `kind` `eval` or `study`), so
queue, launcher, journal, states and attempts are the same. It names its subject, a run or a
checkpoint file, and holds complete settings: nothing is derived when it runs. Standard library
only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any, Self

from rpat.config import AttackConfig, DataConfig, ModelConfig, ThreatConfig
from rpat.errors import ConfigError
from rpat.knobs import Section, fields, from_dict, knob, section, to_dict, type_hints, unknown

ATTACKS = ("fgsm", "pgd", "apgd-ce", "apgd-t", "fab-t", "square", "aa")
"""What an evaluation can attack with; `aa` is AutoAttack's standard version, the four before it
its parts alone."""

STUDIES = ("perception", "smoothness")


def checkpoint_word(value: Any) -> str:
    """Read the name of kept weights: best, final or epoch:N."""
    kind, sign, epoch = str(value).partition(":")
    if (kind in ("best", "final") and not sign) or (kind == "epoch" and epoch.isdigit()):
        return str(value)
    raise ValueError("write best, final or epoch:N")


@section("subject")
class SubjectConfig(Section):
    """Whose weights: those of a run, by its uid, or a file, by its SHA-256."""

    run: str = knob("uid of the run; empty: a file", default="")
    checkpoints: tuple[str, ...] = knob("kept weights of the run", default=("best", "final"))
    networks: tuple[str, ...] = knob("networks of the run", default=("online",))
    sha256: str = knob("SHA-256 of the file", default="")
    key: str = knob("which network of the file, where it holds several", default="")
    folder: str = knob("directory of the run", default="", identity=False)
    file: str = knob("path of the file", default="", identity=False)
    method: str = knob("what trained it, as lists show it", default="", identity=False)
    rpat: bool = knob("RPAT's term took part", default=False, identity=False)
    lam: float = knob("weight of RPAT's term", default=0.0, identity=False)
    epochs: int = knob("epochs of its training; 0: unknown", default=0, identity=False)

    def check(self) -> None:
        """One subject, with weights that have names."""
        if bool(self.run) == bool(self.sha256):
            raise ConfigError("a job looks at a run or at a file: give one of them")
        for word in self.checkpoints:
            try:
                checkpoint_word(word)
            except ValueError as error:
                raise ConfigError(f"checkpoint '{word}': {error}") from None


@section("images")
class ImagesConfig(Section):
    """Which images of the data set."""

    split: str = knob("split", default="test", choices=("test", "val", "train"))
    n: int = knob("class-balanced subset, the same in every job; 0: all", default=0, low=0)
    indices: tuple[int, ...] = knob("exactly these positions of the split", default=(), low=0)

    def check(self) -> None:
        """One way of choosing, each image once."""
        if self.n and self.indices:
            raise ConfigError("images.n and images.indices are both given; keep one of them")
        if len(set(self.indices)) < len(self.indices):
            raise ConfigError("images.indices names an image twice; name each once")


@section("numerics")
class NumericsConfig(Section):
    """How the network computes. Anything but the defaults is for emulation, and marked."""

    dtype: str = knob("type", default="float32", choices=("float32", "bfloat16"))
    tf32: bool = knob("TF32 for convolutions and matrix products", default=False)
    bn: str = knob(
        "BatchNorm: running (eval) or batch (train) statistics",
        default="eval",
        choices=("eval", "train"),
    )
    folded: bool = knob(
        "fold BatchNorm into the convolutions, as modes exact and fast do",
        default=False,
        legacy=False,
    )

    def check(self) -> None:
        """Only running statistics are constants that can be folded."""
        if self.folded and (self.bn, self.dtype) != ("eval", "float32"):
            raise ConfigError(
                "numerics.folded is True; it goes with numerics.bn eval and numerics.dtype float32"
            )


def _section(cls: type[Section], **defaults: Any) -> Any:
    return dataclasses.field(default_factory=lambda: cls(**defaults))


@section("")
class Job(Section):
    """What evaluations and studies have in common."""

    subject: SubjectConfig
    data: DataConfig = _section(DataConfig)
    model: ModelConfig = _section(ModelConfig)
    threat: ThreatConfig = _section(ThreatConfig)
    attack: AttackConfig = _section(AttackConfig, steps=20, order="clip-project", floor="max:1e-06")
    images: ImagesConfig = _section(ImagesConfig)
    numerics: NumericsConfig = _section(NumericsConfig)
    try_normalize: bool = knob(
        "choose the input normalisation with the higher clean accuracy", default=False
    )
    seed: int = knob("seed of every random draw", default=0, low=0, high=2**31 - 1)
    batch_size: int = knob("images a forward pass", default=500, low=1)
    device: str = knob("auto, cpu or cuda:N", default="auto", identity=False)

    KIND: typing.ClassVar[str] = ""

    def check(self) -> None:
        """Refuse settings that would have no effect, and devices that do not exist."""
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            self.fail("device", "write auto, cpu or cuda:N")
        unused = AttackConfig()
        for name in ("bn", "closing_forward", "double_forward"):
            if getattr(self.attack, name) != getattr(unused, name):
                self.attack.fail(name, "evaluation crafts as numerics.bn says, without more passes")

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain JSON values."""
        return {
            f.name: to_dict(getattr(self, f.name)) if _is_section(self, f.name) else _plain(
                getattr(self, f.name)
            )
            for f in fields(self)
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a job from plain values; unknown keys are refused with the nearest known one."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"a job is a table of sections, not {values!r}")
        parts: dict[str, Any] = {}
        known = [f.name for f in fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{key}: {unknown(key, known)}")
            owner: Any = cls
            inner = type_hints(owner)[key]
            parts[key] = from_dict(inner, value, key) if _is_section(cls, key) else value
        for field in fields(cls):
            optional = field.default is not MISSING or field.default_factory is not MISSING
            if not optional and field.name not in parts:
                raise ConfigError(f"{field.name} is missing; queue the job again")
        return cls(**parts)

    def override(self, changes: Mapping[str, Any]) -> Self:
        """Return the job with dotted keys changed, as `--set attack.steps=50` does."""
        values = self.to_dict()
        for dotted, value in changes.items():
            first, _, last = dotted.rpartition(".")
            place = values.get(first) if first else values
            if not isinstance(place, dict) or first == "subject":
                sections = [k for k, v in values.items() if isinstance(v, dict) and k != "subject"]
                raise ConfigError(f"{dotted}: {unknown(first, sections)}")
            if last not in place or isinstance(place[last], dict):
                raise ConfigError(f"{dotted}: {unknown(last, place)}")
            place[last] = value
        return self.from_dict(values)

    def identity(self) -> dict[str, Any]:
        """Return what makes two jobs the same one: all but place and titles."""
        out: dict[str, Any] = {"kind": self.KIND}
        for field in fields(self):
            value = getattr(self, field.name)
            if _is_section(self, field.name):
                out[field.name] = _identity(value)
            elif field.metadata["identity"] and value != field.metadata["legacy"]:
                out[field.name] = _plain(value)
        return out

    def fingerprint(self) -> str:
        """Return the SHA-256 of the identity as canonical JSON."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


@section("")
class EvalJob(Job):
    """Attacks against kept weights."""

    attacks: tuple[str, ...] = knob("attacks, one after the other", default=("pgd",))
    restarts: int = knob("PGD: restarts, of which the worst counts", default=1, low=1)
    keep: bool = knob("keep the adversarial images", default=False, identity=False)
    differs: str = knob("what differs from training", default="", identity=False)

    KIND: typing.ClassVar[str] = "eval"

    def check(self) -> None:
        """Attacks that exist, each once."""
        Job.check(self)
        for name in self.attacks:
            if name not in ATTACKS:
                raise ConfigError(f"--attack {unknown(name, ATTACKS)}")
            if self.attacks.count(name) > 1:
                raise ConfigError(f"--attack {name} is given twice; name it once")
        if not self.attacks:
            raise ConfigError(f"--attack is empty; choose of {', '.join(ATTACKS)}")


@section("")
class StudyJob(Job):
    """A closer look at kept weights: what they perceive, how smooth they are."""

    study: str = knob("which study", choices=STUDIES)
    average: str = knob(
        "perception: mean over images (sample), or of batch means as the release has it (batch)",
        default="sample",
        choices=("sample", "batch"),
    )
    alphas: int = knob("smoothness: points from x to the adversarial image", default=11, low=3)
    jacobian_n: int = knob("smoothness: images whose Jacobian is measured", default=200, low=0)
    iterations: int = knob("smoothness: power iterations; 0: no Jacobian", default=20, low=0)

    KIND: typing.ClassVar[str] = "study"

    def check(self) -> None:
        """The middle is a point of the grid."""
        Job.check(self)
        if self.alphas % 2 == 0:
            self.fail("alphas", "write an odd number, so that 0.5 is a point of the grid")


KINDS: dict[str, type[EvalJob] | type[StudyJob]] = {"eval": EvalJob, "study": StudyJob}


def _is_section(owner: Any, name: str) -> bool:
    hint = type_hints(owner if isinstance(owner, type) else type(owner))[name]
    return isinstance(hint, type) and issubclass(hint, Section)


def _identity(part: Any) -> dict[str, Any]:
    return {
        f.name: _plain(getattr(part, f.name))
        for f in fields(part)
        if f.metadata["identity"] and getattr(part, f.name) != f.metadata["legacy"]
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
