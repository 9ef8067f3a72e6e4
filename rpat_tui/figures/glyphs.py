"""The signs a figure is drawn with: blocks and dots, or ASCII where there are no others."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_ASCII = {
    " · ": ", ", "–": "-", "−": "-", "α": "alpha", "∞": "inf", "λ": "lambda ", "…": "..", "±": "+-",
    "≤": "<=", "×": "x",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What a figure draws with."""

    ascii: bool
    parts: str  # of a block, by eighths or whole
    line: str
    base: str  # marks of networks without RPAT's term
    rpat: str  # marks of networks with it
    axis: tuple[str, ...]  # vertical, tick of it, corner, horizontal, tick of it
    none: str

    def text(self, words: str) -> str:
        """Return words as they can be shown."""
        if not self.ascii:
            return words
        for sign, word in _ASCII.items():
            words = words.replace(sign, word)
        return words.encode("ascii", "replace").decode()

    def cut(self, words: str, room: int) -> str:
        """Shorten words to a width."""
        end = self.text("…")
        return words if len(words) <= room else words[: max(room - len(end), 0)] + end

    def wrap(self, words: str, width: int) -> list[str]:
        """Return words in lines of a width."""
        return textwrap.wrap(self.text(words), max(width, 20))

    def bar(self, value: float, top: float, room: int) -> str:
        """Return a bar as long as the value, padded to the room; something is never nothing."""
        steps = len(self.parts)
        eighths = round(value / top * room * steps) if top > 0 else 0
        if value > 0:
            eighths = max(eighths, 1)
        whole, rest = divmod(eighths, steps)
        return (self.parts[-1] * whole + (self.parts[rest - 1] if rest else "")).ljust(room)

    def rule(self, value: float, top: float, room: int) -> str:
        """Return a thin bar, padded to the room."""
        return (self.line * round(value / top * room)).ljust(room)


RICH = Glyphs(
    ascii=False, parts="▏▎▍▌▋▊▉█", line="━", base="●▲■◆▼", rpat="○△□◇▽",
    axis=("│", "┤", "└", "─", "┬"), none="–",
)  # fmt: skip
ASCII = Glyphs(
    ascii=True, parts="#", line="=", base="xvnwz", rpat="oa*+@",
    axis=("|", "+", "+", "-", "+"), none="-",
)  # fmt: skip
