"""What every screen has: the bar, the keys at the foot, renewed data, acts with their reasons."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from rpat.errors import RpatError
from rpat_tui.acts import ACTS, Act
from rpat_tui.screens.ask import Ask, Line
from rpat_tui.store import queries, queue
from rpat_tui.widgets.bar import Bar

if TYPE_CHECKING:
    from rpat_tui.app import RpatApp

T = TypeVar("T")

IN_DEMO = "this is the demo: it replays recordings and trains nothing new; rpat tui does"

SIGNS = {"left_square_bracket": "[", "right_square_bracket": "]"}
"""What keys are called on the screen."""


def act_bindings(*names: str, hidden: Collection[str] = ()) -> list[BindingType]:
    """Return bindings for acts by their names; each key calls `action_act`.

    Those that are `hidden` are left out of the line at the foot, which must fit in 80 columns.
    """
    return [
        Binding(
            act.key, f"act('{act.name}')", act.label or act.title, tooltip=act.title,
            show=act.name not in hidden, key_display=SIGNS.get(act.key),
        )
        for act in map(ACTS.__getitem__, names)
    ]  # fmt: skip


def retitle(pane: Widget, title: str | Content) -> None:
    """Write another title into the frame of a pane; only that line is painted, not the pane."""
    text = title if isinstance(title, Content) else Content(title)
    if text != getattr(pane, "_border_title", None):
        pane._border_title = text
        shift = pane.content_offset
        pane.refresh(Region(-shift.x, -shift.y, pane.outer_size.width, 1))


class Page(Screen[None]):
    """A screen between bar and footer whose data are renewed when the database has changed.

    Panes with the class `pane` are framed where there is room; the frame of the focused one is
    lit.
    """

    TITLE_WORD: ClassVar[str] = ""
    AUTO_FOCUS = ""
    """Each screen names its own pane: the first widget may be a line that is not shown yet."""

    @property
    def rpat(self) -> RpatApp:
        """The application, with its type."""
        return cast("RpatApp", self.app)

    def compose(self) -> ComposeResult:
        """Lay the bar on top and the keys at the foot of what the screen shows."""
        self._set_breakpoints()
        yield Bar()
        yield from self.body()
        yield Footer(show_command_palette=False)

    def _set_breakpoints(self) -> None:
        """Take the classes of the width before the first frame: none is drawn for another one."""
        width = self.app.size.width
        known = sorted(self.HORIZONTAL_BREAKPOINTS or ())
        fitting = [name for least, name in known if width >= least][-1:]
        for _, name in known:
            self.set_class(name in fitting, name)

    def body(self) -> ComposeResult:
        """Yield what lies between bar and footer."""
        raise AssertionError("a screen says what it shows")

    async def renew(self) -> None:
        """Read what is shown again; called when the database has changed, and at first."""

    def chosen(self) -> Sequence[int]:
        """Return the runs that an act is about: the marked ones, else the one at the cursor."""
        return ()

    async def rows(self) -> list[dict[str, Any]]:
        """Return what is known of the chosen runs."""
        numbers = list(self.chosen())
        if not numbers:
            return []
        return await self.rpat.reader.read(lambda db: queries.runs(db, numbers=numbers))

    async def on_screen_resume(self) -> None:
        """Show fresh data whenever the screen comes to the front."""
        self.rpat.show_bar(self)
        await self.told(self.renew())

    async def told(self, work: Awaitable[T]) -> T | None:
        """Wait for work that reads; where that is not possible, say why in the bar."""
        try:
            return await work
        except RpatError as error:
            self.rpat.say_in_bar(str(error))
            return None

    # ----------------------------------------------------------------- acts

    async def action_act(self, name: str) -> None:
        """Carry an act out on the chosen runs, or say why not."""
        act, rows = ACTS[name], await self.told(self.rows()) or []
        if self.rpat.readonly:
            self.app.notify(f"{act.title}: this window is read-only", severity="warning")
        elif reason := act.reason(rows):
            self.app.notify(reason, severity="warning")
        elif act.typed:
            ids = " ".join(str(row["id"]) for row in rows)
            self.app.push_screen(
                Line(act.asks.format(ids), hint=f"type {ids} to do it, esc cancels"),
                lambda text: self._answered(text == ids, act, rows),
            )
        elif act.asks:
            names = ", ".join(str(row["id"]) for row in rows[:5]) + (" …" if len(rows) > 5 else "")
            self.app.push_screen(
                Ask(act.asks.format(names)), lambda yes: self._answered(yes, act, rows)
            )
        else:
            self.rpat.carry_out(act, rows)

    def _answered(self, yes: bool | None, act: Act, rows: list[dict[str, Any]]) -> None:
        if yes:
            self.rpat.carry_out(act, rows)

    def on_chart_widget_axis_asked(self) -> None:
        """Say where other axes are drawn."""
        self.app.notify("screens draw over epochs; rpat plot --x time draws over hours")

    def action_copy(self) -> None:
        """Copy the command that shows the chosen runs."""
        if numbers := self.chosen():
            self.rpat.copy(" ".join(["rpat show", *map(queue.name_of, numbers)]))
        else:
            self.app.notify("copy: no run is chosen", severity="warning")
