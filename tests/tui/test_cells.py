"""What is sent between two pictures of a terminal, and by whom."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from rpat_tui.widgets.cells import PLAIN, Cells, Look, change, split
from rpat_tui.widgets.writer import Writer

pyte = pytest.importorskip("pyte")
from tests.tui.pseudo import Screen  # noqa: E402  it needs pyte as well

SENT = re.compile(r"\x1b\[(?:[\d;]*[mHCXK]|2J)")
"""Everything that may be sent beside text."""
STYLES = [
    Style.parse(text)
    for text in ("none", "red", "bold red on blue", "on #121212", "dim #808080 on #121212",
                 "reverse", "underline on blue", "bold dim italic #aabbcc on #121212")
]  # fmt: skip


def agreed(sign: str) -> bool:
    """Return whether Rich and pyte give a sign the same width: terminals differ in others."""
    from wcwidth import wcwidth

    return max(wcwidth(sign), 0) == max(get_character_cell_size(sign), 0)


TEXTS = st.one_of(
    st.text("ab  ", max_size=30), st.text("a 漢é́😀\x1b\x9b\t\u202eא▶⣿", max_size=12),
    st.text(st.characters(codec="utf-8").filter(agreed), max_size=6),
)  # fmt: skip
PUT = st.tuples(st.integers(0, 5), st.integers(0, 19), TEXTS, st.sampled_from(STYLES))


def put(cells: Cells, y: int, x: int, text: str, style: Style) -> None:
    cells.put(y, x, [Segment(text, style)], ColorSystem.TRUECOLOR)


def base(text: str) -> str:
    """Return a cell without marks, which pyte puts beside wide signs."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in parts if not unicodedata.category(sign).startswith("M"))


def seen(screen: Screen, y: int, x: int) -> tuple[str, str, str, bool]:
    cell = screen.buffer[y][x]
    blank = cell.data in ("", " ") and not cell.reverse
    return base(cell.data), "" if blank else cell.fg, cell.bg, cell.reverse


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(PUT, max_size=4), min_size=1, max_size=4), st.booleans())
def test_a_terminal_shows_what_is_wanted_however_it_came_there(
    frames: Sequence[Sequence[tuple[int, int, str, Style]]], erases: bool
) -> None:
    """After any frames, one terminal looks like another that is told everything at once."""
    cells = Cells(erases_in_colour=erases)
    cells.resize(20, 6)
    followed, afresh = Screen(20, 6), Screen(20, 6)
    stream = pyte.Stream(followed)
    for frame in frames:
        for y, x, text, style in frame:
            put(cells, y, x, text, style)
        sent = cells.frame()
        assert SENT.sub("", sent).isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f]", SENT.sub(
            "", sent))  # fmt: skip
        stream.feed("\x1b[?7l" + sent)
        assert cells.frame() == ""
    cells.forget()
    pyte.Stream(afresh).feed("\x1b[?7l" + cells.frame())
    for y in range(6):
        for x in range(20):
            assert seen(followed, y, x) == seen(afresh, y, x)
            assert base(followed.buffer[y][x].data) == base(cells._texts[y][x])


@given(st.one_of(TEXTS, st.text("👩\u200d❤\ufe0f🔬🏽é́क्षि\u00ad\u2028", max_size=8)))
def test_a_text_takes_as_many_cells_as_it_is_measured_to_have(text: str) -> None:
    cells = split(text)
    assert len(cells) == cell_len(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "".join(
        cells))  # fmt: skip


@given(st.sampled_from(STYLES), st.sampled_from(STYLES))
def test_changing_a_look_ends_in_the_new_one(old: Style, new: Style) -> None:
    from rpat_tui.widgets.cells import look_of

    screens = []
    looks = [look_of(style, ColorSystem.TRUECOLOR) for style in (old, new)]
    for codes in (change(PLAIN, looks[0]) + change(*looks), change(PLAIN, looks[1])):
        screen = Screen(4, 1)
        pyte.Stream(screen).feed(codes + "x")
        screens.append(screen.buffer[0][0])
    assert screens[0] == screens[1]


def test_what_is_shown_already_is_not_sent_again() -> None:
    cells = Cells(erases_in_colour=True)
    cells.resize(80, 24)
    for y in range(24):
        put(cells, y, 0, f"line {y}".ljust(80), STYLES[3])
    whole = cells.frame()
    assert len(whole) < 24 * 20, "blanks are erased, not written"
    for y in range(24):
        put(cells, y, 0, f"line {y}".ljust(80), STYLES[3])
    assert cells.frame() == ""
    put(cells, 7, 5, "8", STYLES[3])
    assert len(cells.frame()) < 40
    cells.forget()
    assert len(cells.frame()) == len(whole)


def test_blanks_are_sent_as_blanks_where_erasing_would_lose_their_colour() -> None:
    for erases in (False, True):
        cells = Cells(erases_in_colour=erases)
        cells.resize(40, 2)
        put(cells, 0, 0, "x".ljust(40), Style.parse("on blue"))
        sent = cells.frame()
        assert (" " * 39 in sent) != erases
    put(cells, 1, 0, "x".ljust(40), Style.parse("underline on blue"))
    assert " " * 39 in cells.frame()


def test_a_look_is_left_for_the_next_one_in_the_fewest_bytes() -> None:
    red = Look((), "31", "44")
    assert change(red, Look((), "32", "44")) == "\x1b[32m"
    assert change(red, PLAIN) == "\x1b[m"
    assert change(Look(("1",), "31", ""), Look(("2",), "31", "")) in ("\x1b[22;2m", "\x1b[;2;31m")


# ----------------------------------------------------------------- the writer


@pytest.fixture
def piped() -> Iterator[tuple[Any, Writer]]:
    """A pipe's end to read from, and a writer to the other."""
    source, sink = os.pipe()
    with os.fdopen(source, "rb", buffering=0) as ears, os.fdopen(sink, "w") as mouth:
        writer = Writer(mouth)
        writer.start()
        yield ears, writer
        writer.join(20)
        assert not writer.is_alive()


def test_a_writer_says_when_everything_was_taken(piped: Any) -> None:
    ears, writer = piped
    idle = threading.Event()
    writer.write("é" * 500_000)
    assert not writer.once_idle(idle.set)
    left = 1_000_000
    while left:
        left -= len(ears.read(1 << 16))
    assert idle.wait(10)
    assert writer.once_idle(idle.set)
    writer.stop()


def test_a_writer_does_not_wait_for_a_terminal_that_takes_nothing(piped: Any) -> None:
    ears, writer = piped
    writer.write("x" * 1_000_000)
    writer.stop()  # returns after a moment, though nothing was read
    assert writer.is_alive()
    ears.close()


def test_a_writer_outlives_its_terminal(piped: Any) -> None:
    ears, writer = piped
    ears.close()
    for _ in range(100):
        writer.write("x" * 10_000)
    writer.stop()
