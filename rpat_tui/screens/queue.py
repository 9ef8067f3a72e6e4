"""Screen 2: the cards of the machine and the queue, in the order in which it will start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from rpat_tui import configure
from rpat_tui.estimate import forecast
from rpat_tui.glyphs import COLOURS, SHORT, Glyphs, clock
from rpat_tui.home import settings
from rpat_tui.launch.devices import CROWD
from rpat_tui.screens.base import IN_DEMO, Page, act_bindings, retitle
from rpat_tui.screens.pick import Pick
from rpat_tui.store import queries, queue
from rpat_tui.store.db import transaction

WIDE = 100
"""Columns from which on there is room for long descriptions."""


class QueueScreen(Page):
    """What runs, what waits and why; `J` and `K` move a run, `P` drains."""

    AUTO_FOCUS = "OptionList"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  textual's own form
    DEFAULT_CSS = """
    QueueScreen .pane { padding: 0 1; border-top: solid $border-blurred;
                        border-title-color: $text-muted; }
    QueueScreen.-wide .pane { border: round $border-blurred; }
    QueueScreen.-wide .pane:focus-within { border: round $primary;
                                           border-title-color: $foreground; }
    QueueScreen #machine { height: auto; max-height: 14; }
    QueueScreen #cards { height: auto; }
    QueueScreen #open { height: 1fr; }
    QueueScreen #columns { height: 1; color: $text-muted; text-style: bold; text-wrap: nowrap; }
    QueueScreen OptionList { height: 1fr; border: none; padding: 0; background: transparent;
                             text-wrap: nowrap; text-overflow: ellipsis; }
    QueueScreen OptionList:focus { border: none; }
    QueueScreen OptionList > .option-list--option-highlighted,
    QueueScreen OptionList:focus > .option-list--option-highlighted {
        background: $block-cursor-blurred-background; color: $foreground;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *act_bindings(
            "earlier",
            "later",
            "first",
            "last",
            "pause",
            "stop",
            "kill",
            "requeue",
            hidden=("first", "last", "kill", "requeue"),
        ),
        Binding("plus", "priority(10)", "priority up", key_display="+", show=False),
        Binding("minus", "priority(-10)", "priority down", key_display="-", show=False),
        Binding("P", "drain", "hold/release", tooltip="hold everything back, or release it"),
        Binding("a", "avoid", "hold a place", show=False, tooltip="hold a place, or release it"),
        Binding(
            "S",
            "slots",
            "places",
            show=False,
            tooltip="how many runs a card takes at a time, or the CPU",
        ),
        Binding("y", "copy", "copy", show=False),
        Binding("enter", "open", "open", show=False),
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.shown: list[Text] = []
        self.machine = Text()

    def body(self) -> ComposeResult:
        """Cards on top, the queue below."""
        with VerticalScroll(id="machine", classes="pane", can_focus=False) as machine:
            machine.border_title = "Machine"
            yield Static("", id="cards", markup=False)
        with Vertical(id="open", classes="pane"):
            yield Static("", id="columns", markup=False)
            yield OptionList(id="queue", markup=False)

    @property
    def menu(self) -> OptionList:
        """The list of what is open."""
        return self.query_one(OptionList)

    def chosen(self) -> Sequence[int]:
        """Return the run under the cursor."""
        at = self.menu.highlighted
        return [self.numbers[at]] if at is not None and at < len(self.numbers) else []

    async def renew(self) -> None:
        """Read the queue again; the cursor stays on its run."""
        before = self.chosen()
        rows, held, why, ahead = await self.rpat.reader.read(_read)
        signs, room = self.rpat.glyphs, self.size.width - (4 if self.has_class("-wide") else 2)
        ids = max([6, *(len(row["id"]) for row in rows)])
        texts = [
            _line(number, row, why, ahead, signs, room, ids) for number, row in enumerate(rows, 1)
        ]
        self.query_one("#columns", Static).update(_columns(room, ids), layout=False)
        self.numbers = [row["n"] for row in rows]
        if texts != self.shown:
            self.shown = texts
            self.menu.clear_options()
            self.menu.add_options([Option(text) for text in texts])
            if before and before[0] in self.numbers:
                self.menu.highlighted = self.numbers.index(before[0])
            elif texts:
                self.menu.highlighted = 0
        head = f"Queue  {len(rows)} open"
        if queue.ALL in held:
            head += f"   on hold{': ' + held[queue.ALL] if held[queue.ALL] else ''}"
            head += f" ({self.rpat.key_of('queue.drain')} releases)"
        elif held:
            head += f"   on hold: {', '.join(held)}"
        if ahead.total is not None:
            head += f"   all done ~{clock(ahead.total[1])}"
        self._title(head)
        self.show_machine()

    def show_machine(self) -> None:
        """Show cards and places, where they look different."""
        machine = self.rpat.machine_text(self.size.width - 4)
        if machine != self.machine:
            self.machine = machine
            self.query_one("#cards", Static).update(machine)

    def _title(self, text: str) -> None:
        retitle(self.query_one("#open"), text)

    def on_resize(self, event: events.Resize) -> None:
        """Lay the lines out for the new width."""
        if self.is_current:
            self.aside(self.renew())

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.menu.action_cursor_down() if by > 0 else self.menu.action_cursor_up()

    def action_open(self) -> None:
        """Open the run under the cursor."""
        for n in self.chosen():
            self.rpat.open_run(n)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open a run that was chosen with enter or a click."""
        self.action_open()

    def action_priority(self, by: int) -> None:
        """Raise or lower the priority of the run under the cursor."""
        self.aside(self._raise(by))

    async def _raise(self, by: int) -> None:
        for row in await self.told(self.rows()) or []:
            self.rpat.change_runs(
                [row], "priority", {"priority": row["priority"] + by}, partial(_priority, by=by)
            )

    def action_drain(self) -> None:
        """Hold everything back, or release it."""
        self.rpat.change(_drain)

    def action_avoid(self) -> None:
        """Hold a place back, or release it."""
        self.app.push_screen(Pick("hold or release", self.rpat.places()), self._avoid)

    def _avoid(self, place: str | None) -> None:
        if place is not None:
            self.rpat.change(lambda db: _toggle(db, place))

    def action_slots(self) -> None:
        """Ask how many runs a card takes at a time; where there is none, the CPU."""
        if self.rpat.replay is not None:
            self.app.notify(IN_DEMO, severity="warning")
            return
        if self.rpat.readonly:
            self.app.notify("places: this window is read-only", severity="warning")
            return
        cards = bool(self.rpat.machine.get("cards"))
        name = "runs_per_gpu" if cards else "cpu_slots"
        numbers = range(1, (CROWD if cards else max(os.cpu_count() or 1, 1)) + 1)
        words = [*(["auto"] if cards else []), *map(str, numbers)]

        def ask() -> str:
            now = str(settings()[name].value)
            title = f"runs {'a card' if cards else 'the CPU'} takes, now {now}"
            known = dict.fromkeys([now, *words])  # what is chosen at first changes nothing
            self.app.push_screen(Pick(title, list(known)), lambda word: self._slots(name, word))
            return ""

        self.rpat.tell(ask)

    def _slots(self, name: str, word: str | None) -> None:
        if word is not None:
            self.rpat.tell(lambda: configure.put(name, word))
            self.rpat.surveyed = float("-inf")
            self.aside(self.rpat.look())


def _read(db: Any) -> tuple[list[dict[str, Any]], dict[str, str], dict[int, str], Any]:
    running = [row["n"] for row in queries.open_runs(db)]
    paused = [n for (n,) in db.execute("select n from runs where state = 'paused' order by n")]
    order = [*running, *queue.waiting(db), *paused]
    rows = {row["n"]: row for row in queries.runs(db, numbers=order)} if order else {}
    for row in rows.values():
        row["slot"] = row["slot"] or ""
    return (
        [rows[n] for n in order],
        queue.holds(db),
        queries.obstacles(db),
        forecast(queries.workload(db)),
    )


def _columns(width: int, ids: int) -> str:
    what, wide = _room(width - ids + 6)
    text = f"{'#':>3} {'state':<10} {'id':<{ids}}{'prio':>5}  {'what':<{what}} {'done':>8}"
    return text + (f"  {'starts':<9}  {'ends':<9}" if wide else f"  {'ends':<6}") + " where, why"


def _room(width: int) -> tuple[int, bool]:
    """Return the cells for what a run is, and whether there is room for when it starts."""
    wide = width >= WIDE
    return min(max(width - (72 if wide else 57), 20), 48), wide


def _line(
    number: int, row: dict[str, Any], why: dict[int, str], ahead: Any, signs: Glyphs, width: int,
    ids: int,
) -> Text:  # fmt: skip
    room, wide = _room(width - ids + 6)
    text = Text(no_wrap=True, overflow="ellipsis")
    state = f"{signs.states[row['state']]} {row['state']}"
    text.append(f"{number:>3} {state:<10} ", style=COLOURS[row["state"]])
    text.append(f"{row['id']:<{ids}}", style="bold")
    text.append(f"{row['priority']:>5}  ")
    text.append(_what(row, room, signs))
    progress = f"{row['epoch']}/{row['epochs']}" if row["epochs"] else row["stage"]
    text.append(f" {progress:>8}")
    known = row["state"] != "lost"
    if wide:
        starts = ahead.starts.get(row["n"]) if row["state"] == "queued" else None
        text.append(f"  {f'~{clock(starts[0])}' if starts else signs.missing:<9}", style="dim")
    ends = ahead.ends.get(row["n"]) if known else None
    when = f"~{clock(ends[1])}" if ends else signs.missing
    text.append(f"  {when:<{9 if wide else 6}}", style="dim")
    if row["slot"]:
        text.append(f" {row['slot']}", style="dim")
    if row["n"] in why:
        text.append(f" {why[row['n']]}", style="yellow")
    elif row["state"] == "queued":
        text.append(" a place", style="dim")
    elif row["state"] in ("paused", "lost") and row["reason"]:
        text.append(f" {row['reason']}", style="yellow")
    return text


def _what(row: dict[str, Any], room: int, signs: Glyphs) -> str:
    """Return what a run is, in the room there is; the seed is never cut off."""
    method = row["method"] + ("+rpat" if row["rpat"] else "")
    kind = "" if row["kind"] == "train" else f"{row['kind']} of {row['parent'] or 'a file'} "
    data, seed = row["dataset"], f" s{row['seed']}"
    if len(f"{kind}{method} {data}{seed}") > room:
        data = SHORT.get(data, data)
    said = f"{kind}{method} {data}"
    if len(said) + len(seed) > room:
        said = said[: room - len(seed) - len(signs.more)] + signs.more
    return f"{said}{seed}".ljust(room)


def _priority(db: Any, n: int, by: int) -> str:
    with transaction(db):
        (now,) = db.execute("select priority from runs where n = ?", (n,)).fetchone()
        queue.set_priority(db, n, now + by)
    return f"{queue.name_of(n)}: priority {now + by}"


def _drain(db: Any) -> str:
    return _toggle(db, queue.ALL)


def _toggle(db: Any, place: str) -> str:
    name = "everything" if place == queue.ALL else place
    with transaction(db):
        if queue.release(db, place):
            return f"{name} is released"
        queue.hold(db, place)
    return f"{name} is on hold; what runs goes on"
