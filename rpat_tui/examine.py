"""From what `rpat eval` and `rpat study` are asked to complete jobs.

The subject decides the defaults: a run's own threat model, evaluation settings and images; for a
file those of the paper's benchmark on its data set. Explicit options and `--set` come last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rpat.config import DATASETS, NORMS, RunConfig
from rpat.errors import ConfigError
from rpat.jobs import EvalJob, Job, StudyJob, SubjectConfig, checkpoint_word
from rpat.knobs import fields, number, unknown
from rpat.recipes import label, recipe, reported_network
from rpat_tui.compose import find_data

J = TypeVar("J", EvalJob, StudyJob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What was asked; empty means the subject's own value."""

    checkpoints: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    dataset: str = ""
    norm: str = ""
    epsilon: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)  # dotted key -> value
    data_dir: Path | None = None
    data_dir_given: bool = False  # somebody named it: then the data set must be there
    data_dir_asked: bool = False  # this command named it: a run's own place does not count then
    normalize: str = ""


def of_run(
    kind: type[J], uid: str, folder: str, config: RunConfig, ask: Ask, **own: Any
) -> J:  # fmt: skip
    """Return a job about a run's weights; `own` are fields of the job's kind."""
    for word in ask.checkpoints:
        _checkpoint(word)
    if ask.dataset and ask.dataset != config.data.name:
        raise ConfigError(
            f"--dataset {ask.dataset}: {folder} was trained on {config.data.name}; leave it out"
        )
    known = networks_of(config)
    for name in ask.networks:
        if name not in known:
            raise ConfigError(f"--network {unknown(name, known)}")
    rpat = config.wrapper("rpat")
    subject = SubjectConfig(
        run=uid,
        checkpoints=ask.checkpoints or ("best", "final"),
        networks=ask.networks or (reported_network(w.NAME for w in config.wrappers),),
        folder=folder,
        method=label(config),
        rpat=rpat is not None,
        lam=rpat.lam if rpat is not None else 0.0,
        epochs=config.schedule.epochs,
    )
    as_trained = kind(
        subject=subject, data=config.data, model=config.model, seed=config.seed,
        batch_size=config.eval.batch_size, device=config.device, **own,
    ).override(_attack(config))  # fmt: skip
    others = {"numerics.dtype", "numerics.bn"} & ask.fixed.keys()  # which cannot be folded
    if isinstance(as_trained, EvalJob) and config.mode != "reference" and not others:
        as_trained = as_trained.override({"numerics.folded": True})
    if ask.data_dir_asked:
        as_trained = as_trained.override(find_data(config.data.name, ask.data_dir, True))
    job = _with_threat(as_trained, config, ask).override(_explicit(ask))
    if isinstance(job, EvalJob):
        job = job.override({"differs": ", ".join(differences(as_trained, job))})
    return job


def of_file(kind: type[J], path: Path, found: Mapping[str, Any], ask: Ask, **own: Any) -> J:
    """Return a job about the network in a file, as `python -m rpat.foreign` described it."""
    if ask.checkpoints or ask.networks:
        raise ConfigError("--checkpoint and --network are for runs; a file is one network")
    trained = RunConfig.from_dict(found["config"]) if found["config"] else None
    dataset = ask.dataset or (trained.data.name if trained else _by_classes(found["num_classes"]))
    if dataset not in DATASETS:
        raise ConfigError(f"--dataset {unknown(dataset, DATASETS)}")
    norm = ask.norm or (trained.threat.norm if trained else "linf")
    base = trained or recipe("pgd-at", (), dataset=dataset, model=found["model"], norm=norm)
    place = find_data(dataset, ask.data_dir, ask.data_dir_given)
    statistics = ask.normalize or ("auto" if found["normalize"] is None else "none")
    if found["normalize"] is not None and statistics not in ("auto", "none"):
        raise ConfigError(f"--normalize {statistics}: {path} brings a normalisation of its own")
    job = kind(
        subject=SubjectConfig(
            sha256=found["sha256"], key=found.get("key", ""), file=str(path.absolute()),
            method=label(trained) if trained else path.stem,
        ),
        try_normalize=statistics == "auto" and found["normalize"] is None,
        batch_size=base.eval.batch_size,
        **own,
    ).override({
        "data.name": dataset, **place, "model.name": found["model"],
        "model.normalize": "none" if statistics == "auto" else statistics, **_attack(base),
    })  # fmt: skip
    return _with_threat(job, base, ask).override(_explicit(ask))


AVERAGES = {"wa": "wa", "rebat": "wa", "rpat++": "wa", "adr": "wa", "swa": "swa"}
"""Wrapper -> the averaged network that it keeps beside the one in training."""


def networks_of(config: RunConfig) -> list[str]:
    """Return the networks that a run keeps weights of."""
    averaged = (AVERAGES[w.NAME] for w in config.wrappers if w.NAME in AVERAGES)
    return list(dict.fromkeys(["online", *averaged]))


def differences(as_trained: Job, job: Job) -> list[str]:
    """Return the dotted keys in which a job is not what the run would be measured with."""
    found = []
    for section in ("model", "threat", "attack", "numerics"):
        ours, theirs = getattr(job, section), getattr(as_trained, section)
        found += [
            f"{section}.{f.name}"
            for f in fields(ours)
            if getattr(ours, f.name) != getattr(theirs, f.name) and f.name != "steps"
        ]
    return found


def _attack(config: RunConfig) -> dict[str, Any]:
    """Return the threat model and PGD settings that a run is measured with, as dotted keys."""
    e = config.eval
    names = ("steps", "step_size", "start", "order", "reduction", "floor")
    return {
        "threat.norm": config.threat.norm,
        "threat.epsilon": config.threat.epsilon,
        **{f"attack.{name}": getattr(e, name) for name in names},
    }


def _with_threat(job: J, config: RunConfig, ask: Ask) -> J:
    """Change norm and radius; the step follows the radius, unless it is given as well."""
    if ask.norm and ask.norm not in NORMS:
        raise ConfigError(f"--norm {unknown(ask.norm, NORMS)}")
    if ask.norm and ask.norm != job.threat.norm:
        usual = recipe("pgd-at", (), dataset=job.data.name, norm=ask.norm)
        job = job.override({**_attack(usual), "attack.steps": job.attack.steps})
    if ask.epsilon:
        try:
            radius = number(ask.epsilon)
        except ValueError as error:
            raise ConfigError(f"--epsilon {ask.epsilon}: {error}") from None
        changed = job.override({"threat.epsilon": radius})  # refuses radii on the 0..255 scale
        scale = radius / job.threat.epsilon if job.threat.epsilon else 1.0
        size = job.attack.step_size * scale
        job = changed.override({"attack.step_size": size}) if size else changed
    return job


def _explicit(ask: Ask) -> dict[str, Any]:
    named = {"model.normalize": ask.normalize} if ask.normalize not in ("", "auto") else {}
    return {**named, **ask.fixed}


def _checkpoint(word: str) -> None:
    try:
        checkpoint_word(word)
    except ValueError as error:
        raise ConfigError(f"--checkpoint {word}: {error}") from None


def _by_classes(count: int) -> str:
    for name in ("cifar10", "cifar100", "tiny-imagenet"):
        if DATASETS[name].classes == count:
            return name
    raise ConfigError(f"the file tells {count} classes apart; name its data set with --dataset")
