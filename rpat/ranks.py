"""Several processes that train one run: which of them this is, and the parent that watches them.

They speak torchrun's language: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`. A
run that wants N processes starts them itself (`supervise`), in its own process group, so that
whoever ends the group ends all of them, and exit codes mean what they mean for one process;
torchrun may start them instead. On several nodes of a cluster the parent is on the first one, and
each other node has one of its own (`attend_afar`), all of them in one step of the job. Rank 0 alone
writes the journal and the checkpoints. Standard library only.
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

LEAVING = 5.0
"""Seconds that the ranks of other nodes have to leave by themselves once rank 0 has left."""

DOOR = "RPAT_DOOR"
"""Names the open socket at which rank 0 receives the others; set by the parent."""

SUPERVISED = "RPAT_SUPERVISED"
"""Is set in processes that `supervise` has started."""

NODES = "RPAT_NODES"
"""Says on how many nodes of the job the ranks are; set by the job's script."""

AFAR = "RPAT_AFAR"
"""Says how many ranks each node has; set for the parents on the other nodes."""

TORCHRUN = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
    "MASTER_PORT", NODES, AFAR,
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


def nodes() -> int:
    """Return on how many nodes the ranks of this job are."""
    return int(os.environ.get(NODES) or 1)


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
    try:
        children = start(run, attempt, size)
    except FileNotFoundError as missing:
        return Outcome(1, {"reason": "nodes", "message": f"{missing.filename} is not on this node"})
    heard: list[int] = []
    for asking in ASK:
        signal.signal(asking, _passed_on_to(children[0], heard))
    first = watch(children)
    lead = children[0].returncode
    if first != 0 and lead in HAS_SPOKEN:
        return Outcome(lead)
    if first is None:
        return Outcome(1, {"reason": "rank", "message": f"the {size} ranks lost each other"})
    code = children[first].returncode
    if first == 0 and code in HAS_SPOKEN:
        return Outcome(code)
    number = int(max(-code, 0))
    if isinstance(children[first], Step):
        number, said = 0, said_afar(attempt)
        if not said and heard:  # a job that is cancelled loses its step before it can save
            return Outcome(1, None, signal.SIGKILL)
        error = said or {"reason": "rank", "message": f"the step of the other nodes {how(code)}"}
    else:
        error = blame(attempt, first, size, code)
    sys.stderr.write(error["message"] + "\n")
    sys.stderr.flush()
    return Outcome(1, error, number)


def blame(attempt: Attempt, rank: int, size: int, code: int) -> dict[str, str]:
    """Return why a rank has failed: what it said itself, or how it ended."""
    name = f"rank {rank} of {size}"
    try:
        said = read_json(attempt.rank(rank))
        return {**said, "message": f"{name}: {said['message']}"}
    except (OSError, ValueError, KeyError):
        return {"reason": "rank", "message": f"{name} {how(code)}"}


def how(code: int) -> str:
    """Return how a process with this exit code has ended."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with code {code}"


def start(run: RunDir, attempt: Attempt, size: int) -> list[subprocess.Popen[bytes]]:
    """Start every rank; rank 0 inherits the open door at which the others will find it.

    The last of the children is the step with the ranks of all other nodes, where there are any.
    """
    each = size // nodes()
    alone = each == size
    with socket.create_server(("127.0.0.1" if alone else "", 0)) as door:
        everyone = {
            **({"GLOO_SOCKET_IFNAME": "lo"} if alone else {}),
            **os.environ,
            "RPAT_ATTEMPT": str(attempt.number),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(door.getsockname()[1]),
            SUPERVISED: "1",
        }
        step = [] if alone else [Step(run, everyone, each)]
        ranks = [launch(run, everyone, rank, rank, each, door) for rank in range(each)]
        return [*ranks, *step]


def launch(
    run: RunDir, everyone: Mapping[str, str], rank: int, local: int, each: int,
    door: socket.socket | None = None,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start one of the `each` ranks of this node."""
    threads = max(1, len(os.sched_getaffinity(0)) // each)
    own = {"RANK": str(rank), "LOCAL_RANK": str(local)}
    fds = []
    if rank == 0 and door is not None:
        own[DOOR] = str(door.fileno())
        fds = [door.fileno()]
    return subprocess.Popen(
        [sys.executable, "-m", "rpat", str(run.path)], pass_fds=fds, stdin=subprocess.DEVNULL,
        env={"OMP_NUM_THREADS": str(threads), **everyone, **own},
    )  # fmt: skip


def watch(children: Sequence[subprocess.Popen[bytes]], leads: bool = True) -> int | None:
    """Wait until rank 0 has ended, then end the others; returns which rank failed first.

    A rank that has failed gives rank 0 a little time to say why: the reason may be its own. Ranks
    whose peers have gone (`PARTED`) are nobody's reason. Where rank 0 is not among them (it
    `leads`), all are waited for until one has failed.
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
        knows = first is not None
        if leads:
            knows = lead is not None and (lead != PARTED or knows)
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


def _passed_on_to(
    child: subprocess.Popen[bytes], heard: list[int]
) -> Callable[[int, FrameType | None], None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        child.send_signal(number)

    return pass_on


# ------------------------------------------------------------------------ other nodes


class Step(subprocess.Popen[bytes]):
    """The ranks of the other nodes of a job, started by Slurm: one parent on each node.

    When the job ends, Slurm ends what is left of them; nothing of a run outlives its job.
    """

    def __init__(self, run: RunDir, everyone: Mapping[str, str], each: int) -> None:
        others = nodes() - 1
        words = [
            "srun", "--relative=1", f"--nodes={others}", f"--ntasks={others}",
            "--ntasks-per-node=1", "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1",
            "--wait=0", "--input=none", "--export=ALL",
            sys.executable, "-m", "rpat", str(run.path),
        ]  # fmt: skip
        super().__init__(words, env={**everyone, AFAR: str(each)}, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """Have the step's processes ended: srun takes SIGTERM for that wish."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(LEAVING)  # they are on their way: rank 0 has gone
            return
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.wait(GRACE)
            return
        super().kill()


def is_afar() -> bool:
    """Return whether this process is the parent of the ranks of another node."""
    return place() is None and bool(os.environ.get(AFAR))


def attend_afar(run: RunDir, attempt: Attempt) -> int:
    """Start the ranks of another node and wait for them; says why they failed."""
    obey()
    die_with_the_parent()
    size, each = int(os.environ["WORLD_SIZE"]), int(os.environ[AFAR])
    node = int(os.environ["SLURM_PROCID"]) + 1
    everyone = {**os.environ, "MASTER_ADDR": os.environ["SLURM_LAUNCH_NODE_IPADDR"]}
    children = [launch(run, everyone, node * each + local, local, each) for local in range(each)]
    first = watch(children, leads=False)
    if first is not None:
        with suppress(OSError):
            error = blame(attempt, node * each + first, size, children[first].returncode)
            write_json(attempt.node(node), error)
        return 1
    return PARTED if any(child.returncode == PARTED for child in children) else 0


def said_afar(attempt: Attempt) -> dict[str, str] | None:
    """Return what the other node that failed first has said; None where none could."""
    with suppress(OSError, ValueError):
        words = [attempt.node(node) for node in range(1, nodes())]
        left = sorted((w for w in words if w.exists()), key=lambda word: word.stat().st_mtime)
        for word in left:
            return dict(read_json(word))
    return None
