"""Every branch of the judgement, from evidence alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rpat.__main__ import describe
from rpat.errors import ConfigError, RunError
from rpat_tui.launch.causes import CAUSES, recognise
from rpat_tui.launch.verdict import PATIENCE, RESTARTS, Evidence, judge

LATER = PATIENCE + 1
UNASKABLE = "its host cannot be asked from here"

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # no attempt was claimed yet
    "an attendant that lives is still starting": (
        {"launcher": True, "waited": LATER}, "starting", "",
    ),
    "a young start is given time": ({"waited": PATIENCE - 1}, "starting", ""),
    "an attendant on another host is lost": (
        {"launcher": None, "waited": LATER}, "lost", UNASKABLE,
    ),
    "a start that its worker never made is queued again": (
        {"waited": LATER}, "queued", "its worker died before the run could start",
    ),
    "an attendant that died before it could claim an attempt has failed": (
        {"launched": True, "waited": LATER},
        "failed", "its processes could not be started; see worker.log",
    ),
    "a full disk is named where nothing could be started": (
        {"launched": True, "waited": LATER, "disk_full": True},
        "failed", "its processes could not be started (the disk is full); see worker.log",
    ),
    # the journal's last word
    "an end record is done": ({"attempt": 1, "ending": "end"}, "done", ""),
    "an end record beats a signal": (
        {"attempt": 1, "ending": "end", "signal": "SIGKILL"}, "done", "",
    ),
    "an end record beats a host that cannot be asked": (
        {"attempt": 1, "ending": "end", "trainer": None, "attendant": None}, "done", "",
    ),
    "an end record beats a kill that came too late": (
        {"attempt": 1, "ending": "end", "asked": "kill"}, "done", "",
    ),
    "a saved pause is paused": (
        {"attempt": 1, "ending": "stop", "word": "pause"}, "paused", "on request",
    ),
    "a saved stop is stopped": (
        {"attempt": 1, "ending": "stop", "word": "stop"}, "stopped", "on request",
    ),
    "a saved kill is stopped": (
        {"attempt": 1, "ending": "stop", "word": "kill"}, "stopped", "on request",
    ),
    "a stop by a signal is stopped from outside": (
        {"attempt": 1, "ending": "stop", "word": "SIGTERM"}, "stopped", "SIGTERM from outside rpat",
    ),
    "a stop record beats the exit code": (
        {"attempt": 1, "ending": "stop", "word": "stop", "exit_code": 85}, "stopped", "on request",
    ),
    # processes
    "a trainer with its images runs": (
        {"attempt": 1, "ready": True, "trainer": True, "attendant": True}, "running", "",
    ),
    "a trainer without an attendant runs": (
        {"attempt": 1, "ready": True, "trainer": True}, "running", "",
    ),
    "an attendant whose trainer has just ended runs": (
        {"attempt": 1, "ready": True, "attendant": True}, "running", "",
    ),
    "a trainer that fetches images is starting": (
        {"attempt": 1, "trainer": True, "attendant": True}, "starting", "",
    ),
    "an attendant that starts its trainer is starting": (
        {"attempt": 1, "attendant": True}, "starting", "",
    ),
    "a trainer that is asked to pause is pausing": (
        {"attempt": 1, "ready": True, "trainer": True, "asked": "pause"}, "pausing", "",
    ),
    "a trainer that is asked to stop runs until it has": (
        {"attempt": 1, "ready": True, "trainer": True, "asked": "stop"}, "running", "",
    ),
    "a trainer on another host is lost": (
        {"attempt": 1, "ready": True, "trainer": None}, "lost", UNASKABLE,
    ),
    "a trainer whose attendant cannot be asked is lost": (
        {"attempt": 1, "ready": True, "attendant": None}, "lost", UNASKABLE,
    ),
    "an exit code from another host is an answer": (
        {"attempt": 1, "trainer": None, "attendant": None, "exit_code": 3},
        "failed", "ended with exit code 3",
    ),
    # ends without the journal's last word
    "a kill that was asked for is no failure": (
        {"attempt": 1, "asked": "kill", "signal": "SIGKILL"}, "stopped", "killed on request",
    ),
    "a kill that was asked for is believed when all have vanished": (
        {"attempt": 1, "asked": "kill"}, "stopped", "killed on request",
    ),
    "an error says its message": (
        {"attempt": 1, "error_reason": "error", "error_message": "KeyError: 'x'", "exit_code": 1},
        "failed", "KeyError: 'x'",
    ),
    "a wrong config says its message": (
        {"attempt": 1, "error_reason": "config", "error_message": "lr is -1", "exit_code": 2},
        "failed", "lr is -1",
    ),
    "a known cause comes before its message": (
        {"attempt": 1, "error_reason": "out of memory", "error_message": "12 GB", "exit_code": 1},
        "failed", "out of memory: 12 GB",
    ),
    "a journaled error beats a full disk": (
        {"attempt": 1, "error_reason": "nan", "error_message": "loss", "disk_full": True},
        "failed", "nan: loss",
    ),
    "a full disk is named": (
        {"attempt": 1, "exit_code": 1, "disk_full": True},
        "failed", "disk full: the run's last words could not be written",
    ),
    "SIGKILL is named with its usual causes": (
        {"attempt": 1, "signal": "SIGKILL"},
        "failed", "killed by SIGKILL (kill -9, or the kernel when memory ran out)",
    ),
    "any other signal is named": (
        {"attempt": 1, "signal": "SIGRTMIN"}, "failed", "killed by SIGRTMIN",
    ),
    "an exit code is told with the last line": (
        {"attempt": 1, "exit_code": 3, "last_line": "Illegal instruction"},
        "failed", "ended with exit code 3: Illegal instruction",
    ),
    "exit code 0 without an end record is a failure": (
        {"attempt": 1, "exit_code": 0}, "failed", "ended with exit code 0",
    ),
    "a restarted machine is named": (
        {"attempt": 1, "rebooted": True}, "failed", "the machine was restarted",
    ),
    "what could not begin is not said to have vanished": (
        {"attempt": 1, "began": False},
        "failed", "its processes could not be started; see worker.log",
    ),
    "what vanished is said to have vanished": (
        {"attempt": 1}, "failed", "trainer and attendant vanished without a word (kill -9?)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_evidence_decides(case: str) -> None:
    evidence, state, reason = CASES[case]
    verdict = judge(Evidence(**evidence))
    assert (verdict.state, verdict.reason) == (state, reason)


def test_a_failure_keeps_its_proof() -> None:
    verdict = judge(Evidence(attempt=1, exit_code=3, last_line="boom"))
    assert verdict.evidence == {
        "cause": "exit", "exit_code": 3, "signal": "", "last_line": "boom",
    }  # fmt: skip


TORCH = (
    "OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB. GPU 1 has a total capacity "
    "of 79.15 GiB of which 412.00 MiB is free. Process 4242 has 58.10 GiB memory in use. Including "
    "non-PyTorch memory, this process has 20.50 GiB memory in use. Of the allocated memory …"
)
CGROUP = "/sys/fs/cgroup/memory.events"
RAISED = {"attempt": 1, "exit_code": 1, "error_reason": "error"}
CAUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a full card, with who holds what": (
        {"attempt": 1, "error_reason": "out of memory", "error_message": TORCH}, "gpu memory",
        "GPU 1 is out of memory: wanted 1.20 GiB, 412.00 MiB free of 79.15 GiB; "
        "process 4242 holds 58.10 GiB; the run itself 20.50 GiB",
    ),
    "a full card, as older versions say it": (
        {**RAISED, "error_message": "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB "
         "(GPU 0; 11.91 GiB total capacity; 10.12 GiB already allocated; 5.25 MiB free; …)"},
        "gpu memory",
        "GPU 0 is out of memory: wanted 20.00 MiB, 5.25 MiB free of 11.91 GiB",
    ),
    "a full card of which only the output tells": (
        {"attempt": 1, "exit_code": 1, "last_line": "torch.OutOfMemoryError: CUDA out of memory."},
        "gpu memory",
        "ended with exit code 1: torch.OutOfMemoryError: CUDA out of memory.",
    ),
    "memory of the host": (
        {"attempt": 1, "error_reason": "out of memory", "error_message": "MemoryError"},
        "host memory", "out of memory: MemoryError",
    ),
    "a kill by the kernel": (
        {"attempt": 1, "signal": "SIGKILL", "oom": (CGROUP, 1), "peak_mb": 12_595}, "host memory",
        f"killed by the kernel: out of memory (oom_kill rose by 1 in {CGROUP}; "
        "the run had held 12.3 GiB)",
    ),
    "a kill of the kernel somewhere on the machine": (
        {"attempt": 1, "signal": "SIGKILL", "oom": ("/proc/vmstat", 2)}, "host memory",
        "killed by SIGKILL, probably the kernel: out of memory (oom_kill rose by 2 in "
        "/proc/vmstat)",
    ),
    "a kill by a person": (
        {"attempt": 1, "signal": "SIGKILL", "oom": ("", 0), "peak_mb": 2048}, "signal",
        "killed by SIGKILL, not for want of memory: kill -9 from outside; the run had held 2.0 GiB",
    ),
    "a kill of which the kernel says nothing": (
        {"attempt": 1, "signal": "SIGKILL"}, "signal",
        "killed by SIGKILL (kill -9, or the kernel when memory ran out)",
    ),
    "a segmentation fault, in words": (
        {"attempt": 1, "signal": "SIGSEGV"}, "signal",
        "killed by SIGSEGV (a segmentation fault: a bug in a library, or faulty memory)",
    ),
    "a bus error, in words": (
        {"attempt": 1, "signal": "SIGBUS"}, "signal",
        "killed by SIGBUS (a bus error: the shared memory (/dev/shm) or the disk behind a mapped "
        "file is full)",
    ),
    "a journaled driver error": (
        {"attempt": 1, "error_reason": "driver", "error_message": "CUDA error: unknown"},
        "driver", "driver: CUDA error: unknown",
    ),
    "a driver error of an older core": (
        {**RAISED, "error_message": "RuntimeError: NCCL error in: …"}, "driver",
        "RuntimeError: NCCL error in: …",
    ),
    "a module that is missing before the trainer can say so": (
        {"attempt": 1, "exit_code": 1, "last_line": "ModuleNotFoundError: No module named 'torch'"},
        "import", "ended with exit code 1: ModuleNotFoundError: No module named 'torch'",
    ),
    "missing images": (
        {"attempt": 1, "error_reason": "data", "error_message": "cifar10 is not in data"},
        "data", "data: cifar10 is not in data",
    ),
    "a loss that is not finite": (
        {"attempt": 1, "error_reason": "nan", "error_message": "x"}, "nan", "nan: x",
    ),
    "a full disk before the trainer": (
        {"launched": True, "waited": LATER, "disk_full": True}, "disk full",
        "its processes could not be started (the disk is full); see worker.log",
    ),
    "an error of the program": ({**RAISED, "error_message": "KeyError: 'x'"}, "error",
                                "KeyError: 'x'"),
    "a place that was lost": ({"attempt": 1, "exit_code": 86}, "superseded",
                              "left its place to a later attempt"),
    "a reboot": ({"attempt": 1, "rebooted": True}, "reboot", "the machine was restarted"),
    "all gone": ({"attempt": 1}, "vanished",
                 "trainer and attendant vanished without a word (kill -9?)"),
    "a host that cannot be asked": (
        {"attempt": 1, "trainer": None, "attendant": None}, "lost", UNASKABLE,
    ),
    "a person's stop": ({"attempt": 1, "ending": "stop", "word": "stop"}, "user stop",
                        "on request"),
    "a person's kill": ({"attempt": 1, "asked": "kill", "signal": "SIGKILL"}, "killed on request",
                        "killed on request"),
    "a cluster's stop": ({"attempt": 1, "ending": "stop", "word": "SIGTERM"}, "outside stop",
                         "SIGTERM from outside rpat"),
    "a silence": (
        {"attempt": 1, "ready": True, "trainer": True, "quiet": 700.0, "patience": 600.0},
        "stuck", "may be stuck: no row for more than 10 min",
    ),
    "a silence with a usual pace": (
        {"attempt": 1, "ready": True, "trainer": True, "quiet": 700.0, "patience": 600.0,
         "usual": 60.0},
        "stuck", "may be stuck: no row for more than 10 min (one comes every 60 s)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSED)
def test_the_cause_is_a_stable_word(case: str) -> None:
    evidence, cause, reason = CAUSED[case]
    verdict = judge(Evidence(**evidence))
    assert (verdict.cause, verdict.reason) == (cause, reason)
    assert cause in CAUSES


def test_every_state_but_the_healthy_ones_names_a_known_cause() -> None:
    for evidence, state, _ in CASES.values():
        verdict = judge(Evidence(**evidence))
        healthy = state in ("starting", "running", "pausing", "done")
        assert (verdict.cause == "") == healthy
        assert healthy or verdict.cause in CAUSES


def test_every_cause_has_a_meaning_and_a_remedy_of_one_sentence_at_least() -> None:
    for cause in CAUSES.values():
        assert cause.means.endswith(".")
        assert cause.remedy.endswith(".")


def test_a_run_that_was_ended_for_being_stuck_is_queued_again_a_few_times() -> None:
    ended = {"attempt": 1, "asked": "stuck", "signal": "SIGKILL"}
    states = [judge(Evidence(**ended, restarts=n)).state for n in range(RESTARTS + 1)]
    assert states == ["queued"] * RESTARTS + ["failed"]
    assert {judge(Evidence(**ended, restarts=n)).cause for n in (0, RESTARTS)} == {"stuck"}


def test_a_stuck_run_that_still_saved_its_work_is_queued_again_too() -> None:
    verdict = judge(Evidence(attempt=1, ending="stop", word="stuck"))
    assert (verdict.state, verdict.cause) == ("queued", "stuck")


@pytest.mark.parametrize("quiet", [0.0, 599.0, 600.0])
def test_a_shorter_silence_is_no_remark(quiet: float) -> None:
    evidence = Evidence(attempt=1, ready=True, trainer=True, quiet=quiet, patience=600.0)
    assert judge(evidence).reason == ""


@pytest.mark.parametrize(
    ("error", "reason", "cause"),
    [
        (RuntimeError("CUDA error: an illegal memory access"), "driver", "driver"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "driver", "driver"),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp"), "driver", "driver"),
        (RuntimeError("CUDA out of memory. Tried to"), "out of memory", "gpu memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out of memory", "host memory",
        ),
        (MemoryError(), "out of memory", "host memory"),
        (ModuleNotFoundError("No module named 'x'"), "import", "import"),
        (OSError(28, "No space left on device"), "disk full", "disk full"),
        (OSError(122, "Disk quota exceeded"), "disk full", "disk full"),
        (RunError("cifar10 is not there", "data"), "data", "data"),
        (ConfigError("lr is -1"), "config", "config"),
        (KeyError("x"), "error", ""),
    ],
)  # fmt: skip
def test_what_the_core_journals_is_understood(
    error: BaseException, reason: str, cause: str
) -> None:
    said = describe(error)
    assert said["reason"] == reason
    assert recognise(said["reason"], said["message"]) == cause


def test_a_run_that_said_its_last_word_holds_its_place_until_its_process_has_ended() -> None:
    said = Evidence(attempt=1, ready=True, ending="end", trainer=True, attendant=True, leaving=True)
    assert judge(said).state == "running"
    assert judge(replace(said, leaving=False)).state == "done"
    paused = replace(said, ending="stop", word="pause", asked="pause")
    assert judge(paused).state == "pausing"
    assert judge(replace(paused, leaving=False)).state == "paused"
