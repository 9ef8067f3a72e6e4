"""One GitHub Markdown table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TextIO

from rpat_tui.exports._layout import NO_RUN, Line, Page, lay_out, written
from rpat_tui.exports._origin import Exported, named_cells, origin, parts
from rpat_tui.table import Table

_INDENT = "&nbsp;&nbsp;"


def write(table: Table, out: TextIO) -> None:
    """Write the table; headings of data sets are rows of their own."""
    if not table.rows:
        out.write(NO_RUN + "\n")
        return
    page = lay_out(table)
    if page.title:
        out.write(f"**{_escape(page.title)}**\n\n")
    if made := origin(table):
        out.write(f"<!-- {made} -->\n\n")
    out.write(_row([*_heads(page), "n"]))
    out.write("| :-- |" + " :-- |" * page.venues + " --: |" * (len(page.columns) + 1) + "\n")
    for block in page.blocks:
        if block.heading:
            out.write(_row([f"**{_escape(block.heading)}**", *[""] * (page.width - 1)]))
        out.writelines(written(block.lines, partial(_line, page)))
    if page.common:
        out.write(f"\n{_escape(page.common)}\n")
    for number, note in page.notes:
        out.write(f"\n<sup>({number})</sup> {_escape(note)}\n")
    for remedy in page.remedies:
        out.write(f"\n{remedy}\n")


def read(text: str) -> list[Exported]:
    """Return the tables of a file that `write` wrote, whatever stands around them."""
    return [Exported(asked, stamp, _cells(body.splitlines())) for asked, stamp, body in parts(text)]


def _cells(lines: Sequence[str]) -> dict[str, str]:
    grid = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        for line in _first_table(lines)
    ]
    if len(grid) < 2:
        return {}
    titles = [_plain(cell) for cell in grid[0][1:]]
    told = []
    for first, *rest in grid[2:]:
        depth = -1 if first.startswith("**") and not any(rest) else first.count(_INDENT)
        told.append((depth, _plain(first), [_plain(cell) for cell in rest]))
    return named_cells(titles, told)


def _first_table(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the first table."""
    begun = False
    for line in lines:
        if line.lstrip().startswith("|"):
            begun = True
            yield line
        elif begun:
            return


def _plain(text: str) -> str:
    """Return what a reader sees of a cell, without marks of notes."""
    text = re.sub(r"<sup>[^<]*</sup>", "", text).replace("<br>", " ").replace(_INDENT, "")
    text = re.sub(r"</?ins>|(?<!\\)\*+", "", text)
    return re.sub(r"\\(.)", r"\1", text).strip()


def _heads(page: Page) -> list[str]:
    titles = [
        f"{_escape(page.groups[c.group])}<br>{c.title}" if c.group >= 0 else c.title
        for c in page.columns
    ]
    return ["Method", *["Venue"] * page.venues, *titles]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _label(line: Line) -> str:
    text = _INDENT * line.depth + _escape(line.label)
    if line.variant:
        text += f" ({_escape(line.variant)})"
    return text + "".join(f"<sup>({n})</sup>" for n in line.notes)


def _line(page: Page, line: Line) -> str:
    venue = [_escape(line.cells.get("venue", ""))] * page.venues
    return _row([_label(line), *venue, *[_cell(line, c.key) for c in page.columns], line.n])


def _cell(line: Line, key: str) -> str:
    text = line.cells.get(key, "")
    if text.endswith("*"):
        text = text[:-1] + "\\*"
    if marks := line.marked.get(key):
        if "underline" in marks:
            text = f"<ins>{text}</ins>"
        if "bold" in marks:
            text = f"**{text}**"
    return text if line.kind == "row" or not text else f"*{text}*"


def _escape(text: str) -> str:
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text
