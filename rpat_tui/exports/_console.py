"""A console that obeys nobody's text: only what Rich itself means to control is sent as such."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import rich.console
from rich.segment import Segment

from rpat_tui.glyphs import printable


class Console(rich.console.Console):
    """Shows names, notes and logs without what a terminal would obey in them."""

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Yield segments whose text is printable."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control or text == "\n" or text.isprintable():
                yield segment
            else:
                yield Segment(printable(text), style)
