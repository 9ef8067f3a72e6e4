"""Evaluations as jobs: their records and files, and the ways in which they are interrupted."""

from __future__ import annotations

import hashlib
import inspect
import os
import random
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyautoattack
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from rpat import __main__ as program
from rpat import assess, checkpoint, evaluate, foreign, models, subjects, trial
from rpat.assess import Assessment, chosen_images, of_training
from rpat.attacks import autoattack
from rpat.config import AttackConfig, DataConfig, ModelConfig, RunConfig, ThreatConfig
from rpat.data.dataset import load
from rpat.data.loader import pixels
from rpat.errors import SAVED, SUPERSEDED, ConfigError
from rpat.jobs import EvalJob, ImagesConfig, SubjectConfig
from rpat.journal import Journal
from rpat.models.resnet import resnet8
from rpat.randomness import generator
from rpat.rundir import Attempt, read_json
from rpat.trial import Trial

pytestmark = pytest.mark.usefixtures("tiny_models")

QUICK = {"images.n": 20, "batch_size": 6}


def config_of(run):
    return RunConfig.from_dict(read_json(run.dir.config)["config"])


def job_on(run, *checkpoints, **changes):
    """Return an evaluation of a run's final weights, unless others are named."""
    uid = read_json(run.dir.config)["uid"]
    subject = SubjectConfig(
        run=uid, folder=str(run.dir.path), checkpoints=checkpoints or ("final",)
    )  # fmt: skip
    made = replace(of_training(config_of(run), uid, ("online",)), subject=subject, device="cpu")
    return made.override(changes)


def network_of(run, word="final"):
    """Return a run's network, in eval mode and frozen."""
    config = config_of(run)
    net = models.build(config.model, 10, 32)
    name = f"epoch-{int(word[6:]):04d}" if ":" in word else word
    content = checkpoint.load(run.dir.checkpoints / f"{name}-online.pt")
    net.load_state_dict(content["weights"])
    return net.eval().requires_grad_(False)


def shrink(attack):
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = 4
    attack.square.n_queries = 30
    return attack


@pytest.fixture
def quick(monkeypatch):
    """Let the package have small budgets, and a trial look at the world at every pass."""
    real = autoattack.package
    monkeypatch.setattr(autoattack, "package", lambda *arguments: shrink(real(*arguments)))
    monkeypatch.setattr(trial, "PAUSE", 0.0)
    monkeypatch.setattr(assess, "PACE", 0.0)


def results(run):
    """Return every file of per-image results, by name."""
    found = {}
    for file in sorted(run.dir.results.glob("*")):
        with np.load(file) as content:
            found[file.name] = {key: content[key] for key in content}
    return found


def same_results(one, other):
    assert one.keys() == other.keys()
    for name, columns in one.items():
        assert columns.keys() == other[name].keys()
        for key, values in columns.items():
            assert np.array_equal(values, other[name][key]), (name, key)


def evals(run):
    """Return the evaluations of every attempt, without what a clock wrote."""
    times = ("seq", "t", "seconds")
    return [
        {key: value for key, value in record.items() if key not in times}
        for number in range(1, len(run.dir.attempts()) + 1)
        for record in run.kinds(number, "eval")
    ]


def error_of(run):
    record = run.records(len(run.dir.attempts()))[-1]
    assert record["kind"] == "error"
    assert "\n" not in record["message"]
    return record


class Asks:
    """Stands in for the stop request: does something when it is asked the n-th time."""

    def __init__(self, monkeypatch, at, act):
        self.count, self.at, self.act = 0, at, act
        monkeypatch.setattr(program, "StopRequest", lambda attempt: self)

    def __call__(self):
        self.count += 1
        return self.act() if self.count == self.at else None


# ------------------------------------------------------------- the same numbers


def test_the_end_of_a_run_decides_as_its_epochs_do_image_by_image(trained):
    config = config_of(trained)
    data = load(config.data)
    records = trained.kinds(1, "eval")
    assert [r["checkpoint"] for r in records] == ["best", "final"]
    for record in records:
        with np.load(trained.dir.results / record["file"]) as columns:
            index, label = columns["index"], columns["label"]
            clean, robust = columns["clean"] == label, columns["adversarial"] == label
        judged = evaluate.judge(
            network_of(trained, record["checkpoint"]), data.test, config.threat,
            evaluate.attack_of(config.eval, config.eval.steps),
            batch_size=config.eval.batch_size, seed=config.seed, position=record["epoch"],
        )  # fmt: skip
        assert clean.tolist() == judged.clean.tolist()
        assert robust.tolist() == judged.robust.tolist()
        assert index.tolist() == data.test.index.tolist()
        assert record["indices"] == evaluate.index_digest(data.test.index)
        assert record["clean"] == evaluate.percent(judged.clean)
        assert record["robust"] == evaluate.percent(judged.robust)
        assert 0 < record["robust"] < record["clean"]
        kept = checkpoint.load(trained.dir.checkpoints / f"{record['checkpoint']}-online.pt")
        assert record["clean"] == kept["metrics"]["test/clean_acc"]


