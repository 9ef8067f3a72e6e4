"""What `rpat tui` costs on a real terminal: time, keys, bytes, processor, memory, beside budgets.

    python bench/tui.py [--runs 10 10000 100000] [--quick] [--keep FOLDER]

Builds a home of so many runs each, opens the real program behind a pseudo-terminal, and prints a
Markdown table. Plain baselines of the same minute: `python -c pass`, and the first paint of a
Textual application that shows one word. Keys, filter, live bytes and memory are those of 10,000
runs, or of the nearest that was asked for; eight of them go on and end an epoch a second. Nothing
answers the program's questions to its terminal. The worker's lock is held: nothing is started.
"""

from __future__ import annotations

import argparse
import fcntl
import math
import os
import platform
import pty
import random
import re
import select
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyte
import window as windows

from rpat_tui.home import Home
from rpat_tui.launch.locks import held
from rpat_tui.store import db as database

UNKNOWN = re.compile(rb"\x1b\[\?[\d;]*\$p|\x1b\[[<>=][\d;]*[a-z]|\x1b\]22;[^\x07]*\x07")
"""What pyte would show as text."""
WIDE, SMALL = (160, 48), (80, 24)
LIVE = 8
"""Runs that go on; those at the top of the list."""
EVENTUALLY = 60.0
HERTZ = os.sysconf("SC_CLK_TCK")
BARE = textwrap.dedent("""
    from textual.app import App
    from textual.widgets import Static
    class Bare(App):
        def compose(self):
            yield Static("ready")
    Bare().run()
""")
BUDGETS = {10: 600, 10_000: 800, 100_000: 1200}
"""Milliseconds to the first useful paint, by runs."""


class Row(NamedTuple):
    """One line of the report."""

    what: str
    value: str
    budget: str
    ratio: str = ""


class Terminal:
    """A program behind a pseudo-terminal; what it sends is kept with the time it came."""

    def __init__(self, words: Sequence[str], size: tuple[int, int], env: dict[str, str]) -> None:
        """Start a program."""
        self.size, self.came = size, []
        self.start = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(words[0], list(words), env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size[::-1], 0, 0))
        self.came: list[tuple[float, bytes]] = []

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def take(self, wait: float) -> bool:
        """Take what has come, or wait for it; False where nothing came."""
        if not select.select([self.fd], [], [], wait)[0]:
            return False
        self.came.append((time.perf_counter(), os.read(self.fd, 1 << 16)))
        return True

    def shown(self, text: str, quiet: float = 0.5) -> None:
        """Take what comes until a text has been sent and nothing has come for a while."""
        sent, end = b"", time.perf_counter() + EVENTUALLY
        while text.encode() not in sent:
            assert time.perf_counter() < end, f"'{text}' was never sent"
            if self.take(0.1):
                sent += self.came[-1][1]
        self.settle(quiet)

    def settle(self, quiet: float = 0.5, limit: float = 5.0) -> None:
        """Take what comes until nothing has come for a while."""
        end = time.perf_counter() + limit
        while time.perf_counter() < end and self.take(quiet):
            pass

    def during(self, seconds: float) -> int:
        """Return the bytes that come within some seconds."""
        before, end = len(self.came), time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.take(left)
        return sum(len(data) for _, data in self.came[before:])

    def press(self, keys: str) -> float:
        """Press keys; return when."""
        os.write(self.fd, keys.encode())
        return time.perf_counter()

    def bytes(self) -> int:
        """Return the bytes that have come."""
        return sum(len(data) for _, data in self.came)

    def pictures(self) -> Iterator[tuple[float, list[str]]]:
        """Yield what was on the screen after each piece that came, with its time."""
        screen = pyte.Screen(*self.size)
        stream = pyte.ByteStream(screen)
        for when, data in self.came:
            stream.feed(UNKNOWN.sub(b"", data))
            yield when, screen.display

    def first(self, text: str) -> float:
        """Return the seconds from the start until a text was on the screen."""
        for when, lines in self.pictures():
            if any(text in line for line in lines):
                return when - self.start
        raise AssertionError(f"'{text}' was never shown")

    def spent(self) -> float:
        """Return the seconds of processor that the program has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / HERTZ

    def memory(self) -> float:
        """Return the megabytes that the program occupies."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1024


def build(home: Home, runs: int) -> None:
    """Fill a home whose newest runs go on."""
    points = 100 if runs <= 10_000 else 10
    windows.build(home, runs, points)
    with database.opened(home) as db:
        db.execute("update runs set state = 'done' where state = 'running'")
        db.execute(
            "update runs set state = 'running', archived = 0, ended = null, epochs = 100000, "
            "epoch = ?, method = 'mart' where n > ?",
            (points, runs - LIVE),
        )
        db.execute("pragma wal_checkpoint(truncate)")


