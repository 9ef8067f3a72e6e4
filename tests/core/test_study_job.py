"""Studies as jobs: records, files of all images, interruptions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rpat import __main__ as program
from rpat import checkpoint
from rpat.assess import chosen_images
from rpat.data.dataset import load
from rpat.errors import SAVED
from rpat.evaluate import full_precision, index_digest
from rpat.jobs import StudyJob
from rpat.journal import counted
from rpat.rundir import RunDir, read_json, write_json
from rpat.studies import job as module
from rpat.studies.perception import perceive
from rpat.subjects import of_run

SMALL = {"batch_size": 8, "attack.steps": 2, "images.n": 20}
WAY = {"alphas": 5, "jacobian_n": 10, "iterations": 4}
CHECKPOINTS = ("final", "epoch:1")

Start = Callable[..., Any]


@pytest.fixture
def studied(job, short, tiny_models, monkeypatch) -> Start:
    """Return a maker of study directories beside a trained run, which journal every batch."""
    parent = job("runs/r0001", short(keep_every=1, **{"eval.attack": "none"}))
    assert parent.start() == 0
    monkeypatch.setattr(module, "PACE", 0.0)
    names = iter(f"runs/r{n:04d}" for n in range(2, 99))
    trained = read_json(parent.dir.config)

    def make(study: str, words: tuple[str, ...] = CHECKPOINTS, **changes: Any) -> Any:
        subject = {"run": trained["uid"], "folder": "r0001", "checkpoints": list(words)}
        values = {name: trained["config"][name] for name in ("data", "model", "threat")}
        wanted = StudyJob.from_dict(
            {"study": study, "subject": subject, "device": "cpu", **values}
        ).override(SMALL | (WAY if study == "smoothness" else {}) | changes)
        made = job(next(names), {})
        content = {"kind": "study", "config": wanted.to_dict()}
        write_json(made.dir.config, read_json(made.dir.config) | content)
        made.wanted, made.parent = wanted, parent.dir
        return made

    return make


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in ("seq", "t")} for record in records]


def journaled(run: RunDir) -> list[dict[str, Any]]:
    return counted((attempt.journal for attempt in run.attempts()), "study")


def arrays(run: Any, record: dict[str, Any]) -> dict[str, Any]:
    with np.load(run.dir.results / record["file"]) as file:
        return dict(file)


def interrupt_after(monkeypatch, batches: int) -> None:
    """Let somebody ask for a stop when that many batches are done."""
    calls = iter(range(1000))
    monkeypatch.setattr(
        program.StopRequest, "__call__", lambda self: "stop" if next(calls) >= batches else None
    )


def test_perception_is_recorded_for_each_network_with_its_settings(studied):
    run = studied("perception")
    assert run.start() == 0
    records = run.kinds(1, "study")
    assert [record["checkpoint"] for record in records] == list(CHECKPOINTS)
    assert [(record["epoch"], record["step"]) for record in records] == [(3, 6), (1, 12)]
    for record in records:
        expected = {
            "study": "perception", "network": "online", "split": "test", "n": 20, "of": 20,
            "norm": "linf", "epsilon": run.wanted.threat.epsilon, "steps": 2,
            "start": "uniform", "seed": 0,
            "average": "sample", "normalize": run.wanted.model.normalize, "tf32": False,
        }  # fmt: skip
        assert expected.items() <= record.items()
        assert record["result"].keys() == {"noise", "pgd", "release"}
        assert "ratio" in record["result"]["pgd"]
        assert record["result"]["release"].keys() == {"noise", "pgd"}
    assert run.kinds(1, "end")[0]["step"] == 12


def test_the_record_and_the_file_hold_what_the_study_finds(studied):
    run = studied("perception", ("final",), average="batch")
    assert run.start() == 0
    record = run.kinds(1, "study")[0]
    data = load(run.wanted.data)
    images = chosen_images(run.wanted, data)
    net = next(iter(of_run(run.parent, run.wanted, data))).make()
    attack = dataclasses.replace(run.wanted.attack, bn="eval")
    file = arrays(run, record)
    assert file["index"].tolist() == images.index.tolist()
    assert file["label"].tolist() == images.labels.tolist()
    assert record["indices"] == index_digest(images.index)
    for kind in ("noise", "pgd"):
        found = perceive(net, images, run.wanted.threat, attack, kind=kind, batch_size=8, seed=0)
        assert record["result"][kind] == found.averages("batch")
        assert record["result"]["release"][kind] == found.averages("batch")
        for name in ("clean", "success", "mse", "mse_clean_mid", "mse_mid_pert", "batch"):
            assert file[f"{kind}_{name}"].tolist() == getattr(found, name).tolist()


def test_smoothness_is_recorded_with_how_its_jacobians_were_found(studied):
    run = studied("smoothness", ("final",))
    assert run.start() == 0
    record = run.kinds(1, "study")[0]
    assert WAY.items() <= record.items()
    assert record["result"]["jacobian_how"] == "exact"
    assert record["result"]["all"]["n_jacobian"] == 10
    file = arrays(run, record)
    assert file["deviation"].shape == (20, 5)
    means = file["deviation"].astype(np.float64).mean(0).tolist()
    assert record["result"]["all"]["deviation"] == pytest.approx(means)
    assert np.isnan(file["jacobian_change"]).sum() == 10


@pytest.mark.parametrize("study", ["perception", "smoothness"])
def test_progress_counts_every_batch_once(studied, study):
    run = studied(study)
    assert run.start() == 0
    total = 12 if study == "perception" else 6
    logs = run.kinds(1, "log")
    assert [record["step"] for record in logs] == list(range(1, total + 1))
    assert {record["steps"] for record in logs} == {total}
    assert logs[0]["stage"].startswith("final ")
    assert logs[-1]["stage"].startswith("epoch:1 ")
    assert logs[-1]["stage"].endswith(": 20 of 20 images")
    assert all(record["values"]["time/images_per_s"] > 0 for record in logs)


def test_little_is_journaled_of_a_fast_study(studied, monkeypatch):
    monkeypatch.setattr(module, "PACE", 5.0)
    run = studied("perception")
    assert run.start() == 0
    assert len(run.kinds(1, "log")) == 1


@pytest.mark.parametrize("after", [1, 5, 8])
def test_an_interrupted_study_goes_on_with_the_network_it_was_at(studied, monkeypatch, after):
    whole, run = studied("perception"), studied("perception")
    assert whole.start() == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, after)
        assert run.start() == SAVED
    done = len(run.kinds(1, "study"))
    assert done == (after >= 8)
    assert run.start() == 0
    assert run.kinds(2, "begin")[0]["from_step"] == 6 * done
    assert [record["step"] for record in run.kinds(2, "log")] == list(range(6 * done + 1, 13))
    assert {record["steps"] for record in run.kinds(2, "log")} == {12}
    found = run.kinds(1, "study") + run.kinds(2, "study")
    assert timeless(found) == timeless(whole.kinds(1, "study"))
    assert timeless(journaled(run.dir)) == timeless(found)
    for a, b in zip(found, whole.kinds(1, "study"), strict=True):
        one, other = arrays(run, a), arrays(whole, b)
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_study_that_was_not_saved_is_made_again_and_one_that_was_is_not(studied):
    run = studied("perception")
    assert run.start() == 0
    checkpoint.save(run.dir.last, {"t": 6})  # as if killed before the second was saved
    assert run.start() == 0
    assert [record["checkpoint"] for record in run.kinds(2, "study")] == ["epoch:1"]
    assert run.start() == 0
    assert not run.kinds(3, "study", "log")
    assert [record["step"] for record in journaled(run.dir)] == [6, 12]
    assert run.kinds(3, "end")[0]["step"] == 12


def test_one_network_under_two_names_is_studied_once_and_recorded_twice(studied):
    run = studied("smoothness", ("final", "epoch:3"))
    assert run.start() == 0
    final, third = run.kinds(1, "study")
    assert (final["checkpoint"], third["checkpoint"]) == ("final", "epoch:3")
    names = ("result", "file", "step", "weights")
    assert [final[name] for name in names] == [third[name] for name in names]
    assert {record["steps"] for record in run.kinds(1, "log")} == {3}


@pytest.mark.parametrize("change", [{"numerics.dtype": "bfloat16"}, {"numerics.bn": "train"}])
def test_a_study_in_other_numerics_is_refused(studied, change):
    run = studied("perception", **change)
    assert run.start() == 2
    assert "float32" in run.kinds(1, "error")[0]["message"]


@pytest.mark.parametrize("study", ["perception", "smoothness"])
def test_tf32_is_used_where_it_is_asked_for(studied, study, monkeypatch):
    seen = []
    real = full_precision

    def spy(tf32: bool = False) -> Any:
        seen.append(tf32)
        return real(tf32)

    for name in ("perception", "smoothness"):
        monkeypatch.setattr(f"rpat.studies.{name}.full_precision", spy)
    run = studied(study, ("final",), **{"numerics.tf32": True})
    assert run.start() == 0
    assert set(seen) == {True}
    assert run.kinds(1, "study")[0]["tf32"] is True
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_record_is_json_without_gaps(studied):
    run = studied("smoothness", ("final",))
    assert run.start() == 0
    json.dumps(run.kinds(1, "study"), allow_nan=False)
    assert not run.kinds(1, "nonfinite")
