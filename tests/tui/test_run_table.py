"""The run table in a program without a terminal: keys, marks, sizes, and what comes in live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from rpat.errors import StoreError
from rpat_tui.glyphs import ASCII, UNICODE
from rpat_tui.store.rows import Stat
from rpat_tui.widgets import columns
from rpat_tui.widgets.columns import COLUMNS, DEFAULT, clean, fit, place
from rpat_tui.widgets.runtable import RunTable, keep_in_view, settle
from tests.tui.conftest import Many, Shown, line
from tests.tui.driving import drawn

SIZE = (100, 24)
ROWS = SIZE[1] - 1


def in_app(
    count: int | Many, check: Callable[[Pilot[None], Shown], Any], size: tuple[int, int] = SIZE,
    **options: Any,
) -> None:  # fmt: skip
    """Run a check in a program that shows so many runs."""
    source = count if isinstance(count, Many) else Many(count)

    async def run() -> None:
        app = Shown(source, **options)
        async with app.run_test(size=size) as pilot:
            await settled(pilot, app)
            await check(pilot, app)
            await settled(pilot, app)
            assert_consistent(app.table)

    asyncio.run(run())


async def settled(pilot: Pilot[None], app: Shown) -> None:
    """Wait until nothing is being read."""
    await drawn(pilot)
    while app.source.gate.is_set() and (app.table._reading or app.table._again):
        await asyncio.sleep(0.005)
    await drawn(pilot)


async def press(pilot: Pilot[None], app: Shown, *keys: str) -> None:
    await pilot.press(*keys)
    await settled(pilot, app)


async def tick(pilot: Pilot[None], app: Shown) -> None:
    app.table.reload()
    await settled(pilot, app)


def screen(table: RunTable) -> list[str]:
    """Return the lines of the table as they are drawn."""
    return [table.render_line(y).text for y in range(table.size.height)]


def ids(table: RunTable) -> list[str]:
    return [text[3:].split()[0] for text in screen(table)[1:] if text[3:].strip()]


def assert_consistent(table: RunTable) -> None:
    """Whatever happened: every line fills the width, and what is drawn is what would be drawn."""
    assert {cell_len(text) for text in screen(table)} == {table.size.width}
    assert 0 <= table.cursor <= max(table.count - 1, 0)
    if table.count:
        assert table.top <= table.cursor < table.top + table.rows
    before = screen(table)
    table._made.clear()
    table._shown = []
    table.paint()
    assert screen(table) == before


# ----------------------------------------------------------------- moving


@pytest.mark.parametrize(
    ("keys", "cursor"),
    [
        (["j", "down", "j", "k"], 2), (["up"], 0), (["G"], 999), (["end"], 999),
        (["G", "g"], 0), (["end", "home"], 0), (["pagedown"], 22), (["ctrl+d"], 11),
        (["pagedown", "pageup"], 0), (["ctrl+d", "ctrl+u"], 0), (["G", "pageup", "pagedown"], 999),
        (["G", "j"], 999),
    ],
)  # fmt: skip
def test_keys_move_the_cursor(keys: list[str], cursor: int) -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, *keys)
        assert app.table.cursor == cursor
        assert app.table.line is not None
        assert app.table.line.key == 1000 - cursor
        shown = [text for text in screen(app.table) if text.startswith(UNICODE.cursor)]
        assert len(shown) == 1
        assert f"r{1000 - cursor:04d}" in shown[0]

    in_app(1000, check)


@pytest.mark.parametrize("count", [0, 1, 10, 100_000])
def test_lists_of_any_length_are_shown(count: int) -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        for keys in (["j", "G"], ["space"], ["*"], ["0"], ["pageup", "k", "l", "h"], ["g"]):
            await press(pilot, app, *keys)
        assert len(ids(app.table)) == min(max(count, 1), ROWS)
        limits = [limit for _, limit in app.source.asked]
        assert max(limits) <= 3 * ROWS, "only what is near is read"
        if not count:
            assert "nothing here" in screen(app.table)[1]
            assert app.table.line is None

    in_app(count, check, empty="nothing here")


def test_every_line_is_reached_one_by_one() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        for index in range(120):
            assert app.table.line is not None, index
            assert app.table.line.key == 120 - index
            await press(pilot, app, "j")

    in_app(120, check)


def test_lines_that_are_being_read_are_drawn_as_such_and_block_no_key() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        app.source.gate.clear()
        await pilot.press("G")
        await pilot.pause(0.1)
        assert set(ids(app.table)) == {UNICODE.more}
        await pilot.press("k", "k")
        assert app.table.cursor == 997
        app.source.gate.set()
        await settled(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 3

    in_app(1000, check)


# ----------------------------------------------------------------- messages


def test_the_cursor_tells_where_it_is_once() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "j", "G")
        await tick(pilot, app)
        moved = [m.line.id for m in app.told if isinstance(m, RunTable.CursorMoved) and m.line]
        assert moved == ["r0500", "r0499", "r0001"]

    in_app(500, check)


def test_marks_are_toggled_and_taken_off() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "space", "j", "space")
        assert list(app.table.marked) == [30, 29]
        assert [text[1] for text in screen(app.table)[1:4]] == [UNICODE.mark, UNICODE.mark, " "]
        await press(pilot, app, "space")
        assert list(app.table.marked) == [30]
        await press(pilot, app, "*")
        assert sorted(app.table.marked) == list(range(1, 31))
        await press(pilot, app, "0", "0")
        marks = [m.runs for m in app.told if isinstance(m, RunTable.Marked)]
        assert marks[-1] == ()
        assert len(marks) == 5

    in_app(30, check)


def test_a_run_keeps_the_colour_of_its_mark() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "j", "space", "k")

        def colour() -> Any:
            segments = iter(app.table.render_line(app.table.cursor - app.table.top + 2))
            return next(
                s.style.color for s in segments if s.text.strip() == UNICODE.mark and s.style
            )

        before = colour()
        app.source.insert(31, 32)
        await tick(pilot, app)
        assert colour() == before

    in_app(30, check)


def test_folded_lines_mark_all_their_runs_and_unfold() -> None:
    group = line(3, key=-3, members=(3, 4, 5), seeds=(0, 1, 2), values={
        "clean": Stat(80.84, 0.21, 3), "pgd": Stat(52.9, 12.34, 3), "nrr": Stat(64.0),
    })  # fmt: skip

    async def check(pilot: Pilot[None], app: Shown) -> None:
        app.source.keys = [-3, 2, 1]
        app.source.changed[-3] = group
        app.source.new = True
        app.table.show(app.source, means=True, keep=False)
        await settled(pilot, app)
        shown = screen(app.table)[1]
        assert shown.startswith("▶ ▾n=3")
        for text in ("80.8±.2", " 52.9±12 ", " 64.0 ", "0-2"):
            assert text in shown
        await press(pilot, app, "space")
        assert list(app.table.marked) == [3, 4, 5]
        app.table.mark([4])
        assert screen(app.table)[1].startswith("▶○▾")
        await press(pilot, app, "enter", "j", "enter")
        told = [m for m in app.told if isinstance(m, RunTable.Opened | RunTable.Unfolded)]
        assert [(type(m), m.line.key) for m in told] == [
            (RunTable.Unfolded, -3), (RunTable.Opened, 2),
        ]  # fmt: skip

    in_app(3, check)


def test_orders_are_asked_for_and_marked_in_the_title() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "S")
        app.table.show(app.source, sort="pgd", descending=True)
        await settled(pilot, app)
        title = screen(app.table)[0]
        assert "PGD▼" in title
        await pilot.click(RunTable, offset=(title.index("clean"), 0))
        await settled(pilot, app)
        asked = [m.column for m in app.told if isinstance(m, RunTable.SortRequested)]
        assert asked == [None, "clean"]

    in_app(3, check)


def test_the_mouse_moves_and_opens() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await pilot.click(RunTable, offset=(10, 5))
        assert app.table.cursor == 4
        await pilot.click(RunTable, offset=(10, 5), times=2)
        await settled(pilot, app)
        assert any(isinstance(m, RunTable.Opened) for m in app.told)
        app.table._wheel(30)
        assert (app.table.top, app.table.cursor) == (30, 30)

    in_app(100, check)


def test_a_source_that_fails_says_so_and_leaves_the_lines() -> None:
    class Broken(Many):
        broken = False

        def refresh(self) -> bool:
            if self.broken:
                raise StoreError("the database is away")
            return super().refresh()

    async def check(pilot: Pilot[None], app: Shown) -> None:
        app.source.broken = True  # type: ignore[attr-defined]
        await tick(pilot, app)
        failed = [m for m in app.told if isinstance(m, RunTable.Failed)]
        assert [m.text for m in failed] == ["the database is away"]
        assert len(ids(app.table)) == 9
        app.source.broken = False  # type: ignore[attr-defined]
        app.source.insert(10)
        await tick(pilot, app)
        assert len(ids(app.table)) == 10

    in_app(Broken(9), check)


# ----------------------------------------------------------------- what comes in live


def test_a_tick_repaints_the_cells_that_differ_and_no_others() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        painted: list[Any] = []
        refresh = app.table.refresh

        def watch(*regions: Any, **how: Any) -> Any:
            painted.extend(regions or ["everything"])
            return refresh(*regions, **how)

        app.table.refresh = watch  # type: ignore[method-assign]
        app.source.new = True
        await tick(pilot, app)
        assert painted == []
        app.source.change(98, values=line(98).values | {"pgd": Stat(1.25)})
        await tick(pilot, app)
        (region,) = painted
        assert (region.y, region.height) == (3, 1)
        pgd = next(p for p in app.table._placed if p.column.name == "pgd")
        assert (region.x, region.width) == (pgd.x, pgd.width)
        assert " 1.2 " in screen(app.table)[3]

    in_app(100, check)


@pytest.mark.parametrize("down", [0, 5, 60])
def test_the_cursor_stays_on_its_run_when_others_come_in_above(down: int) -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, *["j"] * down)
        before, line_of_screen = ids(app.table), app.table.cursor - app.table.top
        app.source.insert(103, 102, 101)
        await tick(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 100 - down
        assert app.table.cursor == down + 3
        if down == 60:
            assert ids(app.table) == before, "nothing moves under the eyes"
            assert app.table.cursor - app.table.top == line_of_screen
        else:
            assert ids(app.table)[:3] == ["r0103", "r0102", "r0101"]

    in_app(100, check)


def test_a_key_that_comes_while_lines_are_read_is_not_undone() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, *["j"] * 40)
        app.source.gate.clear()
        app.source.insert(102, 101)
        app.table.reload()
        await pilot.press("j")
        app.source.gate.set()
        await settled(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 100 - 41

    in_app(100, check)


@pytest.mark.parametrize("reading", [False, True], ids=["sought at once", "sought later"])
def test_a_run_that_is_sought_never_takes_the_cursor_from_who_has_moved_it(reading: bool) -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        app.table.seek(50)
        await settled(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 50
        app.source.gate.clear()
        if reading:
            app.table.reload()  # what is sought waits until this is answered
            await pilot.pause()
        app.table.seek(90)
        await pilot.pause()
        await pilot.press("G")
        app.source.gate.set()
        await settled(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 1

    in_app(100, check)


def test_when_the_run_under_the_cursor_goes_the_next_one_takes_its_place() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "j", "j")
        app.source.keys = [key for key in app.source.keys if key != 98]
        app.source.new = True
        await tick(pilot, app)
        assert app.table.line is not None
        assert app.table.line.key == 97
        app.source.keys = []
        app.source.new = True
        await tick(pilot, app)
        assert app.table.line is None
        assert isinstance(app.told[-1], RunTable.CursorMoved)

    in_app(100, check)


# ----------------------------------------------------------------- sizes and columns


def test_the_cursor_stays_in_view_through_a_storm_of_sizes() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        await press(pilot, app, "G", *["k"] * 30)
        for size in [(40, 10), (200, 60), (40, 10), (1, 1), (5, 2), (40, 3), (80, 24), SIZE]:
            await pilot.resize_terminal(*size)
            await settled(pilot, app)
            assert app.table.cursor == 469
            if size[1] > 2:
                assert_consistent(app.table)
        assert app.table.line is not None
        assert app.table.line.key == 500 - 469

    in_app(500, check)


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (110, "id st method λ ds model s ep clean PGD NRR left name"),
        (79, "id st method λ ds s ep clean PGD NRR"),
        (61, "id st method ds s ep clean PGD NRR"),
        (56, "id st method s ep clean PGD NRR"),
        (50, "id st method ep clean PGD NRR"),
        (40, "id st method clean PGD"),
        (12, "id st"),
        (1, "id"),
    ],
)
def test_a_narrow_table_does_without_columns_in_order(width: int, titles: str) -> None:
    placed, cut = place(DEFAULT, width, 0, start=0, means=False, glyphs=UNICODE)
    assert [p.column.title for p in placed] == titles.split()
    assert cut
    assert all(p.x + p.width <= width for p in placed)


def test_columns_are_chosen_and_scrolled_sideways() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        assert screen(app.table)[0].endswith("›")
        await press(pilot, app, "l", "right")
        title = screen(app.table)[0].split()
        assert title[:4] == ["‹", "id", "st", "ds"]
        await press(pilot, app, *["l"] * 30)
        title = screen(app.table)[0]
        assert "note" in title
        assert not title.endswith("›")
        await press(pilot, app, *["h"] * 40)
        assert "method" in screen(app.table)[0]
        app.table.choose(["id", "loss", "method"])
        assert screen(app.table)[0].split() == ["id", "loss", "method"]

    in_app(9, check, size=(60, 12))


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=lambda g: g.name)
def test_every_column_shows_a_bare_run_and_a_full_one(name: str, glyphs: Any) -> None:
    column = COLUMNS[name]
    bare = line(1, state="queued", epoch=0, lam=None, values={}, created=None, seeds=())
    text, style = column.cell(bare, glyphs)
    if column.right and name != "priority":
        assert (text, style) == (glyphs.missing, "missing"), "a missing number is no 0"
    full = line(
        12345, name="a name", note="n" * 500, tags="x y", state="running", started=1.0, ended=9e5,
        values={name: Stat(12.3456, 3.21, 3) for name in ("clean", "pgd", "nrr", "mean",
        "best_pgd", "logit_mse", "loss")} | {"left": Stat(7384.0)}, best_epoch=99, reason="why",
        slot="gpu0:1", sweep="s", model="wrn-34-10", dataset="tiny-imagenet",
    )  # fmt: skip
    text, _ = column.cell(full, glyphs)
    assert text
    if glyphs is ASCII:
        assert text.isascii()
    if name not in ("note", "best_pgd"):
        width = columns._width(column, bool(column.wide), glyphs) + column.grows
        assert cell_len(text) <= width, "nothing usual is cut"


@pytest.mark.parametrize("value", [0.0, -0.04, 99.99, 100.0, 1e9, -1e9, float("inf"), 1e-9])
@pytest.mark.parametrize("name", ["clean", "loss", "logit_mse"])
def test_numbers_of_any_size_are_drawn(name: str, value: float) -> None:
    text, _ = COLUMNS[name].cell(line(1, values={name: Stat(value)}), UNICODE)
    assert float(text) == pytest.approx(value, rel=0.06, abs=0.05)


def test_jobs_show_their_share_and_archived_runs_their_sign() -> None:
    job = line(1, kind="eval", epochs=0, step=3, steps=4, state="running")
    assert COLUMNS["epoch"].cell(job, UNICODE) == ("75 %", "")
    assert COLUMNS["state"].cell(line(1, archived=1), UNICODE) == ("▫ done", "archived")


def test_wide_and_odd_names_never_move_a_column() -> None:
    names = [
        "实验一号实验一号实验", "ａｂｃ", "e\u0301\u0301tude", "👩‍👩‍👧‍👦 family", "❤️",
        "\x1b[31mred\x1b[0m",
        "tab\there\nline", "\u202eright to left", "", "a" * 500, "x" * 11 + "名",
    ]  # fmt: skip

    async def check(pilot: Pilot[None], app: Shown) -> None:
        for n, name in enumerate(names, 1):
            app.source.change(n, name=name, note=name, values={"pgd": Stat(12.34)})
        await tick(pilot, app)
        lines = screen(app.table)[1 : 1 + len(names)]
        assert len({cell_len(text[: text.index("12.3")]) for text in lines}) == 1
        assert not any("\x1b" in text or "\t" in text or "\u202e" in text for text in lines)

    in_app(len(names), check, columns=("id", "name", "pgd", "note"), size=(60, 20))


@pytest.mark.parametrize("width", range(1, 9))
@pytest.mark.parametrize("text", ["", "abc", "名前の名前", "a名b前", "e\u0301tude"])
@pytest.mark.parametrize("right", [False, True])
def test_a_text_fits_exactly(text: str, width: int, right: bool) -> None:
    made = fit(text, width, UNICODE, right=right)
    assert cell_len(made) == width
    if cell_len(text) > width:
        assert UNICODE.more in made


def test_plain_signs_are_plain() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        app.source.change(5, name="名前", method="λ-method", state="failed")
        await tick(pilot, app)
        await press(pilot, app, "space")
        assert all(text.isascii() for text in screen(app.table))
        assert screen(app.table)[1].startswith(">*")
        assert "x failed" in screen(app.table)[1]

    in_app(5, check, glyphs=ASCII, columns=(*DEFAULT, "name"))
    assert clean("名", ASCII) == "?"


def test_losing_the_keyboard_repaints_the_line_of_the_cursor() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        def style() -> Any:
            return next(iter(app.table.render_line(2))).style

        await press(pilot, app, "j")
        before, painted = style(), []
        refresh = app.table.refresh

        def watch(*regions: Any, **how: Any) -> Any:
            painted.extend(regions or ["everything"])
            return refresh(*regions, **how)

        app.table.refresh = watch  # type: ignore[method-assign]
        app.screen.set_focus(None)
        await settled(pilot, app)
        assert not app.table.has_focus
        assert painted == [(0, 2, SIZE[0], 1)]
        assert style().bgcolor != before.bgcolor
        app.table.focus()
        await settled(pilot, app)
        assert style() == before

    in_app(9, check)


def test_colours_follow_the_theme() -> None:
    async def check(pilot: Pilot[None], app: Shown) -> None:
        def style() -> Any:
            return next(iter(app.table.render_line(3))).style

        before = style()
        app.theme = "textual-light"
        await settled(pilot, app)
        assert style() != before

    in_app(9, check)


# ----------------------------------------------------------------- where the window is


@pytest.mark.parametrize(
    ("top", "was", "index", "count", "height", "expected"),
    [
        (0, 0, 3, 100, 20, 0), (0, 5, 25, 100, 20, 6), (30, 35, 38, 100, 20, 33),
        (30, 35, 32, 100, 20, 27), (95, 99, 99, 100, 20, 80), (5, 9, 3, 4, 20, 0),
    ],
)  # fmt: skip
def test_the_window_follows_the_cursor_s_run(
    top: int, was: int, index: int, count: int, height: int, expected: int
) -> None:
    assert settle(top, was, index, count, height) == expected
    assert keep_in_view(expected, index, count, height) == expected
