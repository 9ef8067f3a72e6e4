"""Figures of studies, drawn in a terminal or written to a file.

A record is what the core journals of a study (the body of a row of `studies`), with two keys
more: `title`, what the network is called, and, where a perception study is to be drawn under
one of its perturbations only, `case`: `noise` or `pgd`. What a suite's runs reached is drawn by
`write_accuracies`.
"""

from __future__ import annotations

import importlib.util
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


def check_target(path: Path) -> None:
    """Raise `ConfigError` where no figure can be written to a path.

    Its suffix is none of the formats, its folder is not there, matplotlib is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in TEXTS + PICTURES:
        raise ConfigError(
            f"{path.name}: '{suffix}' is no format of figures; choose of "
            f"{', '.join(TEXTS + PICTURES)}"
        )
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}; make it first")
    if suffix in PICTURES and not _installed("matplotlib"):
        raise ConfigError(
            "pictures need matplotlib, which is not installed: pip install 'rpat[plot]'"
        )


def write(records: Sequence[Record], path: Path, inches: float | None = None) -> None:
    """Write the figure of studies or its numbers, as the suffix of the file says.

    `inches` is the width of a picture: 3.3 fits a column, 6.75 a page. Raises `ConfigError` as
    `check_target` does, and for a picture of two kinds of studies or of none.
    """
    check_target(path)
    suffix = path.suffix.lower()
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
    kind = suffix[1:]
    data = picture.of_pairs(seen, kind, inches) if seen else picture.of_ways(gone, kind, inches)
    replace(path, lambda stream: stream.write(data))


def write_accuracies(
    records: Sequence[Record], path: Path, title: str, inches: float | None = None
) -> None:
    """Write accuracies of runs as the suffix of the file says.

    A record has `title`, `paper_label`, `run`, `seed` and the accuracies `clean`, `pgd20` and
    `aa` in percent, or None. Raises `ConfigError` as `check_target` does.
    """
    check_target(path)
    suffix = path.suffix.lower()
    if suffix in TEXTS:
        from rpat_tui.figures import numbers

        text = getattr(numbers, f"accuracies_{suffix[1:]}")(records, title)
        replace(path, lambda stream: stream.write(text.encode()))
        return
    from rpat_tui.figures import picture

    if not records:
        raise ConfigError(f"{path.name}: none of the runs has been evaluated yet")
    data = picture.of_accuracies(records, suffix[1:], inches)
    replace(path, lambda stream: stream.write(data))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # somebody has put None in its place
        return False


NOTHING = "no study has been made of these networks yet; rpat study makes one"
