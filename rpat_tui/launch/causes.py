"""Why runs end: every cause has one stable word, a meaning and a remedy; pure data and patterns.

The word travels in a transition's evidence as `cause`. `recognise` finds it from what the trainer
journaled or, where it could not, from what it printed last. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason that runs end for: what it means, and what helps."""

    word: str
    means: str
    remedy: str


_ALL = (
    Cause(
        "gpu memory",
        "The GPU had too little memory left.",
        "Look who else uses the card; take a smaller optim.batch_size or another device.",
    ),
    Cause(
        "host memory",
        "The machine's or its container's memory ran out.",
        "Run fewer runs at a time, or raise the limit of the container.",
    ),
    Cause(
        "nan",
        "A loss was not finite.",
        "Lower optim.lr, or look for broken images.",
    ),
    Cause(
        "collapse",
        "The network guesses: its accuracy is that of chance.",
        "Lower optim.lr or the radius; rpat show lists what the checks found.",
    ),
    Cause(
        "signal",
        "A signal ended the trainer, and nobody asked rpat for it.",
        "Find out who sent it (a person, another program, a fault in a library); requeue.",
    ),
    Cause(
        "time limit",
        "The cluster's time limit ended this turn.",
        "Nothing: it goes on from its checkpoint by itself; --time makes turns longer.",
    ),
    Cause(
        "preempted",
        "The cluster gave its place to a job of higher priority.",
        "Nothing: it goes on from its checkpoint by itself.",
    ),
    Cause(
        "requeued",
        "The cluster put the job back into its queue, or somebody did (scontrol requeue).",
        "Nothing: it goes on from its checkpoint by itself.",
    ),
    Cause(
        "node failed",
        "The node that it ran on stopped answering.",
        "Nothing: it goes on from its checkpoint, on another node.",
    ),
    Cause(
        "no progress",
        "Three turns in a row began at the same step and reached their time limit.",
        "Requeue with a longer --time; see rpat logs RUN.",
    ),
    Cause(
        "refused",
        "The cluster refused the job.",
        "Requeue with other wishes (--partition, --time, --gres); rpat doctor tests it.",
    ),
    Cause(
        "launch",
        "The cluster started the job, and its attendant never came to work.",
        "Read submissions/slurm-JOB.out in the run's folder: Python or the folder may be missing "
        "on the nodes.",
    ),
    Cause(
        "turns",
        "The job was started again as often as was allowed.",
        "Requeue to go on; launcher.slurm.turns allows more.",
    ),
    Cause("reboot", "The machine was restarted.", "Requeue: it goes on from its checkpoint."),
    Cause(
        "disk full",
        "A disk or a quota had no room left.",
        "Free some space (rpat doctor says where), then requeue.",
    ),
    Cause(
        "data",
        "The data set is missing or damaged.",
        "Put it where the message says (--data-dir) or let it be downloaded, then requeue.",
    ),
    Cause(
        "import",
        "A Python module could not be imported.",
        "Repair the installation; requeue --code now takes the code of today.",
    ),
    Cause(
        "driver",
        "CUDA, cuDNN, NCCL or the driver reported an error.",
        "Look at nvidia-smi and the kernel's log; try another device, then requeue.",
    ),
    Cause(
        "checkpoint",
        "A checkpoint cannot be read.",
        "Requeue with --from-start; the damaged file is kept beside the new ones.",
    ),
    Cause(
        "weights",
        "Weights that the job needs are missing or have changed.",
        "Train them first (rpat run queues teachers by itself), then requeue.",
    ),
    Cause(
        "config",
        "The config asks for something that cannot be done here.",
        "Make a new run with the value changed: rpat rerun RUN --set key=value.",
    ),
    Cause(
        "start",
        "The run's processes could not be started.",
        "Read worker.log in the home folder, then requeue.",
    ),
    Cause("superseded", "A later attempt owns the run.", "Nothing: the later attempt goes on."),
    Cause(
        "vanished",
        "Trainer and attendant ended without a word, on a machine that was not restarted.",
        "Usually kill -9 of the whole process group, or a container that was removed; requeue.",
    ),
    Cause(
        "stuck",
        "No row came for many times the usual interval.",
        "Look at the log and the device; kill and requeue, or set stuck_action = \"restart\".",
    ),
    Cause("killed on request", "A person asked rpat to kill it.", "Requeue to go on."),
    Cause("user stop", "A person asked rpat to stop it.", "Requeue to go on."),
    Cause(
        "outside stop",
        "A signal from outside rpat asked the run to save its work and end.",
        "Requeue to go on; a cluster or a shutdown sends such signals.",
    ),
    Cause(
        "lost",
        "There is no end record, and the host where it ran cannot be asked from here.",
        "Ask from that host: any reading command there settles it.",
    ),
    Cause("error", "The program raised an error.", "Read the traceback in rpat logs RUN."),
    Cause(
        "exit",
        "The trainer left with an exit code and without a word.",
        "Read the end of rpat logs RUN.",
    ),
)  # fmt: skip

