"""Themes: what each colour of the terminal UI is, as small TOML files; no terminal is needed.

Six are ours, in this folder. A file `NAME.toml` in `~/.config/rpat/themes` adds one, or takes the
place of ours; what it does not say is that of its `base`.

    base = "dark"
    [colours]
    background = "#001b2e"
    series = ["#5fabff", …]    # eight, for curves and marks

The colours `red` to `cyan` are what states, remarks and findings are told by, beside their sign
and their word: running is cyan, done green, failed red, paused yellow, lost magenta.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat_tui.settings import config_folder, read_toml

BUILT_IN = ("dark", "light", "high-contrast", "colour-blind", "16-colour", "mono")
MONO, SIXTEEN = "mono", "16-colour"

HUES = ("red", "green", "yellow", "blue", "magenta", "cyan")
COLOURS = (
    "background", "surface", "panel", "cursor", "foreground", "muted", "border", "primary", *HUES,
)  # fmt: skip
"""What a theme names: four backgrounds (of the screen, of boxes in front, of bar and foot, of the
line at the cursor), text, less important text, lines, what has the focus, and the hues."""
SERIES = 8
ANSI = (
    "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
    *(f"bright_{hue}" for hue in ("black", "red", "green", "yellow", "blue", "magenta", "cyan",
                                  "white")),
)  # fmt: skip
"""The colours that a terminal names itself."""

_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_KINDS = ("true", "terminal", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """A theme as it was read."""

    name: str
    about: str
    dark: bool
    kind: str
    """`true`: colours of its own; `terminal`: of the terminal's 16; `none`: attributes alone."""
    colours: Mapping[str, str]
    series: tuple[str, ...]


def folder() -> Path:
    """Return where the user's themes are."""
    return config_folder() / "themes"


def file_of(name: str) -> Path | None:
    """Return the file of a user's theme, None where it is ours or there is none."""
    path = folder() / f"{name}.toml"
    return path if path.name == f"{name}.toml" and path.is_file() else None


def names() -> list[str]:
    """Return the themes there are, ours first."""
    try:
        own = sorted(path.stem for path in folder().glob("*.toml"))
    except OSError:
        own = []
    return [*BUILT_IN, *(name for name in own if name not in BUILT_IN)]


def check(name: str, origin: str = "tui.theme") -> str:
    """Return the name of a theme that exists; raises `ConfigError`."""
    if name not in names():
        raise ConfigError(f"{origin} {unknown(name, names())}; your own lie in {folder()}")
    return name


def load(name: str) -> Theme:
    """Read a theme; raises `ConfigError` naming the file, the entry and what it takes."""
    path = file_of(name)
    if path is None:
        check(name)
        return _ours(name)
    values = read_toml(path)
    base = values.pop("base", name if name in BUILT_IN else "dark")
    if base not in BUILT_IN:
        raise ConfigError(f"theme {path}: base {unknown(str(base), BUILT_IN)}")
    return _made(name, path, values, _ours(base))


def _ours(name: str) -> Theme:
    path = Path(__file__).with_name(f"{name}.toml")
    return _made(name, path, read_toml(path), None)


def _made(name: str, path: Path, values: dict[str, Any], base: Theme | None) -> Theme:
    """Return a theme from what a file says, and its base says of the rest."""
    for word in values:
        if word not in ("about", "dark", "kind", "colours"):
            raise ConfigError(
                f"theme {path}: {unknown(word, ('about', 'dark', 'base', 'colours'))}"
            )
    said = values.get("colours", {})
    if not isinstance(said, dict):
        raise ConfigError(f"theme {path}: colours is no table; write [colours] above them")
    kind = values.get("kind", base.kind if base else "true")
    if kind not in _KINDS:
        raise ConfigError(f"theme {path}: kind {unknown(str(kind), _KINDS)}")
    dark = values.get("dark", base.dark if base else True)
    if not isinstance(dark, bool):
        raise ConfigError(f"theme {path}: dark is {dark!r}; write true or false")
    series = said.pop("series", None)
    for word, colour in said.items():
        if word not in COLOURS:
            raise ConfigError(f"theme {path}: colours.{word}: {unknown(word, COLOURS)}")
        _judge(path, word, colour, kind)
    if series is not None:
        if not isinstance(series, list) or len(series) != SERIES:
            raise ConfigError(f"theme {path}: colours.series: write a list of {SERIES} colours")
        for colour in series:
            _judge(path, "series", colour, kind)
    return Theme(
        name=name,
        about=str(values.get("about", "")) or (f"{path}" if base else ""),
        dark=dark,
        kind=kind,
        colours={**(base.colours if base else {}), **said},
        series=tuple(series) if series is not None else (base.series if base else ()),
    )


def _judge(path: Path, word: str, colour: object, kind: str) -> None:
    if kind == "terminal":
        if colour not in ANSI:
            raise ConfigError(f"theme {path}: colours.{word}: {unknown(str(colour), ANSI)}")
    elif not isinstance(colour, str) or not _HEX.fullmatch(colour):
        raise ConfigError(f"theme {path}: colours.{word} is {colour!r}; write it as #rrggbb")


# ----------------------------------------------------------------- how well it is read


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours: 1 to 21; text wants 4.5."""
    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)
