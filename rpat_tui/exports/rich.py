"""The terminal's table: calm, aligned on the decimal point, plain when piped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import repeat
from operator import sub
from typing import TYPE_CHECKING, TextIO

from rpat_tui.exports._layout import NO_RUN, Block, Line, Page, lay_out, written
from rpat_tui.exports._origin import origin
from rpat_tui.exports._pens import Pens
from rpat_tui.glyphs import printable
from rpat_tui.table import Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
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
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class _Column:
    """A header of one line or two, and how texts stand in it: in characters."""

    header: str
    room: int
    """To the left of the decimal point, with the gap before it."""
    width: int
    spread: str

    def padded(self, text: str) -> str:
        """Return a text that fits, as wide as the column with the gap before it."""
        if self.spread != " ± ":
            text = text.replace(" ± ", self.spread)
        point = text.find(".")
        room = self.room + (len(text) - point if point >= 0 else 0)
        return text.rjust(room).ljust(self.width + _GAP - 1)

    def fit(self, text: str) -> str:
        """Pad a text, gap included, so that the points of a column stand below each other."""
        if self.spread != " ± ":
            text = text.replace(" ± ", self.spread)
        point = text.find(".")
        return text.rjust(self.room + (len(text) - point if point >= 0 else 0)).rstrip()

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
        for part in _parts(table, console.width):
            if isinstance(part, _Lines | _Notes) and part.width <= console.width:
                out.writelines(part.texts(console))
            else:
                console.print(part)
        return
    parts = _parts(table, console.width, all_columns=width is None)
    if width is None:
        console.width = _ENDLESS
    texts: list[str] = []
    for part in parts:
        if isinstance(part, _Lines | _Notes):
            texts += part.texts(console)
            continue
        with console.capture() as captured:
            console.print(part, crop=False)
        texts += captured.get().splitlines()
    lines = [text.rstrip() + "\n" for text in texts]
    if narrow:
        lines = [line.translate(_IN_ASCII).encode("ascii", "replace").decode() for line in lines]
    out.writelines(lines)


def render(table: Table, width: int, *, all_columns: bool = False) -> RenderableType:
    """Return the table as something Rich draws in a width; columns that do not fit go.

    Where blocks of columns do not fit beside each other, they become blocks of rows.
    """
    from rich.console import Group

    return Group(*_parts(table, width, all_columns=all_columns))


def _parts(table: Table, width: int, *, all_columns: bool = False) -> list[RenderableType]:
    """Return what stands below each other."""
    from rich.text import Text

    if not table.rows:
        return [Text(NO_RUN)]
    page = lay_out(table)
    longest = max([_length(line) for block in page.blocks for line in block.lines])
    columns, left_out = _columns(page, width, all_columns, longest)
    if page.groups and left_out:
        return _parts(replace(table, columns=()), width)
    label = max(_LABEL, min(longest, width - _total(columns)))
    parts: list[RenderableType] = [Text(page.title + "\n", style="bold")] if page.title else []
    for i, block in enumerate(page.blocks):
        parts += [Text("\n" * bool(i) + block.heading, style="bold")] * bool(block.heading)
        parts += [Text(_groups(page, columns, label), style="bold")] * bool(page.groups)
        first = len(block.lines) if len(block.lines) <= MANY else 1
        shown, more = block.lines[:first], block.lines[first:]
        parts += [_grid(replace(block, lines=shown), columns, label)]
        parts += [_Lines(more, columns, label)] if more else []
    notes = [page.common] if page.common else []
    notes += [f"{_raised(number)} {note}" for number, note in page.notes]
    notes += page.remedies
    notes += [made] if table.suite and (made := origin(table)) else []
    if left_out:
        notes.append(f"Too narrow for {', '.join(left_out)}: widen the terminal to see more.")
    shown_alone = notes if len(notes) <= MANY else notes[:1]
    parts += [Text("\n" * (not i) + note, style="dim") for i, note in enumerate(shown_alone)]
    return parts + [_Notes(notes[1:])] * (len(notes) > MANY)


def _columns(
    page: Page, width: int, keep: bool, longest: int
) -> tuple[dict[str, _Column], list[str]]:
    """Choose the columns that fit: first spreads lose their spaces, then columns go."""
    columns: dict[str, _Column] = {}
    names = [*["venue"] * page.venues, *(column.key for column in page.columns), "n"]
    label = max(_LABEL, min(longest, _WIDEST_LABEL))
    lines = list({id(line): line for block in page.blocks for line in block.lines}.values())
    texts = {name: _texts(lines, name) for name in names}
    for spread, least in ((" ± ", label), ("±", _LABEL)):
        columns = {name: _column(page, texts[name], name, spread) for name in names}
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


def _texts(lines: Sequence[Line], name: str) -> tuple[list[str], list[str]]:
    """Return the texts of a column, those of differences apart."""
    if name == "n":
        return [line.n for line in lines], []
    return (
        [line.cells.get(name, "") for line in lines if line.kind != "diff"],
        [line.cells.get(name, "") for line in lines if line.kind == "diff"],
    )


def _column(
    page: Page, texts: tuple[Sequence[str], Sequence[str]], name: str, spread: str
) -> _Column:
    """Measure a column; a long difference may reach one character into the gap before it."""
    titles = {column.key: column.title for column in page.columns} | {"n": "n", "venue": "Venue"}
    header = titles[name].replace(" (", "\n(")
    left = right = 0
    for spare, some in enumerate(texts):
        if spread != " ± ":
            some = list(map(str.replace, some, repeat(" ± "), repeat(spread)))
        points = list(map(str.find, some, repeat(".")))
        if -1 in points:
            without = [len(t) for t, p in zip(some, points, strict=True) if p < 0]
            left = max(left, max(without) - spare)
            some = [t for t in some if "." in t]
            points = [p for p in points if p >= 0]
        left = max(left, max(points, default=0) - spare)
        right = max(right, max(map(sub, map(len, some), points), default=0))
    width = max(left + right, *map(len, header.split("\n")), 1)
    return _Column(header, width - right + _GAP - 1, width, spread)


def _text(line: Line, name: str) -> str:
    return line.n if name == "n" else line.cells.get(name, "")


def _name(line: Line) -> tuple[str, str]:
    """Return the first column's text on one line: the label, and what is dim beside it."""
    notes = "".join([f" {_raised(number)}" for number in line.notes])
    return "  " * line.depth + line.label, notes + (f"  {line.variant}" if line.variant else "")


