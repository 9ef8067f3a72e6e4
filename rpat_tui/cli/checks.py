"""What `rpat doctor` looks at; each check says what it found and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rpat.config import DATASETS
from rpat.data.locate import DOWNLOADABLE, locate
from rpat.errors import RpatError
from rpat_tui.home import Home, data_folder, file_system, find_home, is_network, settings
from rpat_tui.launch.cards import Card, Driver
from rpat_tui.launch.locks import holder
from rpat_tui.launch.slurm import checks as cluster
from rpat_tui.store import db as database

PACKAGES = ("torch", "torchvision", "numpy", "pyautoattack", "scikit-learn")
LITTLE = 2 << 30
"""Bytes free below which the disk is worth a word: checkpoints of one large network."""


RESET = "nvidia-smi says more; a card that is lost wants its driver or the machine restarted"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `ok` is None for what is only worth knowing."""

    name: str
    ok: bool | None
    found: str
    do: str = ""


def checks(option: str | None) -> list[Check]:
    """Return every check, in the order a run would meet them."""
    home = find_home(option)
    return [_python(), *_packages(), *_gpus(), _home(home), _database(home), _disk(home.path),
            _worker(home), *_cluster(home), *_datasets(home)]  # fmt: skip


def _python() -> Check:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, version, "" if ok else "install Python 3.11 or newer")


def _packages() -> list[Check]:
    out = []
    for name in PACKAGES:
        try:
            out.append(Check(name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            out.append(Check(name, False, "missing", f"pip install {name}"))
    return out


def _gpus() -> list[Check]:
    """Return whether NVML answers, and a line for each card."""
    driver = Driver()
    try:
        cards = driver.read()
    finally:
        driver.close()
    if not driver.version:
        why = driver.problem or "no answer"
        return [Check("gpu", None, f"none that NVIDIA's driver shows ({why}); runs use the CPU")]
    if not cards and driver.problem:
        return [Check("gpu", False, f"driver {driver.version}: {driver.problem}", RESET)]
    found = f"driver {driver.version} answers, {len(cards)} card{'' if len(cards) == 1 else 's'}"
    return [Check("gpu", True, found), *map(_card, cards)]


def _card(card: Card) -> Check:
    if card.problem:
        return Check(card.place, False, f"{card.name or 'unknown'}: {card.problem}", RESET)
    memory = f", {card.memory_mb / 1024:.0f} GB" if card.memory_mb else ""
    return Check(card.place, True, f"{card.name or 'unknown'}{memory}")


def _home(home: Home) -> Check:
    if not home.path.exists():
        return Check("home", None, f"{home.path} does not exist yet; the first run makes it")
    if not os.access(home.path, os.R_OK | os.W_OK | os.X_OK):
        return Check("home", False, f"{home.path} is not writable", "check its permissions")
    return Check("home", True, f"{home.path} ({file_system(home.path) or 'unknown file system'})")


def _database(home: Home) -> Check:
    if not home.exists():
        return Check("database", None, "none yet")
    where = home.database
    far = " (the home is on a network)" if is_network(file_system(home.path)) else ""
    try:
        with database.opened_readonly(home) as db:
            verdict = db.execute("pragma quick_check").fetchone()[0]
            runs = db.execute("select count(*) from runs").fetchone()[0]
    except RpatError as error:
        return Check("database", False, str(error), "rpat reindex builds it again")
    if verdict != "ok":
        return Check("database", False, verdict, "rpat reindex builds it again")
    return Check("database", True, f"{where}{far}, {runs} runs, SQLite {sqlite3.sqlite_version}")


def _disk(path: Path) -> Check:
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    text = f"{free / 1e9:.1f} GB free"
    return Check("disk", free > LITTLE, text, "" if free > LITTLE else "free some space")


def _worker(home: Home) -> Check:
    found = holder(home.worker_lock)
    if found is None:
        return Check("worker", None, "none; the next run starts one")
    return Check("worker", True, f"pid {found.get('pid', '?')} on {found.get('host', '?')}")


def _cluster(home: Home) -> list[Check]:
    """Return what the cluster says, where there is one or runs are sent to one."""
    known = settings()
    prefix = "launcher.slurm."
    chosen = {n[len(prefix) :]: str(v.value) for n, v in known.items() if n.startswith(prefix)}
    wanted = known["launcher.default"].value == "slurm"
    return [
        Check(f.name, f.ok, f.found, f.do) for f in cluster.look(home, wanted=wanted, chosen=chosen)
    ]


def _datasets(home: Home) -> list[Check]:
    root = data_folder(home)
    out = []
    for name, facts in DATASETS.items():
        if not facts.known:
            continue
        found = locate(name, root)
        if found:
            out.append(Check(name, True, found.source))
        else:
            way = "downloaded at the first run" if name in DOWNLOADABLE else "give --data-dir"
            out.append(Check(name, None, f"not in {root}: {way}"))
    return out
