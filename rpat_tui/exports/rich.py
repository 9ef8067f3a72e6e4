"""The terminal's table: calm, aligned on the decimal point, plain when piped."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, repeat
from typing import TYPE_CHECKING, TextIO

from rpat_tui.exports._layout import NO_RUN, Line, Page, lay_out
from rpat_tui.exports._origin import origin
from rpat_tui.exports._pens import Pen, Pens
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
"""Lines from which on a table is written line by line: Rich needs half a millisecond for each."""
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

    def padded(self, texts: Sequence[str]) -> list[str]:
        """Return texts that fit, each as wide as the column with the gap before it."""
        if self.spread != " ± ":
            texts = [text.replace(" ± ", self.spread) for text in texts]
        room, width = self.room, self.width + _GAP - 1
        shapes = list(_shapes(texts))
        pads = {
            (size, point): " " * (room - (size if point < 0 else point))
            for size, point in set(shapes)
        }
        before = map(pads.__getitem__, shapes)
        return [(pad + text).ljust(width) for pad, text in zip(before, texts, strict=True)]

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
            if isinstance(part, _Header | _Lines | _Notes) and part.width <= console.width:
                out.writelines(part.texts(console))
            else:
                console.print(part)
        return
    parts = _parts(table, console.width, all_columns=width is None)
    if width is None:
        console.width = _ENDLESS
    texts: list[str] = []
    for part in parts:
        if isinstance(part, _Header | _Lines | _Notes):
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
    lines = list({id(line): line for block in page.blocks for line in block.lines}.values())
    longest = max(map(_length, lines))
    texts = _Texts(lines)
    columns, left_out = _columns(page, texts, width, all_columns, longest)
    if page.groups and left_out:
        return _parts(replace(table, columns=()), width)
    label = max(_LABEL, min(longest, width - _total(columns)))
    parts: list[RenderableType] = [Text(page.title + "\n", style="bold")] if page.title else []
    header, numbers = None, {}
    if len(lines) > MANY:
        header, numbers = _Header(columns, label), texts.beside(columns)
    for i, block in enumerate(page.blocks):
        parts += [Text("\n" * bool(i) + block.heading, style="bold")] * bool(block.heading)
        parts += [Text(_groups(page, columns, label), style="bold")] * bool(page.groups)
        if header is None:
            parts += [_grid(block.lines, columns, label)]
        else:
            parts += [header, _Lines(block.lines, columns, label, numbers)]
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
    page: Page, texts: _Texts, width: int, keep: bool, longest: int
) -> tuple[dict[str, _Column], list[str]]:
    """Choose the columns that fit: first spreads lose their spaces, then columns go."""
    columns: dict[str, _Column] = {}
    titles = {column.key: column.title for column in page.columns} | {"n": "n"}
    titles = {"venue": "Venue"} | titles if page.venues else titles
    label = max(_LABEL, min(longest, _WIDEST_LABEL))
    for spread, least in ((" ± ", label), ("±", _LABEL)):
        columns = {n: _column(title, texts.apart(n), spread) for n, title in titles.items()}
        if _total(columns) + least <= width:
            return columns, []
    left_out = []
    for name in FIRST_TO_GO if not page.groups else list(titles)[:1]:
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


def _column(title: str, texts: tuple[list[str], list[str]], spread: str) -> _Column:
    """Measure a column; a long difference may reach one character into the gap before it."""
    header = title.replace(" (", "\n(")
    left = right = 0
    for spare, some in enumerate(texts):
        if spread != " ± ":
            some = [text.replace(" ± ", spread) for text in some]
        for size, point in set(_shapes(some)):
            left = max(left, (size if point < 0 else point) - spare)
            right = max(right, size - point if point >= 0 else 0)
    width = max(left + right, *map(len, header.split("\n")), 1)
    return _Column(header, width - right + _GAP - 1, width, spread)


def _shapes(texts: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Return the length of each text, and where its decimal point is; -1 is nowhere.

    Of thousands of texts there are but a few.
    """
    return zip(map(len, texts), map(str.find, texts, repeat(".")), strict=True)


class _Texts:
    """The texts of lines, a column at a time."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self._known: dict[str, list[str]] = {}
        self._diffs = [line.kind == "diff" for line in lines]

    def of(self, name: str) -> list[str]:
        """Return the texts of a column."""
        if name not in self._known:
            if name == "n":
                self._known[name] = [line.n for line in self.lines]
            else:
                self._known[name] = [line.cells.get(name, "") for line in self.lines]
        return self._known[name]

    def apart(self, name: str) -> tuple[list[str], list[str]]:
        """Return the texts of a column, those of differences apart."""
        texts = self.of(name)
        if True not in self._diffs:
            return texts, []
        others = [not diff for diff in self._diffs]
        return list(compress(texts, others)), list(compress(texts, self._diffs))

    def beside(self, columns: Mapping[str, _Column]) -> dict[int, str]:
        """Return what stands beside the first column of each line, by the line's identity."""
        padded = [column.padded(self.of(name)) for name, column in columns.items()]
        texts = map(" ".join, zip(repeat(""), *padded))
        return dict(zip(map(id, self.lines), map(str.rstrip, texts), strict=True))


