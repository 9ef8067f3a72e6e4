"""A real Slurm of our own for the tests marked `slurm`: two nodes with two counted GPUs each.

One cluster a pytest process, started by the first test that needs it and stopped at the end: tests
restart its daemons, and have it to themselves.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import rpat as rpat_package
from rpat.recipes import recipe
from rpat.rundir import RunDir
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.locks import holder
from rpat_tui.store import db as database
from rpat_tui.store import index, queries, submissions
from tests.console.conftest import STANDIN, freeze_the_standin, until
from tests.console.conftest import db as db
from tests.console.conftest import home as home
from tests.console.conftest import rpat as rpat

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "bench" / "results"
Summary = Callable[[str, str, list[tuple[str, str]]], None]
ACCOUNTED = "-accounted"
LIMIT = 120.0
"""Seconds after which what should have happened has not; a quiet machine needs a tenth."""


def why_not() -> str:
    """Return why no cluster is started here, or ''."""
    if not os.environ.get("RPAT_TEST_SLURM"):
        return "make slurm starts a Slurm of its own for these"
    if os.geteuid() != 0:
        return "a cluster of our own needs root"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not _there(name)]
    return f"Slurm is not installed ({', '.join(missing)})" if missing else ""


def _there(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here; the rest comes last, and with `--dist loadgroup` in two halves.

    These tests mostly wait: two processes with a cluster each are not in each other's way.
    """
    reason = why_not()
    ours = [item for item in items if item.get_closest_marker("slurm")]
    for place, item in enumerate(ours):
        item.add_marker(pytest.mark.xdist_group(f"slurm{place % 2}"))
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.get_closest_marker("slurm") is not None)


def _folder(run: int, kind: str = "") -> Path:
    return Path(tempfile.gettempdir()) / f"rpat-slurm-{run}{kind}"


@pytest.fixture
def summary() -> Summary:
    """Print a summary, and keep it as a page of `bench/results`."""

    def keep(name: str, title: str, lines: list[tuple[str, str]]) -> None:
        text = "\n".join([
            f"# {title}\n",
            f"`make soak`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores shared with other "
            f"work, rpat {rpat_package.__version__}, {_version()}, two nodes and four counted "
            "GPUs on one machine (`tests/slurm/start-test-cluster`), the stand-in core\n",
            "| | |", "| :-- | :-- |", *(f"| {what} | {value} |" for what, value in lines), "",
        ])  # fmt: skip
        (RESULTS / f"{name}.md").write_text(text, "utf-8")

    return keep


def _version() -> str:
    done = subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "Slurm of unknown version"


def pytest_sessionfinish(session: pytest.Session) -> None:
    for folder in (_folder(os.getpid()), _folder(os.getpid(), ACCOUNTED)):
        if folder.exists():
            subprocess.run([HERE / "stop-test-cluster", str(folder)], check=False)
            folder.with_suffix(".lock").unlink(missing_ok=True)


