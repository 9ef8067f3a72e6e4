"""What a figure shows as numbers for other programs and for documents."""

from __future__ import annotations

import csv as lines
import io
import json as notation
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rpat_tui.figures.reading import (
    MEASURES,
    Pair,
    Record,
    Way,
    common,
    number,
    pairs,
    perturbation,
    subjects,
    ways,
)

HEADER = ("study", "subject", "perturbation", "measure", "case", "alpha", "value")
ACCURACIES = ("title", "paper_label", "run", "seed", "clean", "pgd20", "aa")
_CASES = ("success", "failure")

Line = tuple[str, str, str, str, str, float | str, float | None]


def json(records: Sequence[Record]) -> str:
    """Return the records as they are."""
    return notation.dumps([dict(r) for r in records], indent=2, ensure_ascii=False) + "\n"


def csv(records: Sequence[Record]) -> str:
    """Return one line a number, in full precision; what does not exist is an empty field."""
    out = io.StringIO()
    writer = lines.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for record, subject in zip(records, subjects(records), strict=True):
        tidy = _perception if record["study"] == "perception" else _smoothness
        writer.writerows(tidy(record, subject))
    return out.getvalue()


def _perception(record: Record, subject: str) -> Iterator[Line]:
    for kind in ("noise", "pgd"):
        start = "perception", subject, perturbation(record, kind)
        for key, value in record["result"][kind].items():
            stem, _, case = key.rpartition("_")
            if case not in _CASES:
                stem, case = key, "" if key.endswith("_acc") or key == "ratio" else "all"
            yield (*start, stem, case, "", value)


def _smoothness(record: Record, subject: str) -> Iterator[Line]:
    found: Mapping[str, Any] = record["result"]
    start = "smoothness", subject, perturbation(record, "pgd")
    for key in ("clean_acc", "robust_acc"):
        yield (*start, key, "", "", found[key])
    for case in ("all", *_CASES):
        for key, value in found[case].items():
            if key == "deviation":
                curve = value or [None] * len(found["alphas"])
                for alpha, point in zip(found["alphas"], curve, strict=True):
                    yield (*start, key, case, alpha, point)
            else:
                yield (*start, key, case, "", value)


def accuracies_json(records: Sequence[Record], title: str) -> str:
    """Return the records as they are, under their title."""
    whole = {"title": title, "records": [dict(record) for record in records]}
    return notation.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def accuracies_csv(records: Sequence[Record], title: str) -> str:
    """Return one line a run; a text has no place for the title."""
    out = io.StringIO()
    writer = lines.writer(out, lineterminator="\n")
    writer.writerow(ACCURACIES)
    writer.writerows([record[key] for key in ACCURACIES] for record in records)
    return out.getvalue()


def accuracies_md(records: Sequence[Record], title: str) -> str:
    """Return a GitHub Markdown table of all runs."""
    heads = ["Row", "In the paper", "Run", "Seed", "Clean %", "PGD-20 %", "AA %"]
    rows = [
        [
            *(_escape(str(record[key])) for key in ACCURACIES[:4]),
            *("–" if record[key] is None else f"{record[key]:.2f}" for key in ACCURACIES[4:]),
        ]
        for record in records
    ]
    return _table(heads, rows, 3, title)


def md(records: Sequence[Record]) -> str:
    """Return a GitHub Markdown table for each study."""
    tables = []
    if seen := pairs(records):
        tables.append(_table_of_pairs(seen))
    if gone := ways(records):
        tables.append(_table_of_ways(gone))
    return "\n".join(tables)


def _table_of_pairs(seen: Sequence[Pair]) -> str:
    heads = ["Network", "Perturbation", "MSE success", "MSE failure", "Failure / success"]
    heads += ["n success", "n failure", "Clean %", "Perturbed %"]
    rows = [
        [
            _escape(pair.subject), pair.perturbation, number(pair.success), number(pair.failure),
            number(pair.ratio), str(pair.n_success), str(pair.n_failure),
            f"{pair.clean_acc:.1f}", f"{pair.perturbed_acc:.1f}",
        ]
        for pair in seen
    ]  # fmt: skip
    note = f"Logit MSE; {common(pair.setting for pair in seen)}."
    return _table(heads, rows, 2, note)


def _table_of_ways(gone: Sequence[Way]) -> str:
    heads = ["Network"]
    heads += ["Deviation at 1/2", "Second difference", "Jacobian change", "Relative", "Clean %"]
    heads += ["Robust %"]
    assert len(heads) == len(MEASURES) + 1
    rows = [
        [
            _escape(way.subject),
            *(
                f"{value:.1f}" if key.endswith("_acc") and value is not None else number(value)
                for key, value in way.measures.items()
            ),
        ]
        for way in gone
    ]
    settings = (f"{way.perturbation}, {way.setting}; {way.jacobians}" for way in gone)
    return _table(heads, rows, 1, f"{common(settings)}.")


def _table(heads: list[str], rows: list[list[str]], left: int, note: str) -> str:
    rule = [":--"] * left + ["--:"] * (len(heads) - left)
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in (heads, rule, *rows))
    return f"{text}\n{note}\n"


def _escape(text: str) -> str:
    for character in "\\|*_<":
        text = text.replace(character, "\\" + character)
    return text
