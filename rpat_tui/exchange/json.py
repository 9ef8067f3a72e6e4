"""One JSON file: a list of runs, each with its config, where it comes from, and its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpat import __version__
from rpat.rundir import RunDir, read_json
from rpat_tui.exchange import Take
from rpat_tui.store import extract

ONE_FILE = True
_PARSED = ("config", "evidence")


def write(take: Take, path: Path) -> dict[str, int]:
    """Write the file run by run; what is missing or not finite is null."""
    counts = dict.fromkeys(extract.TABLES, 0)
    with path.open("w", encoding="utf-8") as stream:
        head = {"rpat": __version__, "form": "json", "views": 1}
        stream.write(json.dumps(head)[:-1] + ', "runs": [')
        for i, run in enumerate(take.ids):
            one = _run(take, run, counts)
            stream.write((",\n" if i else "\n") + json.dumps(one, ensure_ascii=False))
        stream.write("\n]}\n")
    return counts


def _run(take: Take, run: str, counts: dict[str, int]) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for table in extract.TABLES:
        names = list(extract.columns(table))
        rows = [dict(zip(names, row, strict=True)) for row in extract.rows(take.db, table, [run])]
        counts[table] += len(rows)
        found[table] = [{k: _value(k, v) for k, v in row.items()} for row in rows]
    (one,) = found.pop("runs")
    one["tags"] = one["tags"].split(",") if one["tags"] else []
    one["provenance"] = _provenance(take.home.runs / run)
    series: dict[str, dict[str, list[Any]]] = {}
    for point in found.pop("metrics"):
        columns = series.setdefault(point["name"], {"epoch": [], "step": [], "value": []})
        for key, values in columns.items():
            values.append(point[key])
    for rows in found.values():
        for row in rows:
            del row["run"]
    return {**one, **found, "metrics": series}


def _value(name: str, value: Any) -> Any:
    return json.loads(value) if name in _PARSED and value else value


def _provenance(folder: Path) -> Mapping[str, Any]:
    try:
        return read_json(RunDir(folder).provenance)
    except (OSError, ValueError):  # imported without, or damaged
        return {}
