"""Who is evaluated: kept weights of a run, or the network in a checkpoint file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rpat import checkpoint, foreign
from rpat.config import ModelConfig
from rpat.data.dataset import DataSet, Images
from rpat.data.loader import pixels
from rpat.errors import RunError
from rpat.jobs import Job
from rpat.models import build as build_model
from rpat.models.normalize import STATISTICS, Normalize, Normalized
from rpat.rundir import RunDir, read_json

TRIED = 512
"""Images that decide which input normalisation a file's network expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network to look at."""

    checkpoint: str  # best, final, epoch:N or file
    network: str  # online, wa or swa
    epoch: int  # completed epochs; 0: unknown
    weights: str  # digest of the weights
    normalize: str  # name of the statistics inside the network; "inside": the file's own
    selected_on: str  # the split that chose a best epoch
    make: Callable[[], nn.Module]  # the network, on the CPU, in eval mode, frozen


def of_run(run: RunDir, job: Job, data: DataSet) -> Iterator[Subject]:
    """Yield the kept weights of a run that a job names; `RunError` where they are not there."""
    data_of_run = read_json(run.config)["config"].get("data", {})
    chosen = "val" if data_of_run.get("val_n") else "test"
    for word in job.subject.checkpoints:
        for network in job.subject.networks:
            file = _file(run, word, network)
            content = checkpoint.load(file) if file else None
            if content is None:
                raise RunError(
                    f"{run.path.name} keeps no weights '{word}' of its network {network}; it has "
                    f"{', '.join(_there(run)) or 'none yet'} (keep_every keeps more)",
                    reason="weights",
                )
            yield _subject(content, word, network, chosen, job.model, data)


def _subject(
    content: dict[str, Any], word: str, network: str, chosen: str, model: ModelConfig, data: DataSet
) -> Subject:  # fmt: skip
    weights = content["weights"]

    def make() -> nn.Module:
        net = build_model(model, data.num_classes, data.image_size)
        net.load_state_dict(weights)
        return net.eval().requires_grad_(False)

    return Subject(
        checkpoint=word,
        network=network,
        epoch=content["epoch"],
        weights=checkpoint.digest(weights),
        normalize=model.normalize,
        selected_on=chosen if word == "best" else "",
        make=make,
    )


def _file(run: RunDir, word: str, network: str) -> Path | None:
    if word == "best":
        return run.best(network)
    if word == "final":
        return run.final(network)
    epoch = int(word.partition(":")[2])
    for file in (run.kept(network, epoch), run.best(network), run.final(network)):
        content = checkpoint.load(file)
        if content is not None and content["epoch"] == epoch:
            return file
    return None


def _there(run: RunDir) -> list[str]:
    names = (file.stem for file in sorted(run.checkpoints.glob("*-*.pt")))
    return [name for name in names if name.startswith(("best-", "final-", "epoch-"))]


def of_file(job: Job, data: DataSet, images: Images) -> tuple[Subject, str]:
    """Return the network of a checkpoint file and, in one line, what was found in it.

    Where the job asks for it (`try_normalize`), the input normalisation is the one with which
    the network classifies most of the first images correctly. Raises `RunError` when the file
    is not the one that the job was composed with.
    """
    path = Path(job.subject.file)
    try:
        digest = file_digest(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})", reason="weights") from error
    if digest != job.subject.sha256:
        raise RunError(f"{path} has changed since this job was queued", reason="weights")
    found = foreign.load(path, job.model.name, job.subject.key)
    if found.num_classes != data.num_classes:
        raise RunError(
            f"{path} tells {found.num_classes} classes apart, but {job.data.name} has "
            f"{data.num_classes}; name its data set with --dataset",
            reason="weights",
        )
    text, name = found.text, "inside" if found.normalize else job.model.normalize
    if job.try_normalize and not found.normalize:
        name, tried = _best_normalisation(found, data, images)
        text += f"; input normalisation '{name}': {tried}"

    def make() -> nn.Module:
        return _normalised(found, name, data.image_size).requires_grad_(False)

    subject = Subject(
        checkpoint="file",
        network=found.network or "online",
        epoch=found.epoch or 0,
        weights=checkpoint.digest(found.state),
        normalize=name,
        selected_on="",
        make=make,
    )
    return subject, text


def _normalised(found: foreign.Found, name: str, image_size: int) -> nn.Module:
    net = foreign.build(found, image_size)  # brings its own statistics where the file has some
    if name in STATISTICS:
        net = Normalized(Normalize(*STATISTICS[name]), net)
    return net.eval()


def _best_normalisation(found: foreign.Found, data: DataSet, images: Images) -> tuple[str, str]:
    """Return the statistics that suit the network best, and what each one gave."""
    names = dict.fromkeys(["none", "cifar10", *([data.name] if data.name in STATISTICS else [])])
    positions = torch.arange(len(images))
    few = images.take(positions[:: max(len(images) // TRIED, 1)][:TRIED])
    x, tried = pixels(few.images), {}
    for name in names:
        net = _normalised(found, name, data.image_size).to(x.device)
        with torch.no_grad():
            right = net(x).argmax(1) == few.labels
        tried[name] = 100.0 * int(right.sum()) / len(few)
    best = max(tried, key=lambda name: tried[name])
    said = ", ".join(f"{name} {accuracy:.1f} %" for name, accuracy in tried.items())
    return best, f"{said} of {len(few)} images correct"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
