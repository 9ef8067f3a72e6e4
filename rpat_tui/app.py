"""`rpat tui`: a window on the runs. It owns nothing: quitting or losing it touches no run."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.notifications import SeverityLevel
from textual.screen import Screen

from rpat.errors import RpatError
from rpat_tui.acts import ACTS, Act
from rpat_tui.estimate import forecast
from rpat_tui.gauges import LATELY, lines
from rpat_tui.glyphs import UNICODE, Glyphs, duration, printable
from rpat_tui.home import Home
from rpat_tui.launch.box import rules, survey
from rpat_tui.launch.cards import Driver
from rpat_tui.reader import Reader
from rpat_tui.remembered import Remembered
from rpat_tui.screens.base import Page
from rpat_tui.store import db as database
from rpat_tui.store import queries, queue
from rpat_tui.themes import BUILT_IN, MONO
from rpat_tui.widgets import crash, thrift
from rpat_tui.widgets.bar import Bar, BarState
from rpat_tui.widgets.columns import MACHINE
from rpat_tui.widgets.dressed import Dressed
from rpat_tui.widgets.inorder import KeysInOrder
from rpat_tui.widgets.keyed import Keyed
from rpat_tui.widgets.plain import plain_driver
from rpat_tui.widgets.runtable import RunTable

if TYPE_CHECKING:
    from rpat_tui.remote.follow import Elsewhere, Standing
    from rpat_tui.replay import Replay

STATS = 2.0
"""Seconds over which `--stats` counts."""

SURVEY = 5.0
"""Seconds between two looks at the cards."""

ENSURE = 5.0
"""Seconds between two looks whether queued work has a worker."""

REMEMBER = 2.0
"""Seconds after which what has changed is remembered at the latest."""

CALM, DEAR = 100, 0.01
"""What takes longer than so many seconds is read for at most a hundredth of the time."""

OVERDUE = 2.0
"""Seconds after which an answer of the database is overdue."""

STARTED = 2.0
"""Seconds after which the window has started, and what it is made of will stay."""

PARTING = 1.0
"""Seconds that the window has to leave when its terminal hangs up."""


def commands() -> type[Provider]:
    """Return the palette's commands with words, when it is opened."""
    from rpat_tui.screens.commands import Commands

    return Commands


