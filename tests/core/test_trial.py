"""Attacks on a network, batch by batch, against transcriptions and the package called directly."""

from __future__ import annotations

import io
import logging
import random
from dataclasses import replace

import pyautoattack
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rpat.attacks import autoattack
from rpat.attacks.ensembles import ensemble
from rpat.attacks.pgd import pgd
from rpat.config import AttackConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.data.loader import pixels
from rpat.errors import ConfigError
from rpat.evaluate import judge
from rpat.jobs import EvalJob, SubjectConfig
from rpat.losses import ce_each
from rpat.randomness import generator
from rpat.trial import Meter, State, Trial, evidence

BATCH = 5
RADII = {"linf": 0.01, "l2": 0.15}
PACKAGE_NORMS = {"linf": "Linf", "l2": "L2"}


@pytest.fixture
def network(small_network):
    """Return a maker of a small frozen network whose logits are far apart."""

    def make(classes=10):
        net = small_network(classes, torch.float32).eval().requires_grad_(False)
        net.linear.weight.mul_(5)
        return net

    return make


def some_images(net, n=24, mistakes=3):
    """Return random images that the network classifies correctly, but for the first ones."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 16, 16), generator=draw, dtype=torch.uint8)
    logits = net(pixels(images))
    labels = logits.argmax(1)
    labels[:mistakes] = (labels[:mistakes] + 1) % logits.shape[1]
    return Images(images, labels, torch.arange(n))


def eval_job(norm="linf", **changes):
    options = {
        "threat": ThreatConfig(norm=norm, epsilon=RADII[norm]),
        "attack": AttackConfig(
            steps=4,
            step_size=RADII[norm] / 2,
            start={"linf": "uniform", "l2": "direction"}[norm],
            order="clip-project",
            floor="max:1e-06",
        ),
        "seed": 3,
    }
    return EvalJob(subject=SubjectConfig(run="a" * 32), **options | changes)


def try_out(net, images, job, attack, batch=BATCH, position=2, **options):
    """Return the state at the end and the images as they were left."""
    classes = net(pixels(images.images[:1])).shape[1]
    x_adv = pixels(images.images)

    def broken(trial, rows, found):
        x_adv[rows] = found

    parts = ensemble(job, attack, position, classes)
    trial = Trial(net, images, parts, batch_size=batch, broken=broken, **options)
    return trial.run(), x_adv


def shrink(attack):
    """Give the package a budget for a test."""
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = 6
    attack.square.n_queries = 60
    return attack


@pytest.fixture
def quick(monkeypatch):
    """Let the package have small budgets."""
    real = autoattack.package
    monkeypatch.setattr(autoattack, "package", lambda *arguments: shrink(real(*arguments)))


def by_the_package(net, images, job, part="aa", batch=BATCH, budget=shrink):
    """Return images and predictions of the package's own loop."""
    x, y = pixels(images.images), images.labels
    classes = net(x[:1]).shape[1]
    version = {"version": "standard"} if part == "aa" else {"version": "custom", "attacks": [part]}
    attack = pyautoattack.AutoAttack(
        net, norm=PACKAGE_NORMS[job.threat.norm], eps=job.threat.epsilon, seed=job.seed, **version
    )
    attack.apgd.n_restarts = attack.fab.n_restarts = 1  # as the standard version has it
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
    if part == "aa" and classes < 4:
        attack.attacks_to_run.remove("apgd-t")
    with torch.no_grad():
        return budget(attack).run_standard_evaluation(x, y, batch_size=batch)


def same_as_the_package(net, images, job, part="aa", batch=BATCH, budget=shrink):
    """Assert that the trial decides like the package; returns the state."""
    state, x_adv = try_out(net, images, job, part, batch)
    wanted, answers = by_the_package(net, images, job, part, batch, budget)
    assert torch.equal(state.predicted, answers)
    assert torch.equal(state.robust, answers == images.labels)
    assert torch.equal(x_adv, wanted)
    return state


