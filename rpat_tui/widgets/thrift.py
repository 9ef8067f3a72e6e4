"""Send less to the terminal: changed cells alone, and of colours what differs from the last.

Textual 8 takes the regions that a widget asks to repaint but sends each from the left edge of the
widget on, and it resets and repeats both colours with every piece of text. `save_bytes` puts two
functions in the place of its own; tests compare the screens of both and fail when a new Textual
draws otherwise.
"""

from __future__ import annotations

from functools import lru_cache

from rich.color import ColorSystem
from rich.console import Console
from rich.control import Control
from rich.style import Style
from textual._compositor import ChopsUpdate
from textual.strip import Strip

RESET = "\x1b[0m"


def save_bytes() -> None:
    """Let this process send less; harmless to call again."""
    ChopsUpdate.render_segments = _spans  # type: ignore[method-assign]
    Strip.render = _strip  # type: ignore[method-assign]


def _spans(self: ChopsUpdate, console: Console) -> str:
    """Return what a partial update sends: each span from its first cell to its last."""
    sent: list[str] = []
    last = self.spans[-1][0]
    for y, start, stop in self.spans:
        line, ends = self.chops[y], self.chop_ends[y]
        for end, (x, strip) in zip(ends, line.items(), strict=False):
            if strip is None or x >= stop or end <= start:
                continue
            first, past = max(x, start), min(end, stop)
            if (first, past) != (x, end):
                strip = strip.crop(first - x, past - x)
            sent += (Control.move_to(first, y).segment.text, strip.render(console))
        if y != last:
            sent.append("\n")
    return "".join(sent)


def _strip(self: Strip, console: Console) -> str:
    """Return a line's text and codes: attributes anew when they change, else colours alone."""
    if self._render_cache is not None:
        return self._render_cache
    system = console._color_system or ColorSystem.TRUECOLOR
    sent: list[str] = []
    last: tuple[str, str, str] | None = None
    for text, style, _ in self._segments:
        if not text:
            continue
        now = _codes(style, system) if style is not None and not style.link else None
        if now is None or now == ("", "", ""):
            sent.append(RESET if last else "")
            last = None
            sent.append(
                text if style is None else Strip.render_style(style, text, color_system=system)
            )
            continue
        if now != last:
            sent.append(_change(last, now))
            last = now
        sent.append(text)
    self._render_cache = "".join(sent) + (RESET if last else "")
    return self._render_cache


def _change(last: tuple[str, str, str] | None, now: tuple[str, str, str]) -> str:
    if last is None or last[0] != now[0] or not all(now[1:]):
        codes = [*(["0"] if last is not None else []), *filter(None, now)]
    else:
        codes = [new for old, new in zip(last[1:], now[1:], strict=True) if old != new]
    return f"\x1b[{';'.join(codes)}m"


@lru_cache(4096)
def _codes(style: Style, system: ColorSystem) -> tuple[str, str, str]:
    """Return a style's codes: attributes, foreground, background."""
    fore, back = style.color, style.bgcolor
    rest = style.without_color._make_ansi_codes(system)
    return (
        rest,
        ";".join(fore.downgrade(system).get_ansi_codes()) if fore else "",
        ";".join(back.downgrade(system).get_ansi_codes(foreground=False)) if back else "",
    )