CAUSES: dict[str, Cause] = {cause.word: cause for cause in _ALL}
"""Every cause by its word."""

JOURNALED = {
    "out of memory": "gpu memory", "nan": "nan", "collapse": "collapse", "disk full": "disk full",
    "data": "data", "import": "import", "driver": "driver", "checkpoint": "checkpoint",
    "weights": "weights", "config": "config",
}  # fmt: skip
"""The reasons that the core journals, and what they are called here."""

_PATTERNS = (
    ("gpu memory", r"(CUDA|HIP) out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"),
    ("host memory", r"\bMemoryError\b|DefaultCPUAllocator|[Cc]annot allocate memory|bad_alloc"),
    ("disk full", r"No space left on device|Disk quota exceeded"),
    ("import", r"\bImportError\b|ModuleNotFoundError|cannot open shared object file"),
    (
        "driver",
        r"CUDA error|CUDA driver|cuDNN|CUDNN_|CUBLAS_|cuBLAS|NCCL|NVIDIA driver|"
        r"no kernel image|Found no NVIDIA|nvrtc",
    ),
)

SIGNALS = {
    "SIGABRT": "aborted by a library",
    "SIGALRM": "an alarm clock",
    "SIGBUS": "a bus error: the shared memory (/dev/shm) or the disk behind a mapped file is full",
    "SIGFPE": "an arithmetic fault",
    "SIGHUP": "its terminal was closed",
    "SIGILL": "an instruction that this processor does not have",
    "SIGINT": "Ctrl-C",
    "SIGPIPE": "nobody read its output",
    "SIGQUIT": "asked to quit from a terminal",
    "SIGSEGV": "a segmentation fault: a bug in a library, or faulty memory",
    "SIGTERM": "asked to end from outside rpat",
    "SIGXCPU": "over a limit of CPU time",
    "SIGXFSZ": "over a limit of file size",
}
"""What signals mean, in words."""


def recognise(reason: str, text: str) -> str:
    """Return the cause behind a journaled reason and its message, or behind a line of output.

    '' where nothing is known: the reason is a plain error, and the text says no more.
    """
    found = next((word for word, pattern in _PATTERNS if re.search(pattern, text)), "")
    if reason in ("", "error"):
        return found
    if reason == "out of memory" and found == "host memory":
        return found
    return JOURNALED.get(reason, found)


_SIZE = r"([\d.]+ ?[KMGT]?i?B)"


def memory_sentence(text: str) -> str:
    """Return who wanted how much GPU memory and how much was free; '' where it is not said."""
    wanted = re.search(rf"[Tt]ried to allocate {_SIZE}", text)
    if not wanted:
        return ""
    card = re.search(r"GPU (\d+)", text)
    free = re.search(rf"{_SIZE} (?:is )?free", text)
    total = re.search(rf"total capacity of {_SIZE}|{_SIZE} total capacity", text)
    parts = [f"wanted {wanted[1]}"]
    if free:
        parts.append(f"{free[1]} free" + (f" of {total[1] or total[2]}" if total else ""))
    said = ", ".join(parts)
    others = re.findall(rf"Process (\d+) has {_SIZE} memory in use", text)
    own = re.search(rf"this process has {_SIZE} memory in use", text)
    holders = [f"process {pid} holds {size}" for pid, size in others]
    holders += [f"the run itself {own[1]}"] if own else []
    where = f"GPU {card[1]} " if card else "the GPU "
    return f"{where}is out of memory: {said}" + "".join(f"; {holder}" for holder in holders)


def signal_sentence(name: str) -> str:
    """Return a signal's name with what it means."""
    meaning = SIGNALS.get(name)
    return f"{name} ({meaning})" if meaning else name
