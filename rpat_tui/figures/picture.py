"""Figures for a paper, through matplotlib: bars like the paper's Fig. 2, and curves."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from rpat_tui.figures.reading import WITH_RPAT, Pair, Record, Way, apart, number

COLUMN, PAGE = 3.3, 6.75
"""Widths in inches of a column and of a page."""

SUCCESS, FAILURE = "#0072b2", "#e69f00"  # the colours of Okabe and Ito, told apart by everybody
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK, FAINT, LIGHT = "#222222", "#8a8a8a", "#dddddd"

NO_BREAK = "\N{NO-BREAK SPACE}"

_ABOVE: dict[str, Any] = {
    "xycoords": "axes fraction", "textcoords": "offset points", "va": "baseline",
    "annotation_clip": False,
}  # fmt: skip

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,  # conferences refuse Type 3 fonts
    "svg.fonttype": "path",
    "svg.hashsalt": "rpat",  # the same records give the same file
}


def of_pairs(pairs: Sequence[Pair], kind: str, inches: float | None = None) -> bytes:
    """Draw a panel for each pair: two bars of the logit MSE, below them both accuracies."""
    width = inches or (COLUMN if len(pairs) <= 3 else PAGE)
    rows = -(-len(pairs) // (3 if width < 5 else 6))
    columns = -(-len(pairs) // rows)
    room = max(int((width - 0.5) / columns / 0.062), 8)  # characters over a panel
    heads = [
        [*textwrap.wrap(pair.subject.replace("+ ", f"+{NO_BREAK}"), room), pair.perturbation]
        for pair in pairs
    ]
    highest = max(map(len, heads))
    small = 6.0 if (width - 0.5) / columns > 1.2 or columns <= 3 else 5.5
    share = not apart(pairs)
    top = max(pair.top for pair in pairs)

    def draw(figure: Any) -> None:
        places = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
        for i, pair in enumerate(pairs):
            row, column = divmod(i, columns)
            first = column == 0
            upper = figure.add_subplot(places[2 * row, column])
            _bars(upper, pair, top if share else pair.top, first, first or not share, small)
            _heads(upper, heads[i])
            _accuracies(figure.add_subplot(places[2 * row + 1, column]), pair, first, small)
        figure.align_ylabels()

    return _drawn(draw, (width, (1.85 + 0.13 * highest) * rows), kind)


def _bars(axes: Any, pair: Pair, top: float, first: bool, ticks: bool, small: float) -> None:
    unit, name = _unit(top)
    for x, value, colour in ((0, pair.success, SUCCESS), (1, pair.failure, FAILURE)):
        height = (value or 0.0) / unit
        axes.bar(x, height, width=0.74, color=colour)
        label = number(None if value is None else height)
        _label(axes, label, x, height)
    axes.set(xlim=(-0.6, 1.6), ylim=(0, 1.13 * (top or 1.0) / unit))
    _columns(axes, (f"success\nn={pair.n_success}", f"failure\nn={pair.n_failure}"), small)
    axes.locator_params(axis="y", nbins=4)
    if not ticks:
        axes.tick_params(labelleft=False)
    if name and ticks:
        axes.annotate(name, (0, 1), (-2, 2), **_ABOVE, ha="right", fontsize=6)
    if first:
        axes.set_ylabel("logit MSE")


def _heads(axes: Any, lines: Sequence[str]) -> None:
    """Write lines over a panel, all panels' on the same height."""
    for i, line in enumerate(reversed(lines)):
        weight = "normal" if i == 0 else "bold"
        axes.annotate(
            _shown(line), (0.5, 1), (0, 6 + 9 * i), **_ABOVE, ha="center", fontweight=weight
        )


def _accuracies(axes: Any, pair: Pair, first: bool, small: float) -> None:
    for x, value, filled in ((0, pair.clean_acc, False), (1, pair.perturbed_acc, True)):
        axes.plot([x, x], [0, value], color=LIGHT, linewidth=1.4, zorder=1, solid_capstyle="butt")
        axes.plot(
            x, value, "o", markersize=3.4, markeredgewidth=0.8, color=INK, clip_on=False,
            markerfacecolor=INK if filled else "white", zorder=3,
        )  # fmt: skip
        _label(axes, f"{value:.1f}", x, value, 3.2)
    axes.set(xlim=(-0.6, 1.6), ylim=(0, 130), yticks=[0, 50, 100])
    axes.spines["left"].set_bounds(0, 100)
    _columns(axes, ("clean", "perturbed"), small)
    if first:
        axes.set_ylabel("acc. (%)")
    else:
        axes.tick_params(labelleft=False)


