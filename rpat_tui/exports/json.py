"""A JSON list of rows with stable keys; `rpat table --json` prints the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from json.encoder import encode_basestring_ascii as _string
from typing import TYPE_CHECKING, Any, TextIO

from rpat.errors import ConfigError
from rpat_tui.compare import verdict
from rpat_tui.indented import indented
from rpat_tui.table import MEASURES, Cell, Row, Table, printed

if TYPE_CHECKING:
    from rpat.published import Published
    from rpat_tui.exports._origin import Exported

_KEYS = ("dataset", "source", "norm", "model", "method", "rpat", "checkpoint", "robust", "n")


def write(table: Table, out: TextIO) -> None:
    """Write the rows; a measure is its mean and spread in percent, or null.

    A suite's rows have its `label` and what is `open`; a table that says how it was made has
    `provenance` in each row.
    """
    rows = [_row(row, table) for row in table.rows]
    out.write("[\n  " + ",\n  ".join(rows) + "\n]\n" if rows else "[]\n")


def read(text: str) -> list[Exported]:
    """Return the table of a file that `write` wrote."""
    from rpat_tui.exports._origin import Exported

    try:
        rows = json.loads(text)
        origins = [row.get("provenance") for row in rows]
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"this is no table in JSON ({error})") from None
    if not rows or not all(origins):
        return []
    cells: dict[str, str] = {}
    for row in rows:
        name = ", ".join(_named(row))
        cells[f"{name}, n"] = str(row.get("n"))
        for measure in MEASURES:
            for part, value in (row.get(measure) or {"mean": None, "std": None}).items():
                cells[f"{name}, {measure} {part}"] = "" if value is None else f"{value:.6f}"
    return [Exported(origins[0]["asked"], origins[0]["sha256"], cells)]


def _named(row: dict[str, Any]) -> list[str]:
    """Return what tells a row from the others."""
    words = [str(row.get(key, "")) for key in ("dataset", "source", "norm", "model", "method")]
    words += ["rpat"] * bool(row.get("rpat"))
    words += [row.get("label", ""), row.get("variant", ""), row.get("checkpoint", "")]
    return [*filter(None, words), *([row["group"][:8]] if row.get("group") else [])]


def _row(row: Row, table: Table) -> str:
    """Return a row as `indented` would write it inside of a list.

    Written by hand as far as it is the same in each of thousands of rows.
    """
    texts = [
        f'"dataset": {_string(row.dataset)}', f'"source": {_string(row.source)}',
        f'"norm": {_string(row.norm)}', f'"model": {_string(row.model)}',
        f'"method": {_string(row.method)}', f'"rpat": {"true" if row.rpat else "false"}',
        f'"checkpoint": {_string(row.checkpoint)}', f'"robust": {_string(row.robust)}',
        f'"n": {row.n}', f'"clean": {_measure(row.clean)}', f'"pgd20": {_measure(row.pgd20)}',
        f'"aa": {_measure(row.aa)}', f'"mean": {_measure(row.mean)}',
        f'"nrr": {_measure(row.nrr)}', f'"variant": {_string(row.variant)}',
        f'"group": {_string(row.group)}', f'"marks": {_list(row.marks)}',
        f'"runs": {_list(row.runs)}',
    ]  # fmt: skip
    more: dict[str, object] = {}
    if table.suite:
        more |= {"label": row.label, "open": dict(row.open)}
    texts += [f'"{key}": {_inside(value)}' for key, value in more.items()]
    if table.paper:
        found = _printed(row.paper, row.checkpoint, row.robust) if row.paper else "null"
        texts += [
            f'"paper": {found}',
            f'"diff": {_diff(row)}',
            f'"verdict": {_verdict(row, table)}',
        ]
    if table.tests:
        texts.append(f'"tests": {_tests(row, table)}')
    if table.asked:
        texts.append(
            f'"provenance": {{\n      "asked": {_string(table.asked)},\n      '
            f'"sha256": {_string(table.stamp)},\n      "row": {_string(row.stamp)}\n    }}'
        )
    return "{\n    " + ",\n    ".join(texts) + "\n  }"


def _measure(cell: Cell | None) -> str:
    if cell is None:
        return "null"
    mean, std, _ = cell
    spread = "null" if std is None else _six(std)
    return f'{{\n      "mean": {_six(mean)},\n      "std": {spread}\n    }}'


def _six(value: float) -> str:
    """Return what `repr(round(value, 6))` does, in half the time: there are thousands."""
    if not 1e-4 <= abs(value) < 1e9:
        return repr(round(value, 6))
    text = "%.6f" % value  # noqa: UP031
    if text[-1] == "0":
        text = text.rstrip("0")
        return f"{text}0" if text[-1] == "." else text
    return text


def _list(texts: Sequence[str]) -> str:
    inside = ",\n      ".join([_string(text) for text in texts])
    return f"[\n      {inside}\n    ]" if texts else "[]"


def _inside(value: object) -> str:
    """Return a value as it stands in a row."""
    return indented(value, nan=False).replace("\n", "\n    ")


@cache
def _printed(paper: Published, checkpoint: str, robust: str) -> str:
    where = {"table": paper.table, "name": paper.name, "venue": paper.venue}
    return _inside(where | printed(paper, checkpoint, robust))


def _diff(row: Row) -> str:
    if not row.diff:
        return "null" if row.diff is None else "{}"
    parts = [f'"{m}": {_six(d)}' for m, d in row.diff.items()]
    return "{\n      " + ",\n      ".join(parts) + "\n    }"


def _verdict(row: Row, table: Table) -> str:
    if not row.diff:
        return "null" if row.diff is None else "{}"
    parts = [f'"{m}": "{verdict(d, table.tolerance)}"' for m, d in row.diff.items()]
    return "{\n      " + ",\n      ".join(parts) + "\n    }"


def _tests(row: Row, table: Table) -> str:
    """Return the tests against the row without RPAT: `p` is corrected, `reason` says why none."""
    parts = [
        f'"{measure}": {{\n        "test": {_string(test.name)},\n        '
        f'"n": [\n          {test.n[0]},\n          {test.n[1]}\n        ],\n        '
        f'"diff": {_number(test.diff)},\n        "t": {_number(test.t)},\n        '
        f'"df": {_number(test.df)},\n        "p": {_number(test.p)},\n        '
        f'"p_holm": {_number(test.corrected)},\n        "reason": {_string(test.reason)}\n      }}'
        for measure, test in table.tests_of(row).items()
    ]
    return "{\n      " + ",\n      ".join(parts) + "\n    }" if parts else "{}"


def _number(value: float | None) -> str:
    return "null" if value is None else repr(value)
