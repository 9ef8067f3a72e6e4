"""Curves of runs and what they reached: in the terminal, and as pictures."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rpat_tui.cli.elsewhere import looking
from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    console,
    print_json,
    remark,
    say,
)

if TYPE_CHECKING:
    from rpat_tui.charts.axes import Limits
    from rpat_tui.charts.chart import Chart
    from rpat_tui.charts.curves import Clock
    from rpat_tui.charts.plane import Plane


def plot(
    runs: Annotated[list[str], typer.Argument(help="Ids (r0001) or names.", metavar="RUN...")],
    metric: Annotated[
        str, typer.Option("--metric", help="Metrics, by commas: clean, pgd, loss, lr, any name.")
    ] = "clean,pgd",
    x: Annotated[str, typer.Option("--x", help="epoch, step or time.")] = "epoch",
    smooth: Annotated[
        float, typer.Option("--smooth", help="Share of the past in each value, 0 to 0.999.")
    ] = 0.0,
    log_y: Annotated[bool, typer.Option("--log-y", help="Logarithmic y axis.")] = False,
    width: Annotated[int, typer.Option("--width", help="Columns; 0: as wide as here.")] = 0,
    height: Annotated[int, typer.Option("--height", help="Rows of a chart.")] = 20,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw in plain ASCII.")] = False,
    plane: Annotated[
        bool, typer.Option("--plane", help="Clean against robust accuracy of the best weights.")
    ] = False,
    perception: Annotated[
        bool, typer.Option("--perception", help="What rpat study perception found about the runs.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", help="Write a .png, .svg or .pdf instead.", metavar="FILE"),
    ] = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Draw curves of runs, one over the other; or what they reached.

    A colour is a run and keeps to it, a dash pattern a metric; metrics of one unit share a chart.
    With --plane, a mark a run, between lines of equal Mean and of equal NRR.
    """
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui.charts.chart import View
    from rpat_tui.charts.curves import AXES
    from rpat_tui.store import queries

    if x not in AXES:
        raise ConfigError(f"--x {unknown(x, AXES)}")
    if not 0 <= smooth <= 0.999:
        raise ConfigError(f"--smooth is {smooth:g}; it must be from 0 to 0.999")
    if width and not 20 <= width <= 1000:
        raise ConfigError(f"--width is {width}; it must be from 20 to 1000")
    if not 6 <= height <= 500:
        raise ConfigError(f"--height is {height}; it must be from 6 to 500")
    if plane and perception:
        raise ConfigError("--plane and --perception are two figures; keep one of them")
    if perception:
        _perception(runs, save, json, home)
        return
    if save is not None:
        from rpat_tui.charts import picture

        picture.check(save)
    if plane:
        with looking(home, None, runs) as (_, db):
            drawn = plane_of(db, queries.find(db, runs))
        if json:
            points = [{"name": p.name, "clean": p.x, "robust": p.y} for p in drawn.points]
            print_json({"robust": drawn.y_name, "points": points})
        elif save is not None:
            picture.save_plane(drawn, save)
            say(f"wrote {save}")
        else:
            from rpat_tui.charts.rich_chart import RichChart

            out = console()
            wide = width or (out.width if out.is_terminal else min(out.width, 100))
            glyphs = "ascii" if ascii_only else None
            out.print(RichChart(drawn, width=wide, height=height, glyphs=glyphs))
        return
    metrics = list(dict.fromkeys(filter(None, (word.strip() for word in metric.split(",")))))
    if not metrics:
        raise ConfigError("--metric names no metric; try --metric clean,pgd")
    with looking(home, None, runs) as (_, db):
        charts = charts_of(db, queries.find(db, runs), metrics, x, told=True)
    view = View(smooth=smooth, log_y=log_y)
    if json:
        print_json([_public(chart, smooth) for chart in charts])
        return
    if save is not None:
        picture.save(charts, save, view)
        say(f"wrote {save}")
        return
    from rpat_tui.charts.rich_chart import RichChart

    out = console()
    wide = width or (out.width if out.is_terminal else min(out.width, 100))
    for i, chart in enumerate(charts):
        if i:
            say("")
        glyphs = "ascii" if ascii_only else None
        out.print(RichChart(chart, width=wide, height=height, view=view, glyphs=glyphs))


def plane_of(db: sqlite3.Connection, numbers: Sequence[int]) -> Plane:
    """Return the plane of the runs' best weights: under AutoAttack, or PGD-20 where more have it.

    Raises `ConfigError` where none has been evaluated.
    """
    from rpat.errors import ConfigError
    from rpat_tui.charts.palette import Palette
    from rpat_tui.charts.plane import Plane, Point
    from rpat_tui.cli.output import title
    from rpat_tui.store import queries

    found = [m for m in queries.measurements(db, numbers=numbers, checkpoint="best")
             if m.clean is not None]  # fmt: skip
    known = {name: [m for m in found if getattr(m, name) is not None] for name in ("aa", "pgd20")}
    beside = max(known, key=lambda name: len(known[name]))
    if not known[beside]:
        raise ConfigError("--plane: none of these runs has been evaluated; rpat eval does it")
    rows = {row["id"]: row for row in queries.runs(db, numbers=numbers, archived=True)}
    palette = Palette()
    colours = {name: palette.colour(name) for name in rows}
    points = [
        Point(f"{m.run} {title(rows[m.run])}", m.clean or 0.0, getattr(m, beside), colours[m.run])
        for m in known[beside]
    ]
    names = {"aa": "AutoAttack", "pgd20": "PGD-20"}
    return Plane(points, "best weights", x_name="clean", y_name=names[beside])


