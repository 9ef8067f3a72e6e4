"""The chart engine: what it promises, a few charts as pictures in text, and its cost."""

from __future__ import annotations

import io
import math
import os
import statistics
import time
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console

from rpat_tui.charts import axes, palette
from rpat_tui.charts.axes import Limits, horizontal, nice_limits, nice_log_limits, vertical
from rpat_tui.charts.canvas import GLYPHS, Canvas, suitable
from rpat_tui.charts.chart import Chart, Marker, Series, View
from rpat_tui.charts.curves import Clock, line
from rpat_tui.charts.envelope import envelope
from rpat_tui.charts.grid import Grid
from rpat_tui.charts.plane import Plane, Point, front, same_mean, same_nrr
from rpat_tui.charts.rich_chart import RichChart
from rpat_tui.charts.smooth import band, smoothed

GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("RPAT_UPDATE_GOLDEN"))

finite = st.floats(-1e6, 1e6)
maybe = st.one_of(finite, st.just(math.nan))


def training(epochs: int = 88) -> list[Series]:
    """Clean and PGD accuracy of two made-up runs."""
    e = np.arange(1.0, epochs + 1)
    wave = 1.5 * np.sin(e * 1.7) * np.exp(-e / 50)
    drop = 3 * (1 - np.exp(-np.maximum(e - 74, 0) / 2))

    def curve(top: float, pace: float, over: float = 0.0) -> np.ndarray:
        return top * (1 - np.exp(-e / pace)) + wave + drop - over * np.maximum(e - 76, 0)

    return [
        Series("r0193 clean", e, curve(82, 9), colour=0),
        Series("r0193 PGD", e, curve(50, 12, 0.2), colour=0, dashes=1),
        Series("r0188 clean", e, curve(75, 10), colour=1),
        Series("r0188 PGD", e, curve(47, 15, 0.3), colour=1, dashes=1),
    ]


def chart(**options: object) -> Chart:
    series = training()
    best = Marker(79, "best", float(series[1].y[78]))
    return Chart(
        series, [Marker(75), Marker(90), best], "acc %", 120, x_name="epoch", whole=True, **options
    )


# ----------------------------------------------------------------- envelope


@given(
    st.lists(st.tuples(st.floats(-5, 105), maybe), min_size=60, max_size=400),
    st.integers(2, 12),
)
def test_an_envelope_keeps_the_extremes_and_the_gaps_of_every_column(points, columns):
    points.sort(key=lambda p: p[0])
    x, y = (np.array(v) for v in zip(*points, strict=True))
    ex, ey, made = envelope(x, y, 0.0, 100.0, columns)
    inside = (x >= 0) & (x <= 100)
    if not made:
        assert inside.sum() <= 4 * columns
        return
    width = 100 / (columns - 1)
    edges = (np.arange(columns + 1) - 0.5) * width
    column = np.searchsorted(edges, x, "right") - 1
    for c in range(columns):
        here = y[inside & (column == c)]
        got = ey[np.isclose(ex, c * width) & (ex >= 0) & (ex <= 100 + 1e-9)]
        if not here.size:
            continue
        if np.isnan(here).all():
            assert np.isnan(got).all()
            continue
        assert np.nanmin(got) == np.nanmin(here)
        assert np.nanmax(got) == np.nanmax(here)
        assert got[0] == here[0] or np.isnan(here[0])
        assert np.isnan(got[0]) == np.isnan(here[0])  # a gap at an edge stays one
        assert np.isnan(got[-1]) == np.isnan(here[-1])


def test_an_envelope_is_as_small_as_the_screen():
    n = 100_000
    ex, _, made = envelope(np.arange(float(n)), np.ones(n), 0, n, 100)
    assert made
    assert ex.size == 400


# ----------------------------------------------------------------- smoothing


def slow(y: np.ndarray, weight: float) -> np.ndarray:
    total, count, out = 0.0, 0, []
    for value in y:
        if not math.isfinite(value):
            out.append(math.nan)
            continue
        total = weight * total + (1 - weight) * value
        count += 1
        out.append(total / (1 - weight**count))
    return np.array(out)