@dataclass
class Cluster:
    """The test cluster: its commands and its daemons."""

    folder: Path
    options: tuple[str, ...] = ()

    def start(self) -> None:
        with (self.folder.parent / "rpat-slurm.starting").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # two that look for free ports would find the same
            done = subprocess.run(
                [HERE / "start-test-cluster", "--dir", str(self.folder), *self.options],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        subprocess.run([HERE / "stop-test-cluster", str(self.folder)], check=True)

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon; a controller writes its state down when it is ended with SIGTERM."""
        pid = self.pid(daemon)
        os.kill(pid, number)
        until(lambda: not _runs(pid), LIMIT)

    def launch(self, *words: str) -> None:
        """Start a daemon again; this test cluster has no init system."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        subprocess.run(words, check=True, env={**os.environ, "PATH": path})

    def occupy(self, node: str, seconds: float = 2) -> str:
        """Let a job of high priority take all GPUs of a node."""
        return self.ask(
            "sbatch", "--parsable", "--partition=high", "--gres=gpu:2", f"--nodelist={node}",
            "--output=/dev/null", "--time=5", f"--wrap=sleep {seconds}",
        )  # fmt: skip

    def hurry(self) -> None:
        """Let requeued jobs start now.

        Slurm has them wait for some seconds, for good reason: the last word of the turn before may
        still be on its way, and is then taken for the next one's. `rpat` must survive that too.
        """
        for line in self.ask("squeue", "-h", "-t", "PD", "-o", "%A|%r").splitlines():
            job, _, why = line.partition("|")
            if why == "BeginTime":
                with suppress(AssertionError):  # it has just started by itself
                    self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def _runs(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """This process's cluster, with nothing on it."""
    yield from _with(Cluster(_folder(os.getpid())), monkeypatch)


@pytest.fixture
def accounted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with accounting, which forgets a job itself seconds after its end."""
    missing = [name for name in ("slurmdbd", "mariadbd") if not _there(name)]
    if missing:
        pytest.skip(f"Slurm's accounting is not installed ({', '.join(missing)})")
    cluster = Cluster(_folder(os.getpid(), ACCOUNTED), ("--accounting", "--min-job-age", "5"))
    yield from _with(cluster, monkeypatch)
    cluster.stop()
    cluster.folder.with_suffix(".lock").unlink(missing_ok=True)


def _with(cluster: Cluster, patch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    patch.setenv("SLURM_CONF", str(cluster.folder / "slurm.conf"))
    cluster.start()
    yield cluster
    with suppress(AssertionError):
        cluster.ask("scancel", "--user=root")


@dataclass
class Lab:
    """A home whose runs go to the cluster, and its worker."""

    home: Home
    db: sqlite3.Connection
    cluster: Cluster

    def give(self, note: str = "", epochs: int = 4, **resources: str) -> int:
        """Queue a run of the stand-in core."""
        seed = self.db.execute("select count(*) from runs").fetchone()[0]
        config = recipe("pgd-at", (), dataset="digits", epochs=epochs).override({"seed": seed})
        wish = index.Wish(note=note, launcher="slurm", resources={"cpus": "1", **resources})
        (n,) = index.enqueue(
            self.home, self.db, [config], wish, {"snapshot_path": str(STANDIN)}
        )  # fmt: skip
        worker.ensure(self.home)
        return n

    def state(self, n: int) -> tuple[str, str]:
        found = self.db.execute("select state, reason from runs where n = ?", (n,)).fetchone()
        return found[0], found[1]

    def job(self, n: int) -> str:
        found = submissions.newest(self.db, n)
        return found.job if found else ""

    def run(self, n: int) -> RunDir:
        return RunDir(self.home.runs / f"r{n:04d}")

    def reaches(self, n: int, *states: str) -> str:
        """Wait for a run's state; returns its reason."""
        worker.ensure(self.home)
        until(lambda: self.state(n)[0] in states, LIMIT)
        return self.state(n)[1]

    def trains(self, n: int, step: int = 6) -> None:
        """Wait until a run has done some steps, whatever is known of it."""
        until(lambda: self.steps(n) >= step, LIMIT)

    def steps(self, n: int) -> int:
        """The last step that the trainer itself says it has done."""
        attempts = self.run(n).attempts()
        try:
            return int((attempts[-1].path / "acks").read_text().split()[-1])
        except (OSError, IndexError, ValueError):
            return 0

    def finish(self, *numbers: int) -> None:
        """Wait until runs have ended."""

        def over() -> bool:
            worker.ensure(self.home)
            time.sleep(0.2)
            return not queries.unfinished(self.db, numbers)

        until(over, LIMIT)

    def leave(self) -> None:
        """End the worker at once: from now on nobody looks."""
        for pid in worker._started:  # one may be on its way to the lock
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: holder(self.home.worker_lock) is None, LIMIT)

    def is_whole(self, n: int, epochs: int, per_epoch: int = 5) -> bool:
        """Whether a run is done with each row once, and with the values it must have."""
        points = queries.metrics(self.db, n, ["step/loss"])
        seed = queries.config_of(self.db, n)["seed"]
        expected = [(s, value(seed, s)) for s in range(1, epochs * per_epoch + 1)]
        assert self.state(n) == ("done", "")
        assert [(p["step"], p["value"]) for p in points] == expected
        assert [p["epoch"] for p in queries.metrics(self.db, n, ["train/loss"])] == [
            *range(1, epochs + 1)
        ]
        return True

    def causes(self, n: int) -> list[str]:
        """The causes of a run's moves, in order."""
        return [m["evidence"].get("cause", "") for m in queries.transitions(self.db, n)]


def value(seed: int, step: int) -> float:
    """What the stand-in core must journal."""
    import math

    return round(50 + 40 * math.sin(seed + step / 7), 6)


@pytest.fixture
def lab(home: Home, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A home with a database, at work on the cluster."""
    freeze_the_standin(monkeypatch)
    yield from _at_work(home, cluster, monkeypatch)


@pytest.fixture
def trained(home: Home, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The same for real trainings by the code of this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    yield from _at_work(home, cluster, monkeypatch)


@pytest.fixture
def counted(home: Home, accounted: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A home with a database, at work on the cluster with accounting."""
    freeze_the_standin(monkeypatch)
    yield from _at_work(home, accounted, monkeypatch)


def _at_work(home: Home, cluster: Cluster, patch: pytest.MonkeyPatch) -> Iterator[Lab]:
    patch.setenv("RPAT_SLURM_POLL_EVERY", "0.5")
    with database.opened(home) as db:
        lab = Lab(home, db, cluster)
        yield lab
    lab.leave()
