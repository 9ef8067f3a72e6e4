"""The end of a text file, or any part of it: lines are found by offset, never all of them read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from rpat_tui.widgets.keyed import Keyed

BLOCK = 1 << 16
LONGEST = 2000
"""Bytes of a line that are shown."""


class Text:
    """A file that grows, read in blocks from any place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Return the bytes that are there."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def before(self, end: int, count: int) -> list[tuple[int, str]]:
        """Return up to `count` lines that end at or before a byte, each with its offset."""
        start, data = end, b""
        try:
            with self.path.open("rb") as stream:
                while start > 0 and data.count(b"\n") <= count:
                    step = min(BLOCK, start)
                    start -= step
                    stream.seek(start)
                    data = stream.read(step) + data
        except OSError:
            return []
        lines = _lines(data, start)
        if start > 0:
            lines = lines[1:]  # its beginning was not read
        return lines[-count:]

    def after(self, offset: int, count: int) -> list[tuple[int, str]]:
        """Return up to `count` lines from the one at a byte on."""
        data = b""
        try:
            with self.path.open("rb") as stream:
                stream.seek(offset)
                while data.count(b"\n") < count:
                    block = stream.read(BLOCK)
                    if not block:
                        break
                    data += block
        except OSError:
            return []
        return _lines(data, offset)[:count]

    def find(self, pattern: re.Pattern[str], offset: int, *, back: bool = False) -> int | None:
        """Return the offset of the next line that matches, or of the one before."""
        seek, size = offset, self.size()
        while True:
            lines = self.before(seek, 2000) if back else self.after(seek, 2000)
            if not lines:
                return None
            for at, line in reversed(lines) if back else lines:
                if pattern.search(line):
                    return at
            seek = lines[0][0] if back else lines[-1][0] + len(lines[-1][1].encode()) + 1
            if seek <= 0 or seek >= size:
                return None


def _lines(data: bytes, start: int) -> list[tuple[int, str]]:
    out, position = [], start
    for raw in data.split(b"\n"):
        if raw or position < start + len(data):
            out.append((position, raw[:LONGEST].decode("utf-8", "replace").rstrip("\r")))
        position += len(raw) + 1
    return out


class Tail(Keyed, Widget, can_focus=True):
    """Shows a window of lines; at its end it follows what is written."""

    CONTEXT = "text"
    DEFAULT_CSS = "Tail { width: 1fr; height: 1fr; padding: 0; color: $foreground; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_by(1)", "down", show=False),
        Binding("k,up", "scroll_by(-1)", "up", show=False),
        Binding("pagedown,ctrl+d", "scroll_by(20)", "page down", show=False),
        Binding("pageup,ctrl+u", "scroll_by(-20)", "page up", show=False),
        Binding("g,home", "start", "first line", show=False),
        Binding("G,end", "end", "last line", show=False),
        Binding("w", "wrap", "wrap", show=False, tooltip="wrap long lines, or cut them"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text: Text | None = None
        self.following = True
        self.shown: list[tuple[int, str]] = []
        self.wrapped = False
        self.rows: list[str] = []
        """What stands in each row: `shown` as it is said, whole or in pieces."""
        self.match: re.Pattern[str] | None = None
        self.said: Callable[[str], str] = str

    def open(self, path: Path, said: Callable[[str], str] = str) -> None:
        """Show another file, from its end; `said` turns each line into what is shown of it."""
        self.text, self.following, self.said = Text(path), True, said
        self.shown, self.rows = [], []
        self.refresh()
        self.reload()

    def reload(self) -> None:
        """Show what has been written since, where the end is shown."""
        if self.text is None or not self.size.height:
            return
        if self.following:
            self._show(self.text.before(self.text.size(), self.size.height))

    def go(self, offset: int) -> None:
        """Show the line at a byte, a few lines under the top."""
        if self.text is None:
            return
        self.following = False
        above = self.text.before(offset, 3)
        below = self.text.after(offset, max(self.size.height - len(above), 1))
        self._show([*above, *below])

    def action_scroll_by(self, by: int) -> None:
        """Move by some lines."""
        if self.text is None or not self.shown:
            return
        height = self.size.height
        if by < 0:
            above = self.text.before(self.shown[0][0], -by)
            if above:
                self.following = False
                self._show([*above, *self.shown][:height])
        else:
            last = self.shown[-1]
            below = self.text.after(last[0] + len(last[1].encode()) + 1, by)
            if below:
                self._show([*self.shown, *below][-height:])
            else:
                self.following = True
                self._show(self.shown)

    def action_start(self) -> None:
        """Show the first lines."""
        if self.text is not None:
            self.following = False
            self._show(self.text.after(0, self.size.height))

    def action_end(self) -> None:
        """Show the last lines and follow."""
        self.following = True
        self.reload()

    def on_resize(self) -> None:
        """Fill the new height."""
        if self.following:
            self.reload()
            self._show(self.shown)  # the pieces of the same lines may differ now
        elif self.shown and self.text is not None:
            self._show(self.text.after(self.shown[0][0], self.size.height))

    def action_wrap(self) -> None:
        """Wrap lines that are too long, or cut them at the edge."""
        self.wrapped = not self.wrapped
        self._show(self.shown)

    def _show(self, lines: list[tuple[int, str]]) -> None:
        before, self.shown = self.rows, lines
        height, width = self.size.height, self.size.width
        rows = [row for _, line in lines for row in self._pieces(line)]
        self.rows = rows[-height:] if self.following else rows[:height]
        for y in range(height):
            if self.rows[y : y + 1] != before[y : y + 1]:
                self.refresh(Region(0, y, width, 1))

    def _pieces(self, line: str) -> list[str]:
        """Return a line as it is shown, in as many rows as it takes."""
        text = self.said(line).expandtabs(4)
        text = "".join(c if c.isprintable() else "�" for c in text)
        width = self.size.width
        if not self.wrapped or width < 2 or cell_len(text) <= width:
            return [text]
        return chop_cells(text, width)

    def render_line(self, y: int) -> Strip:
        """Return one row, cut to the width; what was searched for stands out."""
        width = self.size.width
        style = self.rich_style
        if y >= len(self.rows):
            return Strip.blank(width, style)
        text = self.rows[y]
        hit = self.match.search(text) if self.match else None
        found = style + Style(reverse=True) if hit else style
        parts = [text] if hit is None else [text[: hit.start()], hit[0], text[hit.end() :]]
        styles = [style, found, style]
        segments = [Segment(part, s) for part, s in zip(parts, styles, strict=False) if part]
        return Strip(segments).adjust_cell_length(width, style)
