"""Where everything lives: the home folder, its files, and the settings that find them.

    <home>/runs/r0001/    run directories: the truth
    <home>/rpat.db        the index of them; on a network file system it goes to a local folder
    <home>/data, cache    data sets, decoded images
    <home>/snapshots      code that queued runs will execute
    <home>/trash          deleted runs, until it is emptied

Standard library and platformdirs only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rpat.errors import ConfigError, StoreError
from rpat.rundir import new_uid, read_json, write_json

NETWORK_FILE_SYSTEMS = ("nfs", "lustre", "gpfs", "cifs", "smb", "afs", "beegfs", "fuse.sshfs")


@dataclass(frozen=True, slots=True)
class Home:
    """The files of a home folder."""

    path: Path

    @property
    def runs(self) -> Path:
        """Run directories."""
        return self.path / "runs"

    @property
    def cache(self) -> Path:
        """Decoded images."""
        return self.path / "cache"

    @property
    def snapshots(self) -> Path:
        """Code frozen when runs were queued."""
        return self.path / "snapshots"

    @property
    def trash(self) -> Path:
        """Deleted runs, until the trash is emptied."""
        return self.path / "trash"

    @property
    def generation(self) -> Path:
        """How new a database of this home must be."""
        return self.path / "generation"

    @property
    def worker_lock(self) -> Path:
        """Held by the worker for as long as it lives; names it."""
        return self.path / "worker.lock"

    @property
    def worker_log(self) -> Path:
        """Output of a worker that was started in the background."""
        return self.path / "worker.log"

    @property
    def ingest_lock(self) -> Path:
        """Held while journals are read into the database."""
        return self.path / "ingest.lock"

    @property
    def identity(self) -> Path:
        """The home's uid, so that a database elsewhere can be matched to it."""
        return self.path / "home.json"

    @property
    def database(self) -> Path:
        """The index; beside the runs, or in a local folder when the home is on a network."""
        if not is_network(file_system(self.path)):
            return self.path / "rpat.db"
        import platformdirs

        uid = read_json(self.identity)["uid"]
        return Path(platformdirs.user_state_dir("rpat")) / f"{uid}.db"

    def exists(self) -> bool:
        """Return whether a home has been made here."""
        return self.identity.is_file()

    def make(self) -> Home:
        """Create the folder and its identity where they are missing; return the home.

        Raises `StoreError` when the folder cannot be made or written.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            if not self.identity.exists():
                write_json(self.identity, {"uid": new_uid()})
        except OSError as error:
            raise StoreError(
                f"home {self.path} cannot be used ({error.strerror}); "
                "name another folder with --home or RPAT_HOME"
            ) from error
        return self


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its default, the environment variable that overrides files, and its reader."""

    name: str
    default: str
    env: str
    help: str
    read: Callable[[str], Any] = str
    takes: str = "a number"


@dataclass(frozen=True, slots=True)
class Value:
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


def _action(word: str) -> str:
    if word not in ("tell", "restart"):
        raise ValueError(word)
    return word


def _launcher(word: str) -> str:
    if word not in ("local", "slurm"):
        raise ValueError(word)
    return word


def _slurm(name: str, default: str, help: str, read: Callable[[str], Any] = str) -> Setting:
    return Setting(f"launcher.slurm.{name}", default, f"RPAT_SLURM_{name.upper()}", help, read)


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
        _action,
        "tell or restart",
    ),
    Setting(
        "launcher.default",
        "local",
        "RPAT_LAUNCHER",
        "where runs execute unless said: local or slurm",
        _launcher,
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


def config_files() -> list[Path]:
    """Return the settings files that are read, the stronger ones last."""
    import platformdirs

    return [Path(platformdirs.user_config_dir("rpat")) / "config.toml", Path("rpat.toml")]


def settings(**flags: str | None) -> dict[str, Value]:
    """Return every setting with its origin: default, files, environment, then flags."""
    found = {s.name: Value(s.name, s.default, "default", s.help) for s in SETTINGS}
    for file in config_files():
        for name, raw in _flat(_read_toml(file)):
            if name not in found:
                raise ConfigError(f"{file}: '{name}' is not a setting; see rpat config")
            found[name] = Value(name, str(raw), str(file), found[name].help)
    for s in SETTINGS:
        if os.environ.get(s.env):
            found[s.name] = Value(s.name, os.environ[s.env], s.env, s.help)
        if flags.get(s.name) is not None:
            found[s.name] = Value(s.name, flags[s.name], "command line", s.help)
    for s in SETTINGS:
        value = found[s.name]
        try:
            found[s.name] = Value(s.name, s.read(value.value), value.origin, s.help)
        except ValueError:
            raise ConfigError(
                f"setting {s.name} is {value.value!r} (from {value.origin}); write {s.takes}"
            ) from None
    if not found["home"].value:
        found["home"] = Value("home", default_home(), "default", found["home"].help)
    return found


def default_home() -> str:
    """Return the platform's folder for user data."""
    import platformdirs

    return platformdirs.user_data_dir("rpat")


def find_home(option: str | None = None) -> Home:
    """Return the home that the option, the environment or the settings name."""
    return Home(Path(settings(home=option)["home"].value).expanduser().absolute())


def data_folder(home: Home, option: str | None = None) -> Path:
    """Return the folder to look for data sets in."""
    named = settings(data_dir=option)["data_dir"].value
    return Path(named).expanduser().absolute() if named else home.path / "data"


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path, or '' where it cannot be told."""
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    place = str(path.resolve())
    best, kind = "", ""
    for line in mounts:
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def is_network(kind: str) -> bool:
    """Return whether SQLite's locks cannot be trusted on a file system."""
    return kind.startswith(NETWORK_FILE_SYSTEMS)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables under dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"settings file {file} cannot be read: {error}") from error
