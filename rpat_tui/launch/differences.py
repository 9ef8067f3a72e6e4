"""What is different about two runs: config, code, environment, images."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpat.knobs import show
from rpat.rundir import newest_code
from rpat_tui.home import Home
from rpat_tui.launch.origin import provenance_of
from rpat_tui.store import queries

Pair = tuple[Any, Any]


def differences(home: Home, db: sqlite3.Connection, first: int, second: int) -> dict[str, Any]:
    """Return how two runs differ, by `config`, `code`, `environment` and `data`."""
    rows = {row["n"]: row for row in queries.runs(db, numbers=[first, second], archived=True)}
    a, b = rows[first], rows[second]
    origins = [provenance_of(home, row["id"]) for row in (a, b)]
    return {
        "a": a["id"],
        "b": b["id"],
        "config": unequal(*(flat(queries.config_of(db, row["n"])) for row in (a, b))),
        "code": _code(*(newest_code(origin) for origin in origins)),
        "environment": unequal(
            *(_environment(db, row, origin) for row, origin in zip((a, b), origins, strict=True))
        ),
        "data": None if a["data_key"] == b["data_key"] else [a["data_key"], b["data_key"]],
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Pair]:
    """Return the keys whose values differ, in order; a missing value is None."""
    keys = list(dict.fromkeys([*a, *b]))
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def word(value: Any) -> str:
    """Return a value as people write it: 8/255, on, a list with commas."""
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(word(item) for item in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return show(value)


def _environment(
    db: sqlite3.Connection, row: dict[str, Any], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Return versions and machine: of the newest attempt, else of the moment of queueing."""
    ran = attempts(db, row["n"])
    found = {"rpat": origin.get("rpat"), "python": origin.get("python")}
    found |= dict(origin.get("packages") or {})
    found |= {"host": origin.get("host"), "user": origin.get("user")}
    found["platform"] = origin.get("platform")
    if ran:
        newest = ran[-1]
        found |= {k: v for k, v in newest["versions"].items() if v not in ("", None)}
        found |= {"host": newest["host"], "device": newest["device"]}
    return {key: value for key, value in found.items() if value not in (None, "")}


def attempts(db: sqlite3.Connection, n: int) -> list[dict[str, Any]]:
    """Return what each attempt ran with: number, host, device, versions, threads."""
    begun = [e for e in queries.events(db, n, ["begin"]) if e["file"] == "journal"]
    return [
        {
            "number": e["attempt"],
            "host": e.get("host", ""),
            "device": e.get("device_name", ""),
            "versions": e.get("versions", {}),
            "threads": e.get("threads"),
        }
        for e in begun
    ]


def between_attempts(ran: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each thing in which attempts of one run differ from the first."""
    said = []
    for later in ran[1:]:
        first, other = ({**flat(one["versions"]), **_place(one)} for one in (ran[0], later))
        for key, (old, new) in unequal(first, other).items():
            said.append(f"attempt {later['number']}: {key} {word(old)} → {word(new)}")
    return said


def _place(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {key: attempt[key] for key in ("host", "device", "threads")}


# ----------------------------------------------------------------- code


def _code(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how two snapshots differ: their digests, commits, files and the unified diff."""
    one, other = a.get("snapshot", ""), b.get("snapshot", "")
    if one == other:
        return None
    found: dict[str, Any] = {
        "snapshots": [one, other],
        "commits": [(origin.get("git") or {}).get("commit", "") for origin in (a, b)],
        "files": {},
        "diff": "",
        "missing": [],
    }
    folders = [Path(origin.get("snapshot_path") or "/nonexistent") for origin in (a, b)]
    for digest, folder in zip((one, other), folders, strict=True):
        if not (folder / "rpat").is_dir():
            found["missing"].append(digest or "unknown")
    if found["missing"]:
        return found
    texts = [_texts(folder) for folder in folders]
    lines: list[str] = []
    for name in sorted({*texts[0], *texts[1]}):
        old, new = (text.get(name) for text in texts)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        found["files"][name] = change
        lines += difflib.unified_diff(
            (old or "").splitlines(), (new or "").splitlines(),
            f"{one[:10]}/{name}", f"{other[:10]}/{name}", lineterm="",
        )  # fmt: skip
    found["diff"] = "\n".join(lines)
    return found


def _texts(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text("utf-8", "replace")
        for file in (folder / "rpat").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def patch_of(origin: Mapping[str, Any]) -> str | None:
    """Return the uncommitted changes that a run's code had; None where they were not kept.

    '' says that there were none.
    """
    code = newest_code(origin)
    git = code.get("git")
    if not git:
        return None
    if not git.get("diff"):
        return ""
    try:
        file = Path(str(code["snapshot_path"])) / str(git["patch"])
        return file.read_text("utf-8", "replace")
    except (OSError, KeyError):
        return None
