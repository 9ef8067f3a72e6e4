"""Where everything lives: the home folder and its files.

    <home>/runs/r0001/    run directories: the truth
    <home>/rpat.db        the index of them; on a network file system it goes to a local folder
    <home>/data, cache    data sets, decoded images
    <home>/snapshots      code that queued runs will execute
    <home>/trash          deleted runs, until it is emptied
    <home>/remotes        what is known of other machines' homes; together: this one and those

Standard library and platformdirs only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rpat.errors import StoreError
from rpat.rundir import new_uid, read_json, write_json
from rpat_tui.settings import config_files as config_files
from rpat_tui.settings import settings as settings

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
