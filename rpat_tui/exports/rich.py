"""The terminal's table: calm, aligned on the decimal point, plain when piped."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from rpat_tui.exports._layout import NO_RUN, Block, Line, Page, lay_out
from rpat_tui.table import MEASURES, Table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

FIRST_TO_GO = ("pgd20", "mean", "clean", "nrr", "aa")
"""The order in which a terminal that is too narrow loses columns; n stays to the end."""
_GAP = 2
_LABEL = 16  # narrowest and widest first column; longer labels wrap
_WIDEST_LABEL = 32
_STYLES = {"row": "", "paper": "dim", "diff": "dim"}
_ENDLESS = 10_000  # a pipe has no right margin
_NO_BREAK = "\N{NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class _Column:
    """A header of one line or two, and the left and right of the decimal point in characters."""

    header: str
    left: int
    right: int
    spread: str = ""

    @property
    def width(self) -> int:
        return max(self.left + self.right, *map(len, self.header.split("\n")), 1)

    def fit(self, text: str) -> str:
        """Pad a text, gap included, so that the points of a column stand below each other."""
        left, right = _split(text, self.spread)
        room = self.width - self.right + _GAP - 1
        return (left.rjust(room) + right).rstrip()

    def head(self) -> str:
        """Return the header over the right edge."""
        room = self.width + _GAP - 1
        return "\n".join(part.rjust(room) for part in self.header.split("\n"))


def write(table: Table, out: TextIO, width: int | None = None) -> None:
    """Write the table, as wide as the terminal unless a width is given.

    A pipe gets every column, unbroken notes and no trailing blanks.
    """
    from rpat_tui.exports._console import Console

    console = Console(file=out, width=width, highlight=False)
    if console.is_terminal:
        console.print(render(table, console.width))
        return
    shown = render(table, console.width, all_columns=width is None)
    if width is None:
        console.width = _ENDLESS
    with console.capture() as captured:
        console.print(shown)
    out.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def render(table: Table, width: int, *, all_columns: bool = False) -> RenderableType:
    """Return the table as something Rich draws in a width; columns that do not fit go."""
    from rich.console import Group
    from rich.text import Text

    if not table.rows:
        return Text(NO_RUN)
    page = lay_out(table)
    columns, left_out = _columns(page, width, all_columns)
    label = max(_LABEL, min(_longest(page), width - _total(columns)))
    parts: list[RenderableType] = [Text(page.title + "\n", style="bold")] if page.title else []
    for i, block in enumerate(page.blocks):
        parts += [Text("\n" * bool(i) + block.heading, style="bold")]
        parts += [_grid(block, columns, label)]
    notes = [page.common] if page.common else []
    notes += [f"{_raised(number)} {note}" for number, note in page.notes]
    notes += page.remedies
    if left_out:
        notes.append(f"Too narrow for {', '.join(left_out)}: widen the terminal to see more.")
    parts += [Text("\n" * (not i) + note, style="dim") for i, note in enumerate(notes)]
    return Group(*parts)


def _columns(page: Page, width: int, keep: bool) -> tuple[dict[str, _Column], list[str]]:
    """Choose the columns that fit: first spreads lose their spaces, then columns go."""
    columns: dict[str, _Column] = {}
    label = max(_LABEL, min(_longest(page), _WIDEST_LABEL))
    for spread, least in ((" ± ", label), ("±", _LABEL)):
        columns = {name: _column(page, name, spread) for name in (*MEASURES, "n")}
        if _total(columns) + least <= width:
            return columns, []
    left_out = []
    for name in FIRST_TO_GO:
        if keep or _total(columns) + _LABEL <= width:
            break
        left_out.append(columns.pop(name).header.split("\n")[0])
    return columns, left_out


def _total(columns: Mapping[str, _Column]) -> int:
    return sum(column.width + _GAP for column in columns.values())


def _longest(page: Page) -> int:
    return max(len(_label(line, 999).plain) for block in page.blocks for line in block.lines)


def _column(page: Page, name: str, spread: str) -> _Column:
    """Measure a column; a long difference may reach one character into the gap before it."""
    lines = [line for block in page.blocks for line in block.lines]
    parts = [(line.kind == "diff", *_split(_text(line, name), spread)) for line in lines]
    header = "n" if name == "n" else page.columns[name].replace(" (", "\n(")
    left = max(len(whole) - reaches for reaches, whole, _ in parts)
    return _Column(header, left, max(len(rest) for *_, rest in parts), spread)


def _split(text: str, spread: str) -> tuple[str, str]:
    whole, point, rest = text.partition(".")
    return whole, point + rest.replace(" ± ", spread)


def _text(line: Line, name: str) -> str:
    return line.n if name == "n" else line.cells[name]


def _label(line: Line, width: int) -> Text:
    """Return the first column's text; a variant that does not fit goes below, indented."""
    from rich.text import Text

    label = Text("  " * line.depth + line.label, style=_STYLES[line.kind])
    for number in line.notes:
        label.append(f" {_raised(number)}", style="dim")
    if line.variant and len(label) + len(line.variant) + 2 <= width:
        label.append(f"  {line.variant}", style="dim")
    elif line.variant:
        indent = "  " * (line.depth + 1)
        label.append("\n" + _wrapped(line.variant, width, indent), style="dim")
    return label


def _wrapped(variant: str, width: int, indent: str) -> str:
    """Break between keys, and inside one only where it is wider than the column."""
    kept = variant.replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")
    if max(map(len, kept.split())) + len(indent) > width:
        kept = variant
    text = textwrap.fill(kept, width, initial_indent=indent, subsequent_indent=indent)
    return text.replace(_NO_BREAK, " ")


def _raised(number: int) -> str:
    return str(number).translate(_SUPERSCRIPTS)


def _grid(block: Block, columns: Mapping[str, _Column], label: int) -> RenderableType:
    from rich import box
    from rich.table import Table as Grid

    total = label + _total(columns)
    grid = Grid(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, width=total)
    grid.add_column("Method", overflow="fold", vertical="top", width=label, header_style="dim")
    for column in columns.values():
        room = column.width + _GAP - 1
        grid.add_column(column.head(), no_wrap=True, width=room, header_style="dim")
    for line in block.lines:
        cells = [_cell(line, name, column) for name, column in columns.items()]
        grid.add_row(_label(line, label), *cells)
    return grid


def _cell(line: Line, name: str, column: _Column) -> Text:
    from rich.text import Text

    text = Text(column.fit(_text(line, name)), style=_STYLES[line.kind])
    start = len(text.plain) - len(text.plain.lstrip())
    for style in line.marked.get(name, ()):
        text.stylize(style, start)
    return text