def go_on(home: Home, seconds: float) -> None:
    """Let the running runs end an epoch a second, as the worker's reading of journals does."""
    with database.opened(home) as db:
        rows = db.execute(
            "select s.id, s.run, b.points from series s join latest_best b on b.series = s.id "
            "join runs r on r.n = s.run where r.state = 'running'"
        ).fetchall()
        end, tick = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            tick += 1
            db.execute("begin immediate")
            for series, run, points in rows:
                epoch = points + tick
                value = 50 + 40 * math.sin(run + epoch / 20)
                db.execute(
                    "insert or replace into points (series, step, epoch, value) "
                    "values (?, ?, ?, ?)",
                    (series, epoch * 391, epoch, value),
                )
                db.execute(
                    "update latest_best set step = ?, epoch = ?, value = ?, points = ? "
                    "where series = ?",
                    (epoch * 391, epoch, value, epoch, series),
                )
            db.execute("update runs set epoch = epoch + 1, step = step + 391 "
                       "where state = 'running'")  # fmt: skip
            db.execute("commit")
            time.sleep(1)


@contextmanager
def going_on(home: Home) -> Iterator[None]:
    """Let runs go on meanwhile, in another process."""
    child = subprocess.Popen([sys.executable, __file__, "--go-on", str(home.path)])
    try:
        time.sleep(1)
        yield
    finally:
        child.kill()
        child.wait()


