"""Colours of runs: eight that colour-blind people tell apart, and which run has which.

They began as Okabe and Ito's and were moved until the nearest two differ by 16 (CIE76) at least,
for normal sight and without red, green or blue cones, the first four by 23, and each can be read
on its background as text (4.5:1). Each colour also has
a place of its own among the 16 of any terminal, so that nothing depends on true colour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ANSI = (
    "bright_cyan", "yellow", "green", "magenta", "bright_yellow", "bright_red", "bright_blue",
    "bright_black",
)  # fmt: skip
"""Names among the 16 colours that every terminal has."""
DARK = (
    "#5fabff", "#c1bc00", "#04e26f", "#d14dac", "#dff660", "#f84321", "#7e62ff", "#c0cad8",
)  # fmt: skip
"""On a dark background."""
LIGHT = (
    "#1a63f8", "#986c00", "#04844b", "#7c1f79", "#ca3d7b", "#970806", "#462bb4", "#3d5548",
)  # fmt: skip
"""On a light background and on paper."""


class Palette:
    """Gives each run a colour, and never another one."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self.known: dict[str, int] = dict(known or {})

    def colour(self, run: str) -> int:
        """Return a run's colour: the least used one, by its number where several are.

        A run that was seen keeps its colour, whatever else is shown or hidden.
        """
        if run not in self.known:
            uses = [0] * len(ANSI)
            for index in self.known.values():
                uses[index % len(ANSI)] += 1
            digits = re.search(r"\d+", run)
            first = (int(digits[0]) - 1 if digits else len(self.known)) % len(ANSI)
            order = [(first + i) % len(ANSI) for i in range(len(ANSI))]
            self.known[run] = min(order, key=lambda index: uses[index])
        return self.known[run]