# ------------------------------------------------------------- FGSM and PGD


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_is_one_step_of_full_length_along_the_gradient(norm, network):
    net, job = network(), eval_job(norm)
    images = some_images(net)
    state, x_adv = try_out(net, images, job, "fgsm")
    x, y = pixels(images.images).requires_grad_(), images.labels
    gradient = torch.autograd.grad(F.cross_entropy(net(x), y, reduction="sum"), x)[0]
    epsilon = job.threat.epsilon
    if norm == "linf":
        wanted = (x + epsilon * gradient.sign()).clamp(0, 1)
    else:
        size = gradient.flatten(1).norm(dim=1).clamp(min=1e-6).view(-1, 1, 1, 1)
        delta = (x + epsilon * gradient / size).clamp(0, 1) - x  # shorter, so still in the ball
        wanted = x + delta
    assert torch.allclose(x_adv, wanted, atol=1e-6)
    answers = net(wanted).argmax(1)
    assert torch.equal(state.predicted, answers)
    assert torch.equal(state.robust, answers == y)
    assert 0 < int(state.robust.sum()) < 24


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_decides_as_the_evaluation_of_each_epoch(norm, network):
    net, job = network(), eval_job(norm)
    images = some_images(net)
    state, _ = try_out(net, images, job, "pgd", position=7)
    judged = judge(
        net, images, job.threat, job.attack, batch_size=BATCH, seed=job.seed, position=7
    )  # fmt: skip
    assert torch.equal(state.clean, judged.clean)
    assert torch.equal(state.robust, judged.robust)
    other, _ = try_out(net, images, job, "pgd", position=8)
    assert other.losses[0] != state.losses[0]  # another epoch starts elsewhere


def pgd_by_hand(net, x, y, epsilon, step_size, steps, draws):
    """Madry et al.'s loop, l_inf, from a uniform start."""
    x_adv = x + epsilon * (2 * torch.rand(x.shape, generator=draws) - 1)
    x_adv = x_adv.clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = F.cross_entropy(net(x_adv), y, reduction="sum")
        x_adv = x_adv.detach() + step_size * torch.autograd.grad(loss, x_adv)[0].sign()
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon).clamp(0, 1)
    return x_adv


