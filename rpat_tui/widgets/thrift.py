"""Send the terminal what differs from what it shows, and no faster than it takes it.

Textual 8 paints regions whole, resets and repeats both colours with every piece of text, and puts
up to thirty frames in a queue that then holds up every key. `save_bytes` puts three things in the
place of its own: the cells that are known to be shown, a writer that tells when it is done, and a
display that leaves frames out while an earlier one is still under way. Tests compare the screens
of both and fail when a new Textual draws otherwise.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
from typing import Any

from rich.color import ColorSystem
from rich.control import Control
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.drivers import linux_driver

from rpat_tui.widgets.cells import Cells
from rpat_tui.widgets.writer import Writer

ERASING = ("xterm", "linux", "rxvt", "alacritty", "foot", "konsole", "vte", "st-", "wezterm")
"""Terminals known to erase in the present background, by the beginning of `TERM`."""

LEAST = (60, 16)
"""Columns and rows of the smallest terminal that shows anything."""

_textuals_own = App._display


def save_bytes() -> None:
    """Let this process send less; harmless to call again."""
    linux_driver.WriterThread = Writer  # type: ignore[attr-defined, assignment]
    App._display = _display  # type: ignore[method-assign]


def repaint(app: App[Any]) -> None:
    """Let the next frame say everything: something else may have written to the terminal."""
    glass = app.__dict__.get("_glass")
    if glass is not None:
        glass.cells.forget()


class Glass:
    """Between an app and its terminal: takes updates, sends frames when the terminal is ready."""

    def __init__(self, app: App[Any]) -> None:
        self.app = app
        self.cells = Cells(erases_in_colour=erases_in_colour(os.environ.get("TERM", "")))
        self.writer: object = None
        self.cursor: tuple[int, int] | None = None
        self.loop = asyncio.get_running_loop()

    def take(self, update: LayoutUpdate | ChopsUpdate) -> None:
        """Want what an update shows, and send it if nothing is under way."""
        system = self.app.console._color_system or ColorSystem.TRUECOLOR
        if isinstance(update, LayoutUpdate):
            region = update.region
            self.cells.resize(region.right, region.bottom)
            for y, strips in enumerate(update.strips, region.y):
                x = region.x
                for strip in strips:
                    self.cells.put(y, x, strip, system)
                    x += strip.cell_length
        else:
            self.cells.resize(update.chop_ends[-1][-1], len(update.chops))
            for y, start, stop in update.spans:
                line, ends = update.chops[y], update.chop_ends[y]
                for end, (x, part) in zip(ends, line.items(), strict=False):
                    if part is not None and x < stop and end > start:
                        self.cells.put(y, x, part, system, start, min(end, stop))
        self.send()

    def send(self) -> None:
        """Send what differs, or wait until the frame before has been taken."""
        app, driver = self.app, self.app._driver
        if driver is None or not app._running or app._closed or app._exit:
            return
        writer = getattr(driver, "_writer_thread", None)
        if writer is not self.writer:  # started, or back from elsewhere
            self.writer = writer
            self.cells.forget()
        if isinstance(writer, Writer) and not writer.once_idle(self._later):
            return
        frame = self._too_small() or self.cells.frame()
        cursor = app.screen.outer_size.clamp_offset(app.cursor_position)
        if not frame and cursor == self.cursor:
            return
        self.cursor = cursor
        frame += Control.move_to(*cursor).segment.text
        driver.write(f"{SYNC_START}{frame}{SYNC_END}" if app._sync_available else frame)

    def _too_small(self) -> str:
        """Return a message in the place of everything where there is no room; keys go on."""
        width, height = self.cells.width, self.cells.height
        if width >= LEAST[0] and height >= LEAST[1]:
            return ""
        self.cells.forget()
        words = f"rpat needs {LEAST[0]}x{LEAST[1]}; this is {width}x{height}"
        lines = textwrap.wrap(words, max(width, 1))[: max(height, 1)]
        return "\x1b[m\x1b[2J" + "".join(f"\x1b[{y}H{x}" for y, x in enumerate(lines, 1))

    def _later(self) -> None:
        """Called in the writer's thread when everything was written."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.send)


def _display(self: App[Any], screen: Any, renderable: Any) -> None:
    """Take the place of `App._display`."""
    driver = self._driver
    if (
        not isinstance(renderable, LayoutUpdate | ChopsUpdate)
        or driver is None
        or driver.is_inline
        or self.is_headless
    ):
        _textuals_own(self, screen, renderable)
        return
    try:
        if not self._batch_count and self._running and not self._closed:
            glass = self.__dict__.get("_glass") or self.__dict__.setdefault("_glass", Glass(self))
            glass.take(renderable)
    finally:
        self.post_display_hook()


def erases_in_colour(kind: str) -> bool:
    """Return whether a terminal of this kind erases in the present background."""
    if kind.startswith(ERASING):
        return True
    try:
        import curses

        curses.setupterm(kind, 1)
        return curses.tigetflag("bce") > 0
    except (ImportError, curses.error, OSError):
        return False
