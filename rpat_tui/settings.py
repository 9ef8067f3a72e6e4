"""Settings: what there is to set, where each value comes from, and how one is written down.

The user's file (`~/.config/rpat/config.toml`), then the project's (`rpat.toml`), then the
environment, then options of the command. `tui.theme` stands in the table `[tui]` of a file. The
table `[keys]` remaps keys and is judged by `screens/keymap.py`, `[remote.NAME]` is a machine and
is judged by `remote/places.py`. Standard library and platformdirs only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rpat.errors import ConfigError, StoreError
from rpat.knobs import unknown
from rpat.rundir import replace


class Setting(NamedTuple):
    """One setting: its default, the environment variable that overrides files, and its reader."""

    name: str
    default: str
    env: str
    help: str
    read: Callable[[str], Any] = str
    takes: str = "a number"


class Value(NamedTuple):
    """A setting's value and where it comes from."""

    name: str
    value: Any
    origin: str
    help: str


def _count_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    if int(text) < 1:
        raise ValueError
    return int(text)


def _switch(text: str) -> str:
    words = {"on": "on", "true": "on", "1": "on", "off": "off", "false": "off", "0": "off"}
    if text.lower() not in words:
        raise ValueError
    return words[text.lower()]


def _one_of(*words: str) -> Callable[[str], str]:
    def read(word: str) -> str:
        if word not in words:
            raise ValueError(word)
        return word

    return read


def _frames(text: str) -> int:
    if not 1 <= int(text) <= 60:
        raise ValueError
    return int(text)


