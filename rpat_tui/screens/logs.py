"""Screen 5: what a run printed and why it failed; opens at the end, however large the file is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static

from rpat.rundir import RunDir
from rpat_tui.screens.base import Page, retitle
from rpat_tui.screens.failure import failure_text
from rpat_tui.sentences import sentence
from rpat_tui.store import queries
from rpat_tui.widgets.tail import Tail

ERROR = re.compile(r"Traceback|Error\b|CUDA out of memory|Killed", re.IGNORECASE)


def reported(line: str) -> str:
    """Return a line of a journal in words."""
    try:
        record = json.loads(line)
        when = time.strftime("%H:%M:%S", time.localtime(record["t"]))
        values = record.get("values") if record["kind"] == "log" else None
        said = sentence(record)
        if values and not said:
            said = f"step {record['step']}  " + "  ".join(
                f"{name} {value:.4g}" for name, value in values.items() if value is not None
            )
        return f"{when}  {said or record.get('what') or record['kind']}"
    except (ValueError, KeyError, TypeError):
        return line


class LogsScreen(Page):
    """The output of the run at the cursor of the list; `<` and `>` go to other attempts."""

    AUTO_FOCUS = "Tail"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  textual's own form
    DEFAULT_CSS = """
    LogsScreen #head { height: 1; padding: 0 1; color: $text-muted; }
    LogsScreen #page { height: 1fr; padding: 0 1; }
    LogsScreen.-wide #head { display: none; }
    LogsScreen.-wide #page { border: round $border-blurred; border-title-color: $text-muted; }
    LogsScreen.-wide #page:focus-within { border: round $primary;
                                          border-title-color: $foreground; }
    LogsScreen #card { height: auto; max-height: 10; padding: 0 1; border: round $error;
                       border-title-color: $error; display: none; }
    LogsScreen #card.-open { display: block; }
    LogsScreen #search { display: none; height: 1; border: none; padding: 0 1; }
    LogsScreen #search.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow", tooltip="follow the end, or stay"),
        Binding("o", "source", "journal/output"),
        Binding("slash", "search", "search"),
        Binding("n", "next(False)", "next hit"),
        Binding("N", "next(True)", "hit before", show=False),
        Binding("e", "error", "error", tooltip="first line that looks like an error"),
        Binding("less_than_sign", "attempt(-1)", "attempt before", show=False),
        Binding("greater_than_sign", "attempt(1)", "attempt after", show=False),
        Binding("escape", "close", "close", show=False),
        Binding("y", "copy", "copy", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.n: int | None = None
        self.attempt = 0
        self.pattern: re.Pattern[str] | None = None
        self.journal = True

    def body(self) -> ComposeResult:
        """A line about the run, its card where it failed, its output."""
        yield Static("", id="head", markup=False)
        yield Static("", id="card", markup=False)
        yield Input(placeholder="regular expression", id="search")
        with Vertical(id="page"):
            yield Tail(id="tail")

    @property
    def tail(self) -> Tail:
        """The output."""
        return self.query_one(Tail)

    def on_mount(self) -> None:
        """Let the keys move the output."""
        self.tail.focus()

    def chosen(self) -> Sequence[int]:
        """Return the run that is shown."""
        return [] if self.n is None else [self.n]

    async def renew(self) -> None:
        """Follow the run at the cursor, and what it has printed since."""
        n = self.rpat.run_at_cursor
        if n is None:
            self._head("no run is chosen: 1, then a run")
            return
        if n != self.n:
            self.n, self.attempt = n, 0
            await self._open()
        self.tail.reload()

    async def _open(self) -> None:
        assert self.n is not None
        n = self.n
        row = (await self.rpat.reader.read(lambda db: queries.runs(db, numbers=[n])))[0]
        attempts = RunDir(self.rpat.seen.runs / row["id"]).attempts()
        if attempts:
            self.attempt = max(1, min(self.attempt or len(attempts), len(attempts)))
            at = attempts[self.attempt - 1]
            if self.journal:
                self.tail.open(at.journal, reported)
            else:
                self.tail.open(at.output)
        shown = f"attempt {self.attempt} of {len(attempts)}" if attempts else "not started yet"
        key = self.rpat.key_of("logs.source")
        what = f"what it reported ({key}: printed)"
        if not self.journal:
            what = f"what it printed ({key}: reported)"
        head = f"{row['id']} {row['method']}  {row['state']}  {shown}  {what}"
        self._head(head)
        home = self.rpat.seen
        text = await self.rpat.reader.read(lambda db: failure_text(home, db, n))
        card = self.query_one("#card", Static)
        card.set_class(text is not None, "-open")
        if text is not None:
            card.border_title = f"{row['id']} {row['state']}"
            card.update(text)

    def _head(self, text: str) -> None:
        """Say what is shown: above the page, or in its frame."""
        self.query_one("#head", Static).update(text, layout=False)
        retitle(self.query_one("#page"), text)

    def action_attempt(self, by: int) -> None:
        """Show another attempt's output."""
        self.attempt = max(1, self.attempt + by)
        if self.n is not None:
            self.aside(self._open())

    def action_source(self) -> None:
        """Show what the run printed in the place of what it reported, or the other way round."""
        self.journal = not self.journal
        if self.n is not None:
            self.aside(self._open())

    def action_follow(self) -> None:
        """Follow the end, or stay."""
        self.tail.following = not self.tail.following
        self.tail.reload()
        self.app.notify("following the end" if self.tail.following else "staying here")

    def action_search(self) -> None:
        """Open the search line."""
        line = self.query_one("#search", Input)
        line.add_class("-open")
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search upwards from the end."""
        try:
            self.pattern = re.compile(event.value, re.IGNORECASE)
        except re.error as error:
            self.app.notify(f"'{event.value}' is no regular expression: {error}")
            return
        self.tail.match = self.pattern
        self.tail.focus()
        self.action_next(True)

    def action_next(self, back: bool) -> None:
        """Go to the next hit, or the one before."""
        if self.pattern is not None:
            self._go(self.pattern, back)

    def action_error(self) -> None:
        """Go to the first line that looks like an error."""
        self.tail.match = ERROR
        text = self.tail.text
        at = text.find(ERROR, 0) if text else None
        if at is None:
            self.app.notify("no line looks like an error")
        else:
            self.tail.go(at)

    def _go(self, pattern: re.Pattern[str], back: bool) -> None:
        tail = self.tail
        if tail.text is None or not tail.shown:
            return
        here = tail.shown[min(3, len(tail.shown) - 1)]
        start = here[0] if back else here[0] + len(here[1].encode()) + 1
        if back and tail.following:
            start = tail.text.size()
        at = tail.text.find(pattern, start, back=back)
        if at is None:
            self.app.notify("no further hit")
        else:
            tail.go(at)
        tail.refresh()

    def action_close(self) -> None:
        """Close the search line."""
        line = self.query_one("#search", Input)
        line.remove_class("-open")
        self.tail.match = None
        self.tail.focus()
        self.tail.refresh()
