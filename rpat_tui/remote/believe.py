"""What is believed of the small files that another machine sent: their types, and nothing else.

Texts in them are as hostile as any and are escaped where they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rpat.rundir import RunDir, read_json
from rpat_tui.store import marks
from rpat_tui.store.meta import META
from rpat_tui.store.queue import MOVES

Json = dict[str, Any]

_STANDING: dict[str, Any] = {
    "state": str, "reason": str, "ended": float | None, "priority": int, "retries": int,
    "history": [[str, str, float, str, dict]], "needs": [[str, str]], "created": float,
    "started": float | None,
    "rank": float | None, "held": int, "retried": int, "slot": str, "launcher": str,
    "wants": str, "findings": [[str, str, str, str, str, str, str]],
}  # fmt: skip
_META: dict[str, Any] = {
    "name": str, "note": str, "sweep": str, "tags": [str], "archived": bool, "imported": str,
}  # fmt: skip
_LARGEST = 1 << 62


def standing(run: RunDir) -> Json:
    """Return how a run stands; raises ValueError or OSError for what cannot be believed."""
    said = read_json(run.path / "standing.json")
    for key, kind in _STANDING.items():
        _check(key, kind, said[key])
    if said["state"] not in MOVES:
        raise ValueError(f"its state is '{said['state']}'")
    if not all(marks.evidence_is_plain(row[6]) for row in said["findings"]):
        raise ValueError("a finding's evidence is no JSON")
    return said


def meta(run: RunDir) -> Json:
    """Return what people wrote about a run."""
    said: Json = META | (read_json(run.meta) if run.meta.exists() else {})
    for key, kind in _META.items():
        _check(key, kind, said[key])
    if run.provenance.exists():
        _check("queued", float, read_json(run.provenance).get("queued", 0.0))
    bundle, needs = said.get("bundle"), said.get("dependencies", [])
    if bundle is not None and not isinstance(bundle, Mapping):
        raise ValueError("bundle is no object")
    if not isinstance(needs, list):
        raise ValueError("dependencies is no list")
    return said


def config(run: RunDir, uid: str) -> Json:
    """Return a run's job, which must be the run that was announced."""
    job = read_json(run.config)
    if job["uid"] != uid:
        raise ValueError("its config is that of another run")
    if job["kind"] not in ("train", "eval", "study"):
        raise ValueError(f"its kind is '{job['kind']}'")
    values: Json = job["config"]
    return values


def _check(key: str, kind: Any, value: Any) -> None:
    """Refuse a value of another type; a list of one kind has any number of them."""
    if isinstance(kind, list):
        inner = kind * len(value) if isinstance(value, list) and len(kind) == 1 else kind
        if not isinstance(value, list) or len(inner) != len(value):
            raise ValueError(f"{key} is {value!r}"[:80])
        for one, part in zip(inner, value, strict=True):
            _check(key, one, part)
        return
    wanted = int | float if kind is float else int | float | None if kind == float | None else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key} is {value!r}"[:80])
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) < _LARGEST):
        raise ValueError(f"{key} is {value!r}"[:80])
