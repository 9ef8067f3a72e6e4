"""Fields with a range, a unit and a help text, and the frozen sections made of them.

A section is a frozen dataclass whose fields are declared with `knob`. Values are parsed and
checked when the section is built, so an object that exists is valid. Standard library only.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, dataclass_transform

from rpat.errors import ConfigError

_MISSING: Any = object()
T = TypeVar("T")


def knob(
    help: str,
    *,
    default: Any = _MISSING,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
    parse: Callable[[Any], Any] | None = None,
    identity: bool = True,
    legacy: Any = _MISSING,
) -> Any:
    """Declare a field of a section.

    `low`, `high` (inclusive) and `above` (exclusive) bound numbers; `choices` lists the allowed
    words; `parse` turns a value into its canonical form or raises `ValueError`. A field with
    `identity=False` says where or how a run is carried out, not what it is, and stays out of the
    fingerprint. A field added after the first release declares in `legacy` the value that older
    configs had; it stays out of the fingerprint while it has that value.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "parse": parse,
        "identity": identity,
        "legacy": legacy,
    }
    if default is _MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(knob,))
def section(name: str) -> Callable[[type[T]], type[T]]:
    """Make a frozen, validated dataclass whose errors start with `name.`."""

    def decorate(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(
            init=False, repr=False, eq=False, match_args=False, slots=True, kw_only=True
        )(cls)  # what it would write for each class, `Section` has once for all
        made.SECTION = name  # type: ignore[attr-defined]
        return made

    return decorate


class Section:
    """Base of every section: parses and checks each field when the object is built."""

    __slots__ = ()
    SECTION: typing.ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:
        own: Any = type(self)
        hints = type_hints(own)
        for field in fields(self):
            value = values.pop(field.name) if field.name in values else _default(self, field)
            value = _read(_path(self, field.name), value, hints, field)
            object.__setattr__(self, field.name, value)
        for name in values:
            raise TypeError(f"{type(self).__name__} has no field {name!r}")
        self.check()

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        told = (f"{name}={value!r}" for name, value in _values(self).items())
        return f"{type(self).__qualname__}({', '.join(told)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(tuple(_values(self).values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_of, (type(self), _values(self))  # a copy is parsed and checked as well

    def check(self) -> None:
        """Check what involves several fields; raise `ConfigError`."""

    def fail(self, field: str, problem: str) -> typing.NoReturn:
        """Raise a `ConfigError` that names the field and its value."""
        raise ConfigError(f"{_path(self, field)} is {show(getattr(self, field))}; {problem}")


def fields(section: Any) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a section or of its class."""
    return dataclasses.fields(section)


@cache
def type_hints(cls: Any) -> dict[str, Any]:
    """Return the resolved annotations of a section's class."""
    return typing.get_type_hints(cls)


def _default(section: Any, field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(f"{type(section).__name__} needs {field.name!r}")
    return field.default


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def _values(section: Any) -> dict[str, Any]:
    return {name: getattr(section, name) for name in _names(section.__class__)}


def _made_of(cls: type[T], values: Mapping[str, Any]) -> T:
    return cls(**values)


def to_dict(section: Any) -> dict[str, Any]:
    """Return a section as plain JSON values."""
    return {f.name: _plain(getattr(section, f.name)) for f in fields(section)}


def from_dict(cls: type[T], values: Mapping[str, Any], path: str) -> T:
    """Build a section from plain values; an unknown key is refused with the nearest known one."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must be a table of keys, not {values!r}")
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}.{key}: {unknown(key, known)}")
    return cls(**values)


def unknown(word: str, known: Iterable[str]) -> str:
    """Say that a word is not known, with the nearest known one or the whole list."""
    import difflib  # only who has mistyped needs it

    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1)
    if near:
        return f"'{word}' is not known; did you mean '{near[0]}'?"
    return f"'{word}' is not known; choose one of {', '.join(options)}"


def number(value: Any) -> float:
    """Read a number, written as such or as a fraction like `8/255`."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        from fractions import Fraction  # defaults are numbers already

        try:
            above, _, below = value.replace(" ", "").partition("/")
            return float(Fraction(above) / int(below)) if below else float(value)
        except (ValueError, ZeroDivisionError):
            raise ValueError("expected a number or a fraction such as 8/255") from None
    if isinstance(value, int | float):
        return float(value)
    raise ValueError("expected a number")


def show(value: Any) -> str:
    """Format a value for people: pixel radii as n/255, everything else briefly."""
    if isinstance(value, float) and 0 < value < 1 and len(f"{value:g}") > 4:
        scaled = round(value * 255 * 8) / 8  # eighths: 0.5/255 and 0.125/255 as well
        if abs(value * 255 - scaled) < 1e-9:
            return f"{scaled:g}/255"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(show(v) for v in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _path(section: Any, field: str) -> str:
    return f"{section.SECTION}.{field}" if section.SECTION else field


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read(path: str, value: Any, hints: dict[str, Any], field: dataclasses.Field[Any]) -> Any:
    meta = field.metadata
    if "help" not in meta:  # a nested section or another plain field
        return value
    try:
        value = meta["parse"](value) if meta["parse"] else _coerce(hints[field.name], value)
    except ValueError as error:
        raise ConfigError(f"{path} is {value!r}; {error}") from None
    if meta["choices"] is not None and value not in meta["choices"]:
        raise ConfigError(f"{path}: {unknown(str(value), meta['choices'])}")
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int | float) and not isinstance(item, bool):
            _check_range(path, item, meta)
    return value


def _check_range(path: str, value: float, meta: Mapping[str, Any]) -> None:
    low, high, above = meta["low"], meta["high"], meta["above"]
    if not math.isfinite(value):
        raise ConfigError(f"{path} is {value}; write a finite number")
    if low is not None and value < low:
        raise ConfigError(f"{path} is {show(value)}; it must be at least {low:g}")
    if above is not None and value <= above:
        raise ConfigError(f"{path} is {show(value)}; it must be above {above:g}")
    if high is not None and value > high:
        raise ConfigError(f"{path} is {show(value)}; it must be at most {high:g}")


def _coerce(kind: Any, value: Any) -> Any:
    if kind is bool:
        return _boolean(value)
    if kind is int:
        return _integer(value)
    if kind is float:
        return number(value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("expected a text")
        return value
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [part for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list")
        return tuple(_coerce(typing.get_args(kind)[0], item) for item in value)
    raise TypeError(f"no reader for {kind}")


def _boolean(value: Any) -> bool:
    words = {"true": True, "on": True, "yes": True, "1": True}
    words |= {"false": False, "off": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("write true or false")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("expected a whole number")
