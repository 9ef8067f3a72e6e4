"""Processes as /proc shows them: whose child, how much memory, how much work. Linux only.

Where there is no /proc nothing is known, and nothing is claimed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True, slots=True)
class Stat:
    """A process at one moment; `seconds` of work include those of children that have ended."""

    pid: int
    parent: int
    session: int
    seconds: float
    rss_mb: float


def stat(pid: int) -> Stat | None:
    """Return what /proc says of a process, or None where it says nothing."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stream:  # noqa: PTH123  often: fast
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return None
    work = sum(int(ticks) for ticks in fields[11:15])
    return Stat(pid, int(fields[1]), int(fields[3]), work / TICKS, int(fields[21]) * PAGE_MB)


def exists(pid: int) -> bool:
    """Return whether a process of this number can be seen from here, even if hidden in /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def owner(pid: int) -> str:
    """Return the name of the user a process belongs to, or ''."""
    import pwd

    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
        return pwd.getpwuid(uid).pw_name
    except (OSError, KeyError):
        return ""


def root_of(pid: int, roots: Collection[int]) -> int | None:
    """Return which of the roots a process comes from: its session's leader or an ancestor."""
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        if pid in roots:
            return pid
        found = stat(pid)
        if found is None:
            return None
        if found.session in roots:
            return found.session
        seen.add(pid)
        pid = found.parent
    return None


def tree(roots: Iterable[int]) -> list[Stat]:
    """Return some processes and all that descend from them, as far as they live."""
    found: dict[int, Stat] = {}
    left = list(roots)
    while left:
        pid = left.pop()
        if pid in found or (known := stat(pid)) is None:
            continue
        found[pid] = known
        left += children(pid)
    return list(found.values())


def children(pid: int) -> list[int]:
    """Return the living children of a process, whichever of its threads made them."""
    out: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  often: fast
    except OSError:
        return out
    for thread in threads:
        with (
            suppress(OSError),
            open(  # noqa: PTH123
                f"/proc/{pid}/task/{thread}/children", "rb", buffering=0
            ) as stream,
        ):
            out += map(int, stream.read().split())
    return out


def free_mb() -> int | None:
    """Return the memory that programs can still have on this machine."""
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None
