"""The terminal's table: calm, aligned on the decimal point, plain when piped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from rpat_tui.exports._layout import NO_RUN, Block, Line, Page, lay_out
from rpat_tui.exports._origin import origin
from rpat_tui.table import Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

FIRST_TO_GO = ("pgd20", "mean", "clean", "nrr", "aa")
"""The order in which a terminal that is too narrow loses columns; n stays to the end."""
_GAP = 2
_LABEL = 16  # narrowest and widest first column; longer labels wrap
_WIDEST_LABEL = 32
_STYLES = {"row": "", "paper": "dim", "diff": "dim", "test": "dim"}
_ENDLESS = 10_000  # a pipe has no right margin
MANY = 200
"""Lines from which on a block is written line by line: Rich needs half a millisecond for each."""
_NO_BREAK = "\N{NO-BREAK SPACE}"
_IN_ASCII = str.maketrans(
    {"±": "+", "–": "-", "─": "-", "·": "|", "●": "*", "◌": ".", "λ": "L", "…": "~"}
    | {raised: str(i) for i, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)
"""What an output that shows only ASCII gets, one character each, so that columns stay."""
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
    narrow = not (getattr(out, "encoding", None) or "utf-8").lower().startswith("utf")
    if console.is_terminal and not narrow:
        console.print(render(table, console.width))
        return
    shown = render(table, console.width, all_columns=width is None)
    if width is None:
        console.width = _ENDLESS
    with console.capture() as captured:
        console.print(shown, crop=False)
    lines = captured.get().splitlines()
    if narrow:
        lines = [line.translate(_IN_ASCII).encode("ascii", "replace").decode() for line in lines]
    out.writelines(line.rstrip() + "\n" for line in lines)


def render(table: Table, width: int, *, all_columns: bool = False) -> RenderableType:
    """Return the table as something Rich draws in a width; columns that do not fit go.

    Where blocks of columns do not fit beside each other, they become blocks of rows.
    """
    from rich.console import Group
    from rich.text import Text

    if not table.rows:
        return Text(NO_RUN)
    page = lay_out(table)
    columns, left_out = _columns(page, width, all_columns)
    if page.groups and left_out:
        return render(replace(table, columns=()), width)
    label = max(_LABEL, min(_longest(page), width - _total(columns)))
    parts: list[RenderableType] = [Text(page.title + "\n", style="bold")] if page.title else []
    for i, block in enumerate(page.blocks):
        parts += [Text("\n" * bool(i) + block.heading, style="bold")] * bool(block.heading)
        parts += [Text(_groups(page, columns, label), style="bold")] * bool(page.groups)
        shown, more = block.lines, block.lines[:0]
        if len(shown) > MANY:
            shown, more = shown[:1], shown[1:]
        parts += [_grid(replace(block, lines=shown), columns, label)]
        parts += [_Lines(more, columns, label)] if more else []
    notes = [page.common] if page.common else []
    notes += [f"{_raised(number)} {note}" for number, note in page.notes]
    notes += page.remedies
    notes += [made] if (made := origin(table)) and table.suite else []
    if left_out:
        notes.append(f"Too narrow for {', '.join(left_out)}: widen the terminal to see more.")
    parts += [Text("\n" * (not i) + note, style="dim") for i, note in enumerate(notes)]
    return Group(*parts)


def _columns(page: Page, width: int, keep: bool) -> tuple[dict[str, _Column], list[str]]:
    """Choose the columns that fit: first spreads lose their spaces, then columns go."""
    columns: dict[str, _Column] = {}
    names = [*["venue"] * page.venues, *(column.key for column in page.columns), "n"]
    label = max(_LABEL, min(_longest(page), _WIDEST_LABEL))
    for spread, least in ((" ± ", label), ("±", _LABEL)):
        columns = {name: _column(page, name, spread) for name in names}
        if _total(columns) + least <= width:
            return columns, []
    left_out = []
    for name in FIRST_TO_GO if not page.groups else names[:1]:
        if keep or _total(columns) + _LABEL <= width:
            break
        if name in columns:
            left_out.append(columns.pop(name).header.split("\n")[0])
    return columns, left_out


def _groups(page: Page, columns: Mapping[str, _Column], label: int) -> str:
    """Return the titles of the groups of columns, each over its own."""
    text = " " * (label + sum(columns[name].width + _GAP for name in columns if name == "venue"))
    for i, title in enumerate(page.groups):
        room = sum(columns[c.key].width + _GAP for c in page.columns if c.group == i) - _GAP
        text += " " * _GAP + title[:room].center(room)
    return text.rstrip()


def _total(columns: Mapping[str, _Column]) -> int:
    return sum(column.width + _GAP for column in columns.values())


def _longest(page: Page) -> int:
    return max(len("".join(_name(line))) for block in page.blocks for line in block.lines)


def _column(page: Page, name: str, spread: str) -> _Column:
    """Measure a column; a long difference may reach one character into the gap before it."""
    lines = [line for block in page.blocks for line in block.lines]
    titles = {column.key: column.title for column in page.columns} | {"n": "n", "venue": "Venue"}
    header = titles[name].replace(" (", "\n(")
    left = right = 0
    for line in lines:
        whole, rest = _split(_text(line, name), spread)
        left = max(left, len(whole) - (line.kind == "diff"))
        right = max(right, len(rest))
    return _Column(header, left, right, spread)


def _split(text: str, spread: str) -> tuple[str, str]:
    if spread != " ± ":
        text = text.replace(" ± ", spread)
    point = text.find(".")
    return (text, "") if point < 0 else (text[:point], text[point:])


def _text(line: Line, name: str) -> str:
    return line.n if name == "n" else line.cells.get(name, "")


def _name(line: Line) -> tuple[str, str]:
    """Return the first column's text on one line: the label, and what is dim beside it."""
    notes = "".join([f" {_raised(number)}" for number in line.notes])
    return "  " * line.depth + line.label, notes + (f"  {line.variant}" if line.variant else "")


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
    pieces = variant.split(", ")
    if "-" not in variant and max(map(len, pieces)) + len(indent) < width:
        lines = [indent + pieces[0]]
        for piece in pieces[1:]:
            if len(lines[-1]) + len(piece) + 3 <= width or (
                piece is pieces[-1] and len(lines[-1]) + len(piece) + 2 <= width
            ):
                lines[-1] += f", {piece}"
            else:
                lines[-1] += ","
                lines.append(indent + piece)
        return "\n".join(lines)
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


