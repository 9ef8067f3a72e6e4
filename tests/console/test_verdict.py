"""Every branch of the judgement, from evidence alone."""

from __future__ import annotations

from typing import Any

import pytest

from rpat_tui.launch.verdict import PATIENCE, Evidence, judge

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
        {"attempt": 1, "signal": "SIGSEGV"}, "failed", "killed by SIGSEGV",
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
    assert verdict.evidence == {"exit_code": 3, "signal": "", "last_line": "boom"}