def test_pgd_is_the_textbooks_loop(network):
    net, job = network(), eval_job()
    images = some_images(net)
    state, x_adv = try_out(net, images, job, "pgd", position=1)
    for batch, rows in enumerate(torch.arange(len(images)).split(BATCH)):
        x, y = pixels(images.images[rows]), images.labels[rows]
        draws = generator("cpu", job.seed, "evaluation", 1, batch)
        wanted = pgd_by_hand(net, x, y, job.threat.epsilon, job.attack.step_size, 4, draws)
        assert torch.allclose(x_adv[rows], wanted, atol=1e-6)
        assert torch.equal(state.predicted[rows], net(wanted).argmax(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_restart_attacks_what_withstood_the_ones_before_it(norm, network):
    net = network()
    images = some_images(net)
    job = eval_job(norm, restarts=3)
    job = replace(job, attack=replace(job.attack, steps=1))
    state, x_adv = try_out(net, images, job, "pgd")
    robust = torch.ones(24, dtype=torch.bool)
    found = pixels(images.images)
    survivors = []
    for restart in range(3):
        purpose = f"evaluation/restart {restart}" if restart else "evaluation"
        for batch, rows in enumerate(robust.nonzero()[:, 0].split(BATCH)):
            x, y = pixels(images.images[rows]), images.labels[rows]
            draws = generator("cpu", job.seed, purpose, 2, batch)
            moved = pgd(net, x, lambda z, y=y: ce_each(z, y), job.threat, job.attack, draws)
            wrong = net(moved).argmax(1) != y
            kept = wrong if restart else torch.ones_like(wrong)
            found[rows[kept]] = moved[kept]
            robust[rows[wrong]] = False
        survivors.append(int(robust.sum()))
    assert torch.equal(state.robust, robust)
    assert torch.equal(x_adv, found)
    assert survivors == sorted(survivors, reverse=True)
    assert state.bounds == {
        name: 100 * n / 24
        for name, n in zip(["pgd", "pgd restart 2", "pgd restart 3"], survivors, strict=True)
    }
    once, _ = try_out(net, images, replace(job, restarts=1), "pgd")
    assert not (state.robust & ~once.robust).any()
    assert once.losses == state.losses  # of the first restart alone


# ------------------------------------------------------------- AutoAttack


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [10, 5, 3])
def test_autoattack_equals_its_package_image_for_image(norm, classes, network, quick):
    net = network(classes)
    images = some_images(net)
    state = same_as_the_package(net, images, eval_job(norm))
    assert not (state.robust & ~state.clean).any()
    assert int(state.clean.sum()) == 21
    assert 0 < int(state.robust.sum()) < 21
    parts = list(autoattack.parts(classes))
    assert ("apgd-t" in parts) == (classes >= 4)
    assert list(state.bounds) == parts
    bounds = list(state.bounds.values())
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == 100 * int(state.robust.sum()) / 24
    assert bounds[0] * 24 / 100 > BATCH  # the second part has several batches


@pytest.mark.parametrize("part", autoattack.PARTS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_part_alone_equals_the_package(part, norm, network, quick):
    net = network()
    state = same_as_the_package(net, some_images(net), eval_job(norm), part)
    assert list(state.bounds) == [part]
    assert int(state.robust.sum()) < 21


@pytest.mark.parametrize("batch", [1, 20, 100])
def test_autoattack_takes_batches_of_any_size(batch, network, quick):
    net = network(5)
    same_as_the_package(net, some_images(net, 7, 1), eval_job("l2"), batch=batch)


def test_autoattack_stops_where_nothing_is_left(network, quick):
    net = network(5)
    job = eval_job(threat=ThreatConfig(epsilon=0.9))
    state = same_as_the_package(net, some_images(net), job)
    assert not state.robust.any()
    assert list(state.bounds.values())[-1] == 0
    assert len(state.bounds) < 4  # what attacked nothing has no bound
    wrong = some_images(net, 6, 6)
    state = same_as_the_package(net, wrong, job)
    assert not state.bounds


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_full_autoattack_equals_its_package_and_costs_what_was_told(norm, network):
    net, job = network(), eval_job(norm, threat=ThreatConfig(norm=norm, epsilon=1e-4))
    images = some_images(net, 4, 1)
    state = same_as_the_package(net, images, job, batch=2, budget=lambda attack: attack)
    assert int(state.robust.sum()) == 3
    trial = Trial(net, images, ensemble(job, "aa", 0, 10), batch_size=2)
    told = trial.total
    trial.run()
    assert trial.units == pytest.approx(state.units) == pytest.approx(trial.total)
    standing = told * 3 / 4  # one of four is misclassified from the start
    assert trial.units == pytest.approx(standing, rel=0.2)


@pytest.mark.parametrize("classes", [2, 3])
def test_apgd_t_alone_is_refused_where_its_loss_has_too_few_classes(classes):
    with pytest.raises(ConfigError, match="--attack apgd-t compares 4 classes and there are"):
        ensemble(eval_job(), "apgd-t", 0, classes)
    assert [part.name for part in ensemble(eval_job(), "aa", 0, classes)] == [
        "apgd-ce",
        "fab-t",
        "square",
    ]


@pytest.mark.parametrize(
    ("classes", "note"),
    [
        (3, "no apgd-t, 2 target classes: not standard"),
        (4, "3 target classes: not standard"),
        (9, "8 target classes: not standard"),
        (10, ""),
        (100, ""),
    ],
)
def test_autoattack_on_few_classes_is_marked(classes, note, network):
    assert autoattack.remark(classes) == note
    assert autoattack.is_standard(classes) == (not note)
    attack = autoattack.package(network(), ThreatConfig(), classes, 0, "cpu")
    assert attack.apgd_targeted.n_target_classes == min(9, classes - 1)
    assert attack.fab.n_target_classes == min(9, classes - 1)
    assert attack.attacks_to_run == list(autoattack.parts(classes))
    assert (attack.apgd.n_restarts, attack.fab.n_restarts, attack.square.n_queries) == (1, 1, 5000)
    assert (attack.apgd.n_iter, attack.apgd_targeted.n_iter, attack.fab.n_iter) == (100, 100, 100)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 4])