def _pause(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise ValueError
    return seconds


def _slurm(name: str, default: str, help: str, read: Callable[[str], Any] = str) -> Setting:
    return Setting(f"launcher.slurm.{name}", default, f"RPAT_SLURM_{name.upper()}", help, read)


CHARTS = ("auto", "braille", "block", "ascii")
COLOURS = ("auto", "16", "256", "true")
KEY_MAPS = ("default", "emacs")

SETTINGS = (
    Setting("home", "", "RPAT_HOME", "folder of runs and database"),
    Setting("data_dir", "", "RPAT_DATA", "folder of data sets; empty: <home>/data"),
    Setting("cpu_slots", "1", "RPAT_CPU_SLOTS", "runs at a time on a machine without a GPU", int),
    Setting(
        "runs_per_gpu",
        "1",
        "RPAT_RUNS_PER_GPU",
        "runs that share a card: a number or auto",
        _count_or_auto,
        "a number from 1 on, or auto",
    ),
    Setting("gpu_reserve_mb", "1024", "RPAT_GPU_RESERVE_MB", "MB of a card left free by auto", int),
    Setting(
        "avoid_busy",
        "on",
        "RPAT_AVOID_BUSY",
        "leave cards alone that others use: on or off",
        _switch,
        "on or off",
    ),
    Setting("monitor_every", "5", "RPAT_MONITOR_EVERY", "seconds between samples; 0: none", float),
    Setting("retries", "0", "RPAT_RETRIES", "times a run that failed is queued again", int),
    Setting("stop_grace", "600", "RPAT_STOP_GRACE", "seconds to save work when asked to", float),
    Setting("notify_on", "done,failed", "RPAT_NOTIFY_ON", "states worth a word: done,failed,…"),
    Setting(
        "notify_bell",
        "off",
        "RPAT_NOTIFY_BELL",
        "ring the terminal that follows runs when they end: on or off",
        _switch,
        "on or off",
    ),
    Setting("notify_command", "", "RPAT_NOTIFY_COMMAND", "run by a shell when a run has ended"),
    Setting("notify_webhook", "", "RPAT_NOTIFY_WEBHOOK", "URL that is sent a JSON line for it"),
    Setting("worker_idle", "20", "RPAT_WORKER_IDLE", "seconds an idle worker stays", float),
    Setting("stuck_factor", "10", "RPAT_STUCK_FACTOR", "usual intervals without a row", float),
    Setting(
        "stuck_action",
        "tell",
        "RPAT_STUCK_ACTION",
        "then: tell, or restart the run",
        _one_of("tell", "restart"),
        "tell or restart",
    ),
    Setting(
        "remotes", "", "RPAT_REMOTES", "other machines that lists show: names, HOST[:HOME], all"
    ),
    Setting("remote_ssh", "ssh", "RPAT_SSH", "how other machines are reached, as: ssh -p 2222"),
    Setting(
        "remote_wait",
        "10",
        "RPAT_REMOTE_WAIT",
        "seconds to wait for another machine",
        _pause,
        "seconds from 0.1 to 3600",
    ),
    Setting("tui.theme", "dark", "RPAT_THEME", "colours of the terminal UI: a theme's name"),
    Setting(
        "tui.charts",
        "auto",
        "RPAT_CHARTS",
        "what curves are drawn with: auto, braille, block, ascii",
        _one_of(*CHARTS),
        "auto, braille, block or ascii",
    ),
    Setting(
        "tui.colors",
        "auto",
        "RPAT_COLORS",
        "colours sent to the terminal: auto, 16, 256, true",
        _one_of(*COLOURS),
        "auto, 16, 256 or true",
    ),
    Setting(
        "tui.mouse",
        "on",
        "RPAT_MOUSE",
        "off leaves the mouse to the terminal: on or off",
        _switch,
        "on or off",
    ),
    Setting(
        "tui.frames",
        "60",
        "RPAT_FRAMES",
        "frames that are painted in a second at most",
        _frames,
        "a number from 1 to 60",
    ),
    Setting(
        "tui.poll",
        "1",
        "RPAT_POLL",
        "seconds between two looks at what is new",
        _pause,
        "seconds from 0.1 to 3600",
    ),
    Setting(
        "keys.map",
        "default",
        "RPAT_KEYS",
        "keys to begin with: default (as in vim) or emacs",
        _one_of(*KEY_MAPS),
        "default or emacs",
    ),
    Setting(
        "launcher.default",
        "local",
        "RPAT_LAUNCHER",
        "where runs execute unless said: local or slurm",
        _one_of("local", "slurm"),
        "local or slurm",
    ),
    _slurm("partition", "", "where jobs are sent; empty: the cluster's default"),
    _slurm("account", "", "whose budget"),
    _slurm("qos", "", "quality of service"),
    _slurm("time", "", "limit of a turn: minutes, HH:MM:SS, D-HH; a run takes as many as it needs"),
    _slurm("gres", "", "as gpu:1 or gpu:a100:1; none; empty: one GPU where the cluster has any"),
    _slurm("cpus", "4", "processors of a job", int),
    _slurm("mem", "", "memory of a job, as 32G"),
    _slurm("constraint", "", "features that a node must have"),
    _slurm("sbatch", "", "more options for sbatch, as --exclude=n7 --reservation=x"),
    _slurm("setup", "", "shell lines before the program, as: module load cuda"),
    _slurm("python", "", "Python on the nodes; empty: the one that queues"),
    _slurm("pass_env", "", "more environment variables that jobs get, comma-separated"),
    _slurm("signal", "120", "seconds before the time limit to save the work", int),
    _slurm("turns", "20", "times that a job is started again by itself", int),
    _slurm("in_flight", "100", "jobs at a time in the cluster's queue; 0: no limit", int),
    _slurm("poll_every", "10", "seconds between two looks at the cluster", float),
)
NAMES = tuple(s.name for s in SETTINGS)
TABLES = ("tui", "keys", "launcher", "launcher.slurm")
"""Settings that stand in a table of a file."""


def config_folder() -> Path:
    """Return the user's folder for settings and themes."""
    import platformdirs

    return Path(platformdirs.user_config_dir("rpat"))


def config_files() -> list[Path]:
    """Return the settings files that are read, the stronger ones last."""
    return [config_folder() / "config.toml", Path("rpat.toml")]


def stamp() -> tuple[tuple[int, int], ...]:
    """Return what changes when one of these files is written, made or taken away."""
    found = []
    for file in config_files():
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def settings(**flags: str | None) -> dict[str, Value]:
    """Return every setting with its origin: default, files, environment, then flags."""
    written: dict[str, tuple[str, str]] = {}
    for file in config_files():
        for name, raw in flat(read_toml(file), file).items():
            written[name] = (str(raw), str(file))
    found = {}
    for s in SETTINGS:
        text, origin = written.get(s.name, (s.default, "default"))
        if named := os.environ.get(s.env):
            text, origin = named, s.env
        if (flag := flags.get(s.name)) is not None:
            text, origin = flag, "command line"
        found[s.name] = Value(s.name, _read(s, text, origin), origin, s.help)
    if not found["home"].value:
        found["home"] = Value("home", default_home(), "default", found["home"].help)
    return found


def _read(setting: Setting, text: str, origin: str) -> Any:
    try:
        return setting.read(text)
    except ValueError:
        raise ConfigError(
            f"setting {setting.name} is {text!r} (from {origin}); write {setting.takes}"
        ) from None


def default_home() -> str:
    """Return the platform's folder for user data."""
    import platformdirs

    return platformdirs.user_data_dir("rpat")


# ----------------------------------------------------------------- files


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a settings file says, nothing where there is none; raises `ConfigError`."""
    try:
        text = file.read_text("utf-8")
        import tomllib  # where there is no file, as is usual, it is not needed

        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # neither UTF-8 nor TOML
        raise ConfigError(f"settings file {file} cannot be read: {error}") from error


def flat(values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the settings of a file by their full names; what is none is refused.

    The keys that `[keys]` remaps and the machines of `[remote.NAME]` are no settings and are left
    out.
    """
    found = _unfolded(values)
    for name in found:
        if name not in NAMES:
            raise ConfigError(f"{file}: '{name}' is not a setting; see rpat config")
    return found


def _unfolded(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, raw in values.items():
        name = f"{prefix}{key}"
        if name == "remote" and isinstance(raw, dict):
            continue  # machines, judged by remote/places.py
        if name in TABLES and isinstance(raw, dict):
            inner = {k: v for k, v in raw.items() if not (name == "keys" and isinstance(v, dict))}
            found |= _unfolded(inner, f"{name}.")
        else:
            found[name] = raw
    return found


def setting(name: str) -> Setting:
    """Return a setting by its name; raises `ConfigError` naming the nearest one."""
    for s in SETTINGS:
        if s.name == name:
            return s
    raise ConfigError(f"setting {unknown(name, NAMES)}")


def write(file: Path, name: str, text: str | None) -> None:
    """Write a setting into a file, None takes it out; every other line stays as it is.

    Raises `ConfigError` for a value that the setting does not take, `StoreError` where the file
    cannot be written.
    """
    import tomllib

    if text is not None:
        _read(setting(name), text, "you")
    flat(before := read_toml(file), file)
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    made = "\n".join(_edited(lines, name, text)) + "\n"
    table, _, key = name.rpartition(".")
    try:
        after = tomllib.loads(made)
    except tomllib.TOMLDecodeError:
        after = before
    for part in table.split(".") if table else ():
        after = after.get(part, {})
    there = after.get(key)
    if there != (None if text is None else _toml(text)[1]):
        raise ConfigError(f"{file}: {name} cannot be changed where it stands; edit it by hand")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file.resolve(), lambda stream: stream.write(made.encode()))
    except OSError as error:
        raise StoreError(f"settings file {file} cannot be written ({error.strerror})") from error


def _toml(text: str) -> tuple[str, Any]:
    """Return how a value is written, and what a reader gets from it."""
    if re.fullmatch(r"0|[1-9]\d*", text):
        return text, int(text)
    return json.dumps(text, ensure_ascii=False), text


_HEADER = r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$"
_ASSIGNED = r"""\s*([A-Za-z0-9_.\-"' ]+?)\s*="""


def _edited(lines: list[str], name: str, text: str | None) -> list[str]:
    """Return the lines of a file with one setting written, or taken out."""
    table, _, key = name.rpartition(".")
    place, header, root_end = "", None, None
    for i, line in enumerate(lines):
        if line.lstrip().startswith("["):
            root_end = i if root_end is None else root_end
            found = re.match(_HEADER, line)
            place = _bare(found[1]) if found else "?"
            header = i if place == table and header is None else header
        elif (found := re.match(_ASSIGNED, line)) and f"{place}.{_bare(found[1])}".lstrip(
            "."
        ) == name:
            new = [] if text is None else [f"{line[: found.end()]} {_toml(text)[0]}"]
            return [*lines[:i], *new, *lines[i + 1 :]]
    if text is None:
        return lines
    said = f"{key} = {_toml(text)[0]}"
    if not table:
        at = len(lines) if root_end is None else root_end
        return [*lines[:at], said, *([""] if root_end is not None else []), *lines[at:]]
    if header is not None:
        return [*lines[: header + 1], said, *lines[header + 1 :]]
    return [*lines, *([""] if lines else []), f"[{table}]", said]


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))
