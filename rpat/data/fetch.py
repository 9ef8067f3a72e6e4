"""Download of an official data set, by one process at a time and never half visible."""

from __future__ import annotations

import fcntl
import http.client
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torchvision.datasets.utils import download_and_extract_archive

from rpat.data.cifar import OFFICIAL
from rpat.data.locate import CIFAR_FOLDERS, DOWNLOADABLE, Found, locate, missing
from rpat.errors import ConfigError, RunError

SILENCE_S = 60.0
"""A server that says nothing for so long is given up."""


def fetch(name: str, root: Path, notify: Callable[[str], None] = lambda text: None) -> Found:
    """Return the official files of `name` under `root`, downloaded if they are missing.

    A lock file in `root` lets one process download while others wait and then find the files.
    The archive stays in `root`, where one brought by hand is used as well. Raises `ConfigError`
    for a data set that has no download, `RunError` (reason `data`) for one that failed.
    """
    if name not in DOWNLOADABLE:
        raise ConfigError(missing(name, root, "it is not downloaded"))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root / f".{name}.lock", lambda: notify(f"waiting for the download of {name}")):
            found = locate(name, root, "official")
            if found is None:
                notify(f"downloading {name} to {root}")
                _download(name, root)
                found = locate(name, root, "official")
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(
            missing(name, root, f"it could not be downloaded ({reason})"), "data"
        ) from error
    if found is None:
        raise RunError(missing(name, root, "the downloaded archive lacks files"), "data")
    return found


def _download(name: str, root: Path) -> None:
    """Download, check and unpack beside the target, then rename: no half set is ever seen."""
    official, target = OFFICIAL[name], root / CIFAR_FOLDERS[name]
    if target.exists():
        raise FileExistsError(f"{target} is incomplete: delete that folder first")
    unpacked = root / f".{name}-unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a process that was killed
    try:
        with _impatience():
            download_and_extract_archive(
                official.url, root, unpacked, filename=official.filename, md5=official.tgz_md5
            )
        (unpacked / target.name).rename(target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


@contextmanager
def _alone(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock; the kernel releases it even if this process is killed."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _impatience() -> Iterator[None]:
    """Bound the wait for the network: torchvision opens its connection without a limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
