"""The window on a real terminal: what it sends, how it leaves, and that runs go on without it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpat_tui.home import Home
from rpat_tui.replay import Part, Replay
from rpat_tui.store import db as database
from tests.console.conftest import enqueuer, freeze_the_standin, until
from tests.tui.pseudo import Terminal

RESTORED = b"\x1b[?1049l"
SIZES = [(160, 48), (80, 24)]
HOSTILE = (
    "owned\x1b]0;owned\x07\x1b[2J\x1b]52;c;cm0=\x07\x9b31m\x90q\x9c\x1bP+q\x1b\\\x1b[5n\u202eevil"
)
Open = Callable[..., Terminal]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with finished runs, where nothing needs a worker."""
    replay = Replay(
        Home(tmp_path_factory.mktemp("pty") / "home"), cast=[Part(n, "done") for n in range(8)]
    )
    replay.begin()
    return replay.home


def window(home: Home, *words: str, program: str = "rpat_tui", **options: Any) -> Terminal:
    """Open `rpat tui` on a terminal."""
    config = str(home.path.parent / "config")
    options = {"XDG_CONFIG_HOME": config, "CUDA_VISIBLE_DEVICES": "", **options}
    return Terminal(program, "tui", "--home", str(home.path), *words, **options)


def pace() -> float:
    """Return how many times longer than on an idle machine starting a program takes now."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import textual.app"], check=True)
    return max((time.monotonic() - start) / 0.3, 1.0)


def left(terminal: Terminal, limit: float) -> int:
    """Return the exit status of a window that is leaving."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        terminal._take(0.02)
        pid, status = os.waitpid(terminal.pid, os.WNOHANG)
        if pid:
            while terminal._take(0.02):
                pass
            terminal.pid = os.posix_spawn("/bin/true", ["true"], {})  # for its own clean-up
            return os.waitstatus_to_exitcode(status)
    raise AssertionError("it does not leave")


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_it_paints_soon_and_not_much(
    home: Home, columns: int, rows: int, record_property: Any
) -> None:
    slow = pace()
    start = time.monotonic()
    with window(home, columns=columns, rows=rows) as terminal:
        count = terminal.until("r0008", 60)
        seconds = time.monotonic() - start
        count += terminal.listen()
    record_property("first_paint", f"{columns}x{rows}: {count} bytes, {1e3 * seconds:.0f} ms")
    assert count < (20_000 if columns > 80 else 8_000)
    assert seconds < 3 * slow


@pytest.mark.parametrize(
    ("how", "code"),
    [("q", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["q", "SIGTERM", "SIGHUP"],
)
def test_it_leaves_the_terminal_as_it_was(home: Home, how: Any, code: int) -> None:
    with window(home) as terminal:
        terminal.until("r0008")
        terminal.listen()
        terminal.send(how) if how == "q" else os.kill(terminal.pid, how)
        assert left(terminal, 20) == code
        assert RESTORED in terminal.raw


def test_it_sends_nothing_while_nothing_happens(home: Home) -> None:
    with window(home) as terminal:
        terminal.until("r0008")
        terminal.listen(2.0, 20.0)
        assert terminal.listen(3.0, 3.0) == 0


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {}], ids=["dumb", "pipe"])
def test_without_a_terminal_it_prints_the_list(home: Home, env: dict[str, str]) -> None:
    settings = {**os.environ, "XDG_CONFIG_HOME": str(home.path.parent / "config"), **env}

    def out(word: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "rpat_tui", word, "--home", str(home.path)], env=settings,
            capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        ).stdout  # fmt: skip

    assert "r0008" in out("list")
    assert out("tui") == out("list")


def test_a_dumb_terminal_gets_the_list(home: Home) -> None:
    with window(home, TERM="dumb") as terminal:
        terminal.until("r0001")
        assert left(terminal, 20 * pace()) == 0
        assert b"\x1b[?1049h" not in terminal.raw


