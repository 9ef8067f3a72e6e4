"""What a terminal shows, cell by cell, and the shortest way to what it shall show.

Whatever is drawn goes into the wanted cells. A frame compares them with those that the terminal
shows and says what differs: the cursor goes there, colours change when they do, blanks are erased
where that is shorter. Nothing but printable signs ever comes into a cell, whoever wrote the text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

NEAR = 4
"""Cells that stay and lie between two that change: they are sent again, if that is all it takes."""

LONG = 9
"""Blanks from which on erasing them and going on is shorter than sending them."""

STEADY = 0x300
ALSO_STEADY = range(0x2000, 0x2C00)
"""Signs that every terminal draws one cell wide; after others the cursor is placed anew."""

ATTRIBUTES = (
    ("bold", "1", "22"), ("dim", "2", "22"), ("italic", "3", "23"), ("underline", "4", "24"),
    ("blink", "5", "25"), ("blink2", "6", "25"), ("reverse", "7", "27"), ("conceal", "8", "28"),
    ("strike", "9", "29"), ("underline2", "21", "24"), ("overline", "53", "55"),
)  # fmt: skip
VISIBLE = {"4", "5", "6", "7", "9", "21", "53"}
"""Attributes that are seen on a blank."""


class Look(NamedTuple):
    """How a cell looks, as codes: attributes, foreground, background; '' is the terminal's own."""

    attributes: tuple[str, ...] = ()
    fore: str = ""
    back: str = ""


PLAIN = Look()


@lru_cache(4096)
def look_of(style: Style | None, system: ColorSystem) -> Look:
    """Return how a style looks on a terminal with so many colours; links are not sent."""
    if style is None:
        return PLAIN
    fore, back = style.color, style.bgcolor
    fores = fore.downgrade(system).get_ansi_codes() if fore else ()
    backs = back.downgrade(system).get_ansi_codes(foreground=False) if back else ()
    return Look(
        tuple(code for name, code, _ in ATTRIBUTES if getattr(style, name)),
        "" if fores == ("39",) else ";".join(fores),
        "" if backs == ("49",) else ";".join(backs),
    )


@lru_cache(4096)
def bare(look: Look) -> Look:
    """Return what is seen of a look on a blank."""
    seen = tuple(code for code in look.attributes if code in VISIBLE)
    return Look(seen, look.fore if seen else "", look.back)


@lru_cache(4096)
def change(old: Look, new: Look) -> str:
    """Return the shortest sequence from a look to another."""
    if old == new:
        return ""
    off = {end for _, code, end in ATTRIBUTES if code in old.attributes and
           code not in new.attributes}  # fmt: skip
    on = [
        code for _, code, end in ATTRIBUTES
        if code in new.attributes and (code not in old.attributes or end in off)
    ]  # fmt: skip
    step = [*sorted(off), *on]
    step += [new.fore or "39"] * (new.fore != old.fore) + [new.back or "49"] * (
        new.back != old.back
    )
    anew = ["", *new.attributes, *filter(None, new[1:])]
    return f"\x1b[{min(';'.join(step), ';'.join(anew), key=len)}m"


@lru_cache(8192)
def split(text: str) -> tuple[str, ...]:
    """Return a text as cells; the second one of a wide sign is ''.

    Takes as many cells as the text is measured to have. What is not printable has none, or shows
    as a question mark; of joined signs the first one is kept, so that no terminal disagrees.
    """
    if text.isascii() and text.isprintable():
        return tuple(text)
    cells: list[str] = []
    at, base = 0, -1
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "\u200d":  # joins the next sign to the one before
            at += bool(cells)
            continue
        if sign == "\ufe0f":
            if base >= 0 and cell_len(cells[base] + sign) > len(cells) - base:
                cells.append(" ")
            continue
        size = get_character_cell_size(sign)
        if size < 1:
            if base >= 0 and unicodedata.category(sign) in ("Mn", "Mc", "Me"):
                cells[base] += sign
            continue
        base = len(cells)
        if sign.isprintable():
            cells += [sign, *[""] * (size - 1)]
        else:
            cells += [" " if unicodedata.category(sign) == "Zs" else "?"] * size
    wanted = cell_len(text)
    if len(cells) > wanted:
        cells = cells[:wanted]
    return tuple(cells + [" "] * (wanted - len(cells)))