def main() -> None:
    """Build the stores, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 10_000, 100_000])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: a rough look")
    parser.add_argument("--keep", type=Path, help="a folder to build in, or to use again")
    parser.add_argument("--go-on", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.go_on:
        go_on(Home(options.go_on), 600)
        return
    with tempfile.TemporaryDirectory() as folder:
        base = options.keep or Path(folder)
        env = {
            **os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8",
            "XDG_CONFIG_HOME": str(Path(folder) / "config"), "CUDA_VISIBLE_DEVICES": "",
            "XDG_STATE_HOME": str(Path(folder) / "state"),
            "PYTHONPYCACHEPREFIX": str(Path(folder) / "pyc"),
        }  # fmt: skip
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: compiled once
        homes = {n: Home(base / f"home-{n}") for n in options.runs}
        for n, home in homes.items():
            if not home.exists():
                build(home, n)
        report(homes, env, quick=options.quick)


def window(home: Home, size: tuple[int, int], env: dict[str, str]) -> Terminal:
    """Open the window."""
    (home.path / "window.json").unlink(missing_ok=True)  # each begins without memories
    words = [sys.executable, "-m", "rpat_tui", "tui", "--home", str(home.path)]
    return Terminal(words, size, env)


def report(homes: dict[int, Home], env: dict[str, str], *, quick: bool) -> None:
    """Measure and print."""
    turns = 3 if quick else 7
    rows = list(baselines(env, turns))
    bare = float(rows[1].value.split()[0])
    for n, home in homes.items():
        with held(home.worker_lock, {"pid": os.getpid()}):
            rows += paints(home, n, env, turns, bare)
    n, home = min(homes.items(), key=lambda item: abs(math.log(item[0] / 10_000)))
    with held(home.worker_lock, {"pid": os.getpid()}):
        rows += still(home, n, env, 5 if quick else 15)
        rows += filtered(home, n, env)
        with going_on(home):
            rows += moving(home, n, env, 5 if quick else 20)
            rows += keys(home, n, env, 40 if quick else 200)
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
          f"{os.cpu_count()} cores, load {load:.1f}; medians of {turns}\n")  # fmt: skip
    print("| what | measured | budget | x bare Textual application |")
    print("| :-- | --: | --: | --: |")
    for row in rows:
        print(f"| {row.what} | {row.value} | {row.budget} | {row.ratio} |")


def baselines(env: dict[str, str], turns: int) -> Iterator[Row]:
    """Time a bare interpreter and a bare application."""
    taken = []
    for _ in range(turns):
        clock = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append(time.perf_counter() - clock)
    yield Row("`python -c pass`", milliseconds(taken), "")
    painted = []
    for _ in range(turns + 1):
        with Terminal([sys.executable, "-c", BARE], WIDE, env) as terminal:
            terminal.shown("ready")
            painted.append(terminal.first("ready"))
    yield Row("first paint of a bare Textual application", milliseconds(painted[1:]), "", "1.0")


def paints(home: Home, n: int, env: dict[str, str], turns: int, bare: float) -> Iterator[Row]:
    """Time the first paint that shows the newest run, and count its bytes."""
    for size in (WIDE, SMALL):
        seconds, sent, spent = [], [], []
        for _ in range(turns + 1):  # the first one warms the disk
            with window(home, size, env) as terminal:
                terminal.shown(f"r{n:04d}", 1.0)
                seconds.append(terminal.first(f"r{n:04d}"))
                sent.append(terminal.bytes())
                spent.append(terminal.spent())
        shape = "x".join(map(str, size))
        if size == WIDE:
            ratio = f"{1e3 * statistics.median(seconds[1:]) / bare:.2f}"
            budget = f"{BUDGETS[n]:,} ms" if n in BUDGETS else ""
            yield Row(f"{n:,} runs: first useful paint", milliseconds(seconds[1:]), budget, ratio)
            yield Row(f"{n:,} runs: processor until quiet", milliseconds(spent[1:]), "")
        limit = 20_000 if size == WIDE else 8_000
        yield Row(
            f"{n:,} runs: sent until quiet, {shape}", f"{statistics.median(sent):,.0f} B",
            f"{limit:,} B",
        )  # fmt: skip


def still(home: Home, n: int, env: dict[str, str], seconds: float) -> Iterator[Row]:
    """Measure a window in which nothing happens, then panes that come and go."""
    with window(home, WIDE, env) as terminal:
        terminal.shown(f"r{n:04d}", 2.0)
        spent = terminal.spent()
        sent = terminal.during(seconds)
        used = 100 * (terminal.spent() - spent) / seconds
        yield Row(f"{n:,} runs, idle: sent", f"{sent / seconds:.0f} B/s", "0 B/s")
        yield Row(f"{n:,} runs, idle: processor", f"{used:.2f} %", "0.3 %")
        yield Row(f"{n:,} runs: memory", f"{terminal.memory():.0f} MB", "150 MB")
        for key, what in (("z", "list alone"), ("z", "both panes"), ("2", "queue"), ("1", "runs")):
            before = terminal.bytes()
            terminal.press(key)
            terminal.settle()
            budget = "10,240 B" if key == "z" else ""
            yield Row(f"{n:,} runs: `{key}`, {what}", f"{terminal.bytes() - before:,} B", budget)


def filtered(home: Home, n: int, env: dict[str, str]) -> Iterator[Row]:
    """Time from a key in the filter line until the list stands as it will."""
    taken = []
    with window(home, WIDE, env) as terminal:
        terminal.shown(f"r{n:04d}", 1.0)
        terminal.press("/")
        terminal.settle()
        for letter in "method:mart pgd>50 seed=1":
            terminal.came.clear() if not taken else None
            begun = len(terminal.came)
            pressed = terminal.press(letter)
            terminal.settle(0.3)
            taken.append((pressed, begun))
        lists = [(when, [line[:98] for line in lines[2:]]) for when, lines in terminal.pictures()]
    seconds = []
    for at, (pressed, begun) in enumerate(taken):
        end = taken[at + 1][1] if at + 1 < len(taken) else len(lists)
        changed = [
            when for (when, now), (_, before) in zip(
                lists[begun:end], [lists[max(begun - 1, 0)], *lists[begun:]], strict=False
            ) if now != before
        ]  # fmt: skip
        if changed:
            seconds.append(changed[-1] - pressed)
    yield Row(
        f"{n:,} runs: key in the filter to the list, median, worst of {len(seconds)}",
        f"{1e3 * statistics.median(seconds):.0f}, {1e3 * max(seconds):.0f} ms", "50 ms",
    )  # fmt: skip


def moving(home: Home, n: int, env: dict[str, str], seconds: float) -> Iterator[Row]:
    """Measure a window on eight runs that go on, four of them overlaid."""
    with window(home, WIDE, env) as terminal:
        terminal.shown(f"r{n:04d}")
        terminal.press(" j j j ")
        terminal.during(3)
        spent = terminal.spent()
        sent = terminal.during(seconds)
        used = 100 * (terminal.spent() - spent) / seconds
        live = f"{n:,} runs, {LIVE} live, 4 curves, 160x48"
        yield Row(f"{live}: sent", f"{sent / seconds:,.0f} B/s", "4,096 B/s")
        yield Row(f"{live}: processor", f"{used:.1f} %", "3 %")


def keys(home: Home, n: int, env: dict[str, str], presses: int) -> Iterator[Row]:
    """Time from a key to the first byte that it brings, while runs go on."""
    chance, taken = random.Random(0), []
    with window(home, WIDE, env) as terminal:
        terminal.shown(f"r{n:04d}")
        for at in range(presses):
            terminal.during(0.05 + chance.random() / 20)
            while terminal.take(0.03):  # what comes now is not the key's
                pass
            pressed = terminal.press("j" if at % 40 < 35 else "\x04")
            if terminal.take(2.0):
                taken.append(terminal.came[-1][0] - pressed)
    taken.sort()
    yield Row(
        f"{n:,} runs, {LIVE} live: key to first byte, median, 99th of {len(taken)}",
        f"{1e3 * statistics.median(taken):.1f}, {1e3 * taken[int(0.99 * len(taken))]:.1f} ms",
        "20, 50 ms",
    )


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median."""
    return f"{1e3 * statistics.median(seconds):.0f} ms"


if __name__ == "__main__":
    main()
