"""How things look in a few cells: signs, colours and short forms, for commands and screens.

A state is told by its sign and its word; colour comes on top. Standard library only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Glyphs(NamedTuple):
    """One set of signs. All are one cell wide, but for `spread` and `lam`."""

    name: str
    states: Mapping[str, str]
    cursor: str
    mark: str
    part: str
    """Some runs of a folded row are marked."""
    fold: str
    unfold: str
    member: str
    ascending: str
    descending: str
    left: str
    right: str
    missing: str
    more: str
    """Stands where text was cut, and for rows that are still being read."""
    spread: str
    lam: str
    thumb: str
    track: str


UNICODE = Glyphs(
    name="unicode",
    states={
        "queued": "◌", "starting": "◔", "running": "●", "pausing": "‖", "paused": "‖",
        "done": "✓", "failed": "✗", "stopped": "■", "lost": "?", "archived": "▫",
    },
    cursor="▶", mark="●", part="○", fold="▴", unfold="▾", member="└", ascending="▲",
    descending="▼", left="‹", right="›", missing="–", more="…", spread="±", lam="λ", thumb="┃",
    track="│",
)  # fmt: skip

ASCII = Glyphs(
    name="ascii",
    states={
        "queued": ".", "starting": "s", "running": "*", "pausing": "=", "paused": "=",
        "done": "+", "failed": "x", "stopped": "#", "lost": "?", "archived": "-",
    },
    cursor=">", mark="*", part="o", fold="-", unfold="+", member="`", ascending="^",
    descending="v", left="<", right=">", missing="-", more="~", spread="+-", lam="lam", thumb="#",
    track="|",
)  # fmt: skip

COLOURS = {
    "queued": "dim", "starting": "cyan", "running": "cyan", "pausing": "yellow",
    "paused": "yellow", "done": "green", "failed": "red", "stopped": "yellow", "lost": "magenta",
}  # fmt: skip
"""Colours of states for commands; screens take theirs from the theme."""

SHORT = {"cifar10": "c10", "cifar100": "c100", "tiny-imagenet": "tiny", "image-folder": "folder"}
"""Names of data sets where there is little room."""


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the signs that an output of this encoding can show."""
    known = (encoding or "ascii").lower().replace("-", "")
    return UNICODE if known.startswith("utf") else ASCII


def figure(value: float | None, digits: int = 1, missing: str = UNICODE.missing) -> str:
    """Format a number, or the sign of a missing one."""
    return missing if value is None else f"{value:.{digits}f}"


def duration(seconds: float | None, missing: str = UNICODE.missing) -> str:
    """Format seconds as people say them: 42s, 3m10s, 2h05m, 3d04h."""
    if seconds is None:
        return missing
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


CONTROL = r"\r\n?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
"""What a terminal obeys instead of showing it, and what turns the direction of the text."""


def printable(text: str) -> str:
    """Return a text that a terminal only shows, whoever wrote it: names, notes, logs.

    Lines and tabs stay; where only the line was begun anew, as progress bars do, a new one begins.
    """
    if text.isprintable():
        return text
    return re.sub(CONTROL, lambda found: "\n" if found[0][0] == "\r" else "", text)


def clock(seconds: float) -> str:
    """Return the local time that lies some seconds ahead: 17:52, with the day where it is far."""
    form = "%a %H:%M" if seconds > 64_800 else "%H:%M"
    return time.strftime(form, time.localtime(time.time() + seconds))


def spark(
    values: Sequence[float], cells: int, glyphs: Glyphs = UNICODE,
    *, least: float | None = None, most: float | None = None,
) -> str:  # fmt: skip
    """Return the newest values as small bars, between their least and their greatest or others."""
    levels = "▁▂▃▄▅▆▇█" if glyphs is UNICODE else "_.-=+*%#"
    shown = list(values)[-cells:]
    if not shown:
        return ""
    low = min(shown) if least is None else least
    high = max(shown) if most is None else most
    span = (high - low) or 1.0
    return "".join(levels[min(int((v - low) / span * 8), 7)] for v in shown)
