"""An application that wears our themes, and a user's own, also while its file is being written."""

from __future__ import annotations

from pathlib import Path

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color as TextualColor
from textual.filter import LineFilter, Monochrome, NoColor

from rpat.errors import ConfigError
from rpat_tui import themes
from rpat_tui.widgets.colours import dress_of, named_colours

PLAIN = "-attributes"
"""Class of the application where colours are the terminal's or none: reversed says more there."""

TERMINAL = "-terminal"
"""Class of the application where they are the terminal's."""

STATES = {1: 9, 3: 11, 4: 14, 5: 13, 8: 7}
"""Colours of the 16 that cannot be read on black everywhere, and what stands in for them."""


class Readable(LineFilter):
    """Puts brighter colours of the terminal in the place of dark ones."""

    def apply(self, segments: list[Segment], background: TextualColor) -> list[Segment]:
        """Return the segments with colours that can be read on black."""
        made = []
        for text, style, control in segments:
            number = style.color.number if style is not None and style.color is not None else None
            if style is not None and number in STATES:
                style = style + Style(color=Color.from_ansi(STATES[number]))
            made.append(Segment(text, style, control))
        return made


class Dressed(App[int]):
    """Wears a theme by its name; see `rpat_tui.themes`."""

    CSS = """
    .-attributes {
        RunTable > .run-table--cursor { text-style: bold reverse; }
        RunTable > .run-table--blurred { background: $background; text-style: underline; }
        PaperTable > .paper--cursor { text-style: bold reverse; }
        PaperTable > .paper--blurred { background: $background; text-style: underline; }
        PaperTable > .paper--line { background: $background; text-style: underline; }
        Jump > .sign { text-style: bold reverse; }
        OptionList > .option-list--option-highlighted { text-style: bold underline; }
        OptionList:focus > .option-list--option-highlighted { text-style: bold underline; }
        #summary:focus, #verdict:focus { background-tint: transparent; }
        Page.-wide .pane:focus-within, Page.-broad .pane:focus-within,
        Page.-wide #left:focus-within, Page.-broad #left:focus-within,
        Page.-wide #page:focus-within, CompareScreen.-wide #panes > *:focus {
            border: heavy $foreground; border-title-style: bold;
        }
        FooterKey .footer-key--key { text-style: bold; }
        CommandPalette OptionList > .option-list--option-highlighted { text-style: bold underline; }
    }
    .-terminal {
        Screen, ModalScreen > .box { background: ansi_black; color: ansi_bright_white; }
        Jump { background: transparent; }
        Jump > .sign { background: ansi_cyan; color: ansi_black; text-style: bold; }
    }
    Bar:nocolor { text-style: reverse; }
    """
    worn_file: Path | None = None
    """Where the theme that is worn was read, None for ours."""
    _worn_at = (0, 0)

    def wear(self, name: str) -> None:
        """Put a theme on, also one that is worn but has changed; raises `ConfigError`."""
        theme = themes.load(name)
        self.register_theme(dress_of(theme))
        self.worn_file = themes.file_of(name)
        self._worn_at = self._stamp()
        self._filters = [
            f for f in self._filters if not isinstance(f, NoColor | Monochrome | Readable)
        ]
        self.no_color = theme.kind == "none"
        if theme.kind == "none":
            self._filters.append(NoColor())
        elif theme.kind == "terminal":
            self._filters.append(Readable())
        else:
            which = "ansi_theme_dark" if theme.dark else "ansi_theme_light"
            self.set_reactive(getattr(App, which), named_colours(theme))
        self.set_class(theme.kind != "true", PLAIN)
        self.set_class(theme.kind == "terminal", TERMINAL)
        if self.theme == name:
            self._watch_theme(name)
        else:
            self.theme = name

    def _stamp(self) -> tuple[int, int]:
        """Return what changes when the file of the theme is written."""
        try:
            status = self.worn_file.stat() if self.worn_file else None
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size) if status else (0, 0)

    def look_at_theme(self) -> None:
        """Wear the theme anew when its file has been written since; say what is wrong with it."""
        if self.worn_file is None or (now := self._stamp()) == self._worn_at:
            return
        self._worn_at = now
        try:
            self.wear(self.worn_file.stem)
        except ConfigError as error:
            self.notify(str(error), severity="error")