def is_steady(cell: str) -> bool:
    """Return whether every terminal draws a cell in its own width."""
    return len(cell) == 1 and (ord(cell) < STEADY or ord(cell) in ALSO_STEADY)


class Cells:
    """The cells of a terminal: those that are wanted, and those that it shows."""

    def __init__(self, *, erases_in_colour: bool = False) -> None:
        """Begin without a size; some terminals erase in the present background."""
        self.erases_in_colour = erases_in_colour
        self.width, self.height = 0, 0
        self._texts: list[list[str]] = []
        self._looks: list[list[Look]] = []
        self._shown_texts: list[list[str]] = []
        self._shown_looks: list[list[Look]] = []
        self._touched: set[int] = set()
        self._known = False

    def resize(self, width: int, height: int) -> None:
        """Begin anew with another size; the same one changes nothing."""
        if (width, height) != (self.width, self.height):
            self.width, self.height = width, height
            self._texts = [[" "] * width for _ in range(height)]
            self._looks = [[PLAIN] * width for _ in range(height)]
            self.forget()

    def forget(self) -> None:
        """Take it that anything may be on the terminal: the next frame says everything."""
        self._known = False

    def put(
        self, y: int, x: int, segments: Iterable[Segment], system: ColorSystem,
        start: int = 0, stop: int | None = None,
    ) -> None:  # fmt: skip
        """Want segments on a line from a cell on, of which only `start` to `stop` are taken."""
        if not 0 <= y < self.height:
            return
        stop = self.width if stop is None else min(stop, self.width)
        for text, style, control in segments:
            if not text or control:
                continue
            cells = split(text)
            first, past = max(start - x, 0), min(stop - x, len(cells))
            if first < past:
                part = cells[first:past]
                self._set(y, x + first, part, look_of(style, system))
            x += len(cells)
        self._touched.add(y)

    def _set(self, y: int, x: int, cells: Sequence[str], look: Look) -> None:
        texts, looks, blank = self._texts[y], self._looks[y], bare(look)
        end = x + len(cells)
        if x and texts[x] == "":  # half of a wide sign goes
            texts[x - 1] = " "
        if end < self.width and texts[end] == "":
            texts[end] = " "
        texts[x:end] = cells
        looks[x:end] = [blank if cell == " " else look for cell in cells]
        if cells[0] == "":
            texts[x] = " "
        if end == self.width and len(cells[-1]) and cell_len(cells[-1]) > 1:
            texts[end - 1] = " "  # there is no room for its second half

    # ----------------------------------------------------------------- frames

    def frame(self) -> str:
        """Return what turns what the terminal shows into what is wanted; '' where nothing does."""
        pen = _Pen()
        if not self._known:
            self._clear(pen)
        for y in sorted(self._touched):
            if y < self.height:
                self._line(y, pen)
                self._shown_texts[y] = self._texts[y].copy()
                self._shown_looks[y] = self._looks[y].copy()
        self._touched.clear()
        pen.put_down()
        return "".join(pen.sent)

    def _clear(self, pen: _Pen) -> None:
        """Blank the terminal in the background that most cells have."""
        ground = PLAIN
        if self.erases_in_colour:
            grounds = Counter(
                look.back for line in self._looks for look in line if not look.attributes
            )
            ground = Look(back=grounds.most_common(1)[0][0]) if grounds else PLAIN
        pen.sent.append("\x1b[m")
        pen.take(ground)
        pen.sent.append("\x1b[2J")
        self._shown_texts = [[" "] * self.width for _ in range(self.height)]
        self._shown_looks = [[ground] * self.width for _ in range(self.height)]
        self._touched = set(range(self.height))
        self._known = True

    def _line(self, y: int, pen: _Pen) -> None:
        texts, looks = self._texts[y], self._looks[y]
        old_texts, old_looks = self._shown_texts[y], self._shown_looks[y]
        if texts == old_texts and looks == old_looks:
            return
        changed = [
            x for x in range(self.width)
            if texts[x] != old_texts[x] or looks[x] != old_looks[x]
        ]  # fmt: skip
        tail = self._tail(texts, looks)
        start = before = changed[0]
        for x in [*changed[1:], self.width + NEAR + 1]:
            if x - before - 1 <= NEAR and self._is_same(y, before, x):
                before = x
                continue
            if not self._run(y, start, before + 1, tail, pen):
                return
            start = before = x

    def _is_same(self, y: int, before: int, x: int) -> bool:
        """Return whether the cells between two take no more than their own signs."""
        texts, looks, look = self._texts[y], self._looks[y], self._looks[y][before]
        blank = bare(look)
        return all(texts[i].isascii() and looks[i] in (look, blank) for i in range(before + 1, x))

    def _tail(self, texts: list[str], looks: list[Look]) -> int:
        """Return the cell from which on a line is blank and can be erased to its end."""
        look, x = looks[-1], self.width
        if not self._can_erase(look):
            return x
        while x and texts[x - 1] == " " and looks[x - 1] == look:
            x -= 1
        return x

    def _can_erase(self, look: Look) -> bool:
        return not look.attributes and (self.erases_in_colour or not look.back)

    def _run(self, y: int, start: int, stop: int, tail: int, pen: _Pen) -> bool:
        """Send some cells of a line; False where the rest of it was erased."""
        texts, looks = self._texts[y], self._looks[y]
        if texts[start] == "":
            start -= 1
        x = start
        while x < stop:
            text, look = texts[x], looks[x]
            if text != " ":
                end = x + 1
                while end < self.width and texts[end] == "":
                    end += 1
                pen.go(y, x)
                pen.take(look)
                pen.write(text, end - x, self.width)
                x = end
                continue
            if x >= tail:
                pen.go(y, x)
                pen.take(look)
                pen.sent.append("\x1b[K")
                return False
            end = x
            while end < stop and texts[end] == " " and looks[end] == look:
                end += 1
            pen.go(y, x)
            if bare(pen.look) != look:
                pen.take(look)
            if end - x >= LONG and self._can_erase(look):
                pen.sent.append(f"\x1b[{end - x}X")
            else:
                pen.write(" " * (end - x), end - x, self.width)
            x = end
        return True


class _Pen:
    """Where the next sign goes and how it will look; collects what is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.look = PLAIN
        self.place: tuple[int, int] | None = None

    def go(self, y: int, x: int) -> None:
        """Put the cursor on a cell."""
        if self.place == (y, x):
            return
        if self.place is not None and self.place[0] == y and x > self.place[1]:
            by = x - self.place[1]
            self.sent.append("\x1b[C" if by == 1 else f"\x1b[{by}C")
        elif not x:
            self.sent.append(f"\x1b[{y + 1}H" if y else "\x1b[H")
        else:
            self.sent.append(f"\x1b[{y + 1};{x + 1}H")
        self.place = (y, x)

    def take(self, look: Look) -> None:
        """Let the next sign look so."""
        if look != self.look:
            self.sent.append(change(self.look, look))
            self.look = look

    def write(self, text: str, size: int, width: int) -> None:
        """Write a sign, or blanks, of some cells."""
        self.sent.append(text)
        if self.place is not None:
            y, x = self.place
            steady = text.isascii() or is_steady(text)
            self.place = (y, x + size) if steady and x + size < width else None

    def put_down(self) -> None:
        """Leave the terminal with a look of its own."""
        self.take(PLAIN)
