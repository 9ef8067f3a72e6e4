"""A report as one HTML page: its parts, one after the other."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rpat import __version__
from rpat.config import DATASETS
from rpat.knobs import show
from rpat_tui.compare import emphasis
from rpat_tui.exports import html
from rpat_tui.glyphs import duration
from rpat_tui.launch.differences import flat
from rpat_tui.report import charts
from rpat_tui.report.gather import CURVES, Report, Run, method_title
from rpat_tui.report.words import (
    DASH,
    Markup,
    cell,
    details,
    facts,
    number,
    setting,
    state,
    table,
    text,
    utc,
    whole,
)
from rpat_tui.sentences import attack_name
from rpat_tui.table import MEASURES, Cell, Row

_HERE = Path(__file__).parent
_TITLES = {"clean": "Clean", "pgd20": "PGD-20", "aa": "AA", "mean": "Mean", "nrr": "NRR"}
_NORMS = {"linf": "l\N{INFINITY}", "l2": "l\N{SUBSCRIPT TWO}"}
_WIDE = 12
"""Experiments that stand side by side in the table of differences."""


def page(report: Report, now: float) -> str:
    """Return the page."""
    parts = [
        ("results", "Results", _results(report)),
        ("curves", "Curves", _curves(report)),
        ("plane", "Clean against robust", _plane(report)),
        ("runs", "Runs", _runs(report)),
        ("configs", "Configs", _configs(report)),
        ("findings", "Linter", _findings(report)),
        ("evaluations", "Evaluations", _evaluations(report)),
        ("provenance", "Provenance", _provenance(report)),
        ("history", "History", _history(report)),
    ]
    parts = [part for part in parts if part[2]]
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in parts)
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{name}</h2>\n{inner}</section>\n'
        for key, name, inner in parts
    )
    script = (_HERE / "script.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    title = report.title or _title(report)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{text(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'\">\n"
        f'<meta name="generator" content="rpat {text(__version__)}">\n'
        f"<style>\n{(_HERE / 'style.css').read_text('utf-8')}</style>\n</head>\n<body>\n"
        f'<header><h1>{text(title)}</h1>\n<p class="about">{_about(report)}</p>\n'
        f'<p class="date">Made on {utc(now)} UTC</p>\n'
        f"{_chips(report)}\n"
        f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav></header>\n'
        f'<main>\n{body}</main>\n<div id="tip" role="status" hidden></div>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


# ----------------------------------------------------------------- head


def _title(report: Report) -> str:
    data = dict.fromkeys(_dataset(run.row["dataset"]) for run in report.runs)
    methods = dict.fromkeys(method_title(run.row["method"], False) for run in report.runs)
    named = ", ".join(methods) if len(methods) <= 4 else f"{len(methods)} methods"
    regularised = {bool(run.row["rpat"]) for run in report.runs}
    rpat = {1: " with RPAT" if True in regularised else "", 2: " with and without RPAT"}
    return f"{named}{rpat[len(regularised)]} on {', '.join(data)}"


def _about(report: Report) -> str:
    if not report.runs:
        return text(f"no run yet · rpat {__version__}")
    runs, groups = len(report.runs), len(report.groups)
    threats = dict.fromkeys(
        f"{_NORMS.get(r.row['norm'], r.row['norm'])} {show(r.config['threat']['epsilon'])}"
        for r in report.runs
    )
    models = dict.fromkeys(run.row["model"] for run in report.runs)
    return text(
        f"{runs} run{'s' * (runs > 1)} of {groups} experiment{'s' * (groups > 1)}, "
        f"{report.runs[0].id}{f' to {report.runs[-1].id}' * (runs > 1)} · {', '.join(models)} · "
        f"{', '.join(threats)} · rpat {__version__}"
    )


def _chips(report: Report) -> str:
    counts = Counter(run.row["state"] for run in report.runs)
    told = [(str(count), word) for word, count in counts.items()]
    for measure in ("clean", report.robust, "nrr"):
        found = [
            (made.mean, row)
            for row in report.table.rows
            if row.checkpoint == "best" and (made := row.cell(measure))
        ]
        if found:
            value, row = max(found, key=lambda pair: pair[0])
            name = _TITLES[measure] + _basis(measure, report)
            told.append((f"{value:.2f}", f"best {name}: {method_title(row.method, row.rpat)}"))
    worst = Counter(f["level"] for run in report.runs for f in run.findings)
    if errors := worst["error"] + worst["warning"]:
        told.append((str(errors), "linter findings to look at"))
    items = "".join(f"<li><b>{text(v)}</b><span>{text(what)}</span></li>" for v, what in told)
    return f'<ul class="chips" aria-label="At a glance">{items}</ul>'


def _basis(measure: str, report: Report) -> str:
    return " (PGD-20)" if measure in ("mean", "nrr") and report.robust != "aa" else ""


def _dataset(name: str) -> str:
    return DATASETS[name].title if name in DATASETS else name


# ----------------------------------------------------------------- results


def _results(report: Report) -> str:
    if report.suite is not None:
        name = text(report.suite.title)
        return (
            f'<div class="wide suite" tabindex="0" role="region" aria-label="{name}">\n'
            f"{html.fragment(report.suite)}</div>\n"
        )
    rows = [row for row in report.table.rows if row.n]
    if not rows:
        return '<p class="note">None of these runs has been evaluated yet.</p>\n'
    marked = emphasis(report.table)
    notes: dict[str, int] = {}
    blocks: dict[tuple[str, ...], list[tuple[int, Row]]] = {}
    for i, row in enumerate(report.table.rows):
        blocks.setdefault((row.dataset, row.source, row.norm, row.model), []).append((i, row))
    heads = [("Method", ""), ("Weights", "")]
    heads += [(_TITLES[m] + _basis(m, report), "n") for m in MEASURES]
    heads += [("n", "n"), ("Runs", "")]
    made = []
    for (dataset, source, norm, model), members in blocks.items():
        where = f" ({source.replace('-', ' ')})" if source != "official" else ""
        caption = f"{_dataset(dataset)}{where} · {model} · {_NORMS.get(norm, norm)}"
        body = "".join(_row(i, row, marked, notes) for i, row in members)
        made.append(whole(caption, heads, body))
    said = [
        "Percent, mean ± sample standard deviation over n seeds; Mean and NRR are taken seed by "
        "seed. Bold is the best of a table, underlined what RPAT did not improve."
    ]
    said += [f"({n}) {note}" for note, n in notes.items()]
    return "".join(made) + "".join(f'<p class="note">{text(line)}</p>\n' for line in said)


def _row(
    i: int, row: Row, marked: Mapping[tuple[int, str], set[str]], notes: dict[str, int]
) -> str:
    name = text(method_title(row.method, row.rpat))
    if row.variant:
        name += f' <span class="variant">{text(row.variant)}</span>'
    for mark in row.marks:
        name += f"<sup> ({notes.setdefault(mark, len(notes) + 1)})</sup>"
    cells = [cell(name, head=True), cell(text(row.checkpoint))]
    for measure in MEASURES:
        looks = {"bold": "best-value", "underline": "not-improved"}
        kinds = " ".join(["n", *(looks[m] for m in sorted(marked.get((i, measure), ())))])
        cells.append(cell(_measure(row.cell(measure)), kinds))
    cells += [cell(str(row.n), "n"), cell(text(" ".join(row.runs)), "words")]
    made = f"<tr>{''.join(cells)}</tr>\n"
    if row.paper is not None:
        printed = "".join(cell(number(v), "n") for v in row.printed().values())
        label = cell(f"paper, Table {text(row.paper.table)}", "in", head=True)
        made += f'<tr class="paper">{label}<td></td>{printed}<td></td><td></td></tr>\n'
    return made


def _measure(found: Cell | None) -> str:
    if found is None:
        return DASH
    spread = "" if found.std is None else f' <span class="spread">± {found.std:.2f}</span>'
    return f"{found.mean:.2f}{spread}"


# ----------------------------------------------------------------- pictures


def _curves(report: Report) -> str:
    drawn = [(metric, charts.curve_chart(report, metric)) for metric in CURVES]
    cards = "".join(
        f'<figure class="card"><figcaption><b>{CURVES[metric]}</b>'
        f"{' · a ring marks the best epoch' * (metric == 'test/pgd_acc')}</figcaption>\n{svg}\n"
        "</figure>\n"
        for metric, svg in drawn
        if svg
    )
    if not cards:
        return ""
    note = "On test images after each epoch; of the averaged network where that is the method."
    return (
        f'{charts.legend(report.groups)}\n<div class="charts">\n{cards}</div>\n'
        f'<p class="note">{note}</p>\n'
    )


def _plane(report: Report) -> str:
    svg = charts.plane(report)
    if not svg:
        return ""
    return (
        f'{charts.legend(report.groups)}\n<figure class="card">{svg}\n<figcaption>Best weights, a '
        "mark for each run; hollow ones are beaten in both. Dotted: equal Mean; drawn: equal NRR."
        "</figcaption></figure>\n"
    )


# ----------------------------------------------------------------- runs and configs


def _runs(report: Report) -> str:
    if not report.runs:
        return ""
    heads = ["Run", "Experiment", "Seed", "State", "Epochs", "Clean", "PGD", "Best PGD", "Took",
             "Name, tags, note"]  # fmt: skip

    def line(run: Run) -> list[Any]:
        row = run.row
        best = number(row["best_pgd"]) + (f" @{row['best_epoch']}" if row["best_epoch"] else "")
        took = row["ended"] - row["started"] if row["ended"] and row["started"] else None
        tags = " ".join(f"#{tag}" for tag in row["tags"])
        said = "  ".join(filter(None, [row["name"], tags, row["note"]]))
        why = f" {text(row['reason'])}" if row["reason"] else ""
        return [
            row["id"], report.groups[run.group].title.rpartition(" (")[0], row["seed"],
            Markup(state(row["state"]) + why), f"{row['epoch']} of {row['epochs']}",
            number(row["clean"]), number(row["pgd"]), best, duration(took), said,
        ]  # fmt: skip

    return table(
        "Newest epoch of each run, percent", heads, map(line, report.runs),
        right=["Seed", "Epochs", "Clean", "PGD", "Best PGD", "Took"],
        words=["Experiment", "State", "Name, tags, note"],
    )  # fmt: skip


def _configs(report: Report) -> str:
    made = []
    keys = dict.fromkeys(key for group in report.groups for key in group.config)
    rows = [[key, *(group.config.get(key) for group in report.groups)] for key in keys]
    rows = [row for row in rows if any(value != row[1] for value in row[2:])]
    if rows and len(report.groups) <= _WIDE:
        heads = ["key", *(group.title for group in report.groups)]
        body = "".join(
            "<tr>"
            + cell(f"<code>{text(key)}</code>", head=True)
            + "".join(
                cell(text(setting(value)), "odd" if value != values[0] else "") for value in values
            )
            + "</tr>\n"
            for key, *values in rows
        )
        made.append(whole("Where the experiments differ", [(h, "") for h in heads], body))
    elif rows:
        made.append(
            table(
                f"Where the experiments differ from {report.groups[0].title}",
                ["experiment", "differs in"],
                (
                    [
                        group.title,
                        ", ".join(
                            f"{row[0]} {setting(row[i + 1])}"
                            for row in rows
                            if row[i + 1] != row[1]
                        ),
                    ]
                    for i, group in enumerate(report.groups)
                    if i
                ),
                words=["differs in"],
            )
        )
    firsts = [next(r for r in report.runs if r.group == i) for i in range(len(report.groups))]
    unusual = [
        [group.title, key, setting(usual), setting(own)]
        for group, run in zip(report.groups, firsts, strict=True)
        for key, (usual, own) in run.unusual.items()
    ]
    if unusual:
        made.append(
            table(
                "Where they differ from the recipes of their methods",
                ["experiment", "key", "recipe", "here"], unusual, words=["recipe", "here"],
            )
        )  # fmt: skip
    for group, run in zip(report.groups, firsts, strict=True):
        values = {key: setting(value) for key, value in flat(run.config).items() if key != "seed"}
        made.append(details(f"Whole config: {text(group.title)}", facts(group.title, values)))
    return "".join(made)


# ----------------------------------------------------------------- evidence


def _findings(report: Report) -> str:
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for run in report.runs:
        for f in run.findings:
            words = re.sub(r" \(evaluations? [^)]*\)", "", f["text"])  # their numbers tell nothing
            found.setdefault((f["level"], f["rule"], words, f["do"]), []).append(run.id)
    if not report.runs:
        return ""
    if not found:
        return '<p class="note">The linter found nothing to object to.</p>\n'
    order = ["error", "warning", "note"]
    lines = [
        [rule, Markup(f'<span class="level {text(level)}">{text(level)}</span>'),
         " ".join(dict.fromkeys(ids)), words, do]
        for (level, rule, words, do), ids in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), item[0][1], item[1])
        )
    ]  # fmt: skip
    heads = ["Rule", "Level", "Runs", "Found", "What to do"]
    return table("What a reviewer may object to", heads, lines,
                 words=["Runs", "Found", "What to do"])  # fmt: skip


def _evaluations(report: Report) -> str:
    heads = ["Run", "Weights", "Network", "Epoch", "Attack", "Radius", "Step size", "Images",
             "Clean", "Robust", "Remarks", "SHA-256"]  # fmt: skip
    lines = [list(_evaluation(run, e)) for run in report.runs for e in run.evaluations]
    if not lines:
        return ""
    return table(
        "Every attack on these weights", heads, lines, words=["Remarks"],
        right=["Epoch", "Images", "Clean", "Robust"],
    )  # fmt: skip


def _evaluation(run: Run, e: Mapping[str, Any]) -> Iterator[Any]:
    images = f"{e['n']:,}" if e["n"] == e["of_n"] else f"{e['n']:,} of {e['of_n']:,}"
    remarks = [
        f"selected by {run.rule}" if e["selected_on"] else "",
        f"on the {e['split']} split" if e["split"] != "test" else "",
        f"{e['restarts']} restarts" if e["restarts"] > 1 else "",
        f"attacked in {e['bn']} mode" if e["bn"] != "eval" else "",
        e["dtype"] if e["dtype"] != "float32" else "",
        "TF32" if e["tf32"] else "",
        e["note"],
        f"differs: {e['differs']}" if e["differs"] else "",
        f"by {e['job']}" if e["job"] != run.id else "",
        e["state"] if e["state"] != "done" else "",
    ]
    yield run.id
    yield from (e["checkpoint"], e["network"], e["epoch"] or DASH, attack_name(dict(e)))
    yield f"{_NORMS.get(e['norm'], e['norm'])} {show(e['epsilon'])}"
    yield show(e["step_size"]) if e["step_size"] else DASH
    yield from (images, number(e["clean"]), number(e["robust"]))
    yield ", ".join(filter(None, remarks))
    yield Markup(f"<code>{text(e['weights'][:12])}</code>")


def _provenance(report: Report) -> str:
    if not report.runs:
        return ""
    keys = dict.fromkeys(key for run in report.runs for key in run.facts)
    same = {
        key: report.runs[0].facts[key]
        for key in keys
        if len({run.facts.get(key) for run in report.runs}) == 1
    }
    made = [facts("All runs" if len(report.runs) > 1 else "Where it comes from", same)]
    for run in report.runs:
        own = {key: value for key, value in run.facts.items() if key not in same}
        if own:
            made.append(details(f"Only {text(run.id)}", facts(run.id, own)))
    return "".join(made)


def _history(report: Report) -> str:
    made = []
    for run in report.runs:
        lines = [
            [utc(move.t), state(move.new), move.reason, move.cause, move.who]
            for move in run.history
        ]
        heads = ["Time (UTC)", "State", "Why", "Cause", "By"]
        took = f"{text(run.id)}: {state(run.row['state'])} since {utc(run.history[-1].t)}"
        made.append(details(took, table(f"States of {run.id}", heads, lines, words=["Why"])))
    return "".join(made)
