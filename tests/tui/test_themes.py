"""Themes: what is written can be read in each of them, and no state is told by colour alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from rich.color import Color, ColorType
from rich.segment import Segment
from textual.pilot import Pilot

from rpat.errors import ConfigError
from rpat_tui import themes
from rpat_tui.app import RpatApp
from rpat_tui.charts import palette
from rpat_tui.glyphs import ASCII, COLOURS, UNICODE
from rpat_tui.home import Home
from rpat_tui.themes import BUILT_IN, HUES, contrast, load
from rpat_tui.widgets.chart import ChartWidget
from rpat_tui.widgets.colours import series_colours
from tests.console.test_charts import SIGHT, lab
from tests.tui.driving import driven, press, rest, said, seen, until

LEAST = 4.5
"""What WCAG 2 asks of text."""
LINES = 1.5
"""Lines and braille are no text, but must be seen."""
TRUE = [name for name in BUILT_IN if load(name).kind == "true"]
TERMINALS = {
    name: colours.split()
    for name, colours in (
        ("xterm", "#000000 #cd0000 #00cd00 #cdcd00 #0000ee #cd00cd #00cdcd #e5e5e5 "
                  "#7f7f7f #ff0000 #00ff00 #ffff00 #5c5cff #ff00ff #00ffff #ffffff"),
        ("console", "#000000 #aa0000 #00aa00 #aa5500 #0000aa #aa00aa #00aaaa #aaaaaa "
                    "#555555 #ff5555 #55ff55 #ffff55 #5555ff #ff55ff #55ffff #ffffff"),
    )
}  # fmt: skip
"""What two terminals make of their 16 colours."""
DIM = 0.66
"""How Textual mixes dim text with its background."""


@pytest.fixture(autouse=True)
def _alone(nothing_starts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of the user's themes."""
    folder = tmp_path / "config" / "rpat" / "themes"
    folder.mkdir(parents=True)
    return folder


def mixed(over: str, under: str, share: float) -> str:
    a, b = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (over, under))
    return "#" + "".join(
        f"{round(x * share + y * (1 - share)):02x}" for x, y in zip(a, b, strict=True)
    )


# ----------------------------------------------------------------- as they are written


@pytest.mark.parametrize("name", TRUE)
def test_every_text_colour_of_a_theme_is_read_on_every_background_of_it(name: str) -> None:
    theme = load(name)
    least = 7.0 if name == "high-contrast" else LEAST
    c = theme.colours
    texts = {word: c[word] for word in ("foreground", "muted", *HUES)}
    for ground, word in product(("background", "surface", "panel", "cursor"), texts):
        wanted = LEAST if ground == "cursor" else least
        assert contrast(texts[word], c[ground]) >= wanted, (ground, word)
    for ground in ("background", "surface", "panel"):
        assert contrast(mixed(c["foreground"], c[ground], DIM), c[ground]) >= LEAST, ground
        assert contrast(c["primary"], c[ground]) >= least, ground
    for number, colour in enumerate(theme.series):
        assert contrast(colour, c["background"]) >= least, number


@pytest.mark.parametrize("terminal", TERMINALS)
def test_the_sixteen_colours_are_read_on_black_in_the_palettes_of_terminals(terminal: str) -> None:
    theme, shown = load("16-colour"), TERMINALS[terminal]
    ground = shown[themes.ANSI.index(theme.colours["background"])]
    used = {*theme.series, *(theme.colours[w] for w in ("foreground", "muted", "primary", *HUES))}
    for colour in used:
        assert contrast(shown[themes.ANSI.index(colour)], ground) >= LEAST, colour


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", TRUE)
def test_series_stay_apart_for_every_kind_of_sight(name: str, sight: str) -> None:
    places = [lab(colour, sight) for colour in load(name).series]
    far = {(i, j): float(((a - b) ** 2).sum() ** 0.5)
           for i, a in enumerate(places) for j, b in enumerate(places) if i < j}  # fmt: skip
    assert min(far.values()) >= (20 if name == "colour-blind" else 16)
    assert min(d for (_, j), d in far.items() if j < 4) >= (40 if name == "colour-blind" else 22.9)


