"""What `rpat doctor` says of a cluster: pure, from what Slurm's commands answered."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rpat_tui.home import Home, file_system, is_network
from rpat_tui.launch.slurm.commands import Commands, Silent

SHORT = 10.0
"""Seconds that the doctor waits for one answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `ok` is None for what is only worth knowing."""

    name: str
    ok: bool | None
    found: str
    do: str = ""


def look(home: Home, *, wanted: bool, chosen: Mapping[str, str]) -> list[Finding]:
    """Return what a run on the cluster would meet; nothing on a machine without Slurm.

    `wanted`: the settings send runs there. `chosen` are the settings of the launcher.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol") if not _there(name)]
    if missing:
        if not wanted:
            return []
        what = f"{', '.join(missing)} missing, and launcher.default is slurm"
        return [Finding("slurm", False, what, "log in to the cluster, or use --launcher local")]
    commands = Commands(limit=SHORT)
    try:
        config, partitions = commands.settings(), commands.partitions()
        commands.queue()
    except Silent as why:
        return [Finding("slurm", False if wanted else None, f"no answer: {why}",
                        "wait; queued runs are submitted as soon as it answers")]  # fmt: skip
    return [
        _cluster(config), _partitions(partitions, chosen), _accounting(commands, config),
        *_preemption(config), _shared(home), *_timing(config, chosen),
    ]  # fmt: skip


def _there(name: str) -> bool:
    return shutil.which(name) is not None


def _cluster(config: Mapping[str, str]) -> Finding:
    version = config.get("SLURM_VERSION", "of unknown version")
    return Finding("slurm", True, f"{config.get('ClusterName', 'a cluster')}, Slurm {version}")


def _partitions(found: Sequence[Mapping[str, str]], chosen: Mapping[str, str]) -> Finding:
    names = [p.get("PartitionName", "?") for p in found if p.get("State", "UP") == "UP"]
    wish = chosen.get("partition", "")
    unknown = [name for name in wish.split(",") if name and name not in names]
    if unknown:
        return Finding("partitions", False, f"{unknown[0]} is not one of {', '.join(names)}",
                       "set launcher.slurm.partition")  # fmt: skip
    default = next((p["PartitionName"] for p in found if p.get("Default") == "YES"), "")
    if not wish and not default:
        return Finding("partitions", False, f"{', '.join(names)}; none is the default",
                       "set launcher.slurm.partition")  # fmt: skip
    return Finding("partitions", True, ", ".join(names))


def _accounting(commands: Commands, config: Mapping[str, str]) -> Finding:
    if config.get("AccountingStorageType", "").endswith("none"):
        kept = config.get("MinJobAge", "some time")
        return Finding("accounting", None, f"none: Slurm forgets a job {kept} after its end; runs "
                                           "are judged by their journals")  # fmt: skip
    try:
        commands.history(["1"])
    except Silent as why:
        return Finding("accounting", False, f"sacct: {why}", "ask the administrators")
    if not commands.accounting:
        return Finding("accounting", None, "sacct is disabled; runs are judged by their journals")
    return Finding("accounting", True, "sacct answers")


def _preemption(config: Mapping[str, str]) -> list[Finding]:
    kind, mode = config.get("PreemptType", ""), config.get("PreemptMode", "")
    if not kind or kind.endswith("none"):
        return []
    if "REQUEUE" in mode:
        return [Finding("preemption", True, f"{mode}: runs save their work and go on")]
    what = f"{mode}: the worker submits preempted runs again"
    return [Finding("preemption", None, what)]


def _shared(home: Home) -> Finding:
    kind = file_system(home.path)
    if is_network(kind):
        return Finding("home on nodes", True, f"{kind}: nodes see it; the database is elsewhere")
    return Finding(
        "home on nodes", None, f"{home.path} is on {kind or 'an unknown file system'}",
        "nodes must see this folder under the same path; else put the home on a shared one",
    )  # fmt: skip


def _timing(config: Mapping[str, str], chosen: Mapping[str, str]) -> list[Finding]:
    wait = config.get("KillWait", "").split()
    seconds = int(wait[0]) if wait and wait[0].isdigit() else None
    if seconds is None:
        return []
    warning = chosen.get("signal", "")
    found = f"work is saved {warning} s before a time limit; after it Slurm waits {seconds} s"
    return [Finding("time limit", True, found)]