def test_autoattack_takes_nothing_but_correct_images(norm, classes, network, quick):
    net = network(classes)
    images = some_images(net, 8)
    scale = 1 if norm == "linf" else 5
    robust = {}
    for epsilon in (1e-6, 0.9):
        threat = ThreatConfig(norm=norm, epsilon=epsilon * scale)
        state, _ = try_out(net, images, eval_job(norm, threat=threat), "aa", 4)
        assert state.clean.tolist() == [False] * 3 + [True] * 5
        assert not (state.robust & ~state.clean).any()
        robust[epsilon] = state.robust
    assert robust[1e-6].tolist() == state.clean.tolist()
    assert int(robust[0.9].sum()) < 5


# ------------------------------------------------------------- what the numbers rest on


@pytest.mark.parametrize("attack", ["pgd", "aa"])
def test_gradients_are_those_of_the_loss_at_each_image(attack, network, quick):
    net = network()
    images = some_images(net)
    state, _ = try_out(net, images, eval_job(), attack)
    x = pixels(images.images).requires_grad_()
    loss = F.cross_entropy(net(x), images.labels, reduction="sum")
    norms = torch.autograd.grad(loss, x)[0].flatten(1).norm(dim=1)
    seen = evidence(state)
    assert seen["gradient_norm"] == pytest.approx(norms.mean().item(), rel=1e-5)
    assert seen["zero_gradients"] == 0
    assert seen["predicted_classes"] == len(net(x).argmax(1).unique())