def _text(line: Line, name: str) -> str:
    return line.n if name == "n" else line.cells.get(name, "")


def _name(line: Line) -> tuple[str, str]:
    """Return the first column's text on one line: the label, and what is dim beside it."""
    beside = f"  {line.variant}" if line.variant else ""
    if line.notes:
        beside = "".join([f" {_raised(number)}" for number in line.notes]) + beside
    return "  " * line.depth + line.label, beside


def _wide(text: str, plain: bool) -> int:
    """Return how many cells a text takes; in a plain one each character takes one."""
    if plain:
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


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


def _grid(lines: Sequence[Line], columns: Mapping[str, _Column], label: int) -> RenderableType:
    from rich import box
    from rich.table import Table as Grid

    total = label + _total(columns)
    grid = Grid(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, width=total)
    grid.add_column("Method", overflow="fold", vertical="top", width=label, header_style="dim")
    for column in columns.values():
        room = column.width + _GAP - 1
        grid.add_column(column.head(), no_wrap=True, width=room, header_style="dim")
    for line in lines:
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


class _Header:
    """The header of a grid without lines; that of the next block is the same."""

    def __init__(self, columns: Mapping[str, _Column], label: int) -> None:
        self.width = label + _total(columns)
        self._grid = _grid((), columns, label)
        self._drawn: list[str] = []

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield self._grid

    def texts(self, console: Console) -> list[str]:
        """Return the lines with what the console's terminal needs to show their styles."""
        if not self._drawn:
            with console.capture() as captured:
                console.print(self._grid, crop=False)
            self._drawn = captured.get().splitlines(keepends=True)
        return self._drawn


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines below a header, as a grid would show them; only what needs it is laid out.

    `numbers` is what stands beside the first column, by the identity of a line.
    """

    lines: Sequence[Line]
    columns: Mapping[str, _Column]
    label: int
    numbers: Mapping[int, str]

    @property
    def width(self) -> int:
        """How wide the lines are at most, but for words that are wider than the first column."""
        return self.label + _total(self.columns)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        for text in self.texts(console):
            yield Text.from_ansi(text.rstrip("\n"))

    def texts(self, console: Console) -> list[str]:
        """Return the lines with what the console's terminal needs to show their styles."""
        pens = Pens(console)
        texts: list[str] = []
        known: dict[int, list[str]] = {}  # a printed row that stands below many
        for line in self.lines:
            if line.kind != "paper":
                texts += self._drawn(line, pens)
                continue
            if id(line) not in known:
                known[id(line)] = self._drawn(line, pens)
            texts += known[id(line)]
        return texts

    def _drawn(self, line: Line, pens: Pens) -> list[str]:
        """Return a line, and what of its variant goes below it."""
        style = _STYLES[line.kind]
        pen = pens[style,] if style else pens[()]
        label, beside = _name(line)
        text = label + beside
        plain = text.isascii() or (label + line.variant).isascii()  # raised numbers are narrow
        room = self.label - _wide(text, plain)
        if room >= 0 and text.isprintable():
            first = pen.draw(label) + pens["dim",].draw(beside + " " * room)
            below: list[str] = []
        else:
            first, below = self._folded(line, pens, pen)
        if line.marked:
            beside = self._marked(line, pens, (style,) if style else ())
        else:
            beside = pen.draw(self.numbers[id(line)])
        return [f"{first}{beside}\n", *below]

    def _folded(self, line: Line, pens: Pens, pen: Pen) -> tuple[str, list[str]]:
        """Return a first column that does not fit, and the lines below it."""
        label, beside = _name(line)
        if line.variant and line.variant.isascii():
            beside = beside.removesuffix(f"  {line.variant}")
            text = label + beside
            room = self.label - _wide(text, label.isascii())
            if room >= 0 and text.isprintable() and line.variant.isprintable():
                under = _wrapped(line.variant, self.label, "  " * (line.depth + 1)).split("\n")
                dim = pens["dim",]
                first = pen.draw(label) + dim.draw(beside + " " * room)
                return first, [f"{dim.draw(text)}\n" for text in under]
        return self._laid_out(line, pens)

    def _laid_out(self, line: Line, pens: Pens) -> tuple[str, list[str]]:
        """Let Rich lay out a first column; its first line is padded."""
        texts = _label(line, self.label).wrap(pens.console, self.label, overflow="fold")
        texts[0].pad_right(self.label - texts[0].cell_len)
        drawn = [pens.drawn(text) for text in texts]
        return drawn[0], [f"{text}\n" for text in drawn[1:]]

    def _marked(self, line: Line, pens: Pens, kind: tuple[str, ...]) -> str:
        """Return the numbers of a line of which some are bold or underlined."""
        marked, pen = line.marked, pens[kind]
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
