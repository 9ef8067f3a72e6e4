"""What a window remembers of a project: sizes, columns, sort, filter, marks, saved filters.

One small file, `<home>/window.json`, replaced whole; where the home cannot be written, it lies in
the user's state folder under the home's uid. It is read with care: what is damaged is set aside,
what is of no use any more is left out. Two windows on one home keep each other's filters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rpat.errors import ConfigError
from rpat.knobs import unknown
from rpat.rundir import read_json, write_json
from rpat_tui.home import Home, find_home

T = TypeVar("T")
NAME = "window.json"
FILTERS = "filters"


class Remembered:
    """Values by place and name (`runs`, `sort`), and filters by name; lost with nothing else."""

    def __init__(self, home: Home | None, *, write: bool = True) -> None:
        """Read what is there; without a home, remember as long as the window lives.

        `problem` says what could not be read.
        """
        self.home, self.write = home, write
        self.problem = ""
        self._values: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, dict[str, Any]] = {}
        self.path = self._place()
        if self.path is not None:
            self._values = self._read(self.path)

    def _place(self) -> Path | None:
        """Return where the file is; None where there is no home yet, or no place at all."""
        if self.home is None or not self.home.exists():
            return None
        own = self.home.path / NAME
        if os.access(self.home.path, os.W_OK):
            return own
        import platformdirs

        try:
            uid = str(read_json(self.home.identity)["uid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        elsewhere = Path(platformdirs.user_state_dir("rpat")) / f"window-{uid}.json"
        return elsewhere if elsewhere.exists() or not own.exists() else _copied(own, elsewhere)

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        try:
            values = json.loads(path.read_text("utf-8"))
            if isinstance(values, dict):
                return {k: v for k, v in values.items() if isinstance(v, dict)}
            reason = "it holds no table"
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self.problem = f"{path} cannot be read ({error.strerror}): nothing is remembered"
            self.path = None
            return {}
        except ValueError:  # no JSON, or no UTF-8
            reason = "it is damaged"
        aside = path.with_suffix(".damaged.json")
        if not self.write:
            self.problem = f"{path} could not be read ({reason})"
            return {}
        try:
            path.replace(aside)
            self.problem = f"{path} could not be read ({reason}); it now lies in {aside.name}"
        except OSError:
            self.problem = f"{path} could not be read ({reason}): nothing is remembered"
            self.path = None
        return {}

    # ----------------------------------------------------------------- values

    def get(self, place: str, name: str, default: T) -> T:
        """Return a value, or the default where none of its kind is remembered."""
        value = self._values.get(place, {}).get(name, default)
        same = type(value) is type(default) or (default is None and value is not None)
        return value if same else default

    def put(self, place: str, name: str, value: Any) -> None:
        """Remember a value; None forgets it. `save` writes it."""
        same = self._values.get(place, {}).get(name) == value
        if same and not (value is None and place == FILTERS):  # another window may have saved it
            return
        self._set(self._values, place, name, value)
        self._changed.setdefault(place, {})[name] = value

    @staticmethod
    def _set(values: dict[str, dict[str, Any]], place: str, name: str, value: Any) -> None:
        if value is None:
            values.get(place, {}).pop(name, None)
        else:
            values.setdefault(place, {})[name] = value

    def filters(self) -> Mapping[str, str]:
        """Return the saved filters by name, as they are now, also those of other windows."""
        if self.path is not None and not self._changed.get(FILTERS):
            try:
                there = json.loads(self.path.read_text("utf-8")).get(FILTERS, {})
                self._values[FILTERS] = dict(there)
            except (OSError, ValueError, AttributeError, TypeError):
                pass
        found = self._values.get(FILTERS, {})
        return {k: v for k, v in sorted(found.items()) if isinstance(v, str)}

    # ----------------------------------------------------------------- the file

    @property
    def pending(self) -> bool:
        """Whether something has changed since the last `save`."""
        return bool(self._changed)

    def save(self) -> str:
        """Write what has changed into the file; return why it could not be, once, else ''."""
        if not (self._changed and self.write):
            return ""
        self.path = self.path or self._place()
        if self.path is None:  # no home yet
            return ""
        try:
            there = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            there = {}
        values = {k: v for k, v in there.items() if isinstance(v, dict)} if isinstance(
            there, dict
        ) else {}  # fmt: skip
        for place, name, value in self._changes():
            self._set(values, place, name, value)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, values)
        except OSError as error:
            told, self.problem = self.problem, f"{self.path}: {error.strerror}"
            return "" if told else f"nothing will be remembered: {self.problem}"
        finally:
            self._changed = {}
        return ""

    def _changes(self) -> Iterator[tuple[str, str, Any]]:
        for place, named in self._changed.items():
            for name, value in named.items():
                yield place, name, value


def saved(where: str, home: str | None) -> str:
    """Return a filter, or the one that was saved by the name behind `@`; raises `ConfigError`."""
    if not where.startswith("@"):
        return where
    known = Remembered(find_home(home), write=False).filters()
    if where[1:] not in known:
        raise ConfigError(
            f"--where {where}: {unknown(where[1:], known)}" if known else
            f"--where {where}: no filter is saved; :save NAME in rpat tui saves one"
        )  # fmt: skip
    return known[where[1:]]


def _copied(own: Path, elsewhere: Path) -> Path:
    """Begin with what the home remembers, where that can only be read."""
    try:
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
        elsewhere.write_bytes(own.read_bytes())
    except OSError:
        return own
    return elsewhere
