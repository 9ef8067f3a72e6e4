"""What every screen has: the bar, the keys at the foot, renewed data, acts with their reasons."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.content import Content
from textual.css.query import NoMatches
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer

from rpat.errors import RpatError
from rpat_tui.acts import ACTS, Act
from rpat_tui.screens.ask import Ask, Line
from rpat_tui.screens.border import LEAST, STEP, Border
from rpat_tui.screens.jump import Jump
from rpat_tui.store import queries
from rpat_tui.widgets.bar import Bar
from rpat_tui.widgets.keyed import Keyed

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


class Page(Keyed, Screen[None]):
    """A screen between bar and footer whose data are renewed when the database has changed.

    Panes with the class `pane` are framed where there is room; the frame of the focused one is
    lit.
    """

    TITLE_WORD: ClassVar[str] = ""
    AUTO_FOCUS = ""
    """Each screen names its own pane: the first widget may be a line that is not shown yet."""
    BORDER: ClassVar[Border | None] = None
    """The border that `<` and `>` move."""

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

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys of now; those that were remapped stay in their place at the foot."""
        found = super().active_bindings
        if not self.app._keymap:
            return found
        places = [self.focused, self, self.app]
        ids = [getattr(b, "id", None) for place in places for b in getattr(place, "BINDINGS", ())]
        order = {name: i for i, name in enumerate(ids) if name}
        return dict(sorted(found.items(), key=lambda item: order.get(item[1].binding.id or "", -1)))

    def body(self) -> ComposeResult:
        """Yield what lies between bar and footer."""
        raise AssertionError("a screen says what it shows")

    async def renew(self) -> None:
        """Read what is shown again; called when the database has changed, and at first."""

    def show_machine(self) -> None:
        """Show cards and places again; called when they may look different."""

    def chosen(self) -> Sequence[int]:
        """Return the runs that an act is about: the marked ones, else the one at the cursor."""
        return ()

    async def rows(self) -> list[dict[str, Any]]:
        """Return what is known of the chosen runs."""
        numbers = list(self.chosen())
        if not numbers:
            return []
        return await self.rpat.reader.read(lambda db: queries.runs(db, numbers=numbers))

    def on_screen_resume(self) -> None:
        """Show fresh data whenever the screen comes to the front."""
        self.rpat.show_bar(self)
        self.aside(self.renew())

    def aside(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do work that reads beside the keys, which go on while a database does not answer."""
        self.run_worker(self.told(work), exclusive=False)

    async def told(self, work: Awaitable[T]) -> T | None:
        """Wait for work that reads; where that is not possible, say why in the bar."""
        try:
            return await self.unless_closed(work)
        except RpatError as error:
            self.rpat.say_in_bar(str(error))
            return None

    async def unless_closed(self, work: Awaitable[T]) -> T | None:
        """Wait for work on the panes of this screen, which begins and ends with them."""
        try:
            return await work
        except NoMatches:
            if self.app.is_running and self.is_attached and self.is_mounted:
                raise
            # The window is being closed, and its panes have gone first. Or they are still to come:
            # a screen is renewed once it has them.
            return None

    # ----------------------------------------------------------------- panes

    def panes(self) -> dict[str, Widget]:
        """Return the panes that keys go between, by what they are called."""
        return {}

    def to_pane(self, pane: Widget) -> None:
        """Go to a pane; where there is little room, it comes to the front."""
        pane.focus()

    def jump(self) -> None:
        """Ask for a pane by its letter, and go there."""
        panes = self.panes()

        def go(name: str | None) -> None:
            if name is not None:
                self.to_pane(panes[name])

        if panes:
            self.app.push_screen(Jump(panes), go)
        else:
            self.app.notify("this screen has one pane: there is none to jump to")

    # ----------------------------------------------------------------- sizes

    def border_is_shown(self) -> bool:
        """Return whether the panes at the border are both in sight."""
        return not any(
            name == "-narrow" or name == "-one" or name.startswith("-zoom") for name in self.classes
        )

    def fit_border(self) -> None:
        """Give the panes the widths that are remembered, where both are in sight."""
        if self.BORDER is not None:
            kept = self.rpat.remembered.get(self.CONTEXT, "border", 0)
            self.BORDER.fit(self, kept if kept and self.border_is_shown() else None)

    def action_border(self, by: int) -> None:
        """Move the border to the left or to the right, and remember it."""
        border = self.BORDER
        if border is None or not self.border_is_shown():
            self.app.notify("one pane is shown: there is no border to move", severity="warning")
            return
        wider = by if border.left else -by
        width = border.width(self) + STEP * wider
        width = max(min(width, self.app.size.width - LEAST), LEAST)
        self.rpat.remembered.put(self.CONTEXT, "border", width)
        self.fit_border()

    def action_sizes(self) -> None:
        """Put the border back."""
        self.rpat.remembered.put(self.CONTEXT, "border", None)
        self.fit_border()

    # ----------------------------------------------------------------- acts

    def action_act(self, name: str) -> None:
        """Carry an act out on the chosen runs, or say why not."""
        self.aside(self.act(name))

    async def act(self, name: str) -> None:
        """The same, awaited."""
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

    def action_copy(self) -> None:
        """Copy the command that shows the chosen runs."""
        if self.chosen():
            self.aside(self._copy())
        else:
            self.app.notify("copy: no run is chosen", severity="warning")

    async def _copy(self) -> None:
        rows = await self.told(self.rows()) or []
        self.rpat.copy(" ".join(["rpat show", *(str(row["id"]) for row in rows)]))
