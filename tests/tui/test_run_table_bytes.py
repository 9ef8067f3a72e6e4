"""What the run table sends to a real terminal, in bytes, and what the terminal then shows.

Keys and ticks are those of `live_table`. Figures are printed with -s.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.tui.pseudo import Terminal

pytest.importorskip("pty", reason="no pty on this system")

PROGRAM = "tests.tui.live_table"


def started(columns: int = 80, rows: int = 24, *words: str, **env: str) -> Terminal:
    """Start the program with 10,000 runs and wait for it."""
    return Terminal(PROGRAM, "10000", *words, columns=columns, rows=rows, **env)


@pytest.mark.parametrize(("columns", "rows", "most"), [(80, 24, 8_000), (160, 48, 20_000)])
def test_the_first_lines_cost_little_and_an_idle_table_nothing(
    columns: int, rows: int, most: int
) -> None:
    with started(columns, rows, "thrift") as terminal:
        terminal.until("r10000")
        terminal.listen()
        painted = terminal.raw[terminal.raw.rindex(b"method") - 200 :]
        print(f"first lines at {columns}x{rows}: {len(painted)} bytes, "
              f"with the empty screens before them {len(terminal.raw)}")  # fmt: skip
        assert len(painted) < most
        assert terminal.listen(quiet=1.0) == 0
        terminal.send("e")
        assert terminal.listen() == 0, "a tick that brings nothing new sends nothing"


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 48)])
def test_a_tick_that_changes_four_cells_sends_them_alone(columns: int, rows: int) -> None:
    with started(columns, rows, "thrift") as terminal:
        terminal.until("r10000")
        terminal.listen()
        for tick in (1, 2, 3):
            terminal.send("t")
            sent = terminal.listen()
            print(f"four cells at {columns}x{rows}: {sent} bytes")
            assert 0 < sent < 300
            shown = [terminal.screen.display[y] for y in (1, 3, 6, 10)]
            assert all(f" {10 + tick}.0 " in text for text in shown)


def test_a_new_run_above_the_window_sends_next_to_nothing() -> None:
    with started(80, 24, "thrift") as terminal:
        terminal.until("r10000")
        terminal.send("\x04" * 4 + "k")
        terminal.listen()
        before = list(terminal.screen.display)
        terminal.send("i")
        assert terminal.listen() < 100
        assert terminal.screen.display == before


def as_seen(cell: Any) -> Any:
    """Return a cell without what cannot be seen: the colour and weight of a blank."""
    if cell.data != " " or cell.reverse or cell.underscore:
        return cell
    return cell._replace(fg="default", bold=False, italics=False)


def test_what_is_sent_thriftily_looks_the_same() -> None:
    screens = []
    for words in ((), ("thrift",)):
        with started(100, 30, *words) as terminal:
            terminal.until("r10000")
            terminal.listen()
            for keys in ("jj", " ", "t", "j ", "\x04", "i", "kk", "t", "\x04", "l", "h", "G", " "):
                terminal.send(keys)
                terminal.listen()
            buffer = terminal.screen.buffer
            screens.append([[as_seen(buffer[y][x]) for x in range(100)] for y in range(30)])
            print(f"{' '.join(words) or 'plain'}: {len(terminal.raw)} bytes")
    assert screens[0] == screens[1]


@pytest.mark.parametrize(
    ("env", "sign"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": ""}, rb"38;5;"),
        ({"TERM": "xterm", "COLORTERM": ""}, rb"\x1b\[[0-9;]*\b3[0-7]\b"),
        ({"NO_COLOR": "1"}, rb"\x1b\["),
    ],
    ids=["256", "16", "none"],
)
@pytest.mark.parametrize("glyphs", ["unicode", "ascii"])
def test_poor_terminals_show_the_same_words(env: dict[str, str], sign: bytes, glyphs: str) -> None:
    with started(80, 24, "thrift", glyphs, **env) as terminal:
        terminal.until("r10000")
        terminal.send("j ")
        terminal.listen()
        cursor, mark, state = (">", "*", "+") if glyphs == "ascii" else ("▶", "●", "✓")
        assert terminal.screen.display[2].startswith(f"{cursor}{mark} r9999")
        assert f"{state} done" in terminal.screen.display[2]
        assert re.search(sign, terminal.raw)
        if env.get("COLORTERM") == "":
            assert b"38;2;" not in terminal.raw


def test_a_key_takes_few_milliseconds_of_the_processor() -> None:
    with started(160, 48, "thrift") as terminal:
        terminal.until("r10000")
        terminal.listen()
        terminal.send("x")
        terminal.listen()
        for _ in range(40):
            terminal.send("j")
            terminal.listen(quiet=0.05)
        terminal.send("x")
        terminal.until("cpu ")
        found = re.search(r"cpu ([\d.]+) ms", "\n".join(terminal.screen.display))
        assert found
        each = float(found[1]) / 40
        print(f"a cursor key at 160x48: {each:.2f} ms of CPU")
        assert each < 60, "ten times what it takes here: a table that repaints whole would"
