"""Keys that arrive in one burst, as over a slow line, do what they would do one by one."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.pilot import Pilot
from textual.widgets import Input, Static

from rpat_tui.widgets.inorder import PATIENCE, KeysInOrder


class Form(KeysInOrder):
    """A place where letters are commands, and a line that `/` gives the focus to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter"),
        Binding("d", "note('d')"),
        Binding("e", "note('e')"),
        Binding("w", "dawdle(3)"),
        Binding("s", "dawdle(0.6)"),
        Binding("f", "filter_slowly"),
    ]  # fmt: skip
    AUTO_FOCUS = None

    def __init__(self) -> None:
        super().__init__()
        self.did: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static("text")
        yield Input()

    def action_filter(self) -> None:
        self.query_one(Input).focus()

    def action_note(self, what: str) -> None:
        self.did.append(what)

    async def action_filter_slowly(self) -> None:
        await asyncio.sleep(0.6 * PATIENCE)
        self.query_one(Input).focus()

    async def action_dawdle(self, how: float) -> None:
        self.did.append("w")
        await asyncio.sleep(how * PATIENCE)
        self.did.append("woken")


def burst(app: Form, keys: str) -> None:
    names = {"/": "slash", "\r": "enter"}
    for char in keys:
        app.post_message(events.Key(names.get(char, char), char))


def driven(keys: str, until: str) -> Form:
    app = Form()

    async def run() -> None:
        async with app.run_test() as pilot:
            burst(app, keys)
            await reached(pilot, app, until)

    asyncio.run(run())
    return app


async def reached(pilot: Pilot[int], app: Form, until: str) -> None:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        await pilot.pause(0.02)
        if app.query_one(Input).value + "".join(app.did) == until:
            return
    raise AssertionError((app.query_one(Input).value, app.did))


def test_what_is_typed_after_the_key_of_a_line_goes_into_the_line() -> None:
    app = driven("/deed", "deed")
    assert app.did == []


def test_a_burst_of_commands_is_carried_out_in_order() -> None:
    assert driven("dedede" * 20, "dedede" * 20).did == list("dedede" * 20)


def test_a_key_whose_handler_dawdles_does_not_lose_the_others() -> None:
    assert driven("wde", "wwokende").did == ["w", "woken", "d", "e"]


def test_keys_that_together_take_long_wait_for_each_other_all_the_same() -> None:
    assert driven("sfdeed", "deedwwoken").did == ["w", "woken"]
