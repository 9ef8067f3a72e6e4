"""Who a process is: host, boot, pid and start time together; a pid alone is reused.

Standard library only. Reads /proc where there is one.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TypedDict


class Identity(TypedDict):
    """A process that can be recognised later."""

    host: str
    boot: str
    pid: int
    started: str


def process_identity(pid: int | None = None) -> Identity:
    """Return the identity of a process; by default of this one."""
    pid = os.getpid() if pid is None else pid
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": pid, "started": start_time(pid)}


def boot_id() -> str:
    """Return an id that changes when the machine starts again, or ''."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def start_time(pid: int) -> str:
    """Return when a living process started, in clock ticks since boot, or '' if it is gone.

    A process that has ended and was not yet collected by its parent counts as gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return _start_without_proc(pid)
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def is_alive(identity: Identity) -> bool | None:
    """Return whether a process lives; None when this host cannot tell."""
    if identity["host"] != socket.gethostname():
        return None
    if identity["boot"] != boot_id():
        return False
    return bool(identity["started"]) and start_time(identity["pid"]) == identity["started"]


def _start_without_proc(pid: int) -> str:
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"
