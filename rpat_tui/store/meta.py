"""What a run's `meta.json` says where nobody has written anything about the run."""

from __future__ import annotations

from typing import Any

META: dict[str, Any] = {
    "name": "",
    "tags": [],
    "note": "",
    "archived": False,
    "sweep": "",
    "dependencies": [],
    "imported": "",
    "launcher": "",
    "resources": {},
}