@given(st.lists(maybe, max_size=200), st.sampled_from([0.1, 0.6, 0.9, 0.99]))
def test_smoothing_is_the_debiased_mean_and_keeps_gaps(values, weight):
    y = np.array(values, dtype=np.float64)
    np.testing.assert_allclose(smoothed(y, weight), slow(y, weight), rtol=1e-8, atol=1e-6)


def test_smoothing_a_constant_changes_nothing():
    np.testing.assert_allclose(smoothed(np.full(5000, 3.7), 0.99), 3.7)


def test_a_band_ends_where_the_first_seed_ends():
    x = np.arange(4.0)
    lines = [(x, np.array([1.0, 2, 3, 4])), (x[:3], np.array([3.0, 4, 5]))]
    grid, mean, spread = band(lines)
    assert grid.tolist() == [0, 1, 2, 3]
    assert mean[:3].tolist() == [2, 3, 4]
    np.testing.assert_allclose(spread[:3], math.sqrt(2))
    assert np.isnan(mean[3])
    assert np.isnan(spread[3])


# ----------------------------------------------------------------- axes


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(5, 60))  # 5 rows of a chart of 8
def test_a_vertical_axis_has_three_labels_that_do_not_touch(low, span, rows):
    low, high = nice_limits(low, low + span)
    ticks = vertical(low, high, rows)
    assert len(ticks) >= axes.FEW
    assert all(b[0] - a[0] >= 2 for a, b in pairwise(ticks))
    assert all(0 <= row < rows for row, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e9), st.integers(5, 60))
def test_a_logarithmic_axis_has_three_labels_too(low, factor, rows):
    low, high = nice_log_limits(low, low * factor)
    ticks = vertical(low, high, rows, log=True)
    assert len(ticks) >= axes.FEW
    assert all(b[0] - a[0] >= 2 for a, b in pairwise(ticks))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e7), st.integers(12, 200), st.booleans())
def test_labels_of_a_horizontal_axis_never_touch(low, span, columns, whole):
    found = horizontal(low, low + span, columns, whole=whole)
    assert all(b[1] - a[1] - len(a[2]) >= 2 for a, b in pairwise(found))
    assert all(text >= 0 and text + len(word) <= columns for _, text, word in found)


@given(st.lists(finite, min_size=2, max_size=30))
def test_limits_hold_all_values_and_never_shrink(values):
    limits, seen = Limits(), []
    before = (math.inf, -math.inf)
    for value in values:
        seen.append(value)
        low, high = limits.fit(min(seen), max(seen))
        assert low - 1e-6 * (high - low) <= min(seen)
        assert high >= max(seen) - 1e-6 * (high - low)
        slack = 1e-6 * (high - low)
        assert low - slack <= before[0]
        assert high + slack >= before[1]
        before = low, high


def test_limits_stay_while_the_data_fit_and_shrink_when_told():
    limits = Limits()
    assert limits.fit(12, 83) == limits.fit(40, 60) == (0, 100)
    limits.reset()
    assert limits.fit(40, 60) == (40, 60)


# ----------------------------------------------------------------- the chart


@pytest.mark.parametrize("glyphs", GLYPHS)
@pytest.mark.parametrize("size", [(60, 15), (100, 25)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_a_chart_looks_as_it_did(glyphs, size):
    made = chart().paint(*size, View(smooth=0.3), glyphs, coloured=False).text()
    path = GOLDEN / f"chart-{glyphs}-{size[0]}x{size[1]}.txt"
    if UPDATE:
        path.write_text(made + "\n", "utf-8")
    assert path.read_text("utf-8") == made + "\n"


@given(
    st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(allow_nan=True)), max_size=40),
    st.integers(0, 130),
    st.integers(0, 40),
    st.sampled_from([*GLYPHS]),
    st.booleans(),
    st.booleans(),
)
def test_any_data_and_size_give_rows_of_one_width(points, width, height, glyphs, log, coloured):
    x, y = ([p[i] for p in points] for i in (0, 1))
    made = Chart([Series.of("ε 漢字", x, y), Series.of("b", x[::-1], y)], title="t")
    view = View(log_y=log, crosshair=x[0] if x else None, smooth=0.5)
    colours = {"axis": "dim"} if coloured else None
    rows = made.render(width, height, view, glyphs, colours)
    assert len(rows) == height
    assert {sum(cell_len(text) for text, _ in row) for row in rows} <= {width}
    if glyphs == "ascii":
        assert all(text.isascii() for row in rows for text, _ in row)


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ([], "no points yet"),
        ([Series.of("a", [], [])], "no points yet"),
        ([Series.of("a", [1, 2], [None, math.nan])], "no finite values"),
        ([Series.of("a", [1, 2], [math.inf, -math.inf])], "no finite values"),
    ],
)
def test_a_chart_without_points_says_so(series, words):
    assert words in Chart(series).paint(40, 10).text()


