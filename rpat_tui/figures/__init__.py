"""Figures of studies, drawn in a terminal or written to a file.

A record is what the core journals of a study (the body of a row of `studies`), with two keys
more: `title`, what the network is called, and, where not all of a perception study is to be
drawn, `shown`: the names of the perturbations that are (`noise`, `pgd`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rpat.errors import ConfigError
from rpat.rundir import replace
from rpat_tui.figures.reading import Record, pairs, ways

if TYPE_CHECKING:
    from rich.console import RenderableType

TEXTS = (".json", ".csv", ".md")
PICTURES = (".png", ".svg", ".pdf")


def terminal(records: Sequence[Record], width: int) -> RenderableType:
    """Return the figure of each study among the records, as wide as a terminal.

    It is drawn in ASCII where the console's encoding has no more.
    """
    from rich.console import Group
    from rich.text import Text

    from rpat_tui.figures import bars, curves

    parts: list[RenderableType] = []
    if seen := pairs(records):
        parts.append(bars.Bars(seen, width))
    if gone := ways(records):
        parts += [Text(), curves.Curves(gone, width)] if parts else [curves.Curves(gone, width)]
    return Group(*parts) if parts else Text(NOTHING)


def write(records: Sequence[Record], path: Path, inches: float | None = None) -> None:
    """Write the figure or its numbers, as the suffix of the file says.

    `inches` is the width of a picture: 3.3 fits a column, 6.75 a page. Raises `ConfigError` for
    a suffix that is none, a folder that is not there, and a picture without matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in TEXTS + PICTURES:
        raise ConfigError(
            f"{path.name}: '{suffix}' is no format of figures; choose of "
            f"{', '.join(TEXTS + PICTURES)}"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}; make it first")
    if suffix in TEXTS:
        from rpat_tui.figures import numbers

        text = getattr(numbers, suffix[1:])(records)
        replace(path, lambda stream: stream.write(text.encode()))
        return
    from rpat_tui.figures import picture

    seen, gone = pairs(records), ways(records)
    if not seen and not gone:
        raise ConfigError(f"{path.name}: {NOTHING}")
    if seen and gone:
        raise ConfigError(f"{path.name} shows one study; write perception and smoothness apart")
    data = picture.of_pairs(seen, suffix[1:], inches) if seen else picture.of_ways(
        gone, suffix[1:], inches
    )  # fmt: skip
    replace(path, lambda stream: stream.write(data))


NOTHING = "no study has been made of these networks yet; rpat study makes one"