def _perception(words: list[str], save: Path | None, json: bool, home: str | None) -> None:
    from rpat.errors import ConfigError
    from rpat_tui import figures
    from rpat_tui.cli.study import show_studies
    from rpat_tui.store import queries

    if save is not None:
        figures.check_target(save)
    with looking(home, None, words) as (_, db):
        found = queries.studies(db, queries.find(db, words))
        newest = {r["subject"]: r["job"] for r in found if r["study"] == "perception"}
        jobs = queries.find(db, list(newest.values()))
    if not jobs:
        raise ConfigError(
            f"--perception: nothing is known yet; make it with rpat study perception "
            f"{' '.join(words)}"
        )
    show_studies(jobs, json, str(save) if save else None, home)


def charts_of(
    db: sqlite3.Connection,
    numbers: Sequence[int],
    metrics: Sequence[str],
    axis: str = "epoch",
    *,
    limits: dict[str, Limits] | None = None,
    told: bool = False,
) -> list[Chart]:
    """Return a chart for each unit among the metrics, with a line a run and metric.

    `limits` hold the y axis of each unit still from one call to the next; with `told`, people
    read on standard error which usual metric the runs lack. Raises `ConfigError` for a metric
    that is neither usual nor measured.
    """
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui.charts import curves
    from rpat_tui.charts.axes import Limits
    from rpat_tui.charts.chart import Chart
    from rpat_tui.charts.palette import Palette
    from rpat_tui.store import queries

    names = [curves.named(metric) for metric in metrics]
    rows = queries.runs(db, numbers=numbers)
    known = {s["name"] for row in rows for s in queries.summaries(db, row["n"])}
    begun = any(row["epoch"] for row in rows)
    for word, name in zip(metrics, names, strict=True):
        if name not in known and name not in curves.SHORT.values():
            raise ConfigError(f"--metric {unknown(word, sorted({*curves.SHORT, *known}))}")
        if name not in known and begun and told:
            remark(f"no run here has {word}")
    palette, limits = Palette(), {} if limits is None else limits
    colours = {row["id"]: palette.colour(row["id"]) for row in rows}
    clocks = {row["n"]: _clock(db, row, axis) for row in rows}
    configs = [queries.config_of(db, row["n"]) for row in rows]
    units: dict[str, list[str]] = {}
    for name in names:
        units.setdefault(curves.unit_of(name), []).append(name)
    made = []
    for unit, together in units.items():
        series, markers = [], []
        for row in rows:
            for dashes, name in enumerate(together):
                points = queries.points(db, row["n"], name)
                alone = len(rows) == 1 and (len(together) > 1 or curves.label(name) != unit)
                words = [] if alone else [row["id"]]
                words += [curves.label(name)] if alone or len(together) > 1 else []
                line = curves.line(
                    " ".join(words), points, clocks[row["n"]], axis,
                    colour=colours[row["id"]], dashes=dashes, unit=unit,
                )  # fmt: skip
                series.append(line)
                star = curves.best(line) if name.endswith("/pgd_acc") else None
                markers += [star] if star else []
        ends = [clock.end(axis) for clock in clocks.values()]
        drops = {
            marker
            for row, config in zip(rows, configs, strict=True)
            for marker in clocks[row["n"]].drops(curves.milestones(config), axis)
        }
        title = unit if unit != "acc %" or len(together) > 1 else f"{curves.label(together[0])} %"
        made.append(
            Chart(
                series,
                [*sorted(drops, key=lambda m: m.x), *markers],
                title,
                max(end for end in ends if end) if ends and all(ends) else None,
                x_name=curves.AXES[axis],
                whole=axis != "time",
                limits=limits.setdefault(unit, Limits()),
            )
        )
    return made


def _public(chart: Chart, smooth: float) -> dict[str, Any]:
    """Return what a chart shows with stable keys; a gap is null."""

    def numbers(values: Any) -> list[float | None]:
        return [None if value != value else value for value in values.tolist()]

    return {
        "title": chart.title,
        "x": chart.x_name,
        "series": [
            {"name": s.name, "x": s.x.tolist(), "y": numbers(s.values("y", smooth))}
            for s in chart.series
        ],
    }


def _clock(db: sqlite3.Connection, row: dict[str, Any], axis: str) -> Clock:
    from rpat_tui.charts.curves import Clock
    from rpat_tui.store import queries

    names = ("time/epoch_s", "time/eval_s") if axis == "time" else ()
    seconds = [queries.points(db, row["n"], name) for name in names]
    return Clock.of(row["epochs"], row["steps"], seconds)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(plot)
