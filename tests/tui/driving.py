"""A window without a terminal: it is driven by keys, and left alone until it has come to rest.

Textual's own `pause` takes a process that is given no time for one that has nothing to do. On a
busy machine that is too early, so what is waited for here is told by the window itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.screens.compose import Compose
from rpat_tui.widgets.inorder import PATIENCE
from rpat_tui.widgets.runtable import RunTable


class Told(RpatApp):
    """A window that keeps what it has said, however long ago a slow machine says it was."""

    def __init__(self, home: Home, **options: Any) -> None:
        super().__init__(home, **options)
        self.told: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        """Keep a message and show it."""
        self.told.append(message)
        super().notify(message, **options)


Drive = Callable[[Pilot[int], RpatApp], Awaitable[None]]


def driven(home: Home, drive: Drive, size: tuple[int, int] = (120, 34), **options: Any) -> RpatApp:
    """Drive a window that looks when it is told to."""
    app = Told(home, poll=0, **options)

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await app.look()
            await rest(pilot)
            await drive(pilot, app)
        app.reader.close()

    asyncio.run(run())
    return app


async def drawn(pilot: Pilot[Any]) -> None:
    """Wait until no key is under way, no layout is wanted, and two looks show the same."""
    before: object = None
    while True:
        await pilot._wait_for_screen()
        app: Any = pilot.app
        screen = app.screen
        screen._on_timer_update()
        now = None if _moving(app) else (screen, seen(app))
        if now is not None and now == before:
            return
        before = now
        await asyncio.sleep(0.005)


def _moving(app: Any) -> bool:
    """Return whether the picture that is now on the screen is known to be an old one."""
    handed = getattr(app, "_handed", None)
    if handed is not None and time.monotonic() - handed < PATIENCE:
        return True
    screen = app.screen
    widgets = screen.walk_children(with_self=True)
    return any(
        w._layout_required or w._repaint_required or not w._message_queue.empty() for w in widgets
    ) or bool(screen._dirty_widgets or screen._callbacks)


async def rest(pilot: Pilot[Any]) -> None:
    """Wait until everything that was asked for has been read and drawn.

    A line that looks at what was typed a little later has done so too.
    """
    while True:
        await drawn(pilot)
        app: Any = pilot.app
        busy = any(t._reading for t in app.screen.query(RunTable))
        busy = busy or any(not w.is_finished for w in app.workers)
        if isinstance(app.screen, Compose):
            busy = busy or app.screen._looked != app.screen.draft()
        if not busy:
            before = app.screen, seen(app)
            await drawn(pilot)  # what the last read has brought is on the screen by now
            if before == (app.screen, seen(app)):
                return
        await asyncio.sleep(0.01)


async def press(pilot: Pilot[int], *keys: str) -> None:
    """Press keys one after the other, each when the one before has had its effect."""
    for key in keys:
        await pilot.press(key)
        await rest(pilot)


async def until(pilot: Pilot[int], condition: Callable[[], object]) -> None:
    """Wait for what comes by itself; without it, say what is on the screen."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, seen(pilot.app)
        await pilot.pause(0.02)


def seen(app: Any) -> str:
    """Return what the screen shows."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def said(app: RpatApp) -> str:
    """Return what the window has told its user."""
    assert isinstance(app, Told)
    return "\n".join(app.told)


def table(app: RpatApp) -> RunTable:
    """Return the list that is in front."""
    return app.screen.query_one(RunTable)
