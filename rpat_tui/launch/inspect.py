"""What a checkpoint file holds, told by the core in a process of its own (no torch here)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError


def inspect(path: Path, model: str = "auto", key: str = "") -> dict[str, Any]:
    """Return what `python -m rpat.foreign` says of a file.

    Raises `ConfigError` with its one line where it recognises no network.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{path} {what}; name a run (rpat list) or a checkpoint file")
    done = subprocess.run(
        [sys.executable, "-m", "rpat.foreign", str(path), model, key],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ConfigError(lines[-1] if lines else f"{path} cannot be read")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"key": key}
