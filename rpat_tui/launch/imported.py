"""Runs of other code bases, taken over from their text logs into run directories of their own.

The journal is written like a trainer's, so everything that reads runs reads them too. They are
done, have no weights, and carry `imported` in `meta.json`, which marks them in every table.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rpat import __version__, journal
from rpat.config import DATASETS, METHODS, MODELS, NORMS, RunConfig
from rpat.errors import ConfigError
from rpat.identity import process_identity
from rpat.journal import Journal
from rpat.knobs import unknown
from rpat.recipes import COMBINATIONS, recipe, reported_network
from rpat.rundir import RunDir
from rpat_tui import textlogs
from rpat_tui.home import Home
from rpat_tui.launch import frozen
from rpat_tui.launch.settle import settle
from rpat_tui.store import index, queries
from rpat_tui.textlogs import Found, Result

PREFIX = "log:"
"""What `imported` begins with for these runs; other ways of importing bring whole runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What was asked; empty means what the log states."""

    source: str = "auto"
    dataset: str = ""
    method: str = ""
    rpat: bool = False
    wrappers: tuple[str, ...] = ()
    model: str = ""
    norm: str = ""
    seed: int | None = None
    weights: str = "best"
    changes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a file holds and the config that stands for it."""

    file: Path
    sha256: str
    found: Found
    config: RunConfig
    assumed: tuple[str, ...]  # what neither log nor options state

    def summary(self) -> str:
        """Say in a line what was taken over."""
        epochs, results = len(self.found.epochs), len(self.found.results)
        return f"{epochs} epochs and {results} final results from {self.file.name}"

    def remarks(self) -> Iterator[str]:
        """Say what was not read or stated."""
        if self.assumed:
            yield f"not in the log, taken from the recipe: {', '.join(self.assumed)}"
        if self.found.unread:
            example = self.found.unread[0].strip()[:80]
            yield f"{len(self.found.unread)} lines were not understood, the first: {example}"
        if not any(r.attack == "aa" or r.steps == 20 for r in self.found.results):
            yield (
                "the log states neither PGD-20 nor AutoAttack: rpat table --select pgd shows the "
                "numbers of its epochs"
            )


def plan(file: Path, ask: Ask) -> Plan:
    """Read a log and decide which config stands for it; makes nothing.

    Raises `ConfigError` for a file that cannot be read or is no such log, and for a method or
    data set that neither the log nor the options name.
    """
    if ask.source not in textlogs.SOURCES:
        raise ConfigError(f"--from {unknown(ask.source, textlogs.SOURCES)}")
    if ask.weights not in ("best", "final"):
        raise ConfigError(f"--evaluated {unknown(ask.weights, ['best', 'final'])}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror})") from error
    found = textlogs.read(data.decode("utf-8", "replace").splitlines(), ask.source)
    if not found.recognised:
        layouts = textlogs.SOURCES[ask.source]
        expected = "; or ".join(textlogs.EXPECTED[layout] for layout in layouts)
        raise ConfigError(f"{file}: nothing in it is known; expected lines such as {expected}")
    config, assumed = _config(file, found, ask)
    return Plan(
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        found=found,
        config=config,
        assumed=assumed,
    )


def _config(file: Path, found: Found, ask: Ask) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the nearest recipe with what the log and the options state, and what is assumed."""
    stated = dict(found.settings)
    choices = {
        "method": ask.method or stated.pop("method", ""),
        "dataset": ask.dataset or stated.pop("dataset", ""),
        "model": ask.model or stated.pop("model", ""),
        "norm": ask.norm or stated.pop("norm", ""),
    }
    for key, known in (
        ("method", [*METHODS, *COMBINATIONS]), ("dataset", DATASETS), ("model", MODELS),
        ("norm", NORMS),
    ):  # fmt: skip
        stated.pop(key, None)
        if key in ("method", "dataset") and not choices[key]:
            raise ConfigError(f"{file} does not state the {key}; name it with --{key}")
        if choices[key] and choices[key] not in known:
            raise ConfigError(f"--{key} {unknown(choices[key], known)}")
    wrappers = [*ask.wrappers]
    if (ask.rpat or stated.pop("rpat", False)) and "rpat" not in wrappers:
        wrappers.append("rpat")
    epochs = int(stated.pop("schedule.epochs", 0)) or max(found.epochs, default=0)
    base = recipe(
        choices["method"], wrappers, dataset=choices["dataset"], model=choices["model"],
        norm=choices["norm"] or "linf", epochs=epochs, cutmix=bool(stated.pop("cutmix", False)),
    )  # fmt: skip
    base = base.override({"mode": "reference"})  # the authors' code computes every pass
    values = base.to_dict()
    changes = {key: value for key, value in stated.items() if _has(values, key)}
    if ask.seed is not None:
        changes["seed"] = ask.seed
    config = base.override({**changes, "eval.attack": "none"}).override(ask.changes)
    watched = {"threat.epsilon", "attack.steps", "attack.step_size", "optim.batch_size", "seed"}
    assumed = [key for key in ("model", "norm") if not choices[key]]
    assumed += sorted(watched - set(changes) - set(ask.changes))
    return config, tuple(assumed)


def _has(values: Mapping[str, Any], dotted: str) -> bool:
    section, _, key = dotted.partition(".")
    place = values.get(section)
    return dotted in values if not key else isinstance(place, Mapping) and key in place


def adopt(home: Home, db: sqlite3.Connection, plan: Plan, ask: Ask) -> int:
    """Make the run directory, write its journal, index it as done; returns the run's number."""
    home.make()
    origin = {
        **frozen.provenance(home, ask.command),
        "imported": {
            "file": str(plan.file.absolute()), "sha256": plan.sha256, "format": ask.source,
            "layout": plan.found.layout, "read": plan.found.read,
            "unread": len(plan.found.unread), "assumed": list(plan.assumed),
        },
    }  # fmt: skip
    for key in ("snapshot", "snapshot_path", "git", "packages", "python", "interpreter"):
        origin.pop(key, None)  # this program did not compute it
    wish = index.Wish(name=ask.name, tags=ask.tags, note=ask.note)
    mark = f"{PREFIX}{plan.file.name}"
    n = index.adopt(
        home, db, plan.config, wish, origin, lambda run: _write(run, plan, ask), imported=mark
    )
    for run in queries.open_runs(db):
        if run["n"] == n:
            settle(home, db, run)
    return n


