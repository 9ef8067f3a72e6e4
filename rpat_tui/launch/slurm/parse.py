"""What Slurm's commands print, as values: pure, and tested on recorded outputs.

Fields are asked for by format strings; the shape of `--json` has changed between releases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

QUEUE_FORMAT = "JobID:20|,Name:200|,State:30|,Reason:200|,NodeList:200|,RestartCnt:20|"
"""With widths: without one some releases cut a field off after 20 characters."""

HISTORY_FORMAT = "JobIDRaw,JobName,State,ExitCode,NodeList,Start,End"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as the cluster describes it; `exit` is `code:signal` where accounting told it."""

    id: str
    name: str
    state: str
    why: str = ""
    node: str = ""
    exit: str = ""
    restarts: int | None = None  # turns that have ended; None where accounting told the rest


def queue(text: str) -> dict[str, Job]:
    """Return the jobs that `squeue` lists, by name; of two with one name the newest."""
    found: dict[str, Job] = {}
    for line in text.splitlines():
        first, _, rest = line.partition("|")
        fields = rest.rstrip().removesuffix("|").rsplit("|", 4)  # a name may hold the separator
        if not first.strip().isdigit() or len(fields) != 5:
            continue
        number = first.strip()
        name, state, why, node, restarts = (field.strip() for field in fields)
        if name not in found or int(found[name].id) < int(number):
            found[name] = Job(
                id=number, name=name, state=state, why=_none(why), node=_none(node),
                restarts=int(restarts) if restarts.isdigit() else None,
            )  # fmt: skip
    return found


def history(text: str) -> dict[str, Job]:
    """Return the jobs that `sacct -n -P` lists, by name; a state is its first word."""
    found: dict[str, Job] = {}
    for line in text.splitlines():
        first, _, rest = line.partition("|")
        fields = rest.rsplit("|", 5)
        if not first.isdigit() or len(fields) != 6:
            continue
        name, state, code, node, _, _ = (field.strip() for field in fields)
        word = state.split()[0] if state else ""
        if name not in found or int(found[name].id) < int(first):
            found[name] = Job(
                id=first, name=name, state=word, node="" if node == "None assigned" else node,
                exit=code,
            )  # fmt: skip
    return found


def _none(text: str) -> str:
    return "" if text in ("None", "(null)", "N/A") else text


def job_id(text: str) -> str:
    """Return the job's number from what `sbatch --parsable` printed (`12` or `12;cluster`); ''."""
    lines = text.strip().splitlines()
    word = lines[-1].partition(";")[0].strip() if lines else ""
    return word if word.isdigit() else ""


def fields(text: str) -> dict[str, str]:
    """Return the `Key=value` words that `scontrol show` prints in one line."""
    return dict(re.findall(r"(?:^|\s)([A-Za-z][\w:./]*)=(\S*)", text))


def node(text: str) -> str:
    """Return the state of a node and why, as `down* (Not responding)`, from `%T|%E` of `sinfo`."""
    state, _, why = (text.splitlines() or [""])[0].partition("|")
    return f"{state} ({why})" if why not in ("", "none") else state


_DUE = {
    "PREEMPTION": "preempted", "TIME LIMIT": "time limit", "NODE FAILURE": "node failed",
    "JOB REQUEUE": "requeued",
}  # fmt: skip


def due_to(text: str) -> str:
    """Return what Slurm printed into a job's output about why it ends the job, as a cause; or ''.

    `slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T04:41:30 DUE TO PREEMPTION ***`
    """
    if re.search(r"slurmstepd\S*: error: .*([Ee]xceeded (job )?memory limit|oom.kill)", text):
        return "host memory"
    said = re.findall(r"\*\*\* .* CANCELLED AT \S+ DUE TO ([A-Z ]*[A-Z])", text)
    return _DUE.get(said[-1], "") if said else ""


def one_line(text: str) -> str:
    """Return the line of an error message that says most, without the program's name; or ''."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    said = [line for line in lines if re.search(r"\b(error|fatal):", line)][-1:] or lines[:1]
    return re.sub(r"^(sbatch|squeue|sacct|scancel|scontrol|sinfo): ((error|fatal): )?", "", said[0])


_UNSURE = (
    "unable to contact", "timed out", "connection refused", "zero bytes", "communication",
    "socket", "no answer",
)  # fmt: skip
_TEMPORARY = (
    *_UNSURE, "temporarily", "authentication", "credential", "submit limit", "maxsubmit",
    "too many", "standby", "munge", "slurmctld", "violates accounting/qos",
)  # fmt: skip


def is_temporary(message: str) -> bool:
    """Return whether asking again later may help: no answer, or a limit on jobs in the queue."""
    text = message.lower()
    return any(word in text for word in _TEMPORARY)


def is_unsure(message: str) -> bool:
    """Return whether what was asked for may have been done all the same."""
    text = message.lower()
    return any(word in text for word in _UNSURE)
