"""Commands with words behind them, for the palette: `:sort pgd`, `:goto r0193`, `:save table2`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits
from textual.system_commands import SystemCommandsProvider
from textual.widgets import Input

from rpat_tui import configure, themes
from rpat_tui.home import settings
from rpat_tui.remembered import FILTERS
from rpat_tui.screens.ask import Line
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.screens.sample import Sample
from rpat_tui.settings import NAMES, setting
from rpat_tui.store.window import SORTS, position
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.plane import PlaneWidget

if TYPE_CHECKING:
    from rpat_tui.app import RpatApp

FIRST = 1e6
"""The score of what was typed out; fuzzy ones are smaller."""


# ----------------------------------------------------------------- the list of runs


async def _runs_screen(app: RpatApp) -> RunsScreen:
    """Go to the list of runs."""
    app.before = app.current_mode
    await app.switch_mode("runs")
    assert isinstance(app.screen, RunsScreen)
    return app.screen


def sort_runs(app: RpatApp, column: str) -> None:
    """Sort the list of runs by a column; again reverses it."""

    async def work() -> None:
        (await _runs_screen(app)).sort_by(column)

    app.run_worker(work(), exclusive=False)


def goto(app: RpatApp, word: str) -> None:
    """Put the cursor of the list on a run, by its id or its number."""
    digits = word.removeprefix("r")
    if digits.isascii() and digits.isdigit():
        app.run_worker(_goto(app, int(digits)), exclusive=False)
    else:
        app.notify(f"'{word}' is no run; write r0193 or 193", severity="warning")


async def _goto(app: RpatApp, n: int) -> None:
    screen = await _runs_screen(app)
    asked = screen.query_of_list
    found = await screen.told(app.reader.read(lambda db: position(db, asked, n)))
    if found is None:
        app.notify(f"{app.name_of(n)} is not in this list", severity="warning")
    else:
        screen.table.seek(n)
        screen.table.focus()


def use_filter(app: RpatApp, word: str) -> None:
    """Filter the list by a saved filter, or by what was typed."""
    app.run_worker(app.show_runs(app.remembered.filters().get(word, word)), exclusive=False)


def save_filter(app: RpatApp, name: str) -> None:
    """Save the filter of the list by a name."""
    if app.readonly:
        app.notify("this window is read-only", severity="warning")
        return
    screens = [s for stack in app._screen_stacks.values() for s in stack]
    where = next((s.query_of_list.where for s in screens if isinstance(s, RunsScreen)), "")
    if not where:
        app.notify("no filter is set on screen 1: / sets one", severity="warning")
    elif not re.fullmatch(r"[\w.-]+", name):
        app.notify(f"'{name}' is no name: letters, digits, . - _", severity="warning")
    else:
        app.remembered.put(FILTERS, name, where)
        app.remember()
        app.notify(f"{name}: {where}", title="filter saved")


def forget_filter(app: RpatApp, name: str) -> None:
    """Forget a saved filter."""
    where = app.remembered.filters().get(name)
    if app.readonly:
        app.notify("this window is read-only", severity="warning")
    elif where is not None:
        app.remembered.put(FILTERS, name, None)
        app.remember()
        app.notify(f"{name} is forgotten; it was {where}")


# ----------------------------------------------------------------- the window


def put_on(app: RpatApp, name: str) -> None:
    """Wear a theme in this window."""

    def work() -> str:
        app.wear(name)
        app.pulse = -1  # texts that hold colours are made anew
        return f"theme {name} in this window; :config tui.theme {name} keeps it"

    app.tell(work)


def set_up(app: RpatApp, words: str) -> None:
    """Change a setting for good: its name, then its value; ask for what is missing."""
    name, _, value = words.partition(" ")
    if value:
        app.tell(lambda: _put(app, name, value))
    else:
        app.tell(lambda: _ask(app, name))


def _ask(app: RpatApp, name: str) -> str:
    setting(name)
    now = settings()[name]

    def answered(text: str | None) -> None:
        if text is not None:
            app.tell(lambda: _put(app, name, text))

    hint = f"{now.help} (takes {configure.takes(name)})"
    app.push_screen(Line(f"{name}, from {now.origin}", str(now.value), hint), answered)
    return ""


def _put(app: RpatApp, name: str, text: str) -> str:
    """Write a setting, and let it hold in this window as well, where that is possible."""
    if app.readonly:
        return "this window is read-only"
    said = configure.put(name, text.strip())
    now = settings()[name].value
    if name == "tui.theme":
        app.wear(now)
        app.pulse = -1
    elif name == "keys.map":
        from rpat_tui.screens.keymap import in_force

        app.set_keymap(in_force())
    elif name == "tui.charts" and now != "auto":
        draw_with(app, now)
    else:
        said += "; it holds from the next start on"
    return said


def draw_with(app: RpatApp, charts: str) -> None:
    """Draw all curves with other characters."""
    app.charts = charts
    for screen in (s for stack in app._screen_stacks.values() for s in stack):
        for chart in screen.query(ChartWidget):
            chart.charts = charts
        for plane in screen.query(PlaneWidget):
            plane.draw_with(charts)


def choose_charts(app: RpatApp) -> None:
    """Show a curve in every kind of characters and keep the one that is chosen."""

    def chosen(kind: str | None) -> None:
        if kind is not None:
            app.tell(lambda: _put(app, "tui.charts", kind))

    app.push_screen(Sample(), chosen)


def open_palette(app: RpatApp, text: str) -> None:
    """Open the palette with a word typed already."""
    palette = CommandPalette(id="--command-palette")

    def typed() -> None:
        field = palette.query_one(Input)
        field.value = f"{text} "
        field.cursor_position = len(field.value)

    app.push_screen(palette)
    app.call_later(typed)


# ----------------------------------------------------------------- the palette


@dataclass(frozen=True, slots=True)
class Verb:
    """A command that wants a word."""

    name: str
    wants: str
    does: str
    do: Callable[[RpatApp, str], None]
    words: Callable[[RpatApp], Iterable[str]] = lambda app: ()
    """The words that are known; with `free` any other does as well."""
    free: bool = False


VERBS = (
    Verb("sort", "COLUMN", "order of the list; again reverses it", sort_runs, lambda app: SORTS),
    Verb("goto", "RUN", "put the cursor of the list on a run", goto, free=True),
    Verb("theme", "NAME", "colours of this window", put_on, lambda app: themes.names()),
    Verb(
        "filter", "NAME", "a saved filter, or any", use_filter,
        lambda app: app.remembered.filters(), free=True,
    ),
    Verb("save", "NAME", "save the filter of the list by a name", save_filter, free=True),
    Verb(
        "unsave", "NAME", "forget a saved filter", forget_filter,
        lambda app: app.remembered.filters(),
    ),
    Verb(
        "config", "SETTING VALUE", "change a setting for good", set_up, lambda app: NAMES,
        free=True,
    ),
)  # fmt: skip


class Commands(SystemCommandsProvider):
    """Finds commands with their words, typed out or fuzzily, and then those without.

    It is the only provider: Textual asks several of them in an order that differs from start to
    start.
    """

    @property
    def rpat(self) -> RpatApp:
        """The application, with its type."""
        return cast("RpatApp", self.app)

    async def discover(self) -> Hits:
        """Show what words there are to type."""
        for verb in VERBS:
            yield DiscoveryHit(
                f"{verb.name} {verb.wants}", partial(open_palette, self.rpat, verb.name),
                help=verb.does,
            )  # fmt: skip
        async for hit in super().discover():
            yield hit

    async def search(self, query: str) -> Hits:
        """Find what was typed: exactly, by its beginning, or fuzzily."""
        typed = " ".join(query.removeprefix(":").split())
        name, _, rest = typed.partition(" ")
        matcher = self.matcher(typed)
        for verb in VERBS:
            known = list(verb.words(self.rpat))
            whole = verb.name != "config" or " " in rest
            if verb.name == name and rest and verb.free and whole and rest not in known:
                yield Hit(FIRST, f"{name} {rest}", partial(verb.do, self.rpat, rest),
                          text=f"{name} {rest}", help=verb.does)  # fmt: skip
            for word in known:
                said = f"{verb.name} {word}"
                score = matcher.match(said) * (0.5 if verb.name == "config" else 1)
                if verb.name == name and said.startswith(typed):
                    score = FIRST * (1 + (said == typed))
                if score > 0:
                    yield Hit(score, matcher.highlight(said), partial(verb.do, self.rpat, word),
                              text=said, help=verb.does)  # fmt: skip
        async for hit in super().search(query):
            yield hit
