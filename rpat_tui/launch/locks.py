"""Advisory locks on files: who holds one, for how long a process lives."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def held(path: Path, content: Mapping[str, Any] | None = None) -> Iterator[bool]:
    """Try to hold a lock for the block; yields whether it was free.

    `content` is written into the file for people to read while the lock is held. The lock ends
    with the process, however that ends.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if content is not None:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(dict(content)).encode(), 0)
        yield True
    finally:
        os.close(fd)


def holder(path: Path) -> dict[str, Any] | None:
    """Return what the holder of a lock wrote, or None when nobody holds it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            found: dict[str, Any] = json.loads(os.pread(fd, 4096, 0) or b"{}")
        except ValueError:
            found = {}
        return found
    finally:
        os.close(fd)
    return None