def test_a_logarithmic_axis_without_positive_values_says_so():
    made = Chart([Series.of("a", [1, 2], [0.0, -1.0])]).paint(40, 10, View(log_y=True))
    assert "nothing above zero" in made.text()


def test_a_single_point_is_seen():
    assert "●" in Chart([Series.of("a", [3], [5.0])]).paint(40, 10).text()


def test_a_gap_is_a_gap():
    y = np.full(100, 5.0)
    y[40:60] = np.nan
    text = Chart([Series("a", np.arange(100.0), y)]).paint(54, 10).text()
    plot = "\n".join(text.splitlines()[1:-2])
    drawn = {row[4:].index(c) for row in plot.splitlines() for c in row[4:] if c != " "}
    assert drawn  # something is drawn, and nothing in the middle
    for row in plot.splitlines():
        assert not row[26:32].strip()


def test_a_spike_costs_no_memory_and_stays_inside():
    y = np.zeros(50)
    y[20] = 1e300
    canvas = Canvas(10, 40, GLYPHS["braille"])
    canvas.line(np.arange(50.0), y, 0)
    assert canvas.bits.any()
    made = Chart([Series("a", np.arange(50.0), y)]).paint(50, 12, View(y0=-1, y1=1))
    assert made.height == 12


def test_the_focused_series_owns_its_cells():
    series = [Series.of(n, [0, 1], [1.0, 1.0], colour=i) for i, n in enumerate("abc")]
    grid = Chart(series, focus=0).paint(40, 10)
    roles = {role for y in range(1, 8) for text, role in grid.runs(y) if "series" in role}
    assert roles == {"series-0"}


def test_a_new_point_changes_its_own_columns_alone():
    whole = training()
    limits = Limits()

    def upto(n: int) -> Grid:
        parts = [Series(s.name, s.x[:n], s.y[:n], colour=s.colour, dashes=s.dashes) for s in whole]
        return Chart(parts, [], "acc %", 120, limits=limits).paint(100, 25)

    upto(88)  # the limits have grown
    changes = upto(60).changes(upto(59))
    plot = [(x, size) for row, x, size in changes if row]
    assert plot
    assert max(x + size for x, size in plot) - min(x for x, _ in plot) <= 3


def test_a_legend_drops_values_first_then_shortens_and_never_drops_a_series():
    series = [Series.of(f"run-{i} accuracy", [0, 1], [1.0, 80.0 + i], colour=i) for i in range(5)]
    made = Chart(series, title="acc %")
    assert all(f"run-{i} accuracy {80 + i}.0" in made.paint(150, 10).text() for i in range(5))
    some = made.paint(110, 10).text().splitlines()[0]
    assert all(f"run-{i} accuracy" in some for i in range(5))
    assert "80.0" not in some
    for width in (80, 40, 30, 20):
        grid = made.paint(width, 8)
        shown = {role for _, role in grid.runs(0) if role.startswith(("series", "bold"))}
        assert shown == {f"series-{i}" for i in range(5)}, width


def test_more_series_than_cells_are_counted():
    series = [Series.of(str(i), [0, 1], [0.0, 1.0], colour=i % 8) for i in range(40)]
    assert "+" in Chart(series).paint(20, 8).text().splitlines()[0]


def test_the_legend_shows_the_value_at_the_crosshair():
    made = Chart([Series.of("a", [0, 1, 2], [10.0, 20.0, 30.0])], title="t")
    assert "a 30.0" in made.paint(40, 10).text()
    assert "a 20.0" in made.paint(40, 10, View(crosshair=1.1)).text()


