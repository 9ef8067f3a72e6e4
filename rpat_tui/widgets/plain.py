"""For terminals without Unicode: everything that is sent, in ASCII, cell for cell."""

from __future__ import annotations

import re
from functools import lru_cache

from rich.cells import cell_len
from textual.driver import Driver

SIGNS = {
    **dict.fromkeys("─━┄┅┈┉╌═▔▁–—", "-"), **dict.fromkeys("│┃┆┇║▏▕▎▊▌▐⎸", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝┏┓┗┛╷╵", "+"), **dict.fromkeys("█▇▆▅▄▃▂▀■", "#"),
    "●": "*", "◌": ".", "◔": "s", "‖": "=", "✓": "+", "✗": "x", "▫": "-", "○": "o", "▶": ">",
    "▼": "v", "▾": "v", "▲": "^", "▴": "^", "‹": "<", "›": ">", "…": "~", "·": ".", "⋅": ".",
    "±": "~", "λ": "L", "⏎": ">", "★": "*", "→": ">", "←": "<", "↑": "^", "↓": "v", "×": "x",
}  # fmt: skip
"""Signs that have a likeness; all others become question marks."""

OTHER = re.compile(r"[^\x00-\x7f]")


def plain(text: str) -> str:
    """Return a text in ASCII that takes the same cells."""
    return text if text.isascii() else OTHER.sub(lambda found: _sign(found[0]), text)


@lru_cache(4096)
def _sign(character: str) -> str:
    return SIGNS.get(character, "?" * cell_len(character))


def plain_driver(kind: type[Driver]) -> type[Driver]:
    """Return a driver that sends ASCII alone."""

    class PlainDriver(kind):  # type: ignore[misc, valid-type]
        """Sends ASCII alone."""

        def write(self, data: str) -> None:
            """Send a text."""
            super().write(plain(data))

    return PlainDriver
