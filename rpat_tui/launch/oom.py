"""Did the kernel kill it? Counters of out-of-memory kills, before and after. Standard library only.

A SIGKILL says not who sent it. The kernel counts its own kills for each control group (version 2:
`memory.events`, version 1: `memory.oom_control`) and for the machine (`/proc/vmstat`).
"""

from __future__ import annotations

import resource
from pathlib import Path

CGROUPS, SELF, MACHINE = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/vmstat")

Counters = dict[str, int]
"""`oom_kill` by the file that counts it, the nearest control group first."""


def counters(cgroups: Path = CGROUPS, membership: Path = SELF, machine: Path = MACHINE) -> Counters:
    """Return the counters that can be read: of the own control groups, then of the machine."""
    found: Counters = {}
    for folder, file in _groups(cgroups, membership):
        _read(folder / file, found)
    _read(machine, found)
    return found


def risen(before: Counters, after: Counters) -> tuple[str, int] | None:
    """Return the nearest counter that rose and by how much; ('', 0) where all stood still.

    None where nothing could be read at both times.
    """
    both = [name for name in after if name in before]
    for name in both:
        if after[name] > before[name]:
            return name, after[name] - before[name]
    return ("", 0) if both else None


def peak_mb() -> int:
    """Return the most memory that an ended child held at a time, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def _groups(cgroups: Path, membership: Path) -> list[tuple[Path, str]]:
    """Return the folders of the own control group and its parents, with the file to read."""
    try:
        lines = membership.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    places: list[tuple[Path, str]] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            roots, file = [cgroups, cgroups / "unified"], "memory.events"
        elif "memory" in controllers.split(","):
            roots, file = [cgroups / "memory"], "memory.oom_control"
        else:
            continue
        for root in roots:
            folder = root / path.lstrip("/")
            while True:
                places.append((folder, file))
                if folder == root or root not in folder.parents:
                    break
                folder = folder.parent
    return places


def _read(file: Path, found: Counters) -> None:
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.strip().isdigit():
            found[str(file)] = int(value)