@pytest.mark.parametrize("sight", SIGHT)
def test_done_failed_and_paused_stay_apart_without_red_and_green(sight: str) -> None:
    c = load("colour-blind").colours
    words = ("done", "failed", "paused", "running", "lost")
    places = [lab(c[COLOURS[word]], sight) for word in words]
    for i, a in enumerate(places):
        for j, b in enumerate(places[:i]):
            assert float(((a - b) ** 2).sum() ** 0.5) >= 15, (words[i], words[j])


def test_the_palette_of_charts_is_that_of_the_dark_and_the_light_theme() -> None:
    assert load("dark").series == palette.DARK
    assert load("light").series == palette.LIGHT


@pytest.mark.parametrize("signs", [UNICODE, ASCII], ids=lambda signs: signs.name)
def test_a_state_has_a_sign_of_its_own_beside_its_colour(signs: Any) -> None:
    told = {state: sign for state, sign in signs.states.items() if state != "pausing"}
    assert len(set(told.values())) == len(told)


# ----------------------------------------------------------------- as they are shown


def segments(app: RpatApp) -> Iterator[tuple[int, Segment]]:
    """Return what is sent to the terminal, line by line; of a menu the screen behind it is not."""
    front = app.screen.query(".box, #--container")
    area = front.first().region if app.screen.is_modal and front else app.screen.region
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        x = 0
        for segment in strip:
            inside = area.contains(x, y) and area.contains(x + segment.cell_length - 1, y)
            if segment.text.strip() and segment.style is not None and inside:
                yield y, segment
            x += segment.cell_length


async def tour(pilot: Pilot[int], app: RpatApp) -> Iterator[str]:  # type: ignore[misc]
    """Visit what there is to see."""
    await press(pilot, "G", "space", "k", "space", "k", "space")
    for keys in (("tab",), ("tab",), ("tab", "2"), ("3",), ("4",), ("5",), ("1", "question_mark"),
                 ("escape", "o"), ("escape", "X"), ("n", "enter"), ("escape", "n")):  # fmt: skip
        await press(pilot, *keys)
        yield " ".join(keys)


def is_text(segment: Segment) -> bool:
    return any(c.isalnum() for c in segment.text)


def shown(colour: Color | None, theme: str) -> str:
    assert colour is not None
    if colour.type is ColorType.DEFAULT:
        return "#ffffff"
    if colour.number is not None and colour.triplet is None:
        return TERMINALS["xterm"][colour.number]
    assert colour.triplet is not None, (colour, theme)
    return colour.triplet.hex