def test_a_job_of_its_own_finds_what_the_run_found(trained, job):
    run = job("eval", job_on(trained, "best", "final"))
    assert run.start() == 0
    other = [
        {key: value for key, value in record.items() if key != "step"} for record in evals(trained)
    ]
    assert [{k: v for k, v in record.items() if k != "step"} for record in evals(run)] == other
    same_results(results(run), results(trained))
    kinds = [record["kind"] for record in run.records(1) if record["kind"] != "log"]
    assert kinds == ["begin", "notice", "eval", "eval", "end"]
    end = run.records(1)[-1]
    networks = len({record["weights"] for record in evals(run)})
    assert (end["epoch"], end["step"]) == (0, networks * 60 * (3 + 2 * 3 + 1))
    assert evals(run)[-1]["step"] == end["step"]


def test_an_earlier_epoch_is_judged_as_it_was_then(trained, job):
    config = config_of(trained)
    steps = config.eval.selection_steps
    run = job("eval", job_on(trained, "epoch:2", **{"attack.steps": steps}))
    assert run.start() == 0
    (record,) = evals(run)
    epoch = trained.kinds(1, "epoch")[1]["values"]
    assert (record["clean"], record["robust"]) == (epoch["test/clean_acc"], epoch["test/pgd_acc"])
    assert (record["epoch"], record["checkpoint"]) == (2, "epoch:2")
    assert record["file"] == "epoch-0002-online-pgd.npz"


def test_a_job_with_autoattack_decides_as_its_package(trained, job, quick):
    run = job("eval", job_on(trained, attacks="fgsm,aa", keep=True, **QUICK))
    assert run.start() == 0
    fgsm, aa = evals(run)
    net, data = network_of(trained), load(config_of(trained).data)
    images = data.test.take(torch.tensor([
        data.test.index.tolist().index(i) for i in results(run)[aa["file"]]["index"]
    ]))  # fmt: skip
    x, y = pixels(images.images), images.labels
    attack = shrink(pyautoattack.AutoAttack(net, norm="Linf", eps=aa["epsilon"], seed=0))
    with torch.no_grad():
        x_adv, answers = attack.run_standard_evaluation(x, y, batch_size=6)
    columns = results(run)[aa["file"]]
    assert columns["adversarial"].tolist() == answers.tolist()
    assert np.array_equal(columns["images"], x_adv.numpy())
    assert aa["robust"] == evaluate.percent(answers == y)
    assert aa["evidence"]["bound"]["square"] == aa["robust"] < aa["clean"]
    assert (aa["steps"], aa["step_size"], aa["start"], aa["note"]) == (0, 0.0, "package", "")
    assert (fgsm["steps"], fgsm["step_size"], fgsm["start"]) == (1, fgsm["epsilon"], "zero")
    assert [r["n"] for r in (fgsm, aa)] == [20, 20]
    assert [r["of"] for r in (fgsm, aa)] == [60, 60]
    assert aa["robust"] <= fgsm["robust"]


# ------------------------------------------------------------- stopped, killed, superseded


@pytest.fixture
def uninterrupted(trained, job, quick):
    """Return a job and what one that nobody disturbs gives."""
    made = job_on(trained, attacks="pgd,apgd-ce,square", restarts=2, keep=True, **QUICK)
    run = job("whole", made)
    assert run.start() == 0
    return made, run


def check_equal(run, whole):
    """Assert that a run that went on ended like one at a stretch, journal and files."""
    same_results(results(run), results(whole))
    assert evals(run) == evals(whole)
    assert run.records(len(run.dir.attempts()))[-1]["step"] == whole.records(1)[-1]["step"]
    assert {file.name for file in run.dir.results.iterdir()} == set(results(whole))
    reached = 0
    for number in range(1, len(run.dir.attempts()) + 1):
        steps = [record["step"] for record in run.kinds(number, "log")]
        assert steps == sorted(set(steps))
        start = run.records(number)[0]["from_step"]
        assert start >= reached
        assert all(step > start for step in steps)
        reached = start


def test_progress_rises_and_ends_at_what_was_told(uninterrupted):
    _, whole = uninterrupted
    logs, end = whole.kinds(1, "log"), whole.records(1)[-1]
    steps = [record["step"] for record in logs]
    assert steps == sorted(set(steps))
    assert all(record["step"] <= record["steps"] for record in logs)
    assert end["step"] == steps[-1]
    stages = [record["stage"] for record in logs]
    assert stages[0] == "final pgd: clean images"
    assert "final pgd: pgd restart 2 1/2" in stages or "final pgd: pgd restart 2 1/3" in stages
    assert stages[-1].startswith("final square: square ")
    for attack in ("apgd-ce", "square"):
        bounds = [r["values"].get(f"final/{attack}/bound") for r in logs]
        bounds = [bound for bound in bounds if bound is not None]
        assert bounds == sorted(bounds, reverse=True)
        record = next(r for r in evals(whole) if r["attack"] == attack)
        assert bounds[-1] == record["robust"] == record["evidence"]["bound"][attack]