class RpatApp(Keyed, KeysInOrder, Dressed):
    """The application: modes, global keys, the poll, acts."""

    TITLE = "rpat"
    CONTEXT = "everywhere"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = {commands}  # noqa: RUF012  textual's own form
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "mode('runs')", "runs", show=False),
        Binding("2", "mode('queue')", "queue", show=False),
        Binding("3", "mode('compare')", "compare", show=False),
        Binding("4", "mode('table')", "table", show=False),
        Binding("5", "mode('logs')", "logs", show=False),
        Binding("grave_accent", "previous", "previous screen", show=False),
        Binding("apostrophe", "jump", "jump to a pane", show=False),
        Binding("question_mark", "keys", "keys"),
        Binding("ctrl+p,colon", "command_palette", "commands", show=False),
        Binding("ctrl+l", "repaint", "repaint", show=False),
        Binding("ctrl+z", "suspend_process", "to the shell; fg comes back", show=False),
        Binding("q", "leave", "quit"),
    ]

    def __init__(
        self,
        home: Home,
        *,
        readonly: bool = False,
        charts: str = "braille",
        glyphs: Glyphs = UNICODE,
        stats: bool = False,
        poll: float = 1.0,
        replay: Replay | None = None,
        theme: str = "",
        keymap: Mapping[str, str] | None = None,
        remembered: Remembered | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Prepare a window on a home; `poll` seconds lie between two looks, 0 never looks.

        A `replay` is what moves the runs of a demo; no worker is started then. With `elsewhere`
        the runs of other machines are shown too: `seen` is the home that screens read, `home` the
        one that is acted on.
        """
        from rpat_tui.screens.modes import MODES

        kind = self.get_driver_class()
        super().__init__(driver_class=kind if glyphs is UNICODE else plain_driver(kind))
        self.home, self.readonly, self.charts, self.poll = home, readonly, charts, poll
        self.stats, self.glyphs, self.replay = stats, glyphs, replay
        self.sent = 0
        self.costs: tuple[int, int, float] = (0, 0, time.process_time())
        self.driver = Driver()
        self.machine: dict[str, Any] = {}
        self.surveyed = float("-inf")
        self.lately: dict[str, deque[int]] = {}
        """How much each card was in use at the last looks, in percent, by its place."""
        self.elsewhere = elsewhere
        self.seen: Home = elsewhere.view.home if elsewhere else home
        self.reader = Reader(self.seen)
        self.here = Reader(home) if elsewhere else self.reader
        """Reads this home alone."""
        self._own: Mapping[str, int] = {}
        """How many runs of this home are in each state."""
        self.remembered: Remembered = remembered or Remembered(None)
        self.pulse = -1
        self.run_at_cursor: int | None = None
        self.marked: tuple[int, ...] = ()
        self.before = "runs"
        self.ensured = 0.0
        self._last_words = ""
        self._looking, self._began = False, 0.0
        self._seen: float | None = None
        """When the database last said what it holds."""
        self._count_from, self._foresee_from, self._owes_count = 0.0, 0.0, False
        self._bar = BarState(title=home.path.name)
        for name, screen in MODES.items():
            self.add_mode(name, screen)
        self.set_keymap(keymap or {})
        self.wear(MONO if self.no_color else theme or BUILT_IN[0])

    # ----------------------------------------------------------------- its life

    async def on_mount(self) -> None:
        """Answer signals, show the runs, begin to look."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, self._signalled, number)
        if self.elsewhere is not None:
            self.elsewhere.start()
        self.switch_mode("runs")
        self.app_resume_signal.subscribe(self, lambda _: self.action_repaint())
        if not gc.isenabled():
            self.set_timer(STARTED, self._collect_garbage)
        if self.poll:
            self.call_after_refresh(lambda: self.run_worker(self.look(), exclusive=False))
            self.set_interval(self.poll, self.look)
            self.set_interval(1.0, self._guard)
            self.set_interval(1.0, self._say_overdue)
        self.set_interval(1.0, self.look_at_theme)
        self.set_interval(REMEMBER, self.remember)
        if self.remembered.problem:
            self.notify(self.remembered.problem, severity="warning")
        if self.stats:
            self._count_bytes()
            self.set_interval(STATS, self._show_stats)

    @staticmethod
    def _collect_garbage() -> None:
        """Collect from now on what is not here already, which stays."""
        gc.freeze()
        gc.enable()

    def on_resize(self) -> None:
        """Take it that a terminal of another size has moved what it showed."""
        thrift.repaint(self)

    def _count_bytes(self) -> None:
        """Count what is sent to the terminal from now on."""
        driver = self._driver
        if driver is None:
            return
        write = driver.write

        def counted(data: str) -> None:
            self.sent += len(data.encode("utf-8", "replace"))
            write(data)

        driver.write = counted  # type: ignore[method-assign]

    def _show_stats(self) -> None:
        """Say what the window cost since the last look; saying so costs some bytes itself."""
        now = (self.sent, self.reader.answered, time.process_time())
        before, self.costs = self.costs, now
        sent, asked, busy = (new - old for new, old in zip(now, before, strict=True))
        cost = (
            f"{sent / STATS:,.0f} B/s  {asked / STATS:.1f} reads/s  {100 * busy / STATS:.1f} % CPU"
        )
        self._bar = replace(self._bar, cost=cost)
        self.show_bar(self.screen)

    def remember(self) -> None:
        """Write down what has changed of how the window is looked at; say once why not."""
        if problem := self.remembered.save():
            self.notify(problem, severity="warning")

    def _signalled(self, number: signal.Signals) -> None:
        self.exit(return_code=128 + number)
        if number == signal.SIGHUP:  # what is written to a terminal that has gone may never end
            last = threading.Timer(PARTING, self._abandon)
            last.daemon = True
            last.start()

    def _abandon(self) -> None:
        """End at once; nothing of ours can be lost."""
        if self.replay is not None:
            self.replay.remove()
        os._exit(129)

    def _fatal_error(self) -> None:
        """Write a report instead of a screenful; called when something of ours has failed."""
        if self.is_headless:  # a test wants to see it
            super()._fatal_error()
            return
        if not self._last_words:
            report = crash.write_report(self._exception)
            self._last_words = printable(crash.last_line(self._exception, report))
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        """Say in one line what has happened, once the terminal is as it was."""
        super()._print_error_renderables()
        if self._last_words and sys.__stderr__:
            sys.__stderr__.write(self._last_words + "\n")

    def _guard(self) -> None:
        """Leave at once when the terminal has gone and nobody said so."""
        if self.is_headless:
            return
        try:
            termios.tcgetattr(sys.__stdin__.fileno() if sys.__stdin__ else 0)
        except (termios.error, OSError, ValueError):
            self._abandon()

    async def look(self) -> None:
        """Renew what is shown when the database has changed."""
        if self._looking:
            return
        self._looking, self._began = True, time.monotonic()
        try:
            if self.replay is not None:
                await asyncio.to_thread(self.replay.tick)
            self._show_hosts()
            await self._survey()
            pulse = await self.reader.pulse()
            if pulse != self.pulse:
                self.pulse = pulse
                await self._renew()
            elif self._owes_count and time.monotonic() >= self._count_from:
                await self._renew_bar()
            elif self._bar.remark != self._standing():
                self._set_remark(self._standing())
            self._seen = time.time()
            self._ensure_worker()
        except RpatError as error:
            self.pulse = -1  # whatever comes back is shown anew
            self.say_in_bar(str(error))
        finally:
            self._looking = False

    async def _survey(self) -> None:
        """Look at the cards, in a thread: a driver may take its time."""
        if time.monotonic() - self.surveyed < SURVEY:
            return
        self.surveyed = time.monotonic()
        cards = await asyncio.to_thread(self.driver.read)
        found = await self.here.read(lambda db: survey(db, cards, rules()))
        for card in found["cards"]:
            if card["utilisation"] is not None:
                looks = self.lately.setdefault(card["place"], deque(maxlen=LATELY))
                looks.append(card["utilisation"])
        if found != self.machine:
            self.machine = found
            self._bar = replace(self._bar, cards=_cards(found))
            self.show_bar(self.screen)
        if isinstance(self.screen, Page):
            self.screen.show_machine()

    async def _renew(self) -> None:
        await self._renew_bar()
        screen = self.screen
        if isinstance(screen, Page):
            await screen.unless_closed(screen.renew())

    async def _renew_bar(self) -> None:
        """Count and foresee anew; where that is dear, for a small part of the time alone."""
        slots, before, now = self.slots, self._bar, time.monotonic()
        if now >= self._count_from:
            self._owes_count = False
            counts, held, took = await self.reader.read(
                lambda db: _timed(lambda: (queries.counts(db), queue.holds(db)))
            )
            self._own = counts
            if self.elsewhere is not None:
                self._own = await self.reader.read(lambda db: queries.counts(db, here=True))
            self._count_from = now + CALM * took * (took > DEAR)
            self._bar = replace(self._bar, counts=counts, held=queue.ALL in held)
        else:
            self._owes_count = True
        if now >= self._foresee_from or self._bar.counts != before.counts:
            ahead, took = await self.reader.read(
                lambda db: _timed(lambda: (forecast(queries.workload(db, slots)),))
            )
            self._foresee_from = now + CALM * took * (took > DEAR)
            ends = time.time() + ahead.total[1] if ahead.total is not None else None
            self._bar = replace(self._bar, ends=_clock(ends))
        self._bar = replace(self._bar, remark=self._standing())
        self.show_bar(self.screen)

    def _ensure_worker(self) -> None:
        """Keep a worker alive while work is open, as foreground commands do."""
        open_work = any(self._own.get(s) for s in ("queued", *queue.OPEN))
        if (
            self.readonly
            or self.replay
            or not open_work
            or time.monotonic() - self.ensured < ENSURE
        ):
            return
        from rpat_tui.launch import worker  # what it needs is not needed to look

        self.ensured = time.monotonic()
        worker.ensure(self.home)

    def _standing(self) -> str:
        """Return what the bar always remarks."""
        words = ["replayed recordings"] if self.replay is not None else []
        return ", ".join([*words, *(["read-only"] if self.readonly else [])])

    # ----------------------------------------------------------------- the bar

    def _show_hosts(self) -> None:
        """Say in the bar how it is with the other machines."""
        if self.elsewhere is None:
            return
        hosts = tuple(_host(standing) for standing in self.elsewhere.standings())
        if hosts != self._bar.hosts:
            self._bar = replace(self._bar, hosts=hosts)
            self.show_bar(self.screen)

    def action_machines(self) -> None:
        """Say of each other machine whether it answers, and why not."""
        standings = self.elsewhere.standings() if self.elsewhere else []
        words = [_host(standing)[0] + (f": {standing.why}" if standing.why else "")
                 for standing in standings]  # fmt: skip
        problem = self.elsewhere.problem if self.elsewhere else ""
        self.notify(printable("\n".join([*words, *filter(None, [problem])])))

    def say_in_bar(self, text: str) -> None:
        """Say in the bar why what is shown may be old, and how old it is."""
        as_of = time.strftime("as of %H:%M:%S: ", time.localtime(self._seen)) if self._seen else ""
        self._set_remark(as_of + text.removeprefix(f"home {self.home.path}: "))

    def _say_overdue(self) -> None:
        """Say that the database does not answer, which holds up nothing but what it says."""
        waited = time.monotonic() - self._began
        if self._looking and waited > OVERDUE:
            self.say_in_bar(f"no answer from the database for {duration(waited)}")

    def _set_remark(self, text: str) -> None:
        self._bar = replace(self._bar, remark=text)
        self.show_bar(self.screen)

    def show_bar(self, screen: Screen[Any]) -> None:
        """Show the present state in a screen's bar."""
        for bar in screen.query(Bar):
            bar.show(self._bar)

    # ----------------------------------------------------------------- what keys do

    async def _on_key(self, event: events.Key) -> None:
        """Do what a key is bound to; say of one without a use here where it has one."""
        event.prevent_default()
        if not await self._check_bindings(event.key) and isinstance(self.screen, Page):
            from rpat_tui.screens.elsewhere import where

            if said := where(event.key, self.screen, self._keymap):
                self.notify(said, severity="warning", timeout=3)

    def action_mode(self, name: str) -> None:
        """Go to a screen; remember the one before."""
        if name != self.current_mode:
            self.before = self.current_mode
            self.switch_mode(name)

    def action_previous(self) -> None:
        """Go back to the screen before."""
        self.action_mode(self.before)

    def key_of(self, name: str) -> str:
        """Return the first key of an action in force, as in `runs.stop`, for a sentence."""
        from rpat_tui.screens.keymap import PLACES, bound, keys_of
        from rpat_tui.screens.keys import sign

        context = name.partition(".")[0]
        assert context in PLACES
        return next(sign(keys_of(b, self._keymap)[0]) for b in bound(context) if b.id == name)

    def action_jump(self) -> None:
        """Go to a pane of this screen by its letter."""
        if isinstance(self.screen, Page):
            self.screen.jump()

    def action_repaint(self) -> None:
        """Paint everything anew: something else may have written to the terminal."""
        thrift.repaint(self)
        self.refresh(repaint=True, layout=True)

    def action_leave(self) -> None:
        """Close the window; the runs go on."""
        if self.elsewhere is not None:
            self.elsewhere.close()
        self.exit(0)

    def action_keys(self) -> None:
        """Show every key of this screen."""
        from rpat_tui.screens.keys import Keys

        self.push_screen(Keys(self.screen))

    def open_run(self, n: int) -> None:
        """Show one run whole, on top of the present screen."""
        from rpat_tui.screens.detail import Detail

        self.push_screen(Detail(n))

    async def show_runs(self, where: str) -> None:
        """Go to the list of runs and filter it."""
        from rpat_tui.screens.runs import RunsScreen

        self.before = self.current_mode
        await self.switch_mode("runs")
        if isinstance(self.screen, RunsScreen):
            self.screen.filter_by(where)

    def action_compose(self) -> None:
        """Compose new runs."""
        from rpat_tui.screens.compose import Compose

        self.push_screen(Compose())

    def compose_like(self, n: int) -> None:
        """Compose runs like one that exists."""
        from rpat_tui.screens.compose import Compose

        self.push_screen(Compose(like=n))

    def show_run(self, n: int) -> None:
        """Put the cursor of the list, where it is in front, on a run that is new to it.

        Whoever has moved it by then acts on the run that it is on: there it stays.
        """
        self.run_worker(self._show_run(n, time.monotonic()), exclusive=False)

    async def _show_run(self, n: int, asked: float) -> None:
        await self.look()
        for table in self.screen.query(RunTable):
            if table.moved < asked:
                table.seek(n)

    def carry_out(self, act: Act, rows: Sequence[dict[str, Any]]) -> None:
        """Do an act to runs in a thread; say what happened, and the equivalent command."""
        self.run_worker(
            lambda: self._act(act, rows), thread=True, exclusive=False, exit_on_error=False
        )

    def change(self, change: Callable[[Any], str]) -> None:
        """Write something in a thread with a connection of its own; say its line."""
        if self.readonly:
            self.notify("this window is read-only", severity="warning")
            return
        self.run_worker(lambda: self._write(change), thread=True, exit_on_error=False)

    def _ask_there(
        self, act: str, ids: Sequence[str], values: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Act on runs of other machines; returns what was said of it there, or why nothing was."""
        if self.elsewhere is None:
            return ["the other machines are not asked any more"]
        said, refused = self.elsewhere.act(act, ids, values)
        return [printable(line) for line in (*said, *refused)]

    def change_runs(
        self, runs: Sequence[Mapping[str, Any]], name: str, values: Mapping[str, Any],
        change: Callable[[Any, int], str],
    ) -> None:  # fmt: skip
        """Write something about runs where they belong: `change` here, the act `name` there."""
        if self.readonly:
            self.notify("this window is read-only", severity="warning")
            return
        far = [str(row["id"]) for row in runs if ":" in row["id"]]
        own = [row["n"] for row in runs if ":" not in row["id"]]
        if own:
            self.change(lambda db: "\n".join(change(db, n) for n in own))
        if far:
            self.run_worker(
                lambda: self._tell_there(name, far, values), thread=True, exit_on_error=False
            )

    def _tell_there(self, name: str, far: Sequence[str], values: Mapping[str, Any]) -> None:
        self.call_from_thread(self.notify, "\n".join(self._ask_there(name, far, values)))

    def _write(self, change: Callable[[Any], str]) -> None:
        try:
            with database.opened(self.home) as db:
                said = change(db)
        except RpatError as error:
            self.call_from_thread(self.notify, str(error), severity="error")
            return
        self.call_from_thread(self.notify, said)
        self.call_from_thread(self.run_worker, self.look(), exclusive=False)

    def _act(self, act: Act, rows: Sequence[dict[str, Any]]) -> None:
        try:
            said = self._do(act, rows)
        except RpatError as error:
            self.call_from_thread(self.notify, str(error), severity="error")
            return
        self.call_from_thread(self.notify, "\n".join(said[:6]), title=act.words(rows)[:60])
        self.call_from_thread(self.run_worker, self.look(), exclusive=False)

    def _do(self, act: Act, rows: Sequence[dict[str, Any]]) -> list[str]:
        said: list[str] = []
        if far := [str(row["id"]) for row in rows if ":" in row["id"]]:
            said += self._ask_there(act.name, far)
        if len(far) == len(rows):
            return said
        with database.opened(self.home) as db:
            for row in rows:
                if ":" in row["id"]:
                    continue
                if reason := act.refuse(row):
                    said.append(reason)
                    continue
                try:
                    said.append(act.do(self.home, db, row["n"]))
                except RpatError as error:
                    said.append(str(error))
        return said

    @property
    def slots(self) -> int:
        """How many runs the machine takes at a time."""
        return max(len(self.machine.get("cards", ())) or len(self.machine.get("cpu", ())), 1)

    def name_of(self, n: int) -> str:
        """Return the id of a run that is shown."""
        return self.elsewhere.view.name_of(n) if self.elsewhere else queue.name_of(n)

    @property
    def ids(self) -> int:
        """How many cells ids take where other machines are shown; else 0."""
        places = self.elsewhere.view.places if self.elsewhere else []
        return max((min(len(place.name), MACHINE) for place in places), default=-6) + 6

    def places(self) -> list[str]:
        """Return the places that can be held back."""
        named = [card["place"] for card in self.machine.get("cards", ())]
        return [queue.ALL, *named, *(cpu["slot"] for cpu in self.machine.get("cpu", ()))]

    def machine_text(self, width: int) -> Text:
        """Return a line for each card and each place of the CPU."""
        if not self.machine:
            return Text("looking at the machine …", style="dim")
        found = lines(self.machine, width, glyphs=self.glyphs is UNICODE, lately=self.lately)
        return Text("\n").join(found)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a message; brackets in names and notes are no markup."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    def copy(self, text: str) -> None:
        """Copy a text through the terminal, and show it for those whose terminal cannot."""
        self.copy_to_clipboard(text)
        self.notify(text, title="copied")

    # ----------------------------------------------------------------- the palette

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer every action by its name; `screens/commands.py` adds those with words behind."""
        from rpat_tui.screens.commands import choose_charts

        for mode in ("runs", "queue", "compare", "table", "logs"):
            yield SystemCommand(f"go to {mode}", f"screen {mode}", partial(self.action_mode, mode))
        yield SystemCommand("compose", "new runs", self.action_compose)
        if isinstance(screen, Page):
            for act in ACTS.values():
                yield SystemCommand(
                    act.title, act.command, partial(self._palette_act, screen, act.name)
                )
        for place in (screen, screen.focused):
            if isinstance(place, Keyed):
                yield from self._actions_of(place)
        yield SystemCommand(
            "charts…", "see which characters draw curves here", partial(choose_charts, self)
        )
        if self.elsewhere is not None:
            yield SystemCommand(
                "machines", "whether the other machines answer", self.action_machines
            )
        yield SystemCommand("jump", "to a pane of this screen by its letter", self.action_jump)
        yield SystemCommand("keys", "every key of this screen", self.action_keys)
        yield SystemCommand("quit", "close the window; runs go on", self.action_leave)

    def _actions_of(self, place: Any) -> Iterable[SystemCommand]:
        """Offer what keys do on a screen or in a pane, with the keys in force; acts are there."""
        from rpat_tui.screens.keys import key_rows

        bindings = [b for b in type(place).BINDINGS if isinstance(b, Binding) and b.description]
        for binding, (keys, what) in zip(
            bindings, key_rows(type(place), self._keymap), strict=True
        ):
            if not binding.action.startswith("act(") and binding.id:
                yield SystemCommand(what, keys, partial(self.run_action, binding.action, place))

    def tell(self, work: Callable[[], str]) -> None:
        """Do something at once; say what it returns, or what was wrong."""
        try:
            if said := work():
                self.notify(said)
        except RpatError as error:
            self.notify(str(error), severity="error")

    def _palette_act(self, page: Page, name: str) -> None:
        page.action_act(name)


def _cards(found: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return what the bar says of each card."""
    shown = []
    for card in found["cards"]:
        used, whole, others = card["used_mb"], card["memory_mb"], card["others_mb"]
        both = used is not None and whole
        foreign = f"{others / 1024:.0f}G" if others > 500 and not card["runs"] else ""
        shown.append({
            "index": card["index"],
            "utilisation": card["utilisation"],
            "used": f"{used / 1024:.0f}/{whole / 1024:.0f}G" if both else "",
            "temperature": card["temperature_c"],
            "runs": [run["id"] for run in card["runs"]],
            "foreign": foreign,
        })  # fmt: skip
    return tuple(shown)


def _host(standing: Standing) -> tuple[str, str]:
    """Return what the bar says of another machine, and the style."""
    if standing.word == "away":
        return (
            f"{standing.name} away since {time.strftime('%H:%M', time.localtime(standing.since))}",
            ("yellow"),
        )
    return f"{standing.name} {standing.word}", "green" if standing.word == "live" else "dim"


def _timed(read: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what is read, and the seconds that it took."""
    clock = time.perf_counter()
    found = read()
    return (*found, time.perf_counter() - clock)


def _clock(t: float | None) -> str:
    if t is None:
        return ""
    form = "%a %H:%M" if t - time.time() > 64_800 else "%H:%M"
    return time.strftime(form, time.localtime(t))
