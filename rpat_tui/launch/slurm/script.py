"""The command line and the script of a job: pure, a run's wishes in, words out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rpat_tui.placement import nodes, seconds, times, words


def options(
    run_dir: Path, name: str, asked: Mapping[str, str], device: str, *, gpus: bool, cards: int = 1
) -> list[str]:
    """Return the words after `sbatch`; `gpus`: some node of the cluster has any.

    A run on several cards is one task on each node, which starts a process for each card there.
    """
    count = nodes(asked)
    cards //= count
    log = str(run_dir / "submissions").replace("%", "%%") + "/slurm-%j.out"
    found = [
        "--parsable", "--requeue", "--open-mode=append", f"--job-name={name}",
        f"--comment=rpat:{run_dir.name}", f"--nodes={count}",
        "--ntasks=1" if count == 1 else "--ntasks-per-node=1",
        f"--chdir={run_dir}", f"--output={log}",
        f"--signal=B:USR1@{warning(asked)}",
    ]  # fmt: skip
    if gres := wanted_gres(asked.get("gres", ""), device, gpus=gpus, cards=cards):
        found.append(f"--gres={gres}")
    if asked.get("cpus"):
        found.append(f"--cpus-per-task={max(int(asked['cpus']), cards)}")
    for key in ("mem", "partition", "account", "qos", "time", "constraint"):
        if asked.get(key):
            found.append(f"--{key}={asked[key]}")
    return found + words(asked.get("sbatch", ""))


def wanted_gres(gres: str, device: str, *, gpus: bool, cards: int = 1) -> str:
    """Return what `--gres` asks for; '' for nothing: a run on the CPU, or a cluster without GPUs.

    `--device cuda` asks for a GPU whatever the cluster says of itself.
    """
    if gres == "none" or device == "cpu":
        return ""
    if gres:
        return gres if cards == 1 else times(gres, cards)
    return f"gpu:{cards}" if gpus or device.startswith("cuda") else ""


def warning(asked: Mapping[str, str]) -> int:
    """Return the seconds before the time limit when the work is saved: half the limit at most."""
    wish = int(asked.get("signal") or 120)
    limit = seconds(asked.get("time", ""))
    return wish if limit is None else max(1, min(wish, limit // 2))


def script(run_dir: Path, number: int, asked: Mapping[str, str], grace: float) -> str:
    """Return the job's script.

    `exec` is required: with a shell in between, `scancel` ends the shell, and the training goes on
    as an orphan on a GPU that Slurm gives to the next job. `grace` is how long a trainer may take
    to save its work once a person asked it to.
    """
    python = asked.get("python") or sys.executable
    lines = [
        "#!/bin/bash",
        "trap '' USR1",  # a warning before the attendant can answer must not end the job
        f"cd {shlex.quote(str(run_dir))} || exit 78",
        *filter(None, [asked.get("setup", "")]),
        "export SLURM_EXPORT_ENV=ALL",
        f"export RPAT_STOP_GRACE={grace:g} RPAT_WARNING={warning(asked)}",
        f"export RPAT_TURNS={int(asked.get('turns') or 20)} RPAT_NODES={nodes(asked)}",
        f"exec {shlex.quote(python)} -m rpat_tui.launch.attend {shlex.quote(str(run_dir))} "
        f"{number}",
    ]
    return "\n".join(lines) + "\n"