def test_a_job_stopped_in_the_middle_goes_on_to_the_same_result(uninterrupted, job, monkeypatch):
    made, whole = uninterrupted
    total = whole.records(1)[-1]["step"]
    stops = []
    for at in (1, 2, 7, 30, 60):
        run = job(f"stopped-{at}", made)
        with monkeypatch.context() as patch:
            Asks(patch, at, lambda: "pause")
            assert run.start() == SAVED
        stop = run.records(1)[-1]
        assert (stop["kind"], stop["word"]) == ("stop", "pause")
        assert run.start() == 0
        assert run.records(2)[0]["from_step"] == stop["step"]
        check_equal(run, whole)
        stops.append(stop["step"])
    assert stops[0] == 0
    assert 0 < stops[-1] < total


def test_a_job_stopped_again_and_again_ends(uninterrupted, job, monkeypatch):
    made, whole = uninterrupted
    run = job("run", made)
    real, codes = Assessment._save, []

    class AfterWork:
        def __init__(self, attempt):
            self.saves = 0

        def __call__(self):
            return "stop" if self.saves > 1 else None

    monkeypatch.setattr(program, "StopRequest", AfterWork)

    def save(self, content):
        real(self, content)
        self.check.stop.saves += 1

    monkeypatch.setattr(Assessment, "_save", save)
    while not codes or codes[-1] == SAVED:
        codes.append(run.start())
        assert len(codes) < 50
    assert len(codes) > 5
    assert codes[-1] == 0
    check_equal(run, whole)


class Crash(BaseException):
    """The machine goes away."""


@pytest.mark.parametrize("place", ["record", "sweep", "state", "anywhere"])
def test_a_crash_costs_a_batch_at_most_and_changes_nothing(place, uninterrupted, job, monkeypatch):
    made, whole = uninterrupted
    run = job("run", made)
    moments = random.Random(1).sample(range(1, 120), 5)
    calls = [0]

    def crash(when):
        calls[0] += 1
        if calls[0] in when:
            raise Crash

    def crashing(owner, name, when, first):
        real = getattr(owner, name)

        def wrapped(self, *arguments, **options):
            if first(*arguments):
                crash(when)
            return real(self, *arguments, **options)

        monkeypatch.setattr(owner, name, wrapped)

    if place == "record":  # the file is written, its record is not
        crashing(Journal, "write", (1, 3), lambda kind, *rest: kind == "eval")
    elif place == "sweep":  # the record is written, images are still aside
        crashing(Assessment, "_sweep", (1, 3), lambda: True)
    elif place == "state":
        crashing(Assessment, "_save", (2, 4, 9, 14), lambda content: True)
    else:
        crashing(trial.Meter, "forward", moments, lambda x: True)
    for _ in range(10):
        attempt = run.dir.take_attempt()
        try:
            assert program.execute(run.dir, attempt, Journal(attempt.journal)) == 0
            break
        except Crash:
            continue
    assert len(run.dir.attempts()) > 2
    check_equal(run, whole)