def test_without_colours_lines_differ_by_dashes_and_letters():
    lines = [Series.of(n, [0, 1, 2], [i, i + 1.0, i]) for i, n in enumerate("pqrs")]
    text = Chart(lines).paint(60, 20, coloured=False).text()
    head, *plot = text.splitlines()
    for letter, swatch in zip("ABCD", GLYPHS["braille"].swatches, strict=True):
        assert f"{swatch} {letter}" in head
        assert letter in "".join(plot)


def test_markers_are_on_the_axis_and_on_the_line():
    text = chart().paint(60, 15).text()
    assert text.splitlines()[-2].count("▲") == 2
    assert "★" in text
    assert "★" not in chart().paint(60, 15, View(best=False)).text()


def test_the_x_axis_is_fixed_to_the_planned_end():
    made = chart()
    made.paint(60, 15)
    assert (made.area.x0, made.area.x1) == (0, 120)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 19), st.characters()), max_size=9))
def test_what_lies_outside_the_changed_spans_is_equal(edits):
    old, new = Grid(10, 24), Grid(10, 24)
    for row, column, character in edits:
        new.write(row, column, character, "label")
    patched = Grid(10, 24)
    patched.characters[:], patched.roles[:] = old.characters, old.roles
    for row, column, size in new.changes(old):
        part = np.s_[row, column : column + size]
        patched.characters[part], patched.roles[part] = new.characters[part], new.roles[part]
    assert (patched.characters == new.characters).all()
    assert (patched.roles == new.roles).all()


# ----------------------------------------------------------------- cost


def calibration() -> float:
    began, total = time.process_time(), 0
    for i in range(200_000):
        total += i * i
    return time.process_time() - began


def cost(draw: Callable[[], object]) -> float:
    """Return the median CPU time of a frame in units of a fixed loop of Python."""
    draw()
    unit = min(calibration() for _ in range(5))
    times = []
    for _ in range(9):
        began = time.process_time()
        draw()
        times.append(time.process_time() - began)
    return statistics.median(times) / unit


def test_a_million_points_are_drawn_in_a_frame():
    n = 1_000_000
    y = np.cumsum(np.random.default_rng(0).normal(size=n))
    y[300_000:400_000] = np.nan
    y[::1000] = np.nan
    made = Chart([Series("a", np.arange(float(n)), y)], planned_end=float(n))
    spent = cost(lambda: made.paint(100, 25, View(smooth=0.6)))
    assert spent < 1.2  # the unit is 8 to 10 ms


def test_the_cost_of_a_frame_does_not_grow_with_the_points():
    def drawn(n: int) -> float:
        x = np.arange(float(n))
        made = Chart(
            [Series(str(i), x, np.sin(x / n * 20 + i)) for i in range(3)], planned_end=float(n)
        )
        return cost(lambda: made.paint(100, 25))

    assert drawn(10_000) < 3 * drawn(200) + 0.3


# ----------------------------------------------------------------- plane


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_the_front_is_what_nothing_beats(places):
    points = [Point(str(i), x, y) for i, (x, y) in enumerate(places)]
    best = front(points)
    assert best
    for i, p in enumerate(points):
        beaten = any(
            q.x >= p.x and q.y >= p.y and (q.x > p.x or q.y > p.y) for q in points
        )  # fmt: skip
        assert (i in best) != beaten


def test_lines_of_equal_worth_have_equal_worth():
    x = np.linspace(40, 90, 11)
    np.testing.assert_allclose((x + same_mean(63, x)) / 2, 63)
    y = same_nrr(60, x)
    np.testing.assert_allclose(2 * x * y / (x + y), 60)


@pytest.mark.parametrize("glyphs", GLYPHS)
def test_a_plane_looks_as_it_did(glyphs):
    points = [
        Point("PGD-AT", 82.8, 47.9, 0), Point("PGD-AT + RPAT", 84.1, 48.3, 0),
        Point("TRADES", 81.9, 49.0, 1), Point("TRADES + RPAT", 82.6, 49.2, 1),
        Point("MART", 78.9, 47.6, 2), Point("MART + RPAT", 82.0, 48.0, 2),
    ]  # fmt: skip
    made = Plane(points, y_name="AA").paint(70, 18, glyphs=glyphs, coloured=False).text()
    path = GOLDEN / f"plane-{glyphs}.txt"
    if UPDATE:
        path.write_text(made + "\n", "utf-8")
    assert path.read_text("utf-8") == made + "\n"
    for point in points:
        assert point.name in made


