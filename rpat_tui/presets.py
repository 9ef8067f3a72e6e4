"""Presets of one's own: named drafts of runs in `presets.toml`, beside the settings.

A preset is what a form holds: a text for each field that is not empty, and what is switched on.

    [my-mart]
    method = "mart"
    lam = "1.0"
    on = ["rpat"]
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rpat import recipes
from rpat.errors import ConfigError
from rpat_tui.home import config_files

ON = "on"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,63}")


@dataclass(frozen=True, slots=True)
class Own:
    """One preset: texts by the names of the form's fields, and the switches that are on."""

    texts: Mapping[str, str] = field(default_factory=dict)
    on: tuple[str, ...] = ()


def file() -> Path:
    """Return where own presets are kept."""
    return config_files()[0].with_name("presets.toml")


def own() -> dict[str, Own]:
    """Return the own presets by name; raises `ConfigError` for a file that cannot be read."""
    place = file()
    try:
        values = tomllib.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"presets file {place} cannot be read: {error}") from error
    found = {}
    for name, preset in values.items():
        if not isinstance(preset, dict):
            raise ConfigError(f"presets file {place}: '{name}' is no table; write [{name}]")
        on = preset.pop(ON, [])
        texts = {key: value for key, value in preset.items() if isinstance(value, str)}
        if (
            len(texts) < len(preset)
            or not isinstance(on, list)
            or not all(isinstance(word, str) for word in on)
        ):
            raise ConfigError(f"presets file {place}: [{name}] holds texts and a list 'on' alone")
        found[name] = Own(texts, tuple(on))
    return found


def save(name: str, preset: Own) -> bool:
    """Keep a preset under a name; returns whether one of that name was replaced.

    Raises `ConfigError` for a name that cannot be one, or belongs to a preset of the program.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"preset '{name}': write letters, digits and . _ + / - alone, up to 64")
    if name in recipes.presets():
        raise ConfigError(f"preset '{name}' comes with the program; choose another name")
    known = own()
    _write({**known, name: preset})
    return name in known


def delete(name: str) -> None:
    """Forget an own preset; raises `ConfigError` where there is none."""
    known = own()
    if name not in known:
        raise ConfigError(f"preset '{name}' is none of your own (rpat presets lists them)")
    _write({key: preset for key, preset in known.items() if key != name})


def _write(presets: Mapping[str, Own]) -> None:
    place, parts = file(), []
    for name, preset in sorted(presets.items()):
        lines = [f"[{_quoted(name)}]"]
        lines += [f"{key} = {_quoted(text)}" for key, text in preset.texts.items() if text]
        lines += [f"{ON} = [{', '.join(map(_quoted, preset.on))}]"] * bool(preset.on)
        parts.append("\n".join(lines))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_suffix(".new")
        fresh.write_text("\n\n".join(parts) + "\n" * bool(parts), "utf-8")
        fresh.replace(place)
    except OSError as error:
        raise ConfigError(f"presets file {place} cannot be written: {error.strerror}") from error


def _quoted(text: str) -> str:
    """Return a TOML string; its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