@dataclass(frozen=True, slots=True)
class _Lines:
    """More lines below a grid, as the grid would show them; only what needs it is laid out."""

    lines: Sequence[Line]
    columns: Mapping[str, _Column]
    label: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.cells import cell_len
        from rich.segment import Segment
        from rich.style import Style

        styles = {name: console.get_style(name) for name in ("dim", "bold", "underline")}
        for line in self.lines:
            style = styles.get(_STYLES[line.kind])
            own = style or Style.null()
            label, beside = _name(line)
            room = self.label - cell_len(label + beside)
            below: list[Text] = []
            under: list[str] = []
            if room < 0 and line.variant and line.variant.isascii():
                beside = beside.removesuffix(f"  {line.variant}")
                if (room := self.label - cell_len(label + beside)) >= 0:
                    under = _wrapped(line.variant, self.label, "  " * (line.depth + 1)).split("\n")
            if room >= 0:
                yield Segment(label, style)
                yield Segment(beside + " " * room, styles["dim"])
            else:
                first, *below = _label(line, self.label).wrap(console, self.label, overflow="fold")
                first.pad_right(self.label - first.cell_len)
                yield from first.render(console)
            plain = ""
            for name, column in self.columns.items():
                text = column.fit(_text(line, name))
                width = column.width + _GAP - 1
                if marks := line.marked.get(name):
                    bare = text.lstrip()
                    yield Segment(plain + " " + text[: len(text) - len(bare)], style)
                    yield Segment(bare, Style.combine([own, *(styles[mark] for mark in marks)]))
                    plain = " " * (width - len(text))
                else:
                    plain += f" {text.ljust(width)}"
            yield Segment(plain.rstrip() + "\n", style)
            for text in under:
                yield Segment(f"{text}\n", styles["dim"])
            for more in below:
                yield from more.render(console)
                yield Segment("\n")
