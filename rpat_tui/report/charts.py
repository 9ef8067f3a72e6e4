"""Curves and the clean-robust plane as SVG: words of a page, drawn without any library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from rpat_tui.report.gather import CURVES, Group, Point, Report, Run
from rpat_tui.report.scale import Scale, scale, tight, written

COLOURS = 8
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
WIDTH, HEIGHT = 540, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_NAMED = 60
"""Room on the left for an axis with a name."""


def curve_chart(report: Report, metric: str) -> str:
    """Return a metric's curves over epochs, a line a run; '' where no run has a point."""
    lines = [(run, run.curves[metric]) for run in report.runs]
    known = [point for _, points in lines for point in points if point is not None]
    if not known:
        return ""
    epochs = [x for x, _ in known]
    x = tight(min([*epochs, 0]), max([*epochs, 1]), _LEFT, WIDTH - _RIGHT)
    y = scale([v for _, v in known], HEIGHT - _BOTTOM, _TOP, log=metric == "lr")
    unit = "%" if metric.endswith("_acc") else ""
    title = CURVES[metric]
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="t-{_slug(metric)} d-{_slug(metric)}" {_data(x, y, unit)}>',
        f'<title id="t-{_slug(metric)}">{escape(title)} over epochs</title>',
        f'<desc id="d-{_slug(metric)}">{escape(_told(lines, unit))}</desc>',
        *_axes(x, y, "epoch"),
    ]
    for run, points in lines:
        if path := _path(points, x, y):
            parts.append(
                f'<path class="line {group_class(run.group)}" data-run="{escape(run.id)}" '
                f'data-group="{run.group}"{_dash(run.group)} d="{path}"/>'
            )
        finite = [p for p in points if p is not None]
        if metric == "test/pgd_acc" and finite:
            best = max(finite, key=lambda p: (p[1], -p[0]))
            parts.append(
                f'<circle class="best {group_class(run.group)}" data-group="{run.group}" '
                f'cx="{x.place(best[0]):.2f}" cy="{y.place(best[1]):.2f}" r="3.4"/>'
            )
    return "\n".join([*parts, "</svg>"])


def plane(report: Report) -> str:
    """Return the plane of clean and robust accuracy with lines of equal Mean and equal NRR."""
    points = [(p["clean"], p["robust"]) for p in report.places]
    if not points:
        return ""
    width, height = 760, 460
    x = tight(*_around([c for c, _ in points]), _NAMED, width - 74)
    y = tight(*_around([r for _, r in points]), height - _BOTTOM, 24)
    robust = "AutoAttack" if report.beside == "aa" else "PGD-20"
    words = "; ".join(
        f"{p['run']} clean {p['clean']:.2f}, {robust} {p['robust']:.2f}" for p in report.places
    )
    parts = [
        f'<svg class="plane" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="t-plane d-plane">',
        f'<title id="t-plane">Clean accuracy against {robust} accuracy</title>',
        f'<desc id="d-plane">{escape(words)}</desc>',
        '<clipPath id="inside"><rect '
        f'x="{x.start:.1f}" y="{y.end:.1f}" width="{x.end - x.start:.1f}" '
        f'height="{y.start - y.end:.1f}"/></clipPath>',
        *_axes(x, y, "clean accuracy (%)", f"{robust} accuracy (%)"),
        *_worth(x, y),
    ]
    ahead = _front(points)
    for i, p in enumerate(report.places):
        beaten = "" if i in ahead else " beaten"
        parts.append(
            f'<circle class="spot {group_class(p["group"])}{beaten}" data-group="{p["group"]}" '
            f'data-run="{escape(p["run"])}" data-words="clean {p["clean"]:.2f} %, {robust} '
            f'{p["robust"]:.2f} %" cx="{x.place(p["clean"]):.2f}" '
            f'cy="{y.place(p["robust"]):.2f}" r="6"/>'
        )
    return "\n".join([*parts, "</svg>"])


def legend(groups: Sequence[Group]) -> str:
    """Return the names of the experiments with their colours; each is a switch."""
    keys = [
        f'<li><button type="button" class="key" aria-pressed="true" data-group="{i}">'
        f'<svg viewBox="0 0 26 10" aria-hidden="true"><path class="line {group_class(i)}"'
        f'{_dash(i)} d="M1,5 L25,5"/></svg>{escape(group.title)}</button></li>'
        for i, group in enumerate(groups)
    ]
    return f'<ul class="legend" aria-label="Experiments">{"".join(keys)}</ul>'


def group_class(group: int) -> str:
    """Return the class that has an experiment's colour."""
    return f"c{group % COLOURS}"