@pytest.mark.parametrize(
    "env",
    [{"NO_COLOR": "1"}, {"TERM": "xterm", "COLORTERM": ""}],
    ids=["no colours", "16 colours"],
)
def test_it_starts_with_few_colours(home: Home, env: dict[str, str]) -> None:
    with window(home, **env) as terminal:
        terminal.until("r0008")
        terminal.send("j")
        terminal.listen()
        if "NO_COLOR" not in env:
            assert b"[38;2;" not in terminal.raw
            assert b";38;2;" not in terminal.raw


@pytest.mark.parametrize("env", [{}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str)
def test_the_c_locale_gets_ascii(home: Home, env: dict[str, str]) -> None:
    with window(home, columns=160, rows=48, LC_ALL="C", **env) as terminal:
        terminal.until("r0008")
        terminal.send("2")
        terminal.until("Queue")
        terminal.send("1?")
        terminal.until("this screen")
        terminal.listen()
        assert terminal.raw.isascii()


# ----------------------------------------------------------------- settings


def test_a_wrong_key_is_refused_before_anything_is_painted(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "rpat" / "config.toml"
    file.parent.mkdir()
    file.write_text('[keys.runs]\nstop = "X"\n', "utf-8")
    with window(home, XDG_CONFIG_HOME=str(tmp_path), columns=200) as terminal:
        terminal.until("keys.runs.kill")
        assert left(terminal, 20) == 2
        assert b"\x1b[?1049h" not in terminal.raw
        assert b"Traceback" not in terminal.raw


def test_settings_choose_keys_theme_and_characters(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "rpat" / "config.toml"
    file.parent.mkdir()
    file.write_text('[tui]\ntheme = "light"\n[keys.everywhere]\nleave = "Q"\n', "utf-8")
    with window(home, XDG_CONFIG_HOME=str(tmp_path), RPAT_CHARTS="ascii") as terminal:
        terminal.until("Q quit")
        assert b"48;2;251;251;250" in terminal.raw
        terminal.listen()
        terminal.send("Q")
        assert left(terminal, 20 * pace()) == 0
        assert terminal.raw.isascii()


def test_no_color_sends_no_colour_unless_a_theme_is_asked_for(home: Home) -> None:
    coloured = (b"38;2;", b"48;2;", b"38;5;", b"48;5;")
    with window(home, NO_COLOR="1", RPAT_THEME="light") as terminal:
        terminal.until("r0008")
        terminal.listen()
        assert not any(code in terminal.raw for code in coloured)
    with window(home, "--theme", "light", NO_COLOR="1") as terminal:
        terminal.until("r0008")
        assert b"48;2;251;251;250" in terminal.raw


def test_what_was_chosen_is_there_when_the_window_is_opened_again(home: Home) -> None:
    kept = home.path / "window.json"
    kept.unlink(missing_ok=True)
    with window(home) as terminal:
        terminal.until("r0008")
        terminal.send("/")
        terminal.until("not is:archived")  # the line is open
        terminal.listen()
        terminal.send("method:mart\r")
        terminal.until("/method:mart")
        terminal.listen()
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0
    try:
        with window(home) as terminal:
            terminal.until("/method:mart")
    finally:
        kept.unlink()


def test_the_demo_moves_and_cleans_up(tmp_path: Path) -> None:
    here = tmp_path / "tmp"
    here.mkdir()
    nowhere = Home(tmp_path / "none")
    with window(nowhere, "--demo", columns=160, rows=48, TMPDIR=str(here)) as terminal:
        terminal.until("replayed recordings")
        assert "demo" in terminal.screen.display[0]
        assert list(here.glob("rpat-*"))
        before = terminal.screen.display
        terminal.listen(8.0, 8.0)
        assert terminal.screen.display != before
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0
    assert not list(here.glob("rpat-*"))
    assert not nowhere.path.exists()


# ----------------------------------------------------------------- terminals in trouble


def test_a_window_that_fails_says_one_line_and_where_the_report_is(
    home: Home, tmp_path: Path
) -> None:
    with window(home, program="tests.tui.falling", XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.until("r0008")
        terminal.send("?")
        assert left(terminal, 20) == 1
        after = terminal.raw[terminal.raw.rindex(RESTORED) :].decode()
    said = re.search(r"rpat: the window has failed \(ValueError: .*\); runs go on; .*\n", after)
    assert said, after
    assert "Traceback" not in after
    assert "\x1b[2J" not in after
    report = next(tmp_path.rglob("tui-failed-*.txt"))
    assert str(report) in said[0]
    assert "ValueError: this key" in report.read_text("utf-8")


def test_hostile_words_never_reach_the_terminal(tmp_path: Path) -> None:
    replay = Replay(Home(tmp_path / "home"), cast=[Part(n, "failed") for n in range(3)])
    replay.begin()
    with database.opened(replay.home) as db:
        db.execute("update runs set name = ?1, note = ?1, reason = ?1, sweep = ?1", (HOSTILE,))
        db.execute("insert into tags select n, ?1 from runs", (HOSTILE,))
    for path in replay.home.runs.glob("*/attempts/0001"):
        (path / "output.log").write_text(f"{HOSTILE}\n" * 9, "utf-8")
    with window(replay.home, columns=160, rows=48) as terminal:
        terminal.until("r0003")
        terminal.until("owned")
        for key in ("\r", "L", "o", "e", "/owned\r", "1", "2", "3", "4", "1", "c", "\x1b", "t"):
            terminal.send(key)
            terminal.listen(0.2)
        text = terminal.raw.decode()
        for sign in ("\x1b]0;", "\x1b]52;", "\x1bP", "\x1b[5n", "\x07", "\x9b", "\x90", "\u202e"):
            assert sign not in text.replace("\x1b]22;default\x07", ""), sign
        assert text.count("\x1b[2J") <= 3, "only our own"


def test_a_suspended_window_gives_the_terminal_back_and_paints_itself_anew(home: Home) -> None:
    with window(home) as terminal:
        terminal.until("r0008")
        terminal.listen()
        terminal.send("\x1a")
        until(lambda: terminal._take(0.05) or _state_of(terminal.pid) == "T", 20)
        terminal.listen(0.2)
        assert RESTORED in terminal.raw
        terminal.raw = b""
        terminal.screen.reset()
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.until("r0008")
        terminal.until("quit")
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_storm_of_sizes_ends_with_the_whole_picture(home: Home) -> None:
    with window(home, columns=120, rows=34) as terminal:
        terminal.until("r0008")
        for at in range(200):
            terminal.resize(20 + 37 * at % 181, 5 + 11 * at % 56)
            terminal._take(0.005)
        terminal.resize(50, 12)
        terminal.until("this is 50x12")
        terminal.resize(20, 5)
        terminal.until("20x5")
        terminal.resize(100, 30)
        terminal.until("r0008")
        terminal.until("quit")
        terminal.listen()
        shown = list(terminal.screen.display)
        terminal.send("\x0c")
        terminal.listen()
        assert terminal.screen.display == shown, "a repaint shows nothing else"
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0


def test_a_slow_link_gets_the_newest_picture_and_no_backlog(home: Home) -> None:
    """At 4 KB/s: keys are answered while older frames are left out, and little is under way."""
    with window(home, columns=160, rows=48) as terminal:
        terminal.until("r0008")
        terminal.listen()
        terminal.raw = b""
        for key in "2134512345" * 10 + "1":
            terminal.send(key)
            terminal.drip(200, 0.05)
        terminal.drip_until_at_rest(200, 0.05, limit=20 * pace())
        sent = len(terminal.raw)
        terminal.until("Runs 8 of 8")
        terminal.listen(1.0)
        behind = len(terminal.raw) - sent
        assert behind < 80_000, "a pseudo-terminal alone holds up to 64 KB"
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0


@pytest.mark.parametrize("term", ["screen-256color", "tmux-256color", "linux", "vt100"])
def test_other_terminals_show_the_same_words(home: Home, term: str) -> None:
    with window(home, TERM=term, COLORTERM="") as terminal:
        terminal.until("r0008")
        terminal.send("2")
        terminal.until("Queue")
        terminal.send("1")
        terminal.until("r0001")
        assert b"38;2;" not in terminal.raw
        terminal.send("q")
        assert left(terminal, 20 * pace()) == 0
        assert RESTORED in terminal.raw


@pytest.mark.skipif(not shutil.which("tmux"), reason="no tmux here")
def test_tmux_shows_it_whole_and_after_another_size(home: Home, tmp_path: Path) -> None:
    mux = ["tmux", "-L", f"rpat-{os.getpid()}", "-f", "/dev/null"]
    env = {
        **os.environ, "LC_ALL": "C.UTF-8", "TMUX_TMPDIR": str(tmp_path), "TERM": "xterm-256color",
        "XDG_CONFIG_HOME": str(home.path.parent / "config"), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip

    def tell(*words: str) -> str:
        return subprocess.run(
            [*mux, *words], env=env, check=True, capture_output=True
        ).stdout.decode()

    def shows(*words: str) -> bool:
        picture = tell("capture-pane", "-p")
        return all(word in picture for word in words)

    program = [sys.executable, "-m", "rpat_tui", "tui", "--home", str(home.path)]
    tell("new-session", "-d", "-x", "120", "-y", "35", *program)
    try:
        until(lambda: shows("r0008", "r0001", "quit"), 60)
        tell("send-keys", "2")
        until(lambda: shows("Queue"), 30)
        tell("resize-window", "-x", "80", "-y", "24")
        tell("send-keys", "1")
        until(lambda: shows("r0008", "quit") and "Queue" not in tell("capture-pane", "-p"), 30)
        tell("send-keys", "q")
        until(
            lambda: subprocess.run([*mux, "has-session"], env=env, capture_output=True).returncode
        )
    finally:
        subprocess.run([*mux, "kill-server"], env=env, check=False, capture_output=True)


# ----------------------------------------------------------------- with runs that go on


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home where eight stand-in runs are under way."""
    for name, value in {"RPAT_CPU_SLOTS": "8", "RPAT_WORKER_IDLE": "1",
                        "XDG_CONFIG_HOME": str(tmp_path / "config")}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    freeze_the_standin(monkeypatch)
    home = Home(tmp_path / "home").make()
    with database.opened(home) as db:
        from rpat_tui.launch import control, worker

        numbers = enqueuer(home, db)(8, "pace=0.2 per_epoch=5", epochs=400)
        worker.ensure(home)
        until(lambda: _states(db) == {"running"}, 120)
        yield home
        for n in numbers:
            control.stop(home, db, n, "kill")
        until(lambda: not _states(db) & {"running", "starting", "pausing"}, 60)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _states(db: Any) -> set[str]:
    return {state for (state,) in db.execute("select state from runs")}


@pytest.mark.slow
def test_a_live_second_of_eight_runs_is_cheap(busy: Home, record_property: Any) -> None:
    with window(busy, columns=160, rows=48) as terminal:
        terminal.until("r0008")
        terminal.listen(1.0, 5.0)
        count = terminal.listen(10.0, 10.0)
    record_property("live", f"{count / 10:.0f} bytes/s")
    assert 0 < count / 10 < 4096


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the terminal closes", "SIGHUP", "SIGHUP is ignored", "SIGKILL"])
def test_when_the_terminal_goes_away_the_window_ends_and_the_runs_go_on(
    busy: Home, record_property: Any, how: str
) -> None:
    slow = pace()
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN) if "ignored" in how else None
    terminal = window(busy)
    if old is not None:
        signal.signal(signal.SIGHUP, old)
    terminal.until("r0008")
    terminal.listen()
    if how == "SIGKILL":
        os.kill(terminal.pid, signal.SIGKILL)
    elif how == "SIGHUP":
        os.kill(terminal.pid, signal.SIGHUP)
    else:
        os.close(terminal.fd)
    start = time.monotonic()
    while os.waitpid(terminal.pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() - start < 2.0 * slow
        time.sleep(0.02)
    record_property("gone", f"{time.monotonic() - start:.2f} s after the terminal ({slow:.1f}x)")
    windows = [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(busy.path).encode() in _read(path) and b"\0tui\0" in _read(path)
    ]
    assert not windows, "no process of the window is left"
    with database.opened_readonly(busy) as db:
        step = "select sum(step) from runs"
        before = db.execute(step).fetchone()
        until(lambda: db.execute(step).fetchone() > before, 30)
        assert _states(db) == {"running"}
    with window(busy) as again:
        again.until("running")
