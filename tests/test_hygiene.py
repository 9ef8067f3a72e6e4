"""What light modules may import, and what no file of the repository may hold."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rpat.recipes import recipe
from rpat_tui import pools
from rpat_tui.home import Home
from rpat_tui.store import db as database
from rpat_tui.store import index
from tests.console.test_measurements import evaluate

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "textual", "rich",
    "sqlite_utils", "pydantic", "PIL", "pyautoattack",
}  # fmt: skip
OWN = {"rpat", "rpat_tui"}

TELL = """
import sys
{code}
sys.stderr.write(chr(10).join(sys.modules))
"""
COMMAND = """
from rpat_tui.cli import main
sys.argv = ["rpat", *{words!r}]
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
"""


def modules(code: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter has after some code."""
    done = subprocess.run(
        [sys.executable, "-c", TELL.format(code=code)], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines())


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a queued run, its database migrated."""
    monkeypatch.setenv("RPAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    made = Home(tmp_path / "home")
    with database.opened(made) as db:
        index.enqueue(made, db, [recipe("pgd-at", dataset="digits")], index.Wish(), {})
    return made


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    assert not tops(modules(COMMAND.format(words=words))) & HEAVY


def test_the_command_line_imports_nothing_heavy() -> None:
    assert not tops(modules("import rpat_tui.cli")) & HEAVY


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--json"],
        ["list", "--where", "pgd-at seed<3"],
        ["show", "r1"],
        ["show", "r1", "--json"],
        ["metrics", "r1", "--json"],
        ["logs", "r1"],
        ["table"],
        ["table", "--json"],
        ["table", "--select", "nrr", "--json"],
        ["run", "--method", "pgd-at,mart", "--dataset", "digits", "--dry-run"],
        ["list", "--kind", "eval"],
        ["eval", "r1", "--attack", "aa", "--dry-run"],
        ["study", "smoothness", "r1", "--dry-run", "--json"],
        ["suite", "status", "fig4a", "--dataset", "digits"],
        ["sql", "select * from v1_runs"],
        ["report", "r1"],
        ["export", "csv", "r1", "-o", "out"],
        ["table", "--suite", "table1", "--paper"],
        ["suite", "run", "table1", "--fill", "--dry-run"],
    ],
    ids=" ".join,
)
def test_a_command_that_reads_imports_nothing_that_computes(home: Home, words: list[str]) -> None:
    assert not tops(modules(COMMAND.format(words=words))) & (HEAVY - {"rich"})


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--json"],
        ["show", "r1", "--json"],
        ["table", "--json"],
        ["sql", "select * from v1_runs", "--json"],
        ["table", "--suite", "table3", "--json"],
    ],
)
def test_json_needs_no_terminal_library(home: Home, words: list[str]) -> None:
    assert "rich" not in tops(modules(COMMAND.format(words=words)))


SELDOM = {
    "csv", "email", "fractions", "importlib.metadata", "secrets",
    "socket", "statistics", "tomllib", "urllib.request",
    "rpat.jobs", "rpat.published", "rpat.recipes", "rpat_tui.estimate", "rpat_tui.exports._origin",
    "rpat_tui.launch.anew", "rpat_tui.launch.card", "rpat_tui.launch.frozen",
    "rpat_tui.launch.settle", "rpat_tui.launch.slurm.side", "rpat_tui.launch.worker",
    "rpat_tui.linter", "rpat_tui.store.index", "rpat_tui.store.ingest", "rpat_tui.store.pending",
}  # fmt: skip
"""What is imported where it is needed: each cost a reading command one to twenty milliseconds."""


@pytest.fixture
def measured(home: Home) -> Home:
    """The home once its run is done and measured, and the rows of tables are kept."""
    with database.opened(home) as db:
        db.execute("update runs set state = 'done', epoch = epochs")
        for attack in ("pgd", "aa"):
            evaluate(db, 1, "online", 80.0, attack=attack, epsilon=8 / 255)
        assert pools.keep(db)
    return home


@pytest.mark.parametrize(
    "words",
    [["--help"], ["table", "--json"], ["list", "--json"], ["show", "r1", "--json"]],
    ids=" ".join,
)
def test_a_usual_look_imports_nothing_that_is_seldom_needed(
    measured: Home, words: list[str]
) -> None:
    assert not modules(COMMAND.format(words=words)) & SELDOM


def test_what_is_seldom_needed_can_be_imported() -> None:
    missing = [name for name in SELDOM if importlib.util.find_spec(name) is None]
    assert not missing, "a module that is gone proves nothing"


def test_the_window_opens_without_what_acts_on_runs() -> None:
    found = modules("import rpat_tui.app, rpat_tui.screens.runs")
    assert not found & {
        "rpat_tui.keeping.trash", "rpat_tui.launch.control", "rpat_tui.launch.worker",
        "rpat_tui.linter", "rpat_tui.replay", "urllib.request",
    }  # fmt: skip


def test_the_window_takes_numpy_without_its_threads_and_passes_nothing_on() -> None:
    code = (
        "import os, sys; from rpat_tui.cli import tui; before = dict(os.environ); "
        "tui._import_numpy(); assert 'numpy' in sys.modules and os.environ == before; "
        "assert len(os.listdir('/proc/self/task')) == 1"
    )
    own = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], env=own, check=True)


@pytest.mark.parametrize(
    "module",
    [
        "rpat.config", "rpat.errors", "rpat.identity", "rpat.jobs", "rpat.journal", "rpat.knobs",
        "rpat.published", "rpat.recipes", "rpat.rundir", "rpat.schedules",
        "rpat_tui.launch.attend", "rpat_tui.launch.verdict", "rpat_tui.linter",
        "rpat_tui.selection",
    ],
)  # fmt: skip
def test_a_light_module_imports_the_standard_library_alone(module: str) -> None:
    bare = tops(modules("pass"))
    assert tops(modules(f"import {module}")) - bare <= OWN | sys.stdlib_module_names


def test_the_attendant_knows_three_modules_of_the_core_and_one_of_its_own() -> None:
    found = {name for name in modules("import rpat_tui.launch.attend") if name.startswith("rpat")}
    assert found == {
        "rpat", "rpat.identity", "rpat.journal", "rpat.rundir",
        "rpat_tui", "rpat_tui.launch", "rpat_tui.launch.attend", "rpat_tui.launch.oom",
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["a", "b"], ["--help"]], ids=str)
def test_the_core_takes_a_run_directory_and_nothing_else(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rpat", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m rpat takes a run directory with a config.json, not ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------- the files of the repository

FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.<~])/(?:work|home/\w+|Users/\w+)/",
    "an unfinished thought": r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b",
    "an unfinished method": r"NotImplemented[E]rror",
    "a conflict": r"^(?:<{7}|>{7}) ",
}


def texts() -> dict[str, str]:
    """Return the text files that git tracks."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                found[name] = data.decode("utf-8")
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


def test_every_module_begins_with_a_sentence() -> None:
    for name, text in texts().items():
        if name.endswith(".py") and name.startswith(("rpat/", "rpat_tui/")) and text.strip():
            assert re.match(r'"""[^"\n]+', text), name
