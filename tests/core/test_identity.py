"""Who a process is, told apart from one that got its number later."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from rpat.identity import boot_id, is_alive, process_identity, start_time

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110  no fixture here


@pytest.fixture
def child():
    """A process that lives until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    yield process
    process.kill()
    process.stdin.close()
    process.wait()


def test_a_process_knows_itself():
    me = process_identity()
    assert me["pid"] == os.getpid()
    assert me["host"] == socket.gethostname()
    assert me["boot"] == boot_id()
    assert is_alive(me) is True
    assert process_identity() == me


def test_a_child_is_alive_until_it_is_gone(child):
    identity = process_identity(child.pid)
    assert is_alive(identity) is True
    child.kill()
    child.wait()
    assert is_alive(identity) is False


@needs_proc
def test_a_process_that_nobody_collected_counts_as_gone(child):
    identity = process_identity(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and left a zombie
    assert os.path.exists(f"/proc/{child.pid}/stat")  # noqa: PTH110  its entry is still there
    assert start_time(child.pid) == ""
    assert is_alive(identity) is False


@needs_proc
def test_the_same_number_with_another_start_is_another_process():
    me = process_identity()
    assert is_alive({**me, "started": str(int(me["started"]) - 1)}) is False
    assert is_alive({**me, "started": ""}) is False


def test_a_process_before_the_last_boot_is_gone():
    assert is_alive({**process_identity(), "boot": "another"}) is False


def test_another_host_cannot_be_asked():
    assert is_alive({**process_identity(), "host": "elsewhere.invalid"}) is None


@needs_proc
def test_a_name_with_brackets_and_spaces_does_not_hide_the_start(tmp_path, monkeypatch):
    from pathlib import Path

    real = Path("/proc/self/stat").read_text("ascii")
    pid, _, rest = real.partition("(")
    odd = f"{pid}(a) R (b c{rest[rest.rindex(')') :]}"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: odd)
    assert start_time(os.getpid()) == real.rpartition(")")[2].split()[19]
