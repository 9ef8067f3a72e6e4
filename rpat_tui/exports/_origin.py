"""Where an exported table comes from, written into it; and what is read back from the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rpat_tui.table import Table

_ASKED = r"made by `(rpat table[^`]*)`(?:; provenance sha256:([0-9a-f]{64}))?"


@dataclass(frozen=True, slots=True)
class Exported:
    """A table as a file has it: the command that made it, its digest, and its cells by name."""

    asked: str
    stamp: str
    cells: Mapping[str, str]


def origin(table: Table) -> str:
    """Return the line that says which command made a table, and the digest of what was in it."""
    if not table.asked:
        return ""
    stamp = f"; provenance sha256:{table.stamp}" if table.stamp else ""
    return f"made by `{table.asked}`{stamp}"


def origins(text: str) -> list[tuple[int, int, str, str]]:
    """Return each such line of a file: where it begins and ends, the command, the digest."""
    return [(m.start(), m.end(), m[1], m[2] or "") for m in re.finditer(_ASKED, text)]


def parts(text: str) -> list[tuple[str, str, str]]:
    """Cut a file into its tables: the command, the digest, and the text up to the next one."""
    found = origins(text)
    ends = [*(start for start, *_ in found), len(text)]
    return [
        (asked, stamp, text[end:until])
        for (_, end, asked, stamp), until in zip(found, ends[1:], strict=True)
    ]


def named_cells(
    titles: Sequence[str], lines: Iterable[tuple[int, str, Sequence[str]]]
) -> dict[str, str]:
    """Name the cells of a grid by heading, the labels above each other, and the column.

    `lines` are depth, label and cells; -1 is the depth of a heading.
    """
    found: dict[str, str] = {}
    heading, path = "", [""]
    for depth, label, cells in lines:
        if depth < 0:
            heading, path = label, [""]
            continue
        path = [*path[:depth], label]
        for title, cell in zip(titles, cells, strict=False):
            place = ", ".join(filter(None, [heading, " / ".join(filter(None, path)), title]))
            name, again = place, 1
            while name in found:
                again += 1
                name = f"{place} ({again})"
            found[name] = cell
    return found
