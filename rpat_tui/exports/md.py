"""One GitHub Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rpat_tui.exports._layout import NO_RUN, Line, lay_out
from rpat_tui.table import MEASURES, Table


def write(table: Table, out: TextIO) -> None:
    """Write the table; headings of data sets are rows of their own."""
    if not table.rows:
        out.write(NO_RUN + "\n")
        return
    page = lay_out(table)
    if page.title:
        out.write(f"**{_escape(page.title)}**\n\n")
    out.write(_row(["Method", *page.columns.values(), "n"]))
    out.write("| :-- |" + " --: |" * (len(MEASURES) + 1) + "\n")
    for block in page.blocks:
        out.write(_row([f"**{_escape(block.heading)}**", *[""] * (len(MEASURES) + 1)]))
        for line in block.lines:
            out.write(_row([_label(line), *(_cell(line, m) for m in MEASURES), line.n]))
    if page.common:
        out.write(f"\n{_escape(page.common)}\n")
    for number, note in page.notes:
        out.write(f"\n<sup>({number})</sup> {_escape(note)}\n")
    for remedy in page.remedies:
        out.write(f"\n{remedy}\n")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _label(line: Line) -> str:
    text = "&nbsp;&nbsp;" * line.depth + _escape(line.label)
    if line.variant:
        text += f" ({_escape(line.variant)})"
    return text + "".join(f"<sup>({n})</sup>" for n in line.notes)


def _cell(line: Line, measure: str) -> str:
    text, marks = line.cells[measure], line.marked.get(measure, ())
    if "underline" in marks:
        text = f"<ins>{text}</ins>"
    if "bold" in marks:
        text = f"**{text}**"
    return text if line.kind == "row" or not text else f"*{text}*"


def _escape(text: str) -> str:
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text