def _dash(group: int) -> str:
    dash = _DASHES[group // COLOURS % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _slug(metric: str) -> str:
    return metric.replace("/", "-").replace("_", "-")


def _data(x: Scale, y: Scale, unit: str) -> str:
    """Return what the script needs to turn places into values again."""
    values: Mapping[str, object] = {
        "x0": f"{x.low:.8g}", "x1": f"{x.high:.8g}", "y0": f"{y.low:.8g}", "y1": f"{y.high:.8g}",
        "left": x.start, "right": x.end, "bottom": y.start, "top": y.end, "log": int(y.log),
        "unit": unit,
    }  # fmt: skip
    return " ".join(f'data-{key}="{value}"' for key, value in values.items())


def _axes(x: Scale, y: Scale, x_name: str, y_name: str = "") -> Iterator[str]:
    for tick in y.ticks:
        at = y.place(tick)
        yield f'<path class="grid" d="M{x.start:.1f},{at:.1f} L{x.end:.1f},{at:.1f}"/>'
        yield f'<text class="tick" x="{x.start - 7:.1f}" y="{at + 4:.1f}" text-anchor="end">'
        yield f"{written(tick)}</text>"
    for tick in x.ticks:
        at = x.place(tick)
        yield f'<path class="axis" d="M{at:.1f},{y.start:.1f} v4"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{y.start + 17:.1f}" text-anchor="middle">'
        yield f"{written(tick)}</text>"
    yield f'<path class="axis" d="M{x.start:.1f},{y.start:.1f} L{x.end:.1f},{y.start:.1f}"/>'
    yield f'<text class="name" x="{x.end:.1f}" y="{y.start + 33:.1f}" text-anchor="end">'
    yield f"{escape(x_name)}</text>"
    if not y_name:
        return
    middle = (y.start + y.end) / 2
    yield f'<text class="name" transform="translate(13,{middle:.1f}) rotate(-90)" '
    yield f'text-anchor="middle">{escape(y_name)}</text>'


def _path(points: Sequence[Point | None], x: Scale, y: Scale) -> str:
    """Return a line that is broken where a value was not finite; a lone point is a dot."""
    words, open_ = [], False
    for i, point in enumerate(points):
        if point is None:
            open_ = False
            continue
        place = f"{x.place(point[0]):.2f},{y.place(point[1]):.2f}"
        words.append(("L" if open_ else "M") + place)
        alone = not open_ and (i + 1 == len(points) or points[i + 1] is None)
        words += ["h0.01"] if alone else []
        open_ = True
    return " ".join(words)


def _told(lines: Sequence[tuple[Run, Sequence[Point | None]]], unit: str) -> str:
    """Return the last value of each line for those who cannot see it."""
    ends = ((run.id, [p for p in points if p is not None]) for run, points in lines)
    return "; ".join(
        f"{run} ends at {points[-1][1]:.4g}{f' {unit}' if unit else ''} in epoch {points[-1][0]:g}"
        for run, points in ends
        if points
    )


def _around(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = max((high - low) * 0.18, 1.0)
    return max(low - pad, 0.0), min(high + pad, 100.0)


def _worth(x: Scale, y: Scale) -> Iterator[str]:
    """Yield lines of equal Mean, straight, and of equal NRR, bent, with their values."""
    lowest, highest = (x.low + y.low) / 2, (x.high + y.high) / 2
    means = scale([lowest, highest], 0, 1).ticks
    nrrs = scale([_nrr(x.low, y.low), _nrr(x.high, y.high)], 0, 1).ticks
    for kind, name, levels in (("mean", "Mean", means), ("nrr", "NRR", nrrs)):
        for level in levels:
            seen = []
            for i in range(121):
                clean = x.low + (x.high - x.low) * i / 120
                if kind == "mean":
                    robust = 2 * level - clean
                elif 2 * clean > level:
                    robust = level * clean / (2 * clean - level)
                else:
                    continue
                if y.low - 1e-9 <= robust <= y.high + 1e-9:
                    seen.append((clean, robust))
            if len(seen) < 8:
                continue
            path = " ".join(
                f"{'L' if i else 'M'}{x.place(c):.1f},{y.place(r):.1f}"
                for i, (c, r) in enumerate(seen)
            )
            yield f'<path class="iso {kind}" clip-path="url(#inside)" d="{path}"/>'
            clean, robust = seen[-1] if kind == "nrr" else seen[0]
            right = kind == "nrr" and abs(clean - x.high) < (x.high - x.low) / 60
            at_x, at_y = x.place(clean), y.place(robust)
            if right:
                yield f'<text class="worth" x="{at_x + 5:.1f}" y="{at_y + 4:.1f}">'
            elif kind == "mean" and abs(robust - y.high) < (y.high - y.low) / 30:
                yield f'<text class="worth" x="{at_x:.1f}" y="{y.end - 6:.1f}" '
                yield 'text-anchor="middle">'
            else:
                continue
            yield f"{name} {written(level)}</text>"


def _nrr(clean: float, robust: float) -> float:
    return 2 * clean * robust / (clean + robust) if clean + robust else 0.0


def _front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Return which points no other beats on one side and equals on the other."""
    return {
        i
        for i, (c, r) in enumerate(points)
        if not any(a >= c and b >= r and (a, b) != (c, r) for a, b in points)
    }
