"""Styles as a terminal is sent them, for lines that Rich need not lay out one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text


class Pen:
    """What goes before and after a text in a style."""

    __slots__ = ("after", "before")

    def __init__(self, before: str, after: str) -> None:
        self.before, self.after = before, after

    def draw(self, text: str) -> str:
        """Return the text in the style; nothing stays nothing."""
        return f"{self.before}{text}{self.after}" if text and self.before else text


class Pens(dict[tuple[str, ...], Pen]):
    """Pens of a console by the names of styles that are put together; none is plain."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def __missing__(self, names: tuple[str, ...]) -> Pen:
        from rich.style import Style

        before, _, after = self._rendered(
            "\0", Style.combine([Style.null(), *map(Style.parse, names)])
        )
        self[names] = Pen(before, after)
        return self[names]

    def drawn(self, text: Text) -> str:
        """Return a line that Rich has laid out."""
        return "".join(
            "".join(self._rendered(segment.text, segment.style)) if segment.style else segment.text
            for segment in text.render(self.console, end="")
        )

    def _rendered(self, text: str, style: Style) -> tuple[str, str, str]:
        from rich.color import ColorSystem

        system = ColorSystem.TRUECOLOR if self.console.color_system else None
        before, found, after = style.render(text, color_system=system).partition(text)
        return before, found, after
