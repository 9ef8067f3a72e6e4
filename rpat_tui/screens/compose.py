"""Composing runs: a form, what it comes to, and the command that would do the same."""

from __future__ import annotations

import asyncio
import os
import shlex
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.timer import Timer
from textual.widgets import Input, Static, TextArea

from rpat.config import RunConfig
from rpat.errors import ConfigError, RpatError, StoreError
from rpat_tui import draft as drafts
from rpat_tui.draft import FIELDS, GROUPS, SWITCHES, Draft, Resolved
from rpat_tui.launch import enqueue
from rpat_tui.screens.ask import Ask
from rpat_tui.screens.ask import Line as AskLine
from rpat_tui.screens.base import IN_DEMO, Page
from rpat_tui.screens.form import Form, Line, Switches, with_word
from rpat_tui.screens.pick import Pick
from rpat_tui.screens.prospect import Prospect, hints, look, plan, summary, verdict
from rpat_tui.store import db as database
from rpat_tui.store import queries
from rpat_tui.wording import flat

DEBOUNCE = 0.15
"""Seconds without a key before what was typed is looked at."""


class Compose(Page):
    """A form on top of the screen it was opened from; escape leaves it."""

    AUTO_FOCUS = "#method"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012  textual's own form
    DEFAULT_CSS = """
    Compose {
        #panes { height: 1fr; }
        #what { width: 1fr; max-width: 66; height: 1fr; padding: 0 0 0 1; }
        #fields { scrollbar-size: 1 1; height: 1fr; }
        #fields .group { height: 1; color: $primary; text-style: bold; }
        #side { width: 1fr; height: 1fr; }
        #summary, #verdict { padding: 0 1; scrollbar-size: 1 1; }
        #summary { height: 1fr; }
        #verdict { height: auto; max-height: 45%; border-top: solid $border-blurred; }
        &.-wide .pane {
            border: round $border-blurred; border-title-color: $text-muted;
            &:focus-within { border: round $primary; border-title-color: $foreground; }
        }
        #summary:focus, #verdict:focus { background-tint: $foreground 5%; }
        #found, #checks { height: auto; width: 1fr; }
        #command { height: auto; max-height: 4; padding: 0 1; background: $panel; }
        #status { height: 1; padding: 0 1; color: $text-muted; }
        &.-narrow #panes { layout: vertical; }
        &.-narrow #what { max-width: 100%; height: 2fr; }
        &.-narrow #side { height: auto; border: none; }
        &.-narrow #summary { display: none; }
        &.-narrow #verdict { max-height: 30vh; }
        &.-narrow.-plan #side { height: 1fr; }
        &.-narrow.-plan #summary { display: block; }
        &.-narrow.-plan #what { display: none; }
    }
    """
    FIXED = ("stay",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "queue(False)", "queue", priority=True),
        Binding("ctrl+t", "queue(True)", "on top", priority=True, tooltip="queue in front"),
        Binding("ctrl+r", "plan", "dry run", priority=True),
        Binding("ctrl+o", "keep", "keep", priority=True, tooltip="keep the form as a preset"),
        Binding("ctrl+y", "copy", "copy", priority=True, tooltip="copy the command"),
        Binding("ctrl+g", "edit", "edit", priority=True, tooltip="values in an editor"),
        Binding("escape", "cancel", "cancel", priority=True),
        Binding("q,n,1,2,3,4,5,grave_accent,colon", "stay", "nothing: esc leaves", show=False),
    ]

    def __init__(self, like: int | None = None) -> None:
        super().__init__()
        self.like = like
        self.initial = Draft()
        self.resolved = Resolved()
        self.prospect = Prospect()
        self.is_plan = False
        self._timer: Timer | None = None
        self._looked: Draft | None = None
        self._queueing = False

    # ----------------------------------------------------------------- layout

    def body(self) -> ComposeResult:
        """The form to the left, what it comes to to the right, the command below."""
        with Horizontal(id="panes"):
            with Vertical(id="what", classes="pane") as what:
                what.border_title = "New runs"
                with Form(id="fields"):
                    for group in GROUPS:
                        like = self.like if group is GROUPS[0] else None
                        more = "" if like is None else f", like {self.rpat.name_of(like)}"
                        yield Static(group.title + more, classes="group", markup=False)
                        for f in group.fields:
                            yield Line(f, self.rpat.glyphs.unfold)
                            if f.name == "method":
                                yield Switches("wrappers", group.switches, id="wrappers")
                        if group.switches and "reuse" in group.switches:
                            yield Switches("", group.switches, id="choices")
            with Vertical(id="side"):
                with VerticalScroll(id="summary", classes="pane"):
                    yield Static("", id="found", markup=False)
                with VerticalScroll(id="verdict", classes="pane"):
                    yield Static("", id="checks", markup=False)
        yield Static("$ rpat run", id="command", markup=False)
        yield Static("", id="status", markup=False)

    def on_mount(self) -> None:
        """Begin once the fields are there."""
        self.call_after_refresh(lambda: self.aside(self._begin()))

    async def _begin(self) -> None:
        """Fill the form, and show what it comes to."""
        if self.like is not None:
            await self._fill_like(self.like)
        self._resolve()

    async def _fill_like(self, n: int) -> None:
        def read(db: sqlite3.Connection) -> tuple[dict[str, Any], dict[str, Any]]:
            return queries.runs(db, numbers=[n], archived=True)[0], queries.config_of(db, n)

        try:
            row, values = await self.rpat.reader.read(read)
            if row["kind"] != "train":
                raise ConfigError(f"{row['id']} is of kind {row['kind']}: only training runs")
            config = RunConfig.from_dict(values)
            found = drafts.like(
                config, self.rpat.home, tags=tuple(row["tags"]), priority=row["priority"]
            )
        except RpatError as error:
            self.app.notify(f"nothing to start from: {error}", severity="error")
            return
        self._put(found)
        self.initial = self.draft()

    def _put(self, found: Draft) -> None:
        with self.prevent(Input.Changed, TextArea.Changed):
            for line in self.query(Line):
                line.text = found.texts.get(line.field.name, "")
        for switches in self.query(Switches):
            switches.put(found.on)

    def draft(self) -> Draft:
        """Return what the form holds now."""
        texts = {line.field.name: line.text for line in self.query(Line) if line.text.strip()}
        return Draft(texts, frozenset().union(*(s.on for s in self.query(Switches))))

    # ----------------------------------------------------------------- what it comes to

    async def renew(self) -> None:
        """Look again at what is known: other runs may be there now."""
        if self._looked is not None:
            self._resolve()

    @on(Input.Changed)
    @on(TextArea.Changed)
    @on(Switches.Changed)
    def typed(self) -> None:
        """Look at what was typed, once nothing more is."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE, self._resolve)

    @work(exclusive=True, group="resolve")
    async def _resolve(self) -> None:
        await self._look(self.draft())

    async def _look(self, draft: Draft) -> Resolved:
        """Resolve a draft, ask what is known about it, and show both."""
        home = self.rpat.home
        resolved = self.resolved
        if draft != self._looked:
            try:
                resolved = await asyncio.to_thread(drafts.resolve, draft, home)
            except ConfigError as error:  # a setting that cannot be read
                resolved = Resolved(errors={"": str(error)})
        try:
            prospect = await self.rpat.reader.read(lambda db: look(db, resolved))
        except StoreError:  # no home yet: the first run makes it
            prospect = look(None, resolved)
        self.resolved, self.prospect, self._looked = resolved, prospect, draft
        if self.query("#command"):  # else the screen has been left meanwhile
            self._show(draft)
        return resolved

    def _show(self, draft: Draft) -> None:
        found, errors = self.resolved, {**self.prospect.errors, **self.resolved.errors}
        if not draft.texts and not draft.on:
            errors = {}  # nobody has done anything wrong yet
        for line in self.query(Line):
            line.tell(errors.get(line.field.name, ""), found.defaults.get(line.field.name, ""))
        for switches in self.query(Switches):
            switches.tell(found.given)
        self._write("command", Text(f"$ {found.command}"))
        width = max(self.query_one("#summary").scrollable_content_region.width, 40)
        begun = bool(draft.texts or draft.on)
        checks = Text("Name a method or a preset: enter lists them.", style="dim")
        if begun:
            checks = verdict(found, self.prospect, self.rpat.glyphs)
        details = (
            plan(found, self.prospect, width) if self.is_plan else summary(found, draft, width)
        )
        details = details if begun else hints(self.rpat.key_of)
        self._write("checks", checks)
        self._write("found", details)
        self._help()

    def _write(self, name: str, text: Text) -> None:
        """Show a text; an equal one sends nothing."""
        pane = self.query_one(f"#{name}", Static)
        if pane.content != text:
            pane.update(text)

    def on_resize(self) -> None:
        """Wrap what is shown to the new width."""
        self.typed()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Explain the field one comes to."""
        self._help()

    def on_switches_moved(self) -> None:
        """Explain the switch one comes to."""
        self._help()

    def _help(self) -> None:
        text, focused = "arrows scroll, tab goes on", self.focused
        if self.is_plan:
            text = f"dry run: nothing is started; {text}, esc shows the form"
        if isinstance(focused, Switches):
            name = focused.name_at
            given = "  (=: the recipe brings it)" if name in focused.given else ""
            text = f"{name}: {SWITCHES[name]}; space switches, arrows move{given}"
        elif focused is not None and focused.id in FIELDS:
            f = FIELDS[focused.id]
            more = "; enter lists them" if f.choices() else ""
            text = f"{f.option}: {f.help}{more}"
        self.query_one("#status", Static).update(text, layout=False)

    # ----------------------------------------------------------------- keys

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """List what a field can hold, or go to the next one."""
        f = FIELDS[event.input.id or ""]
        if names := tuple(f.choices()):
            box = event.input

            def take(word: str | None) -> None:
                if word is not None:
                    box.value = with_word(box.value, word, is_list=f.is_list)
                    box.cursor_position = len(box.value)

            self.app.push_screen(Pick(f.title, names), take)
        else:
            self.focus_next()

    def action_plan(self) -> None:
        """Show what would be queued, all of it; start nothing."""
        self.is_plan = not self.is_plan
        self.set_class(self.is_plan, "-plan")
        self.query_one("#summary").border_title = "Dry run: nothing is started" * self.is_plan
        if self.is_plan:
            self.query_one("#summary").focus()
        else:
            self.query_one("#method", Input).focus()
        self._resolve()

    def action_copy(self) -> None:
        """Copy the command."""
        words = drafts.command_words(self.draft(), self.rpat.home)
        self.rpat.copy(shlex.join(words))

    def action_keep(self) -> None:
        """Ask for a name and keep what the form holds as a preset of one's own."""
        draft = self.draft()
        if self.rpat.readonly:
            self.app.notify("keep: this window is read-only", severity="warning")
        elif not draft.texts and not draft.on:
            self.app.notify("there is nothing to keep: the form is empty", severity="warning")
        else:
            title = "keep this form as a preset named"
            hint = "letters, digits and . _ + / -; enter keeps it, esc cancels"
            self.app.push_screen(AskLine(title, hint=hint), self._keep)

    def _keep(self, name: str | None) -> None:
        if not name or not name.strip():
            return
        name = name.strip()
        try:
            again = drafts.keep(name, self.draft())
        except ConfigError as error:
            self.app.notify(str(error), title="nothing was kept", severity="error")
            return
        self.app.notify(
            f"rpat run --preset {name}", title=f"{name} is {'replaced' if again else 'kept'}"
        )

    def action_stay(self) -> None:
        """Say how one leaves, where a key would leave by itself."""
        self.app.notify("esc leaves the form", severity="warning")

    def action_cancel(self) -> None:
        """Leave; ask where something would be lost."""
        if self.is_plan:
            self.action_plan()
        elif self.draft() == self.initial:
            self.dismiss()
        else:
            self.app.push_screen(Ask("Leave? What was typed is lost."), self._left)

    def _left(self, yes: bool | None) -> None:
        if yes:
            self.dismiss()

    def action_queue(self, first: bool) -> None:
        """Queue what the form comes to, unless something is wrong."""
        if self.rpat.readonly:
            self.app.notify("queue: this window is read-only", severity="warning")
        elif self.rpat.replay is not None:
            self.app.notify(IN_DEMO, severity="warning")
        elif not self._queueing:
            self._queueing = True
            self._queue(first)

    @work(group="queue")
    async def _queue(self, first: bool) -> None:
        try:
            self._looked = None  # what was typed is looked at anew, and the disk as well
            found = await self._look(self.draft())
            if errors := {**self.prospect.errors, **found.errors}:
                name, text = next(iter(errors.items()))
                if name in FIELDS:
                    self.query_one(f"#{name}").focus()
                self.app.notify(text, title="nothing was queued", severity="error")
                return
            queued = await asyncio.to_thread(self._start, found, first)
        except RpatError as error:
            self.app.notify(str(error), title="nothing was queued", severity="error")
            return
        finally:
            self._queueing = False
        for text in queued.remarks:
            self.app.notify(text)
        names = " ".join(f"r{n:04d}" for n in queued.numbers[:8])
        more = f" … ({len(queued.numbers)} runs)" if len(queued.numbers) > 8 else ""
        self.app.notify(names + more, title="queued" if queued.made else "nothing new was queued")
        self.dismiss()
        if queued.numbers:
            self.rpat.show_run(queued.numbers[-1])  # its work outlives this screen

    def _start(self, found: Resolved, first: bool) -> enqueue.Queued:
        home = self.rpat.home
        with database.opened(home) as db:
            return enqueue.start(
                home, db, found.configs, found.wish, found.command,
                after=found.after, reuse=found.reuse, first=first,
            )  # fmt: skip

    # ----------------------------------------------------------------- the editor

    def action_edit(self) -> None:
        """Open the values that differ, and every other one as a remark, in an editor."""
        with tempfile.TemporaryDirectory(prefix="rpat-") as folder:
            file = Path(folder) / "values.txt"
            file.write_text(self._as_file(), "utf-8")
            editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
            try:
                with self.app.suspend():
                    done = subprocess.run([*shlex.split(editor), str(file)], check=False)
                text = file.read_text("utf-8")
            except (OSError, ValueError, SuspendNotSupported) as error:
                self.app.notify(f"{editor} cannot be opened: {error}", severity="error")
                return
        if done.returncode:
            self.app.notify(f"{editor} ended with status {done.returncode}: nothing was taken over")
            return
        lines = [line.strip() for line in text.splitlines()]
        kept = [line for line in lines if line and not line.startswith("#")]
        self.query_one("#line-set", Line).text = "\n".join(kept)

    def _as_file(self) -> str:
        lines = ["# key=value, one a line; lines with # change nothing", *self.draft().lines()]
        config = next(iter(self.resolved.asked), self.resolved.base)
        if config is not None:
            lines += ["", "# as it is now:"]
            for key, value in flat(config.to_dict()).items():
                if key not in ("schema", "method", "wrappers", *drafts.PLACES):
                    lines.append(f"# {key}={drafts.written(value)}")
        return "\n".join(lines) + "\n"
