"""Keys take effect one after the other, however fast they come.

A slow line delivers several keys at once. Textual hands each to whatever has the focus then, and
what a key does comes only after it has climbed from there to the app: of `/mart`, the letters
would go to the list, where they are commands, before `/` has given the focus to the filter.
"""

from __future__ import annotations

import time
from collections import deque

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

PATIENCE = 1.0
"""Seconds that a key waits for what an earlier one does; a handler may take longer."""


class KeysInOrder(App[int]):
    """An app that hands on a key when the one before has done what it does."""

    def __init__(self, *args: object, **settings: object) -> None:
        """Prepare an app without keys."""
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self._waiting: deque[events.Key] = deque()
        self._handed: float | None = None

    async def on_event(self, event: events.Event) -> None:
        """Keep a key while an earlier one is under way."""
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
            return
        self._waiting.append(event)
        if self._handed is None or time.monotonic() - self._handed > PATIENCE:
            await self._hand_on()
        elif len(self._waiting) == 1:
            self.set_timer(PATIENCE, self._overdue)

    async def _hand_on(self) -> None:
        """Give the first key to what has the focus, and follow it on its way back."""
        if not self._waiting or not self._running:
            self._handed = None
            return
        self._handed = now = time.monotonic()
        target: MessagePump = self.focused or self.screen
        await super().on_event(self._waiting.popleft())
        self._climb(target, now)

    def _climb(self, node: MessagePump, handed: float) -> None:
        """Go to the app through the queues that the key goes through, behind it."""
        if node is self:  # what a key gives the focus to is in this queue already
            self.call_later(self.call_later, self._arrived, handed)
        elif not node.call_later(self._climb, node._parent or self, handed):
            self._climb(self, handed)

    async def _arrived(self, handed: float) -> None:
        if self._handed == handed:
            await self._hand_on()

    async def _overdue(self) -> None:
        """Wait no longer for a key whose handler waits for something itself."""
        if not self._waiting or self._handed is None:
            return
        left = self._handed + PATIENCE - time.monotonic()
        if left <= 0:
            await self._hand_on()
            left = PATIENCE
        if self._waiting:
            self.set_timer(left, self._overdue)