@given(st.lists(st.tuples(maybe, maybe), max_size=12), st.integers(0, 80), st.integers(0, 30))
def test_any_plane_has_rows_of_one_width(places, width, height):
    points = [Point(f"p{i}", x, y, i) for i, (x, y) in enumerate(places)]
    rows = Plane(points).render(width, height)
    assert {sum(cell_len(text) for text, _ in row) for row in rows} <= {width}
    assert len(rows) == height


# ----------------------------------------------------------------- colours and commands


def test_a_run_keeps_its_colour_and_eight_runs_have_eight():
    colours = palette.Palette()
    first = {f"r{n:04d}": colours.colour(f"r{n:04d}") for n in (193, 188, 12, 9, 201, 202, 7, 5)}
    assert len(set(first.values())) == 8
    for n in range(300):
        colours.colour(f"r{n:04d}")
    assert {run: colours.colour(run) for run in first} == first
    assert palette.Palette().colour("r0193") == palette.Palette().colour("r0193")


@pytest.mark.parametrize("colours", [palette.DARK, palette.LIGHT, palette.ANSI])
@pytest.mark.parametrize("system", [ColorSystem.EIGHT_BIT, ColorSystem.STANDARD])
def test_the_colours_stay_apart_in_any_terminal(colours, system):
    assert len({Color.parse(c).downgrade(system).number for c in colours}) == 8


SIGHT = {
    "normal": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}  # fmt: skip
"""Linear RGB as it is seen (Machado, Oliveira and Fernandes, 2009, severity 1)."""


def lab(colour: str, sight: str) -> np.ndarray:
    """Return a colour in CIE L*a*b* as some eyes see it."""
    v = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colours", [palette.DARK, palette.LIGHT])
def test_the_colours_stay_apart_for_colour_blind_people(colours, sight):
    seen = [lab(colour, sight) for colour in colours]
    far = {(i, j): float(np.linalg.norm(seen[i] - seen[j])) for i, j in combinations(range(8), 2)}
    assert min(far.values()) >= 16
    assert min(d for (_, j), d in far.items() if j < 4) >= 22.9


def test_a_pipe_gets_plain_text_and_a_terminal_colours():
    piped, shown = io.StringIO(), io.StringIO()
    Console(file=piped, width=60, no_color=True).print(RichChart(chart(), height=12))
    Console(
        file=shown, width=60, force_terminal=True, color_system="standard", legacy_windows=False
    ).print(RichChart(chart(), height=12, glyphs="braille"))
    assert "\x1b" not in piped.getvalue()
    assert "\x1b[" in shown.getvalue()
    assert len(piped.getvalue().splitlines()) == 12


@pytest.mark.parametrize(
    ("encoding", "term", "name"),
    [
        ("utf-8", "xterm-256color", "braille"), ("UTF8", "tmux", "braille"),
        ("utf-8", "linux", "ascii"), ("ascii", "xterm", "ascii"), (None, "xterm", "ascii"),
    ],
)  # fmt: skip
def test_the_finest_characters_that_show_are_used(encoding, term, name):
    assert suitable(encoding, term) == name


def test_points_within_an_epoch_lie_within_it():
    points = [(step, step // 10, float(step)) for step in range(1, 31)]
    clock = Clock.of(3, 30)
    assert line("a", points, clock).x.tolist() == pytest.approx([s / 10 for s in range(1, 31)])
    assert clock.end("epoch") == 3
    assert [m.x for m in clock.drops([0.5, 1.0], "epoch")] == [1.5]


def test_hours_are_those_of_training_and_evaluation():
    seconds = [[(10, 1, 1800.0), (20, 2, 1800.0)], [(10, 1, 1800.0), (20, 2, 1800.0)]]
    clock = Clock.of(3, 30, seconds)
    assert line("a", [(10, 1, 5.0), (20, 2, None)], clock, "time").x.tolist() == [1, 2]
    assert clock.end("time") is None
