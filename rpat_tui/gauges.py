"""Cards and places of a machine as text: bars, memory, who uses what; for commands and screens."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rpat_tui.glyphs import ASCII, UNICODE, spark

if TYPE_CHECKING:
    from rich.text import Text

WIDE = 100
"""Columns from which on there is room for a card's whole name."""

CELLS = 9
"""Length of a bar."""

LATELY = 12
"""Looks back that are drawn."""

_NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})


def lines(
    found: dict[str, Any],
    width: int,
    *,
    glyphs: bool = True,
    lately: Mapping[str, Sequence[int]] = _NOTHING,
) -> list[Text]:
    """Return a line for each card and each place of the CPU, no longer than the width.

    `lately` is how much each card, by its place, was in use at the last looks; where it is given
    and there is room, it is drawn.
    """
    from rich.text import Text

    out: list[Text] = []
    cards = found["cards"]
    if cards:
        names = [card_name(card["name"], short=width < WIDE) for card in cards]
        room = max(len(name) for name in names)
        drawn = LATELY + 1 if lately and width >= WIDE else 0
        head = (
            f"GPU  {'card':<{room}}  {'lately':<{drawn}.{drawn}}{'use':<{CELLS + 5}}  "
            f"{'memory':>9}  {'temp':>4}  {'power':>5}"
        )
        out.append(Text(f"{head}  runs", style="dim"))
        for card, name in zip(cards, names, strict=True):
            start = Text(f"{card['index']:>3}  {name:<{room}}  ")
            if drawn:
                start.append(_lately(lately.get(card["place"], ()), glyphs), "green")
            start.append_text(_use(card, glyphs))
            start.append(f"  {_memory(card):>9}  {_with(card['temperature_c'], 'C'):>4}")
            start.append(f"  {_with(card['power_w'], 'W'):>5}  ")
            if not glyphs:
                start = Text(start.plain.replace("–", "-"))
            start.append_text(_who(card, width - start.cell_len))
            out.append(start)
    if found["cpu"]:
        out.append(Text("CPU  runs", style="dim"))
    for place in found["cpu"]:
        line = Text(f"{place['slot'].removeprefix('cpu:'):>3}  ")
        _say_place(line, place["run"], place["hold"])
        out.append(line)
    return out


def _say_place(line: Text, run: str | None, hold: str | None) -> None:
    if run:
        line.append(run, style="cyan")
    if hold is not None:
        line.append(f"{'  ' if run else ''}held{f': {hold}' if hold else ''}", style="yellow")
    elif not run:
        line.append("free", style="dim")


def card_name(name: str | None, *, short: bool) -> str:
    """Return a card's name without its maker; short: without memory and socket too."""
    words = [w for w in (name or "unknown").split() if w not in ("NVIDIA", "GeForce", "Tesla")]
    if not short:
        return " ".join(words)
    words = [w.partition("-")[0] for w in words if "GB" not in w.partition("-")[0]]
    return " ".join(w for w in words if not w.startswith(("HBM", "PCI", "SXM")))[:12].strip()


def bar(share: float, cells: int, *, glyphs: bool, foreign: bool = False) -> str:
    """Return a share as a bar; cards of others have a coarse one."""
    share = min(1.0, max(0.0, share))
    full, rest = ("█", "░") if glyphs else ("#", "-")
    if foreign:
        full = "▒" if glyphs else "%"
    eighths = round(share * cells * 8)
    whole, part = divmod(eighths, 8)
    if foreign or not glyphs:
        whole, part = round(share * cells), 0
    middle = " ▏▎▍▌▋▊▉"[part] if part else ""
    return full * whole + middle + rest * (cells - whole - len(middle))


def _lately(shares: Sequence[int], glyphs: bool) -> str:
    """Return percents as small bars, the newest last."""
    signs = spark(shares, LATELY, UNICODE if glyphs else ASCII, least=0, most=100)
    return f"{signs:>{LATELY}} "


def _use(card: dict[str, Any], glyphs: bool) -> Text:
    from rich.text import Text

    use = card["utilisation"]
    if use is None:
        return Text(f"{'':{CELLS}}    –")
    foreign = card["others_mb"] > 0 and not card["runs"]
    drawn = bar(use / 100, CELLS, glyphs=glyphs, foreign=foreign)
    return Text.assemble((drawn, "yellow" if foreign else "green"), f" {use:>3}%")


def _memory(card: dict[str, Any]) -> str:
    used, total = card["used_mb"], card["memory_mb"]
    if total is None:
        return "–"
    return f"{'–' if used is None else round(used / 1024)}/{round(total / 1024)}G"


def _with(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value}{unit}"


def gigabytes(mb: float) -> str:
    """Return memory in few letters."""
    return f"{mb / 1024:.1f}G" if mb < 10_240 else f"{mb / 1024:.0f}G"


def _who(card: dict[str, Any], room: int) -> Text:
    """Return who uses a card, in the room there is."""
    from rich.text import Text

    if card["problem"]:
        return Text(card["problem"], style="red")
    words: list[tuple[str, str]] = []
    if card["others_mb"] > 0:
        words.append((f"{_others(card)} {gigabytes(card['others_mb'])}", "yellow"))
    if card["hold"] is not None:
        words.append(("held" + (f": {card['hold']}" if card["hold"] else ""), "yellow"))
    room -= sum(len(text) + 2 for text, _ in words)
    if card["runs"]:
        words.insert(0, (_runs(card["runs"], room), "cyan"))
    out = Text()
    for text, style in words or [("free", "dim")]:
        out.append("  " if out else "").append(text, style=style)
    return out


def _others(card: dict[str, Any]) -> str:
    users = {other["user"] for other in card["others"]}
    if users == {getpass.getuser()}:
        return "other process"
    return "other user"


def _runs(runs: list[dict[str, Any]], room: int) -> str:
    """Return runs with their memory, or without, or only how many more there are."""
    full = [
        run["id"] + (f" {gigabytes(run['memory_mb'])}" if run["memory_mb"] is not None else "")
        for run in runs
    ]
    for words in (full, [run["id"] for run in runs]):
        if len(" ".join(words)) <= room:
            return " ".join(words)
    for shown in range(len(runs) - 1, 0, -1):
        text = " ".join(words[:shown]) + f" +{len(runs) - shown}"
        if len(text) <= room:
            return text
    return f"{len(runs)} runs"