def _length(line: Line) -> int:
    """Return how long the first column's text is."""
    notes = sum([len(str(number)) + 1 for number in line.notes]) if line.notes else 0
    variant = len(line.variant) + 2 if line.variant else 0
    return 2 * line.depth + len(line.label) + notes + variant


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


@lru_cache(maxsize=4096)
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


@lru_cache(maxsize=1 << 16)
def _raised(number: int) -> str:
    return str(number).translate(_SUPERSCRIPTS)


@dataclass(frozen=True, slots=True)
class _Notes:
    """Many remarks below each other, as texts of their own would show them."""

    notes: Sequence[str]
    width: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        for note in self.notes:
            yield Text(note, style="dim")

    def texts(self, console: Console) -> Iterator[str]:
        """Yield the lines as `_Lines` does; what does not fit is left to Rich."""
        from rich.cells import cell_len
        from rich.text import Text

        pens = Pens(console)
        dim, width = pens["dim",], console.width
        for note in self.notes:
            bare = note.lstrip(_RAISED)
            cells = len(note) if bare.isascii() else cell_len(note)
            if cells <= width and bare.isprintable():
                yield dim.draw(note) + "\n"
                continue
            for line in Text(printable(note), style="dim").wrap(console, width):
                yield pens.drawn(line) + "\n"


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

    @property
    def width(self) -> int:
        """How wide the lines are at most, but for words that are wider than the first column."""
        return self.label + _total(self.columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        for text in self.texts(console):
            yield Text.from_ansi(text.rstrip("\n"))

    def texts(self, console: Console) -> Iterator[str]:
        """Yield the lines with what the console's terminal needs to show their styles."""
        from rich.cells import cell_len

        pens = Pens(console)
        dim = pens["dim",]

        def drawn(line: Line) -> str:
            kind = (_STYLES[line.kind],) if _STYLES[line.kind] else ()
            label, beside = _name(line)
            plain = (label + line.variant).isascii()  # raised numbers are as wide as others
            room = self.label - (len if plain else cell_len)(label + beside)
            below: Sequence[str] = ()
            if room < 0 and line.variant and line.variant.isascii():
                beside = beside.removesuffix(f"  {line.variant}")
                if (room := self.label - (len if plain else cell_len)(label + beside)) >= 0:
                    under = _wrapped(line.variant, self.label, "  " * (line.depth + 1)).split("\n")
                    below = [dim.draw(text) for text in under]
            if room >= 0 and (label + beside).isprintable():
                first = pens[kind].draw(label) + dim.draw(beside + " " * room)
            else:
                first, below = self._laid_out(line, pens)
            return "\n".join([first + self._cells(line, pens, kind), *below, ""])

        for text in written(self.lines, drawn):
            yield from text.splitlines(keepends=True)

    def _laid_out(self, line: Line, pens: Pens) -> tuple[str, list[str]]:
        """Let Rich lay out a first column that does not fit; its first line is padded."""
        texts = _label(line, self.label).wrap(pens.console, self.label, overflow="fold")
        texts[0].pad_right(self.label - texts[0].cell_len)
        drawn = [pens.drawn(text) for text in texts]
        return drawn[0], drawn[1:]

    def _cells(self, line: Line, pens: Pens, kind: tuple[str, ...]) -> str:
        marked, pen = line.marked, pens[kind]
        if not marked:
            parts = [
                column.padded(line.n if name == "n" else line.cells.get(name, ""))
                for name, column in self.columns.items()
            ]
            return pen.draw((" " + " ".join(parts)).rstrip())
        drawn = plain = ""
        for name, column in self.columns.items():
            text = column.fit(_text(line, name))
            width = column.width + _GAP - 1
            if marks := marked.get(name):
                bare = text.lstrip()
                drawn += pen.draw(plain + " " + text[: len(text) - len(bare)])
                drawn += pens[(*kind, *marks)].draw(bare)
                plain = " " * (width - len(text))
            else:
                plain += f" {text.ljust(width)}"
        return drawn + pen.draw(plain.rstrip())
