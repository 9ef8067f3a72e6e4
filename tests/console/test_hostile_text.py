"""Whatever people and programs wrote into names, notes, tags and logs: terminals only show it."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest

from rpat.rundir import RunDir
from rpat_tui.exports._console import Console
from rpat_tui.glyphs import printable
from rpat_tui.home import Home
from tests.console.conftest import Enqueue, Rpat

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b]52;c;cm0gLXJm\x07\x1b[31m\x9b31m\x90q\x9c\x1bP+q\x1b\\\x08\x7f\r"
    "\x1b[5n\u202eevil\u2066[red]x[/red]"
)
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x1b(?!\[)")
"""What no command prints; of escape sequences, those of Rich's are looked at one by one."""
OURS = re.compile(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\r(?=\n|\x1b\[2K)")
COMMANDS = (
    ("list",), ("list", "--where", "evil"), ("show", "r0001"), ("logs", "r0001"), ("explain",
    "r0001"), ("watch", "r0001"), ("metrics", "r0001"), ("queue",), ("diff", "r0001", "r0002"),
    ("compare", "r0001", "r0002"), ("table",), ("list", "--json"), ("show", "r0001", "--json"),
    ("show", "r0001", "--provenance"), ("tag", "r0001", HOSTILE.replace(" ", "")),
    ("note", "r0001", HOSTILE), ("list", "--where", "\x1b[31mnothing"), ("show", HOSTILE),
)  # fmt: skip


def clean(text: str) -> None:
    """Nothing is left that a terminal would obey, but for what Rich means."""
    found = re.search(OBEYED, OURS.sub("", text)) or re.search("\x1b", OURS.sub("", text))
    assert not found, f"{found[0]!r} in {text[max(found.start() - 40, 0) :][:120]!r}"


@pytest.fixture
def hostile(home: Home, db: sqlite3.Connection, enqueue: Enqueue) -> Home:
    """A home with two failed runs whose texts are all hostile."""
    enqueue(2, name="x")
    db.execute("update runs set state = 'failed', name = ?1, note = ?1, sweep = ?1, reason = ?1",
               (HOSTILE,))  # fmt: skip
    db.execute("insert into tags values (1, ?)", (HOSTILE,))
    attempt = RunDir(home.runs / "r0001").take_attempt()
    attempt.output.write_text(f"epoch 1\repoch 2\n{HOSTILE}\n", "utf-8")
    me = {"host": HOSTILE, "boot": "b", "pid": 1, "started": "1", "device_name": HOSTILE}
    lines = [
        {
            "kind": "begin",
            "v": 1,
            "attempt": 1,
            "from_step": 0,
            "versions": {"torch": HOSTILE, "rpat": HOSTILE},
            **me,
        },
        {"kind": "notice", "what": HOSTILE, "text": HOSTILE},
        {"kind": "epoch", "epoch": 1, "step": 1, "values": {f"train/{HOSTILE}": 1.0}},
        {"kind": "error", "reason": HOSTILE, "message": HOSTILE, "traceback": HOSTILE},
    ]
    attempt.journal.write_text("".join(
        json.dumps({"seq": i, "t": 1.7e9 + i, **x}) + "\n" for i, x in enumerate(lines, 1)
    ), "utf-8")  # fmt: skip
    return home


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:24].strip())
def test_no_command_prints_what_a_terminal_would_obey(
    hostile: Home, rpat: Rpat, words: Sequence[str]
) -> None:
    said = rpat(*words)
    clean(said.out + said.err)
    if "--json" in words:
        shown = said.json if isinstance(said.json, dict) else said.json[0]
        assert shown["name"] == HOSTILE, "JSON says exactly what was written"


def test_a_real_terminal_gets_nothing_to_obey(hostile: Home) -> None:
    """The same, with colours and a live view."""
    sent = b""
    for words in (["list"], ["show", "r0001"], ["watch", "r0001"], ["logs", "r0001"]):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        child = subprocess.Popen(
            [sys.executable, "-m", "rpat_tui", *words], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(theirs)
        while select.select([ours], [], [], 60)[0]:
            try:
                sent += os.read(ours, 65536)
            except OSError:
                break
        os.close(ours)
        child.wait(60)
    text = sent.decode()
    assert "evil" in text
    clean(text)


def test_a_name_stays_on_its_line(
    home: Home, db: sqlite3.Connection, enqueue: Enqueue, rpat: Rpat
) -> None:
    enqueue(1)
    db.execute("update runs set name = ?", ("a\nr0002  ✓ done",))
    assert not [line for line in rpat("list").out.splitlines() if line.startswith("r0002")]


def test_printable_keeps_lines_and_signs() -> None:
    assert printable("é漢👩\u200d🔬\tx\ny") == "é漢👩\u200d🔬\tx\ny"
    assert printable("1 %\r2 %\r\n3") == "1 %\n2 %\n3"
    assert printable(HOSTILE).isprintable() or "\n" in printable(HOSTILE)


def test_the_console_keeps_what_rich_means() -> None:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=60, color_system="standard", highlight=False
    )
    console.print("[red]a\x1b[2Jb[/red]")
    assert out.getvalue() == "\x1b[31ma[2Jb\x1b[0m\n"