def _write(run: RunDir, plan: Plan, ask: Ask) -> None:
    """Write the journal of the one attempt."""
    found, config = plan.found, plan.config
    attempt = run.take_attempt()
    log = Journal(attempt.journal)
    now = time.time()
    first = min(found.times.values(), default=now)
    last = max(found.times.values(), default=now)
    per_epoch = _steps(config)
    log.write(
        "begin", v=journal.VERSION, attempt=1, from_step=0, t=first, **process_identity(),
        versions={"rpat": __version__, "torch": "unknown"}, device="", device_name="another code",
        imported=plan.file.name,
    )  # fmt: skip
    log.write("notice", what="plan", t=first, steps=config.schedule.epochs * per_epoch)
    for kind, epoch, step, values in _rows(found, per_epoch):
        log.write(kind, t=found.times.get(epoch, last), epoch=epoch, step=step, values=values)
    for result in _results(found):
        log.write("eval", t=last, **_evaluation(result, plan, ask, per_epoch))
    reached = max(found.epochs, default=0)
    log.write("end", epoch=reached, step=reached * per_epoch, t=last, sync=True)
    log.close()


def _rows(found: Found, per_epoch: int) -> Iterator[tuple[str, int, int, dict[str, float]]]:
    """Yield step losses and epochs in the order of their steps."""
    rows: list[tuple[int, int, str, int, dict[str, float]]] = []
    for done, at, loss in found.losses:
        within = int(at) if found.layout == "bracketed" else int(at * per_epoch)
        step = done * per_epoch + min(within, per_epoch - 1) + 1
        rows.append((step, 0, "log", done, {"step/loss": loss}))
    for epoch, values in found.epochs.items():
        rows.append((epoch * per_epoch, 1, "epoch", epoch, values))
    for step, _, kind, epoch, values in sorted(rows, key=lambda row: row[:2]):
        yield kind, epoch, step, values


def _steps(config: RunConfig) -> int:
    images = config.data.train_n or DATASETS[config.data.name].n_train or 50_000
    return math.ceil(images / config.optim.batch_size)


def _results(found: Found) -> list[Result]:
    """Return the final results; the last of its kind counts where a log was continued."""
    kept = {(r.attack, r.steps, r.checkpoint, r.network): r for r in found.results}
    return list(kept.values())


def _evaluation(result: Result, plan: Plan, ask: Ask, per_epoch: int) -> dict[str, Any]:
    config, found = plan.config, plan.found
    kind = result.checkpoint or ask.weights
    network = result.network or reported_network(w.NAME for w in config.wrappers)
    epoch = _epoch_of(found, kind, network)
    images = config.data.test_n or DATASETS[config.data.name].n_test
    pgd = result.attack == "pgd"
    stated = "" if result.checkpoint else f"which weights ({kind}) is not in the log"
    return {
        "checkpoint": kind,
        "epoch": epoch,
        "step": max(found.epochs, default=epoch) * per_epoch,
        "network": network,
        "weights": "",
        "selected_on": "test" if kind == "best" and not config.data.val_n else "",
        "split": "test",
        "n": result.n or images,
        "of": images,
        "indices": "",
        "seed": config.seed,
        "dtype": "float32",
        "normalize": config.model.normalize,
        "attack": result.attack,
        "norm": config.threat.norm,
        "epsilon": config.threat.epsilon,
        "steps": result.steps if pgd else 0,
        "step_size": config.eval.step_size if pgd else 0.0,
        "restarts": 1,
        "note": stated,
        "clean": result.clean,
        "robust": result.robust,
        "seconds": None,
    }


def _epoch_of(found: Found, kind: str, network: str) -> int:
    """Return the epoch of the best weights by the selection that all of them use; else the last."""
    last = max(found.epochs, default=0)
    prefix = "" if network == "online" else f"{network}/"
    for split in ("val", "test"):
        name = f"{prefix}{split}/pgd_acc"
        there = {e: v[name] for e, v in found.epochs.items() if name in v}
        if kind == "best" and there:
            return max(there, key=lambda epoch: (there[epoch], -epoch))
    return last
