"""Everything in which two runs differ, in front of a screen: what `rpat diff` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from rpat_tui.launch.differences import word


class FullDiff(ModalScreen[None]):
    """A page that is scrolled; escape leaves it."""

    DEFAULT_CSS = """
    FullDiff { align: center middle; background: $background 60%; }
    FullDiff > .box { width: 120; max-width: 98%; height: 94%; border: round $primary;
                      padding: 0 1; background: $surface; scrollbar-size-vertical: 1; }
    FullDiff Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,D", "dismiss", "close"),
        Binding("j,down", "scroll(1)", "down", show=False),
        Binding("k,up", "scroll(-1)", "up", show=False),
        Binding("pagedown,space,ctrl+d", "scroll(15)", "page down", show=False),
        Binding("pageup,ctrl+u", "scroll(-15)", "page up", show=False),
        Binding("y", "copy", "copy the command"),
    ]

    def __init__(self, found: Mapping[str, Any]) -> None:
        super().__init__()
        self.found = found

    def compose(self) -> ComposeResult:
        """Show the differences."""
        with VerticalScroll(classes="box", can_focus=False) as box:
            box.border_title = f"{self.found['a']} and {self.found['b']}"
            box.border_subtitle = "j k scroll   y copy   esc close"
            yield Static(text_of(self.found), markup=False)

    def action_scroll(self, by: int) -> None:
        """Scroll by some lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_copy(self) -> None:
        """Copy the command that prints the same."""
        self.app.copy(f"rpat diff {self.found['a']} {self.found['b']}")  # type: ignore[attr-defined]


def text_of(found: Mapping[str, Any]) -> Text:
    """Return differences as text: config, environment, images, code."""
    text = Text()
    for section in ("config", "environment"):
        pairs = found[section]
        text.append(section, style="bold").append("" if pairs else "  the same", style="dim")
        text.append("\n")
        width = max(map(len, pairs), default=0)
        for key, (old, new) in pairs.items():
            text.append(f"  {key:<{width}}  ").append(f"{word(old)} → ", style="dim")
            text.append(f"{word(new)}\n")
    text.append("images", style="bold")
    keys = found["data"] or []
    said = " → ".join(key[:10] or "unknown" for key in keys) or "the same"
    text.append(f"  {said}\n", style="dim")
    text.append("code", style="bold")
    code = found["code"]
    if code is None:
        return text.append("  the same", style="dim")
    digests = " → ".join(digest[:10] or "unknown" for digest in code["snapshots"])
    text.append(f"  {digests}\n", style="dim")
    for digest in code["missing"]:
        text.append(f"  the snapshot {digest[:10]} is not kept: nothing can be compared\n")
    for name, change in code["files"].items():
        text.append(f"  {name} {change}\n")
    for line in code.get("diff", "").splitlines():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
        text.append(f"{line}\n", style=style)
    text.rstrip()
    return text
