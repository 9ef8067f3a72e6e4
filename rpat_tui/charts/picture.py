"""Charts as files, through matplotlib: the same lines, colours and smoothing as in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rpat.errors import ConfigError
from rpat.rundir import replace
from rpat_tui.charts.chart import PLAIN_VIEW, Chart, View
from rpat_tui.charts.palette import LIGHT

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
        dated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        kind = path.suffix.lower().lstrip(".")
        replace(
            path,
            lambda stream: figure.savefig(stream, format=kind, dpi=200, metadata=dated[kind]),
        )
