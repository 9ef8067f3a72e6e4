"""What is frozen when a run is queued: the code it will execute and where it came from."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import rpat
from rpat.rundir import replace, write_json
from rpat_tui.home import Home

PACKAGES = ("torch", "torchvision", "numpy", "pyautoattack", "scikit-learn")
PATTERNS = ("*.py", "*.toml")


def provenance(home: Home, command: str) -> dict[str, Any]:
    """Return versions, host, command and code of this moment; the code is copied to the home."""
    return {
        **code(home),
        "host": socket.gethostname(),
        "user": _user(),
        "platform": platform.platform(),
        "command": command,
        "cwd": str(Path.cwd()),
        "interpreter": sys.executable,
    }


def code(home: Home) -> dict[str, Any]:
    """Return versions and code of this moment: what decides what a run computes."""
    folder, digest = snapshot(home)
    return {
        "rpat": rpat.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "snapshot": digest,
        "snapshot_path": str(folder),
        "git": _git(Path(rpat.__file__).parent, folder),
    }


def snapshot(home: Home) -> tuple[Path, str]:
    """Copy the core into `<home>/snapshots/<sha256>/`, once for equal content."""
    source = Path(rpat.__file__).parent
    files = sorted(f for pattern in PATTERNS for f in source.rglob(pattern))
    sha = hashlib.sha256()
    for file in files:
        sha.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes() + b"\0")
    digest = sha.hexdigest()
    target = home.snapshots / digest
    if target.is_dir():
        with suppress(OSError):
            os.utime(target)  # it is in use: nobody prunes what is fresh
        return target, digest
    building = home.snapshots / f".{digest[:12]}.{os.getpid()}"
    try:
        for file in files:
            copy = building / "rpat" / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        write_json(building / "snapshot.json", {"version": rpat.__version__, "sha256": digest})
        with suppress(OSError):  # another process was faster: its copy is the same
            building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target, digest


def _git(source: Path, snapshot: Path) -> dict[str, str] | None:
    """Commit and uncommitted changes, where the core runs from a checkout.

    The changes are kept as a patch in the snapshot's folder; files that git does not know are in
    the snapshot itself.
    """

    def ask(*words: str) -> bytes | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(source), *words], capture_output=True, timeout=5, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    top = ask("rev-parse", "--show-toplevel")
    if top is None or not (Path(os.fsdecode(top.strip())) / "rpat" / "__init__.py").is_file():
        return None
    commit, diff = ask("rev-parse", "HEAD"), ask("diff", "HEAD", "--", ".")
    found = {"commit": os.fsdecode((commit or b"").strip()), "diff": "", "patch": ""}
    if diff:
        found["diff"] = hashlib.sha256(diff).hexdigest()
        found["patch"] = _keep_patch(snapshot, diff, found["diff"])
    return found


def _keep_patch(snapshot: Path, diff: bytes, digest: str) -> str:
    """Write a patch once and return its file's name.

    Equal code can be another commit with other changes: such a patch gets a name of its own.
    """
    for name in ("diff.patch", f"diff-{digest[:12]}.patch"):
        file = snapshot / name
        with suppress(OSError):
            if not file.exists():
                replace(file, lambda stream: stream.write(diff))
            if file.read_bytes() == diff:
                return name
    return ""


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
