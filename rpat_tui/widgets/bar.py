"""The line at the top of every screen: where we are, the cards, the queue, when all is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text
from textual.widgets import Static

FULL, SHORT = 140, 80
"""Columns from which the bar is shown in full, and in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarState:
    """What the bar shows; equal states send nothing to the terminal."""

    title: str = ""
    cards: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[str, int] | None = None  # None: not read yet
    held: bool = False
    hosts: Sequence[tuple[str, str]] = ()  # other machines: what is said of each, its style
    ends: str = ""  # local time when all is done
    remark: str = ""  # a stale age, read-only, no worker
    disk: str = ""
    cost: str = ""  # what the window costs, where --stats asks for it


class Bar(Static):
    """One line; its text is rebuilt only when its state or its width changes."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; background: $panel; color: $foreground; }
    """

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.shown: tuple[BarState, int] | None = None
        self.state = BarState()

    def show(self, state: BarState) -> None:
        """Show a state, if it differs from what is shown."""
        self.state = state
        width = self.size.width
        if width and self.shown != (state, width):
            self.shown = (state, width)
            self.update(line(state, width), layout=False)

    def on_resize(self) -> None:
        """Fit the line to the new width."""
        self.show(self.state)


def line(state: BarState, width: int) -> Text:
    """Return the bar's text: full, short, or counts alone."""
    groups: list[Text] = [Text(f" rpat  {state.title}".rstrip(), style="bold")]
    if width >= SHORT:
        groups += [_card(card, full=width >= FULL) for card in state.cards]
    groups.append(_queue(state))
    if state.hosts:
        groups.append(Text("  ").join(Text(said, style=style) for said, style in state.hosts))
    if state.ends and width >= SHORT:
        groups.append(Text(f"all done ~{state.ends}"))
    if state.disk and width >= FULL:
        groups.append(Text(f"disk {state.disk}"))
    if state.cost:
        groups.append(Text(state.cost, style="dim"))
    if state.remark:
        groups.append(Text(state.remark, style="yellow"))
    text = Text(" │ ").join(groups)
    text.truncate(width, overflow="ellipsis")
    return text


def _queue(state: BarState) -> Text:
    signs = (("running", "●", "cyan"), ("queued", "◌", ""), ("paused", "‖", "yellow"),
             ("failed", "✗", "red"), ("lost", "?", "magenta"))  # fmt: skip
    if state.counts is None:
        return Text("…", style="dim")
    text = Text()
    for name, sign, colour in signs:
        count = state.counts.get(name, 0) + (state.counts.get("starting", 0) * (name == "running"))
        if count or name in ("running", "queued"):
            text.append(f"{sign}{count} ", style=colour if count else "dim")
    if state.held:
        text.append("on hold ", style="yellow")
    text.rstrip()
    return text


def _card(card: Mapping[str, Any], *, full: bool) -> Text:
    name = f"G{card['index']}"
    if card.get("foreign"):
        return Text(f"{name} other user {card['foreign']}", style="yellow")
    if not card.get("runs") and not card.get("utilisation"):
        return Text(f"{name} free", style="green")
    used = f"{card['used']}" if card.get("used") else ""
    share = card.get("utilisation")
    percent = "" if share is None else f" {share:.0f}%"
    if not full:
        return Text(f"{name}{percent} {used}·{len(card.get('runs', ()))}".rstrip())
    heat = f" {card['temperature']:.0f}C" if card.get("temperature") is not None else ""
    return Text(f"{name}{percent} {used}{heat} {' '.join(card.get('runs', ()))}".rstrip())
