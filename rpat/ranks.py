"""Several processes that train one run: which of them this is, and the parent that watches them.

They speak torchrun's language: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`. A
run that wants N processes starts them itself (`supervise`), in its own process group, so that
whoever ends the group ends all of them, and exit codes mean what they mean for one process;
torchrun may start them instead. Rank 0 alone writes the journal and the checkpoints. Standard
library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from rpat.errors import PARTED, SAVED, SUPERSEDED
from rpat.identity import Identity, process_identity
from rpat.journal import Journal
from rpat.rundir import Attempt, RunDir, read_json, write_json

GRACE = 15.0
"""Seconds that rank 0 has to say what is wrong once another rank has failed."""

DOOR = "RPAT_DOOR"
"""Names the open socket at which rank 0 receives the others; set by the parent."""

SUPERVISED = "RPAT_SUPERVISED"
"""Is set in processes that `supervise` has started."""

TORCHRUN = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
    "MASTER_PORT",
)  # fmt: skip
"""What says that a process is one of several."""

ASK = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Signals that ask for a checkpoint and an end."""

HAS_SPOKEN = (0, 1, 2, SAVED, SUPERSEDED)
"""Exit codes with which rank 0 leaves once its last word is in the journal."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes of a run this one is."""

    rank: int
    size: int
    local: int  # among those of this machine


def place(env: Mapping[str, str] = os.environ) -> Place | None:
    """Return this process's place among several; None where nobody has given it one."""
    try:
        rank, size = int(env["RANK"]), int(env["WORLD_SIZE"])
        return Place(rank, size, int(env.get("LOCAL_RANK", rank)))
    except (KeyError, ValueError):
        return None


def wanted(run: RunDir) -> int:
    """Return how many processes a job asks for; 1 where its config cannot be read."""
    try:
        job = read_json(run.config)
        count = job["config"].get("gpus", 1)
        return count if isinstance(count, int) and job.get("kind", "train") == "train" else 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 1


# ------------------------------------------------------------------------ one of them


def is_supervised() -> bool:
    """Return whether a parent of this program watches the ranks; torchrun is none."""
    return bool(os.environ.get(SUPERVISED))


def trainer() -> Identity:
    """Return the process that others know as the trainer: the parent, where there are several."""
    return process_identity(os.getppid() if is_supervised() else None)


def obey() -> None:
    """Leave every decision to rank 0 and the parent."""
    for number in ASK:
        signal.signal(number, signal.SIG_IGN)


def die_with_the_parent() -> None:
    """Ask the kernel for a SIGKILL when the parent ends (Linux only)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def vanish(code: int) -> NoReturn:
    """End at once: nothing is left to be written, and torch takes seconds to put things away."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def leave_word(attempt: Attempt, rank: int, error: Mapping[str, str]) -> None:
    """Tell the parent why this rank, which writes no journal, fails."""
    with suppress(OSError):
        write_json(attempt.rank(rank), error)


class Silent(Journal):
    """The journal of ranks that write none."""

    def __init__(self) -> None:
        self.seq = 0

    def write(self, kind: str, /, *, sync: bool = False, **values: Any) -> int:
        """Write nothing."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


# ------------------------------------------------------------------------ the parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the ranks have ended."""

    code: int  # exit code; that of rank 0 where it had its say
    error: Mapping[str, str] | None = None  # what nobody has journaled yet
    signal: int = 0  # that killed the rank which died first


def supervise(run: RunDir, attempt: Attempt, size: int) -> Outcome:
    """Start the ranks of a run and wait for them; when one dies, none is left."""
    children = start(run, attempt, size)
    for asking in ASK:
        signal.signal(asking, _passed_on_to(children[0]))
    first = watch(children)
    lead = children[0].returncode
    if first != 0 and lead in HAS_SPOKEN:
        return Outcome(lead)
    if first is None:
        return Outcome(1, {"reason": "rank", "message": f"the {size} ranks lost each other"})
    code = children[first].returncode
    if first == 0 and code in HAS_SPOKEN:
        return Outcome(code)
    name = f"rank {first} of {size}"
    number = int(max(-code, 0))
    how = f"was killed by {signal.Signals(number).name}" if number else f"left with code {code}"
    try:
        said = read_json(attempt.rank(first))
        error = {**said, "message": f"{name}: {said['message']}"}
    except (OSError, ValueError, KeyError):
        error = {"reason": "rank", "message": f"{name} {how}"}
    sys.stderr.write(error["message"] + "\n")
    sys.stderr.flush()
    return Outcome(1, error, number)


def start(run: RunDir, attempt: Attempt, size: int) -> list[subprocess.Popen[bytes]]:
    """Start every rank; rank 0 inherits the open door at which the others will find it."""
    threads = max(1, len(os.sched_getaffinity(0)) // size)
    with socket.create_server(("127.0.0.1", 0)) as door:
        everyone = {
            "OMP_NUM_THREADS": str(threads),
            "GLOO_SOCKET_IFNAME": "lo",
            **os.environ,
            "RPAT_ATTEMPT": str(attempt.number),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(door.getsockname()[1]),
            SUPERVISED: "1",
        }
        children = []
        for rank in range(size):
            env = everyone | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            if rank == 0:
                env[DOOR] = str(door.fileno())
            fds = [door.fileno()] if rank == 0 else []
            words = [sys.executable, "-m", "rpat", str(run.path)]
            children.append(
                subprocess.Popen(words, env=env, pass_fds=fds, stdin=subprocess.DEVNULL)
            )
        return children


def watch(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until rank 0 has ended, then end the others; returns which rank failed first.

    A rank that has failed gives rank 0 a little time to say why: the reason may be its own. Ranks
    whose peers have gone (`PARTED`) are nobody's reason.
    """
    first: int | None = None
    deadline = float("inf")
    while True:
        for rank, child in enumerate(children):
            if child.poll() in (None, 0, SAVED, SUPERSEDED):
                continue
            deadline = min(deadline, time.monotonic() + GRACE)
            if first is None and child.returncode != PARTED:
                first = rank
        lead = children[0].returncode
        knows = lead is not None and (lead != PARTED or first is not None)
        gone = all(child.returncode is not None for child in children)
        if knows or gone or time.monotonic() > deadline:
            break
        if deadline == float("inf"):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        else:
            time.sleep(0.05)
    for child in children:
        child.kill()
    for child in children:
        child.wait()
    return first


def end_as(outcome: Outcome) -> int:
    """Return the exit code of an outcome, or die of the signal that one of the ranks died of."""
    if outcome.signal:
        if outcome.signal != signal.SIGKILL:
            signal.signal(outcome.signal, signal.SIG_DFL)
        os.kill(os.getpid(), outcome.signal)
    return outcome.code


def _passed_on_to(child: subprocess.Popen[bytes]) -> Callable[[int, FrameType | None], None]:
    return lambda number, frame: child.send_signal(number)