@pytest.mark.parametrize("pause", [0.0, 1e9])
@pytest.mark.parametrize("at", [1, 3, 10, 40])
def test_a_superseded_job_leaves_and_writes_nothing_more(
    at, pause, uninterrupted, job, monkeypatch
):
    run = job("run", uninterrupted[0])
    before, real, calls = {}, trial.Meter.forward, [0]

    def files():
        return {
            str(file): (file.stat().st_mtime_ns, file.stat().st_size)
            for file in sorted(run.dir.path.rglob("*"))
            if file.is_file()
        }

    def forward(self, x):
        calls[0] += 1
        if calls[0] == at:
            run.dir.take_attempt()
            before.update(files())
        return real(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(trial.Meter, "forward", forward)
        patch.setattr(trial, "PAUSE", pause)
        assert run.start() == SUPERSEDED
    assert files() == before
    assert not run.kinds(1, "stop", "end")
    assert run.start() == 0
    same_results(results(run), results(uninterrupted[1]))


def test_a_finished_job_measures_nothing_again(trained, job, monkeypatch):
    run = job("eval", job_on(trained, "best", "final", attacks="fgsm,pgd"))
    assert run.start() == 0
    before = evals(run)
    times = {file.name: file.stat().st_mtime_ns for file in run.dir.results.iterdir()}
    monkeypatch.setattr(Assessment, "_measure", None)
    assert run.start() == 0
    assert evals(run) == before
    assert run.kinds(2, "eval", "log") == []
    end = run.records(2)[-1]
    assert (end["kind"], end["step"]) == ("end", run.records(1)[-1]["step"])
    assert {file.name: file.stat().st_mtime_ns for file in run.dir.results.iterdir()} == times


def test_equal_weights_are_measured_once_and_recorded_twice(trained, job, monkeypatch):
    calls = []
    real = Assessment._measure

    def measure(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(Assessment, "_measure", measure)
    run = job("eval", job_on(trained, "final", "epoch:4"))
    assert run.start() == 0
    final, fourth = evals(run)
    assert len(calls) == 1
    assert (final["checkpoint"], fourth["checkpoint"]) == ("final", "epoch:4")
    del final["checkpoint"], fourth["checkpoint"]
    assert final == fourth
    assert list(results(run)) == ["final-online-pgd.npz"]


PROCESS = """
import torch
from torch import nn
from torch.nn import functional as F
from torch import Tensor
from rpat import assess, models, trial
from rpat.attacks import autoattack

{small}

{shrink}

real = autoattack.package
autoattack.package = lambda *arguments: shrink(real(*arguments))
models.BUILDERS["resnet8"] = lambda classes, stride: Small(classes)
trial.PAUSE = assess.PACE = 0.0
"""
"""What Python reads when it starts: a small network, small budgets, looks at every pass."""


@pytest.fixture
def start(tmp_path, network_class):
    """Return the start of a job as a process of its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    text = PROCESS.format(
        small=inspect.getsource(network_class), shrink=inspect.getsource(shrink)
    )  # fmt: skip
    (folder / "sitecustomize.py").write_text("from __future__ import annotations\n" + text)
    root = str(Path(program.__file__).parents[1])

    def start(run):
        environment = {k: v for k, v in os.environ.items() if k != "RPAT_ATTEMPT"}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{folder}{os.pathsep}{root}"}
        with (tmp_path / "output.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "rpat", str(run.dir.path)],
                env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    return start


@pytest.mark.slow
def test_a_job_killed_five_times_ends_as_if_nothing_had_happened(trained, job, quick, start):
    made = job_on(trained, attacks="pgd,aa", **QUICK | {"images.n": 60})
    whole, run = job("whole", made), job("run", made)
    assert whole.start() == 0
    draw = random.Random(0)
    for number in range(1, 6):
        process = start(run)
        journal = Attempt(run.dir.path, number).journal
        while not journal.exists() or not run.kinds(number, "log"):
            assert process.poll() is None
        try:
            process.wait(draw.uniform(0.05, 0.6))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(60)
    assert start(run).wait(200) == 0
    same_results(results(run), results(whole))
    assert evals(run) == evals(whole)
    assert run.records(6)[-1]["step"] == whole.records(1)[-1]["step"]
    dearest = max(autoattack.cost(part, 10) for part in autoattack.PARTS) * 6
    for number in range(1, 6):
        reached = max(record["step"] for record in run.kinds(number, "log"))
        assert reached - run.records(number + 1)[0]["from_step"] <= dearest
    assert "end" not in [record["kind"] for record in run.records(4)]


# ------------------------------------------------------------- which images


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig(name="digits", val_n=100))


def some_job(**changes):
    data = DataConfig(name="digits", val_n=100)
    return EvalJob(subject=SubjectConfig(run="a"), data=data, **changes)


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_a_choice_of_images_is_balanced_and_the_same_for_every_job(split, digits):
    chosen = {
        n: chosen_images(some_job(images=ImagesConfig(split=split, n=n)), digits)
        for n in (10, 25, 60)
    }
    for n, images in chosen.items():
        counts = torch.bincount(images.labels, minlength=10)
        assert len(images) == n
        assert int(counts.max() - counts.min()) <= 1
    for few, more in ((10, 25), (25, 60)):
        assert set(chosen[few].index.tolist()) < set(chosen[more].index.tolist())
    other = some_job(
        images=ImagesConfig(split=split, n=25), seed=7, attacks=("aa",), batch_size=3
    )  # fmt: skip
    assert torch.equal(chosen_images(other, digits).index, chosen[25].index)


def test_named_images_are_taken_in_the_order_named(digits, trained, job):
    wanted = (17, 3, 250)
    images = chosen_images(some_job(images=ImagesConfig(indices=wanted)), digits)
    assert tuple(images.index.tolist()) == wanted
    assert torch.equal(images.images, digits.test.images[list(wanted)])
    index = load(config_of(trained).data).test.index[[5, 2, 40, 11]].tolist()
    run = job("eval", job_on(trained, **{"images.indices": index}))
    assert run.start() == 0
    assert results(run)["final-online-pgd.npz"]["index"].tolist() == index
    (record,) = evals(run)
    assert (record["n"], record["of"]) == (4, 60)
    assert record["indices"] == evaluate.index_digest(torch.tensor(index))


@pytest.mark.parametrize(
    ("changes", "code", "reason", "text"),
    [
        ({"images": {"indices": [99999]}}, 2, "config", "images.indices names 99999, which is"),
        ({"images": {"n": 61}}, 2, "config", "images.n is 61, of 60 test images"),
        ({"images": {"split": "val"}}, 2, "config", "but no images were held out"),
        ({"images": {"split": "best"}}, 2, "config", "images.split: 'best' is not known"),
        ({"images": {"n": 4, "indices": [1]}}, 2, "config", "are both given; keep one"),
        ({"subject": {"checkpoints": ["bestest"]}}, 2, "config", "write best, final or epoch:N"),
        ({"subject": {"checkpoints": ["epoch:9"]}}, 1, "weights", "keeps no weights 'epoch:9'"),
        ({"subject": {"networks": ["wa"]}}, 1, "weights", "of its network wa; it has best-online"),
        ({"subject": {"run": "0" * 32}}, 1, "weights", "is not the run that this job is about"),
        ({"subject": {"folder": "nowhere"}}, 1, "weights", "is not the run that this job is"),
        ({"attacks": ["pdg"]}, 2, "config", "--attack 'pdg' is not known; did you mean 'pgd'?"),
        ({"attack": {"bn": "train"}}, 2, "config", "evaluation crafts as numerics.bn says"),
        ({"attaks": ["pgd"]}, 2, "config", "attaks: 'attaks' is not known; did you mean 'attacks'"),
        ({"device": "cuda:99"}, 2, "config", "device is cuda:99"),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_said_in_one_line(changes, code, reason, text, trained, job):
    values = job_on(trained).to_dict()
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    run = job("eval", values, "eval")
    assert run.start() == code
    record = error_of(run)
    assert record["reason"] == reason
    assert text in record["message"]
    assert not run.kinds(1, "eval")


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ({}, "eval", "subject is missing"),
        ([], "eval", "a job is a table of sections, not []"),
        ({"subject": 3}, "eval", "subject must be a table of keys"),
        ({"subject": {}}, "eval", "a job looks at a run or at a file"),
        ({"subject": {"run": "a"}}, "study", "study is missing"),
        ({}, "evla", "of kind evla, which this version does not know"),
    ],
    ids=str,
)
def test_a_job_that_is_none_exits_with_2_and_says_why(values, kind, text, job):
    run = job("eval", values, kind)
    assert run.start() == 2
    record = error_of(run)
    assert record["reason"] == "config"
    assert text in record["message"]


# ------------------------------------------------------------- files of other code


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def job_on_file(path, **changes):
    made = EvalJob(
        subject=SubjectConfig(sha256=sha256(path), file=str(path)),
        data=DataConfig(name="digits", train_n=100, test_n=60),
        model=ModelConfig(name="resnet8"),
        threat=ThreatConfig(epsilon=4 / 255),
        attack=AttackConfig(steps=3, order="clip-project"),
        device="cpu",
    )
    return made.override(changes)


@pytest.fixture
def weights(tmp_path, trained):
    """Return a file with the plain weights of the trained network."""
    path = tmp_path / "weights.pth"
    torch.save(network_of(trained).state_dict(), path)
    return path


def test_a_file_is_evaluated_like_the_run_that_it_comes_from(weights, trained, job):
    path = trained.dir.final("online")
    ours, plain, run = job("a", job_on_file(path)), job("b", job_on_file(weights)), None
    run = job("c", job_on(trained))
    assert ours.start() == plain.start() == run.start() == 0
    (one,), (other,), (own,) = evals(ours), evals(plain), evals(run)
    assert (one["checkpoint"], one["network"], one["epoch"]) == ("file", "online", 4)
    assert (other["checkpoint"], other["network"], other["epoch"]) == ("file", "online", 0)
    assert one["weights"] == other["weights"] == own["weights"]
    assert one["clean"] == other["clean"] == own["clean"]
    assert one["selected_on"] == ""
    (notice,) = [r for r in plain.kinds(1, "notice") if r["what"] == "weights"]
    assert notice["sha256"] == sha256(weights)
    assert "resnet8, 10 classes" in notice["text"]


def test_a_file_that_changed_or_went_away_is_refused(weights, job):
    made = job_on_file(weights)
    torch.save({"conv.weight": torch.zeros(1)}, weights)
    run = job("changed", made)
    assert run.start() == 1
    assert error_of(run)["reason"] == "weights"
    assert error_of(run)["message"] == f"{weights} has changed since this job was queued"
    weights.unlink()
    run = job("gone", made)
    assert run.start() == 1
    assert error_of(run)["reason"] == "weights"
    assert "cannot be read (No such file" in error_of(run)["message"]


def test_a_file_without_a_network_of_ours_is_refused(weights, job):
    torch.save({"conv.weight": torch.zeros(1)}, weights)
    run = job("eval", job_on_file(weights))
    assert run.start() == 2
    assert error_of(run)["message"].startswith(f"{weights}: ")


def test_a_file_with_another_number_of_classes_is_refused(tmp_path, small_network, job):
    path = tmp_path / "three.pth"
    torch.save(small_network(3, torch.float32).state_dict(), path)
    run = job("eval", job_on_file(path))
    assert run.start() == 1
    record = error_of(run)
    assert record["reason"] == "weights"
    assert "tells 3 classes apart, but digits has 10; name its data set" in record["message"]


def write_folder(root, classes, n=4):
    draw = torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        for label in range(classes):
            folder = root / split / f"c{label}"
            folder.mkdir(parents=True)
            for i in range(n):
                image = torch.randint(0, 256, (32, 32, 3), generator=draw, dtype=torch.uint8)
                Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    return root


def test_few_classes_are_noted_and_refused_to_apgd_t(tmp_path, small_network, job, quick):
    path = tmp_path / "three.pth"
    torch.save(small_network(3, torch.float32).state_dict(), path)
    folder = write_folder(tmp_path / "images", 3)
    changes = {"name": "image-folder", "dir": str(folder), "source": "image-folder"}
    places = {f"data.{key}": value for key, value in changes.items()}
    places |= {"data.train_n": 0, "data.test_n": 0, "batch_size": 4}
    run = job("aa", job_on_file(path, attacks="aa", **places))
    assert run.start() == 0
    assert evals(run)[0]["note"] == "no apgd-t, 2 target classes: not standard"
    run = job("apgd-t", job_on_file(path, attacks="apgd-t", **places))
    assert run.start() == 2
    assert "--attack apgd-t compares 4 classes and there are 3" in error_of(run)["message"]


@pytest.fixture(scope="module")
def normalized(tmp_path_factory, trained, network_class):
    """Return the state of a network that expects normalised images, and its accuracy."""
    data = load(config_of(trained).data)
    torch.manual_seed(0)
    net = network_class(10)
    build = nn.Sequential(models.Normalize(*models.STATISTICS["cifar10"]), net)
    optimizer = torch.optim.SGD(build.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for rows in torch.arange(len(data.train)).split(64):
            optimizer.zero_grad()
            logits = build(pixels(data.train.images[rows]))
            F.cross_entropy(logits, data.train.labels[rows]).backward()
            optimizer.step()
    build.eval()
    with torch.no_grad():
        right = build(pixels(data.test.images)).argmax(1) == data.test.labels
    path = tmp_path_factory.mktemp("files") / "normalized.pth"
    torch.save(net.state_dict(), path)
    return path, evaluate.percent(right)


def test_the_normalisation_that_suits_a_file_is_found(normalized, weights, job):
    path, accuracy = normalized
    for name, file, wanted in (("a", path, "cifar10"), ("b", weights, "none")):
        run = job(name, job_on_file(file, try_normalize=True, attacks="fgsm"))
        assert run.start() == 0
        (record,) = evals(run)
        (notice,) = [r for r in run.kinds(1, "notice") if r["what"] == "weights"]
        assert record["normalize"] == wanted
        assert f"input normalisation '{wanted}'" in notice["text"]
        assert f"{wanted} {record['clean']:.1f} %" in notice["text"]
        assert "of 60 images correct" in notice["text"]
        if wanted == "cifar10":
            assert record["clean"] == accuracy


def test_a_normalisation_that_is_named_goes_before_the_network(normalized, job):
    path, accuracy = normalized
    named = {"model.normalize": "cifar10", "attacks": "fgsm"}
    right, wrong = job("a", job_on_file(path, **named)), job("b", job_on_file(path, attacks="fgsm"))
    assert right.start() == wrong.start() == 0
    (one,), (other,) = evals(right), evals(wrong)
    assert (one["normalize"], other["normalize"]) == ("cifar10", "none")
    assert one["clean"] == accuracy > other["clean"]


# ------------------------------------------------------------- what is kept, how it is computed


@pytest.mark.parametrize("attack", ["pgd", "aa"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_kept_images_are_adversarial_and_within_bounds(attack, norm, trained, job, quick):
    radius = {"linf": 4 / 255, "l2": 0.3}[norm]
    changes = {"threat.norm": norm, "threat.epsilon": radius, "attacks": attack, "keep": True}
    if norm == "l2":
        changes |= {"attack.start": "direction", "attack.step_size": radius / 2}
    run = job("eval", job_on(trained, **QUICK, **changes))
    assert run.start() == 0
    (name,) = results(run)
    columns = results(run)[name]
    data = load(config_of(trained).data).test
    rows = [data.index.tolist().index(i) for i in columns["index"]]
    x, x_adv = pixels(data.images[rows]), torch.from_numpy(columns["images"])
    delta = (x_adv - x).flatten(1)
    sizes = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert sizes.max() <= radius * (1 + 1e-5)
    assert sizes.max() > radius / 2
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert network_of(trained)(x_adv).argmax(1).tolist() == columns["adversarial"].tolist()
    assert network_of(trained)(x).argmax(1).tolist() == columns["clean"].tolist()
    assert columns["label"].tolist() == data.labels[rows].tolist()
    assert [file.name for file in run.dir.results.iterdir()] == [name]


def test_no_images_are_kept_unless_asked_for(trained, job):
    run = job("eval", job_on(trained))
    assert run.start() == 0
    (columns,) = results(run).values()
    assert set(columns) == {"index", "label", "clean", "adversarial"}


@pytest.mark.parametrize("changes", [
    {},
    {"numerics.dtype": "bfloat16"},
    {"numerics.bn": "train"},
    {"numerics.tf32": True},
], ids=str)  # fmt: skip
def test_numerics_are_recorded_and_the_weights_untouched(changes, trained, job, monkeypatch):
    nets, flags = [], []
    real = subjects.build_model

    def build(*arguments):
        nets.append(real(*arguments))
        return nets[-1]

    real_run = Trial.run

    def seen(self):
        flags.append(torch.backends.cuda.matmul.allow_tf32)
        flags.append(self.meter.net.training)
        return real_run(self)

    monkeypatch.setattr(subjects, "build_model", build)
    monkeypatch.setattr(Trial, "run", seen)
    before = {file: sha256(file) for file in trained.dir.checkpoints.iterdir()}
    run = job("eval", job_on(trained, **{"numerics.folded": False}, **changes))
    assert run.start() == 0
    (record,) = evals(run)
    plain = {"dtype": "float32", "bn": "eval", "tf32": False}
    wanted = plain | {key.removeprefix("numerics."): value for key, value in changes.items()}
    assert {key: record[key] for key in wanted} == wanted
    assert flags == [wanted["tf32"], wanted["bn"] == "train"]
    assert not torch.backends.cuda.matmul.allow_tf32
    assert nets
    assert all(p.grad is None and not p.requires_grad for net in nets for p in net.parameters())
    assert {file: sha256(file) for file in trained.dir.checkpoints.iterdir()} == before
    stored = network_of(trained).bn.running_mean.to(nets[0].bn.running_mean.dtype)
    assert torch.equal(nets[0].bn.running_mean, stored) == (wanted["bn"] == "eval")
    own = next(r for r in trained.kinds(1, "eval") if r["checkpoint"] == "final")
    assert abs(record["clean"] - own["clean"]) < 40
    if wanted["bn"] == "eval" and wanted["dtype"] == "float32":
        assert (record["clean"], record["robust"]) == (own["clean"], own["robust"])


# ------------------------------------------------------------- a network known to others


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Return the network that ships with AutoAttack, and real images for it."""
    monkeypatch.setitem(models.BUILDERS, "resnet8", resnet8)
    path = Path(pyautoattack.__file__).parent / "examples" / "model_test.pt"
    archive = Path(__file__).parents[2] / "../shared/data/cifar10-images.tar.gz"
    if not path.is_file():
        pytest.skip("pyautoattack came without its example network")
    if not archive.is_file():
        pytest.skip("no cifar10-images.tar.gz in ../shared/data")
    found = 0
    with tarfile.open(archive) as stream:
        for member in stream:
            if member.name.endswith("/0000.jpg"):
                file = tmp_path / member.name
                file.parent.mkdir(parents=True)
                file.write_bytes(stream.extractfile(member).read())
                found += 1
    assert found == 20
    return path, tmp_path / "cifar10-images"


def example_job(path, folder, n, **changes):
    made = EvalJob(
        subject=SubjectConfig(sha256=sha256(path), file=str(path)),
        data=DataConfig(name="cifar10", source="image-folder", dir=str(folder)),
        model=ModelConfig(name="resnet18"),
        threat=ThreatConfig(epsilon=0.5 / 255),
        attack=AttackConfig(steps=3, step_size=0.2 / 255, order="clip-project"),
        images=ImagesConfig(indices=tuple(range(n))),
        batch_size=4,
        keep=True,
        device="cpu",
    )
    return made.override(changes)


def example_images(folder, n):
    files = sorted((folder / "test").glob("*/*.jpg"))[:n]
    arrays = [np.asarray(Image.open(file)) for file in files]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous().float() / 255


def example_network(path):
    return foreign.build(foreign.load(path), 32).eval().requires_grad_(False)


def compare_example(path, folder, n, job, attacks, shrink):
    run = job("eval", example_job(path, folder, n, attacks=attacks))
    assert run.start() == 0
    net, x, y = example_network(path), example_images(folder, n), torch.arange(n)
    clean = torch.cat([net(part).argmax(1) for part in x.split(4)])
    for record in evals(run):
        columns = results(run)[record["file"]]
        assert columns["clean"].tolist() == clean.tolist()
        assert columns["label"].tolist() == y.tolist()
        if record["attack"] == "pgd":
            wanted = []
            for batch, rows in enumerate(y.split(4)):
                draws = generator("cpu", 0, "evaluation", 0, batch)
                wanted.append(pgd_by_hand(net, x[rows], y[rows], draws))
            x_adv = torch.cat(wanted)
            assert np.allclose(columns["images"], x_adv.numpy(), atol=1e-6)
            answers = torch.cat([net(part).argmax(1) for part in x_adv.split(4)])
        else:
            attack = pyautoattack.AutoAttack(
                net, norm="Linf", eps=0.5 / 255, seed=0, version="custom",
                attacks=[record["attack"]],
            )  # fmt: skip
            attack.apgd.n_restarts = attack.fab.n_restarts = 1
            with torch.no_grad():
                x_adv, answers = shrink(attack).run_standard_evaluation(x, y, batch_size=4)
            assert np.array_equal(columns["images"], x_adv.numpy())
        assert columns["adversarial"].tolist() == answers.tolist()
        assert record["robust"] == evaluate.percent(answers == y)
        assert record["clean"] == evaluate.percent(clean == y) > 50


def pgd_by_hand(net, x, y, draws, epsilon=0.5 / 255, step_size=0.2 / 255, steps=3):
    x_adv = x + epsilon * (2 * torch.rand(x.shape, generator=draws) - 1)
    x_adv = x_adv.clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = F.cross_entropy(net(x_adv), y, reduction="sum")
        x_adv = x_adv.detach() + step_size * torch.autograd.grad(loss, x_adv)[0].sign()
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    return x_adv


def tiny(attack):
    """Give the package a budget for a network of a real size."""
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = 2
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 2
    attack.square.n_queries = 5
    return attack


@pytest.mark.data
@pytest.mark.slow
def test_the_known_network_is_attacked_as_by_others(example, job, monkeypatch):
    real = autoattack.package
    monkeypatch.setattr(autoattack, "package", lambda *arguments: tiny(real(*arguments)))
    compare_example(*example, 6, job, "pgd,apgd-ce,apgd-t,fab-t,square", tiny)


@pytest.mark.data
@pytest.mark.slow
def test_the_known_network_withstands_what_it_does_elsewhere(example, job):
    compare_example(*example, 4, job, "apgd-ce", lambda attack: attack)


@pytest.mark.slow
def test_the_full_autoattack_takes_about_the_passes_that_were_told(trained, job, monkeypatch):
    monkeypatch.setattr(assess, "PACE", 0.0)
    changes = {"images.n": 4, "batch_size": 2, "threat.epsilon": 1 / 2550, "attacks": "aa"}
    run = job("eval", job_on(trained, **changes))
    assert run.start() == 0
    logs, end = run.kinds(1, "log"), run.records(1)[-1]["step"]
    assert logs[-1]["steps"] == pytest.approx(end, rel=0.2)
    middle = [record for record in logs if end / 4 < record["step"]]
    assert all(record["steps"] == pytest.approx(end, rel=0.2) for record in middle)


@pytest.mark.parametrize("attack", ["pgd", "fgsm", "aa"])
def test_a_folded_network_gives_the_same_decision_on_every_image(attack, trained, job, quick):
    runs = []
    for folded in (False, True):
        options = {"attacks": [attack], "numerics.folded": folded, "keep": True}
        runs.append(job(f"eval {folded}", job_on(trained, **options, **QUICK)))
        assert runs[-1].start() == 0
    (plain,), (found,) = (results(run).values() for run in runs)
    for name in ("index", "label", "clean", "adversarial"):
        assert np.array_equal(plain[name], found[name])
    assert 0 < (plain["adversarial"] == plain["label"]).sum() < 20
    assert np.abs(plain["images"] - found["images"]).max() <= 2 * 4 / 255 + 1e-6
    (one,), (other,) = (evals(run) for run in runs)
    assert "folded" not in one
    assert other["folded"] is True
    assert other["evidence"]["bound"] == one["evidence"]["bound"]
    assert other["evidence"]["warnings"] == one["evidence"]["warnings"]


def test_what_has_no_constants_is_not_folded(trained):
    for change in ({"numerics.bn": "train"}, {"numerics.dtype": "bfloat16"}):
        with pytest.raises(ConfigError, match=r"numerics.folded is True; it goes with numerics.bn"):
            job_on(trained, **{"numerics.folded": True}, **change)


@pytest.mark.parametrize(("mode", "folded"), [("reference", False), ("exact", True)])
def test_a_run_is_judged_in_the_way_it_was_trained(mode, folded, trained):
    config = replace(config_of(trained), mode=mode)
    assert of_training(config, "0" * 32, ("online",)).numerics.folded == folded