class Halved(nn.Module):
    """A network whose logits do not depend on half of the images."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        bright = (x.flatten(1).mean(1) > 0.5).float()[:, None]
        return bright * self.net(x) + (1 - bright) * torch.eye(10)[:1]


def test_vanishing_gradients_are_counted(network, quick):
    net = Halved(network())
    images = some_images(net, mistakes=0)
    dark = 100 * int((pixels(images.images).flatten(1).mean(1) <= 0.5).sum()) / 24
    assert 0 < dark < 100
    assert evidence(try_out(net, images, eval_job(), "pgd")[0])["zero_gradients"] == dark
    seen = evidence(try_out(net, images, eval_job(), "aa")[0])
    assert seen["zero_gradients"] == dark
    (warning,) = seen["warnings"]
    assert warning.startswith("there are points with zero gradient!")


class Odd(nn.Module):
    """Logits that are probabilities, or noise is added to them."""

    def __init__(self, net, kind):
        super().__init__()
        self.net, self.kind = net, kind

    def forward(self, x):
        logits = self.net(x)
        if self.kind == "probabilities":
            return logits.softmax(1)
        if self.kind == "noise":
            return logits + torch.randn_like(logits)
        return logits


@pytest.mark.parametrize(
    ("kind", "words"),
    [("probabilities", "probability distribution"), ("noise", "randomized defense"), ("none", "")],
)
def test_what_the_package_warns_of_is_evidence(kind, words, network, quick, capsys):
    net = Odd(network(), kind)
    images = some_images(net)
    warnings = evidence(try_out(net, images, eval_job(), "apgd-ce")[0])["warnings"]
    assert [w for w in warnings if words in w] if words else warnings == []
    assert all("flags_doc" not in warning for warning in warnings)
    assert not logging.getLogger("auto-attack").handlers
    assert capsys.readouterr() == ("", "")


def test_losses_begin_at_the_start_and_rise_along_pgd(network):
    net = network()
    images = some_images(net)
    job = eval_job()
    small = replace(job.attack, steps=10, step_size=RADII["linf"] / 10, start="zero")
    losses = evidence(try_out(net, images, replace(job, attack=small), "pgd")[0])["losses"]
    x, y = pixels(images.images), images.labels
    assert len(losses) == 11
    assert losses[0] == pytest.approx(F.cross_entropy(net(x), y).item(), rel=1e-5)
    assert losses == sorted(losses)
    state, x_adv = try_out(net, images, job, "pgd")
    wanted = F.cross_entropy(net(x_adv), y).item()
    assert evidence(state)["losses"][-1] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "aa"])
def test_the_network_is_left_as_it_was(attack, small_network, quick):
    net = small_network(10, torch.float32)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.eval().requires_grad_(False)
    try_out(net, some_images(net), eval_job(), attack)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module.training for module in net.modules())


# ------------------------------------------------------------- progress, stop and resume


def test_the_meter_counts_images_and_twice_those_with_a_gradient(network):
    meter = Meter(network(), lambda units: None)
    x = torch.rand(3, 3, 16, 16)
    meter(x)
    assert meter.units == 3
    with torch.no_grad():
        meter(x.clone().requires_grad_())
    assert meter.units == 6
    meter(x.clone().requires_grad_())
    assert meter.units == 12


@pytest.mark.parametrize(("attack", "a_pass"), [("fgsm", 3), ("pgd", 9)])
def test_the_total_is_known_from_the_start(attack, a_pass, network):
    net = network()
    images = some_images(net)
    trial = Trial(net, images, ensemble(eval_job(), attack, 0, 10), batch_size=BATCH)
    assert trial.total == 24 * (3 + a_pass)
    assert (trial.bound, trial.stage) == (None, "clean images")
    state = trial.run()
    assert trial.units == trial.total == state.units == 24 * (3 + a_pass)
    assert trial.stage == "done"
    assert trial.bound == 100 * int(state.robust.sum()) / 24


class Crash(BaseException):
    """The machine goes away."""


def stored(state):
    """Return a state as another process reads it."""
    stream = io.BytesIO()
    torch.save(state.plain(), stream)
    stream.seek(0)
    return State(**torch.load(stream, weights_only=True))


@pytest.mark.parametrize("attack", ["pgd", "aa"])
def test_another_process_goes_on_from_any_state_with_the_same_result(
    attack, network, quick, monkeypatch, same
):
    monkeypatch.setattr("rpat.trial.PAUSE", 0.0)
    net = network()
    images = some_images(net, 9, 2)
    job = eval_job(restarts=2)
    parts = ensemble(job, attack, 2, 10)
    kept, looks = [], []

    def look(trial):
        looks.append((trial.units, trial.total, trial.bound))

    whole = Trial(net, images, parts, batch_size=4, tick=look,
                  saved=lambda trial: kept.append(stored(trial.state)))  # fmt: skip
    wanted = whole.run().plain()
    units = [units for units, _, _ in looks]
    assert units == sorted(set(units))
    assert all(units <= total for units, total, _ in looks)
    bounds = [bound for _, _, bound in looks if bound is not None]
    if attack == "aa":
        assert bounds == sorted(bounds, reverse=True)
    for state in kept:
        before = state.units
        trial = Trial(net, images, ensemble(job, attack, 2, 10), batch_size=4, state=state)
        assert trial.units == before
        found = trial.run().plain()
        assert found["units"] >= before
        assert same(found, wanted)

    saved, calls = [None], [0]
    moments = random.Random(0).sample(range(len(looks)), 5)

    def crash(trial):
        calls[0] += 1
        if calls[0] in moments:
            raise Crash

    for _ in range(6):
        trial = Trial(
            net, images, ensemble(job, attack, 2, 10), batch_size=4, tick=crash,
            state=saved[-1] and stored(saved[-1]),
            saved=lambda trial: saved.append(stored(trial.state)),
        )  # fmt: skip
        try:
            found = trial.run().plain()
            break
        except Crash:
            continue
    assert same(found, wanted)
    counted = [state.units for state in saved[1:]]
    assert counted == sorted(counted)