def _columns(axes: Any, names: Sequence[str], size: float) -> None:
    """Name both columns of a panel; lines of all panels stand on the same heights."""
    axes.set_xticks([])
    for x, name in enumerate(names):
        for i, line in enumerate(name.split("\n")):
            axes.annotate(
                line, (x, 0), (0, -8 - 7.5 * i), ha="center", fontsize=size,
                **_ABOVE | {"xycoords": ("data", "axes fraction")},
            )  # fmt: skip


def _label(axes: Any, text: str, x: float, y: float, above: float = 1.5) -> None:
    axes.annotate(
        text, (x, y), (0, above), textcoords="offset points", ha="center", va="bottom", fontsize=6
    )


def _unit(top: float) -> tuple[float, str]:
    """Return a power of ten that makes small and large numbers short, and how it is written."""
    if top <= 0 or 0.01 <= top < 1e4:
        return 1.0, ""
    power = math.floor(math.log10(top))
    return 10.0**power, rf"$\times 10^{{{power}}}$"


def of_ways(ways: Sequence[Way], kind: str, inches: float | None = None) -> bytes:
    """Draw the mean deviation from the straight line over alpha, a curve for each network."""
    width = inches or COLUMN
    own = apart(ways)
    unit, power = (1.0, "") if own else _unit(max(way.top for way in ways))

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        bases = list(dict.fromkeys(way.base for way in ways))
        for i, way in enumerate(ways):
            with_rpat = way.base != way.subject or WITH_RPAT in way.subject
            colour = LINES[(i if len(bases) == 1 else bases.index(way.base)) % len(LINES)]
            scale = way.top if own and way.top else unit
            values = [float("nan") if v is None else v / scale for v in way.deviation]
            name = f"{way.subject} (max. {number(way.top)})" if own else way.subject
            axes.plot(
                way.alphas, values, "-" if with_rpat else "--", color=colour, linewidth=1.2,
                marker="o" if with_rpat else "s", markersize=3, markeredgewidth=0.8,
                markerfacecolor=colour if with_rpat else "white", label=_shown(name),
                clip_on=False, zorder=3,
            )  # fmt: skip
        axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xticklabels(["0\nclean", "0.25", "0.5", "0.75", f"1\n{ways[0].perturbation}"])
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=LIGHT, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(r"$\alpha$", labelpad=-6)
        axes.locator_params(axis="y", nbins=5)
        head = "deviation / its maximum" if own else "deviation from the line"
        axes.set_ylabel(f"{head} ({power})" if power else head)
        figure.legend(
            loc="outside upper center", ncols=2 if width < 5 else 4, frameon=False,
            handlelength=2.4, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip

    height = 0.62 * width if width < 5 else 0.42 * width
    return _drawn(draw, (width, height + 0.14 * (-(-len(ways) // 2))), kind)


def of_accuracies(records: Sequence[Record], kind: str, inches: float | None = None) -> bytes:
    """Draw a panel for each accuracy: a point a run, a line from the lowest to the highest seed."""
    width = inches or PAGE
    rows = list(dict.fromkeys(record["title"] for record in records))
    names = (("clean", "clean"), ("pgd20", "PGD-20"), ("aa", "AutoAttack"))
    measures = [
        (key, name, colour)
        for (key, name), colour in zip(names, (LINES[2], LINES[0], LINES[1]), strict=True)
        if any(record[key] is not None for record in records)
    ]

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, max(len(measures), 1), sharey=True, squeeze=False)[0]
        for axes, (key, name, colour) in zip(panels, measures, strict=False):
            for y, title in enumerate(rows):
                values = [
                    record[key]
                    for record in records
                    if record["title"] == title and record[key] is not None
                ]
                if values:
                    axes.plot([min(values), max(values)], [y, y], color=colour, linewidth=1.0)
                    axes.plot(values, [y] * len(values), "o", markersize=3.4, color=colour)
                    label = f"{values[0]:.1f}" if len(values) == 1 else ""
                    axes.annotate(
                        label, (max(values), y), (0, 3.5), textcoords="offset points",
                        ha="center", fontsize=6,
                    )  # fmt: skip
            axes.margins(x=0.18)
            axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.75))
            axes.set_yticklabels([_shown(title) for title in rows])
            axes.set_xlabel(f"{name} (%)")
            axes.grid(axis="y", color=LIGHT, linewidth=0.5)
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)

    return _drawn(draw, (width, 0.55 + 0.24 * len(rows)), kind)


def _drawn(draw: Callable[[Any], None], size: tuple[float, float], kind: str) -> bytes:
    """Return a picture as the bytes of its file."""
    import matplotlib
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(out, format=kind, dpi=400, metadata=dates.get(kind))
    return out.getvalue()


def _shown(text: str) -> str:
    """Return words that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")