SIMILAR = ("light", "high-contrast", "colour-blind")
"""Themes that differ from `dark` in their colours alone, which are judged above."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SIMILAR else n for n in BUILT_IN[:-1]],
)
def test_what_stands_on_the_screens_of_a_theme_can_be_read(shared: Home, name: str) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        count = 0
        async for where in tour(pilot, app):  # type: ignore[attr-defined]
            for y, segment in segments(app):
                style = segment.style
                assert style is not None
                fore = shown(style.color, name)
                back = "#000000" if style.bgcolor and style.bgcolor.is_default else shown(
                    style.bgcolor, name
                )  # fmt: skip
                if style.dim and name == "16-colour":
                    continue  # the terminal decides
                least = LEAST if is_text(segment) else LINES
                count += is_text(segment)
                ratio = contrast(fore, back)
                assert ratio >= least, (where, y, segment.text, fore, back, round(ratio, 2))
        assert count > 500

    driven(shared, drive, (140, 40), theme=name)


def test_mono_sends_no_colour_and_shows_the_cursor_by_attributes(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        async for where in tour(pilot, app):  # type: ignore[attr-defined]
            for y, segment in segments(app):
                style = segment.style
                for colour in (style.color, style.bgcolor) if style else ():
                    assert colour is None or colour.is_default, (where, y, segment.text)
        while len(app.screen_stack) > 1:
            app.pop_screen()
        await press(pilot, "1", "g")
        await until(pilot, lambda: any("▶" in s.text for _, s in segments(app)))
        row = next(y for y, s in segments(app) if "▶" in s.text)
        assert all(s.style.reverse for y, s in segments(app) if y == row and s.text == "r0015")
        assert any(s.style.reverse for y, s in segments(app) if y == row and s.style)
        assert not any(s.style.reverse for y, s in segments(app) if y == row + 1 and s.style)

    driven(shared, drive, (140, 40), theme="mono")


def test_without_colours_every_curve_has_a_letter_and_dashes(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "space", "k", "space", "k")
        chart = app.screen.query_one(ChartWidget)
        assert {"A r0001", "B r0002"} <= {
            word for word in ("A r0001", "B r0002") if word in seen(app)
        }
        assert len({s.dashes for s in chart.chart.series}) == len(chart.chart.series)

    driven(shared, drive, (160, 48), theme="mono")


def test_no_color_gives_mono_whatever_the_settings_say(
    shared: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert app.theme == "mono"

    driven(shared, drive, theme="light")


def test_curves_and_marks_take_the_colours_of_the_theme_at_once(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "G", "space", "k")
        for name in (*TRUE, "dark"):
            app.wear(name)
            await rest(pilot)
            expected = load(name).series
            assert series_colours(app) == expected
            used = {s.style.color.triplet.hex for _, s in segments(app)
                    if s.style and s.style.color and s.style.color.triplet}  # fmt: skip
            assert expected[0] in used  # the mark and the curve of r0001

    driven(shared, drive, (160, 48))


# ----------------------------------------------------------------- a user's own


def test_a_theme_of_the_users_says_what_differs_from_its_base(own: Path) -> None:
    (own / "sea.toml").write_text('base = "light"\n[colours]\nbackground = "#eef6ff"\n', "utf-8")
    theme = load("sea")
    assert theme.colours["background"] == "#eef6ff"
    assert theme.colours["foreground"] == load("light").colours["foreground"]
    assert not theme.dark
    assert themes.names() == [*BUILT_IN, "sea"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('base = "nord"', ["base", "'nord'", "dark"]),
        ('[colours]\nred = "crimson"', ["colours.red", "'crimson'", "#rrggbb"]),
        ('[colours]\nrad = "#ff0000"', ["colours.rad", "did you mean 'red'"]),
        ('[colours]\nseries = ["#ff0000"]', ["colours.series", "8"]),
        ("[colours]\nred = 7", ["colours.red", "7", "#rrggbb"]),
        ("colours = 7", ["[colours]"]),
        ("colour = 7", ["'colour'"]),
        ('dark = "yes"', ["dark", "true or false"]),
        ("[colours", ["cannot be read"]),
        ('base = "16-colour"\n[colours]\nred = "#ff0000"', ["colours.red", "bright_red"]),
    ],
)
def test_a_wrong_theme_is_refused_in_one_line_with_its_file(
    own: Path, text: str, words: list[str]
) -> None:
    (own / "sea.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load("sea")
    for word in (str(own / "sea.toml"), *words):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_theme_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'light'"):
        load("ligt")
    with pytest.raises(ConfigError, match="is not known"):
        load("../dark")


def test_a_theme_is_worn_anew_when_its_file_changes_and_keeps_on_when_it_is_wrong(
    shared: Home, own: Path
) -> None:
    file = own / "sea.toml"

    def write(text: str) -> None:
        file.write_text(text, "utf-8")
        os.utime(file, ns=(0, int(file.stat().st_mtime_ns + 1e9 * len(text))))

    write('[colours]\nforeground = "#ffffff"\n')

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        def used() -> set[str]:
            return {s.style.color.triplet.hex for _, s in segments(app)
                    if s.style and s.style.color and s.style.color.triplet}  # fmt: skip

        assert "#ffffff" in used()
        write('base = "dark"\n[colours]\nforeground = "#fedcba"\n')
        app.look_at_theme()
        await rest(pilot)
        assert "#fedcba" in used()
        write('base = "dark"\n[colours]\nforeground = "orange, or so"\n')
        app.look_at_theme()
        await rest(pilot)
        assert "orange, or so" in said(app)
        assert "#fedcba" in used()
        before = said(app)
        app.look_at_theme()
        assert said(app) == before  # said once

    driven(shared, drive, theme="sea")
