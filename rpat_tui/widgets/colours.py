"""Colours of the theme in the hands of the application, for what is drawn cell by cell.

Where no theme of ours is worn, as in tests of one widget, series have the colours of the palette.
"""

from __future__ import annotations

from typing import Any

from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.app import App
from textual.color import Color
from textual.theme import Theme as Dress

from rpat_tui.charts.palette import DARK, LIGHT
from rpat_tui.themes import HUES, Theme

SERIES = len(DARK)
FAINT = 0.55
"""Part of a series' colour in the band of its deviation."""


def series_colours(app: App[Any]) -> tuple[str, ...]:
    """Return the colours of series, as Rich writes them."""
    if app.no_color:
        return ("",) * SERIES
    ours = DARK if app.current_theme.dark else LIGHT
    return tuple(app.theme_variables.get(f"series-{i}", ours[i]) for i in range(SERIES))


def series_style(app: App[Any], role: str) -> Style:
    """Return the style of `series-3`, `bold-3`, `band-3` or `curve-3`."""
    kind, _, number = role.partition("-")
    colour = series_colours(app)[int(number) % SERIES]
    if kind == "band" and colour.startswith("#"):
        ground = Color.parse(app.theme_variables.get("background", "#000000"))
        colour = ground.blend(Color.parse(colour), FAINT).hex6
    return Style(
        color=colour or None, bold=True if kind == "bold" else None,
        dim=True if kind == "band" and not colour.startswith("#") else None,
    )  # fmt: skip


def dress_of(theme: Theme) -> Dress:
    """Return a theme as Textual wants it: its colours, and what Textual derives said outright."""
    if theme.kind == "none":
        named = dict.fromkeys(
            ("background", "surface", "panel", "cursor", "foreground", "muted", "border",
             "primary", *HUES), "ansi_default",
        )  # fmt: skip
    elif theme.kind == "terminal":
        named = {name: f"ansi_{colour}" for name, colour in theme.colours.items()}
    else:
        named = dict(theme.colours)
    c = named
    return Dress(
        name=theme.name, dark=theme.dark, ansi=theme.kind != "true",
        primary=c["primary"], secondary=c["cyan"], warning=c["yellow"], error=c["red"],
        success=c["green"], accent=c["magenta"], foreground=c["foreground"],
        background=c["background"], surface=c["surface"], panel=c["panel"],
        variables={
            "ansi-background": c["background"], "ansi-foreground": c["foreground"],
            "text": c["foreground"], "text-muted": c["muted"], "text-disabled": c["muted"],
            "foreground-muted": c["muted"], "foreground-disabled": c["muted"],
            "text-primary": c["primary"], "text-secondary": c["cyan"], "text-warning": c["yellow"],
            "text-error": c["red"], "text-success": c["green"], "text-accent": c["magenta"],
            "panel": c["panel"], "surface": c["surface"], "background": c["background"],
            "border": c["primary"], "border-blurred": c["border"],
            "block-cursor-background": c["cursor"], "block-cursor-foreground": c["foreground"],
            "block-cursor-blurred-background": c["cursor"],
            "block-cursor-blurred-foreground": c["foreground"],
            "footer-background": c["panel"], "footer-foreground": c["foreground"],
            "footer-key-foreground": c["primary"],
            "footer-description-foreground": c["foreground"],
            "input-cursor-background": c["foreground"], "input-cursor-foreground": c["background"],
            "input-cursor-text-style": "reverse" if theme.kind == "none" else "none",
            "input-selection-background": c["cursor"],
            "input-selection-foreground": c["foreground"],
            "scrollbar": c["border"], "scrollbar-hover": c["border"],
            "scrollbar-active": c["primary"], "scrollbar-background": c["background"],
            "scrollbar-corner-color": c["background"],
            "screen-selection-background": c["cursor"],
            "screen-selection-foreground": c["foreground"],
            **{f"series-{i}": colour for i, colour in enumerate(theme.series)},
        },
    )  # fmt: skip


def named_colours(theme: Theme) -> TerminalTheme:
    """Return what `red` or `bright_cyan` is where a text names it, for themes of their own."""
    c = theme.colours

    def rgb(colour: str) -> tuple[int, int, int]:
        return tuple(Color.parse(colour).rgb)  # type: ignore[return-value]

    hues = [rgb(c[hue]) for hue in HUES]
    return TerminalTheme(
        rgb(c["background"]), rgb(c["foreground"]),
        [rgb(c["background"]), *hues, rgb(c["foreground"])],
        [rgb(c["muted"]), *hues, rgb(c["foreground"])],
    )  # fmt: skip
