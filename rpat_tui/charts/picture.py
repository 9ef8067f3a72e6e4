"""Charts as files, through matplotlib: the same lines, colours and smoothing as in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rpat.errors import ConfigError
from rpat.rundir import replace
from rpat_tui.charts.chart import PLAIN_VIEW, Chart, View
from rpat_tui.charts.palette import LIGHT
from rpat_tui.charts.plane import Plane, front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def check(path: Path) -> None:
    """Raise `ConfigError` when a picture cannot be written there."""
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise ConfigError(f"--save {path} does not end in {', '.join('.' + f for f in FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--save {path}: the folder {path.parent} does not exist")
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "pictures need matplotlib, which is not installed: pip install 'rpat[plot]'"
        )


def save(charts: Sequence[Chart], path: Path, view: View = PLAIN_VIEW) -> None:
    """Write charts, one above the other; the same data give the same bytes."""
    check(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "rpat", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 3.4 * len(charts)), layout="constrained")
        panes = figure.subplots(len(charts), 1, squeeze=False)[:, 0]
        for chart, pane in zip(charts, panes, strict=True):
            for s in chart.series:
                colour = LIGHT[s.colour % len(LIGHT)]
                dashes = _DASHES[s.dashes % len(_DASHES)]
                y = s.values("y", view.smooth)
                many = "." if np.isfinite(y).sum() < 2 else ""
                pane.plot(
                    s.x, y, color=colour, linestyle=dashes, marker=many, linewidth=1.4,
                    label=s.name.replace("$", r"\$"),
                )  # fmt: skip
                if s.lower is not None and s.upper is not None:
                    edges = [s.values(part, view.smooth) for part in ("lower", "upper")]
                    pane.fill_between(s.x, *edges, color=colour, alpha=0.18, linewidth=0)
            if chart.planned_end is not None:
                pane.set_xlim(0, chart.planned_end)
            for marker in chart.markers:
                if marker.kind == "drop":
                    pane.axvline(marker.x, color="#bbbbbb", linewidth=0.8, zorder=0)
                elif view.best:
                    colour = LIGHT[marker.colour % len(LIGHT)]
                    pane.plot(marker.x, marker.y, "*", color=colour, markersize=9)
            if view.log_y:
                pane.set_yscale("log")
            smooth = f", smoothed {view.smooth:g}" if view.smooth else ""
            pane.set_ylabel(f"{chart.title}{smooth}".replace("$", r"\$"))
            pane.set_xlabel(chart.x_name)
            pane.spines[["top", "right"]].set_visible(False)
            if chart.series:
                pane.legend(frameon=False, fontsize=8)
        _write(figure, path)


def save_plane(plane: Plane, path: Path) -> None:
    """Write a plane with its lines of equal Mean (dotted) and of equal NRR (drawn)."""
    check(path)
    import matplotlib
    from matplotlib.figure import Figure

    points = [p for p in plane.points if np.isfinite(p.x) and np.isfinite(p.y)]
    best = front(points)
    with matplotlib.rc_context({"svg.hashsalt": "rpat", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        pane = figure.subplots()
        for i, p in enumerate(points):
            colour = LIGHT[p.colour % len(LIGHT)]
            face = colour if i in best else "white"
            pane.plot(p.x, p.y, "o", color=colour, markerfacecolor=face, markersize=6, zorder=3)
            name = p.name.replace("$", r"\$")
            pane.annotate(name, (p.x, p.y), (5, 4), textcoords="offset points", fontsize=7,
                          zorder=4, bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.6,
                                          "linewidth": 0})  # fmt: skip
        pane.margins(0.28, 0.15)
        limits = pane.get_xlim(), pane.get_ylim()
        clean, robust = (np.linspace(*limit, 200) for limit in limits)
        x, y = np.meshgrid(np.maximum(clean, 1e-9), np.maximum(robust, 1e-9))
        for worth, dots, name in (((x + y) / 2, ":", "Mean"), (2 * x * y / (x + y), "-", "NRR")):
            lines = pane.contour(
                x, y, worth, levels=5, colors="#999999", linewidths=0.7, linestyles=dots, zorder=1
            )
            pane.clabel(lines, fmt=f"{name} %g", fontsize=6)
        pane.set(xlim=limits[0], ylim=limits[1])
        pane.set_xlabel(f"{plane.x_name} (%)")
        pane.set_ylabel(f"{plane.y_name} (%)")
        pane.spines[["top", "right"]].set_visible(False)
        _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    dated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    kind = path.suffix.lower().lstrip(".")
    replace(
        path,
        lambda stream: figure.savefig(stream, format=kind, dpi=200, metadata=dated[kind]),
    )
