"""Studies as a job: each network in turn, as records in the journal and files of all images.

A job counts batches as its steps. What it found of a network is kept when that network is done;
an attempt that goes on begins with the first network that is not.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rpat import checkpoint, journal
from rpat.data.dataset import Images
from rpat.errors import ConfigError
from rpat.evaluate import index_digest
from rpat.jobs import StudyJob
from rpat.journal import Journal, Record
from rpat.rundir import RunDir, replace
from rpat.studies.averages import Progress
from rpat.studies.perception import KINDS, Perception, perceive
from rpat.studies.smoothness import Smoothness, smoothness
from rpat.subjects import Subject

KEY = (
    "study", "network", "weights", "normalize", "split", "n", "indices", "norm", "epsilon", "steps",
    "step_size", "start", "seed", "batch_size", "tf32", "average", "alphas", "jacobian_n",
    "iterations",
)  # fmt: skip
"""What makes two studies the same one, whatever the weights are called."""

PACE = 5.0
"""Seconds between two journaled looks at a study under way."""


def study(
    run: RunDir,
    job: StudyJob,
    images: Images,
    subjects: list[Subject],
    log: Journal,
    device: torch.device,
    guard: Callable[[], None],
    *,
    of: int,
) -> int:
    """Study every network that no earlier attempt has journaled; returns the batches done.

    `guard` is called after each batch and raises to interrupt. `of` is the size of the split
    that the images are from.
    """
    if job.numerics.dtype != "float32" or job.numerics.bn != "eval":
        raise ConfigError(
            "a study computes in float32 with numerics.bn eval; leave both as they are"
        )
    done = journal.counted((attempt.journal for attempt in run.attempts()), "study")
    plans = [_settings(job, subject, images, of) for subject in subjects]
    open_keys = {_key(plan) for plan in plans} - {_key(record) for record in done}
    step = max((record["step"] for record in done), default=0)
    batches = -(-len(images) // job.batch_size) * (len(KINDS) if job.study == "perception" else 1)
    pace = _Pace(log, guard, step, step + batches * len(open_keys))
    images = images.to(device)
    for subject, plan in zip(subjects, plans, strict=True):
        alike = [record for record in done if _key(record) == _key(plan)]
        if any(record["checkpoint"] == plan["checkpoint"] for record in alike):
            continue
        guard()
        if alike:  # best and final may be one network
            found = {name: alike[0][name] for name in ("result", "file")}
        else:
            found = _look(run, job, images, subject, pace)
        log.write("study", sync=True, step=pace.step, **plan, **found)
        done.append({"step": pace.step, **plan, **found})
        checkpoint.save(run.last, {"t": pace.step})
    return pace.step


def _settings(job: StudyJob, subject: Subject, images: Images, of: int) -> Record:
    """Return a study's settings as they are journaled."""
    own: Record = {"average": job.average}
    if job.study == "smoothness":
        own = {
            "alphas": job.alphas, "jacobian_n": job.jacobian_n, "iterations": job.iterations,
        }  # fmt: skip
    return {
        "study": job.study,
        "checkpoint": subject.checkpoint,
        "network": subject.network,
        "epoch": subject.epoch,
        "weights": subject.weights,
        "normalize": subject.normalize,
        "selected_on": subject.selected_on,
        "split": job.images.split,
        "n": len(images),
        "of": of,
        "indices": index_digest(images.index),
        "norm": job.threat.norm,
        "epsilon": job.threat.epsilon,
        "steps": job.attack.steps,
        "step_size": job.attack.step_size,
        "start": job.attack.start,
        "seed": job.seed,
        "batch_size": job.batch_size,
        "tf32": job.numerics.tf32,
        **own,
    }


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in KEY)


# --------------------------------------------------------------------- one network


def _look(run: RunDir, job: StudyJob, images: Images, subject: Subject, pace: _Pace) -> Record:
    """Study one network; returns what its record holds beside the settings."""
    net = subject.make().to(images.images.device)
    common: Any = {"batch_size": job.batch_size, "seed": job.seed, "tf32": job.numerics.tf32}
    who = (
        subject.checkpoint
        if subject.network == "online"
        else f"{subject.checkpoint} {subject.network}"
    )
    attack = dataclasses.replace(job.attack, bn="eval")
    result: Record
    if job.study == "perception":
        seen = {
            kind: perceive(
                net, images, job.threat, attack, kind=kind,
                progress=pace.round(f"{who} {kind}"), **common,
            )
            for kind in KINDS
        }  # fmt: skip
        result = {kind: found.averages(job.average) for kind, found in seen.items()}
        result["release"] = {kind: found.averages("batch") for kind, found in seen.items()}
        columns = {
            f"{kind}_{name}": values
            for kind, found in seen.items()
            for name, values in _columns(found).items()
        }
    else:
        way = smoothness(
            net, images, job.threat, attack, alphas=job.alphas, jacobian_n=job.jacobian_n,
            iterations=job.iterations, progress=pace.round(f"{who} smoothness"), **common,
        )  # fmt: skip
        result, columns = way.averages(), _columns(way)
    return {"result": result, "file": _write(run, job, images, subject, columns)}


def _columns(found: Perception | Smoothness) -> dict[str, Tensor]:
    """Return what was found of each image, by name."""
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _write(
    run: RunDir, job: StudyJob, images: Images, subject: Subject, columns: dict[str, Tensor]
) -> str:
    """Write what was found of every image and return the file's name."""
    file = run.result(subject.checkpoint, subject.network, job.study)
    file.parent.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {
        "index": images.index.cpu().numpy(),
        "label": images.labels.cpu().numpy(),
        **{name: values.numpy() for name, values in columns.items()},
    }
    replace(file, lambda stream: np.savez(stream, **arrays))
    return file.name


class _Pace:
    """Counts batches, answers to requests, and journals now and then how far the job is."""

    def __init__(self, log: Journal, guard: Callable[[], None], step: int, steps: int) -> None:
        self.log, self.guard = log, guard
        self.step, self.steps = step, steps
        self.looked = float("-inf")

    def round(self, stage: str) -> Progress:
        """Return what to call after each batch of one round through the images."""
        began = time.monotonic()

        def batch(done: int, total: int) -> None:
            self.step += 1
            now = time.monotonic()
            if now - self.looked >= PACE:
                self.looked = now
                self.log.write(
                    "log", epoch=0, step=self.step, steps=self.steps,
                    stage=f"{stage}: {done} of {total} images",
                    values={"time/images_per_s": done / max(now - began, 1e-9)},
                )  # fmt: skip
            self.guard()

        return batch
