"""Runs taken away in the forms of other tools, one file each: the folder is the registry.

A form is a module with `write(take, path)`; `NEEDS` names the package it needs and the extra of
rpat that brings it, `ONE_FILE` says that the path is a file and no folder.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat import __version__
from rpat.errors import ConfigError
from rpat.rundir import write_json
from rpat_tui.home import Home

MANIFEST = "export.json"
"""Names a folder as an export, so that another one may take its place."""


@dataclass(frozen=True, slots=True)
class Take:
    """What is taken: the database, its home, and the ids of the runs."""

    home: Home
    db: sqlite3.Connection
    ids: Sequence[str]


def check(form: str, path: Path, force: bool) -> None:
    """Raise `ConfigError` where a form cannot be written to a path.

    A package is missing, the folder above is not there, or something is in the way: a file gives
    way to a file, an older export to a newer one where `force` says so.
    """
    module = _module(form)
    needs = getattr(module, "NEEDS", None)
    if needs and not _installed(needs[0]):
        raise ConfigError(
            f"export {form} needs {needs[0]}, which is not installed: "
            f"pip install 'rpat[{needs[1]}]'"
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist")
    if getattr(module, "ONE_FILE", False):
        if path.is_dir():
            raise ConfigError(f"--out {path} is a folder; name a file")
        if path.exists() and not force:
            raise ConfigError(f"--out {path} exists; name another file, or --force")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not path.is_dir() or not (path / MANIFEST).is_file():
            raise ConfigError(f"--out {path} exists and is no export; name another folder")
        if not force:
            raise ConfigError(f"--out {path} exists; name another folder, or --force")


def write(form: str, take: Take, path: Path, force: bool = False) -> dict[str, Any]:
    """Write runs in a form; all of it or nothing. Returns what the manifest says."""
    check(form, path, force)
    module = _module(form)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if getattr(module, "ONE_FILE", False):
            counts = module.write(take, beside)
            beside.replace(path)
        else:
            beside.mkdir()
            counts = module.write(take, beside)
            told = {"rpat": __version__, "form": form, "views": 1, **counts}
            write_json(beside / MANIFEST, told)
            if path.is_dir():
                shutil.rmtree(path)
            beside.replace(path)
    except OSError as error:
        raise ConfigError(
            f"--out {path}: {error.strerror}; name a place that can be written"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
    return {"out": str(path), **counts}


def _module(form: str) -> Any:
    return importlib.import_module(f"{__name__}.{form}")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # somebody has put None in its place
        return False
