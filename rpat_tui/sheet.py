"""A comparison of groups as text: for the terminal, as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rpat_tui import exports
from rpat_tui.contrast import RULE_TITLES, Contrast
from rpat_tui.launch.differences import word
from rpat_tui.statistics import Test, method, p_text
from rpat_tui.table import Cell

TITLES = {"clean": "clean", "pgd20": "PGD-20", "aa": "AA", "mean": "Mean", "nrr": "NRR"}


def title(made: Contrast, measure: str) -> str:
    """Return the heading of a column; Mean and NRR name what they rest on, unless it is AA."""
    based = measure in ("mean", "nrr") and made.robust != "aa"
    return TITLES.get(measure, measure) + (" (PGD-20)" if based else "")


def cell_text(cell: Cell | None, missing: str = "–") -> str:
    """Return `82.92±0.31`; small numbers keep three figures."""
    if cell is None:
        return missing
    digits = 2 if abs(cell.mean) >= 1 else 4
    spread = "" if cell.std is None else f"±{cell.std:.{digits}f}"
    return f"{cell.mean:.{digits}f}{spread}"


def difference(test: Test | None) -> str:
    """Return `+3.10`."""
    if test is None or test.diff is None:
        return ""
    return f"{test.diff:+.2f}" if abs(test.diff) >= 0.2 or test.diff == 0 else f"{test.diff:+.2g}"


def chance(test: Test | None) -> str:
    """Return `p=.002 *`, by the corrected value."""
    if test is None or test.corrected is None:
        return ""
    return p_text(test.corrected) + " *" * test.significant


def why_not(made: Contrast, letter: str) -> str:
    """Return the one reason why a group was not tested; '' where it was, or reasons differ."""
    tests = [test for (of, _), test in made.tests.items() if of == letter and test.diff is not None]
    if any(test.p is not None for test in tests):
        return ""
    return next((test.reason for test in tests), "no results to compare yet")


def notes(made: Contrast) -> list[str]:
    """Return the remarks under the results: the test, then what readers of the rows must know."""
    said = [method(made.tests)] if method(made.tests) else []
    for (letter, measure), test in made.tests.items():
        if test.reason and test.diff is not None and not why_not(made, letter):
            pair = f"{letter}-{made.groups[0].letter}"
            said.append(f"{pair} {title(made, measure)}: {test.reason}")
    told: dict[str, list[str]] = {}
    for letter, row in made.rows.items():
        for mark in row.marks:
            told.setdefault(mark, []).append(letter)
    for mark, letters in told.items():
        every = len(letters) == len(made.groups) > 1
        said.append(f"{'all' if every else ' '.join(letters)}: {mark}")
    return said


def terminal(made: Contrast) -> str:
    """Return the comparison as `rpat compare` prints it."""
    lines = [
        f"{g.letter}  {g.title}  n={g.n}  {' '.join(_states(g.ids, g.states))}" for g in made.groups
    ]
    lines += ["", *config_lines(made, all_keys=False), ""]
    lines.append(f"Results: {RULE_TITLES.get(made.rule, made.rule)}")
    names = made.measures
    heads = [title(made, name) for name in names]
    rows = [["", *heads]]
    for group in made.groups:
        rows.append([group.letter, *(cell_text(made.cells.get((group.letter, m))) for m in names)])
    for group in made.groups[1:]:
        tests = [made.tests.get((group.letter, m)) for m in names]
        label = f"{group.letter}-{made.groups[0].letter}"
        rows.append([label, *(f"{difference(t)} {chance(t)}".strip() for t in tests)])
    lines += _columns(rows)
    for group in made.groups[1:]:
        if reason := why_not(made, group.letter):
            lines.append(f"{group.letter}-{made.groups[0].letter}  {reason}")
    lines += notes(made)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def config_lines(made: Contrast, *, all_keys: bool) -> list[str]:
    """Return the configs as lines of a table: the keys that differ, or all."""
    settings, differing = made.settings, made.differing
    head = f"Config: {len(differing)} of {len(settings)} keys differ"
    shown = settings if all_keys else differing
    if not shown:
        return [head]
    rows = [["", *(g.letter for g in made.groups)]]
    rows += [[key, *map(word, values)] for key, values in shown.items()]
    return [head, *_columns(rows)]


def as_json(made: Contrast) -> dict[str, Any]:
    """Return the comparison as values with stable keys."""
    return {
        "rule": made.rule,
        "robust": made.robust,
        "groups": [_group(made, g) for g in made.groups],
        "config": {
            key: dict(zip([g.letter for g in made.groups], values, strict=True))
            for key, values in made.differing.items()
        },
        "tests": [
            {"group": letter, "against": made.groups[0].letter, "measure": measure} | _test(test)
            for (letter, measure), test in made.tests.items()
        ],
        "method": method(made.tests),
    }


def _group(made: Contrast, group: Any) -> dict[str, Any]:
    return {
        "letter": group.letter,
        "title": group.title,
        "n": group.n,
        "runs": list(group.ids),
        "seeds": list(group.seeds),
        "marks": list(made.rows[group.letter].marks) if group.letter in made.rows else [],
        "results": {
            m: _cell(made.cells.get((group.letter, m))) for m in made.measures
        },
    }  # fmt: skip


def _cell(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    std = None if cell.std is None else round(cell.std, 6)
    return {"mean": round(cell.mean, 6), "std": std, "n": cell.n}


def _test(test: Test) -> dict[str, Any]:
    def rounded(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

    return {
        "diff": rounded(test.diff), "test": test.name, "t": rounded(test.t), "df": rounded(test.df),
        "p": rounded(test.p), "p_holm": rounded(test.corrected), "reason": test.reason,
    }  # fmt: skip


# ----------------------------------------------------------------- files


def _json(made: Contrast) -> str:
    return json.dumps(as_json(made), indent=2, ensure_ascii=False) + "\n"


def _csv(made: Contrast) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["group", "title", "measure", "mean", "std", "n", "diff", "test", "p", "p_holm", "reason"]
    )
    for group in made.groups:
        for measure in made.measures:
            cell = _cell(made.cells.get((group.letter, measure))) or {}
            test = made.tests.get((group.letter, measure))
            said = _test(test) if test else {}
            values = [cell.get(key) for key in ("mean", "std", "n")]
            values += [said.get(key) for key in ("diff", "test", "p", "p_holm", "reason")]
            row = [group.letter, group.title, measure, *values]
            writer.writerow(["" if value is None else value for value in row])
    return out.getvalue()


def _md(made: Contrast) -> str:
    out = io.StringIO()
    exports.get("md").write(made.table, out)
    names = made.measures
    out.write(f"\n| {RULE_TITLES.get(made.rule, made.rule)} |")
    out.write("".join(f" {title(made, m)} |" for m in names) + "\n")
    out.write("| :-- |" + " --: |" * len(names) + "\n")
    for group in made.groups:
        cells = [cell_text(made.cells.get((group.letter, m))) for m in names]
        out.write(f"| {group.letter} {_escaped(group.title)} | " + " | ".join(cells) + " |\n")
    for group in made.groups[1:]:
        tests = [made.tests.get((group.letter, m)) for m in names]
        cells = [_escaped(f"{difference(t)} {chance(t)}".strip()) for t in tests]
        label = f"{group.letter}−{made.groups[0].letter}"
        out.write(f"| {label} | " + " | ".join(cells) + " |\n")
    for note in notes(made):
        out.write(f"\n{_escaped(note)}\n")
    return out.getvalue()


def _latex(made: Contrast) -> str:
    out = io.StringIO()
    exports.get("latex").write(made.table, out)
    for group in made.groups[1:]:
        for measure in made.measures:
            test = made.tests.get((group.letter, measure))
            if test and test.diff is not None:
                said = f"{difference(test)} {chance(test) or test.reason}"
                pair = f"{group.title} against {made.groups[0].title}"
                out.write(f"% {pair}, {title(made, measure)}: {said}\n")
    if method(made.tests):
        out.write(f"% {method(made.tests)}\n")
    return out.getvalue()


FORMATS: Mapping[str, Callable[[Contrast], str]] = {
    "md": _md, "latex": _latex, "csv": _csv, "json": _json, "text": terminal,
}  # fmt: skip
ENDINGS = {"latex": "tex", "text": "txt"}
"""Endings of files where they are not the format's name."""


def _escaped(text: str) -> str:
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text


def _states(ids: Sequence[str], states: Sequence[str]) -> list[str]:
    return [
        i if state == "done" else f"{i} ({state})" for i, state in zip(ids, states, strict=True)
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) for text, width in zip(row, widths, strict=True)
        ) for row in rows
    ]  # fmt: skip
