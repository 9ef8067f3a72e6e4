"""Objectives that become simpler ones, and what every method and stack promises to leave alone."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rpat import models
from rpat.config import METHODS, WRAPPERS, ModelConfig
from rpat.data.loader import pixels
from rpat.ema import frozen_copy
from rpat.losses import ce, soft_margin
from rpat.methods.base import Run, total
from rpat.methods.gairat import geometry_weights
from rpat.methods.mail_at import margin_weights
from rpat.recipes import COMBINATIONS, recipe
from rpat.step import Step, eval_logits
from rpat.train import Training
from rpat.wrappers import build
from rpat.wrappers.adr import rectified
from rpat.wrappers.cure import kept, masked

LATE = 199
"""An epoch in which every burn-in and warm-up of the recipes has passed."""

LONG = ("wa", "awp", "kd+swa", "rebat", "rpat++")
"""The combinations whose attack leaves BatchNorm in train mode."""


def refuses_rpat(name):
    base, stack = COMBINATIONS.get(name, (name, ()))
    return any("rpat" in part.REFUSES for part in (METHODS[base], *(WRAPPERS[w] for w in stack)))


NAMES = [*METHODS, *COMBINATIONS]
STACKS = [
    *((name, ()) for name in NAMES),
    *((name, ("rpat",)) for name in NAMES if not refuses_rpat(name)),
    ("trades", ("rpat", "awp", "wa")),
    ("te", ("rpat", "adr", "awp")),
    ("mma", ("rpat", "awp", "wa")),
    ("cure", ("rpat", "awp", "wa")),
    ("mart", ("kd", "rebat")),
    ("consistency-at", ("rpat", "awp", "swa")),
]


def images(n=6, size=9):
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(n, 3, size, size, generator=draw, dtype=torch.float64)
    return x, torch.arange(n) % 5


def prepared(config, net, epoch=LATE):
    """Return the method of a config, set up, and a step of it that is not crafted yet."""
    built = build(config)
    teacher = frozen_copy(net)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
    built.setup(Run(net, 5, 20, config.schedule.epochs, 1, teacher=lambda word: teacher))
    x, y = images()
    return built, Step(net, x, y, torch.arange(6) * 3, epoch, 5, 10)


def few_steps(name, stack=(), norm="linf", **changes):
    config = recipe(name, stack, norm=norm)
    steps = {"attack.steps": 2} if config.attack.steps else {}
    return config.override(steps | changes)


# ------------------------------------------------------------- reductions

REDUCTIONS = {
    "gairat with a large lean": ("gairat", (), {"gairat.lam": 1e6}, "pgd-at", {}),
    "gairat before its burn-in ends": ("gairat", (), {"gairat.burn_in": 1}, "pgd-at", {}),
    "mail without slope": ("mail-at", (), {"mail-at.slope": 0}, "pgd-at", {}),
    "mail before its burn-in ends": ("mail-at", (), {"mail-at.burn_in": 1}, "pgd-at", {}),
    "mail on trades without slope": (
        "mail-trades", (), {"mail-trades.slope": 0}, "trades", {"trades.beta": 5},
    ),
    "sovr that switches nothing": ("sovr", (), {"sovr.percent": 0}, "pgd-at", {}),
    "te without weight": ("te", (), {"te.weight": 0}, "pgd-at", {}),
    "te on trades without weight": (
        "te",
        (),
        {"te.weight": 0, "te.base": "trades", "attack.floor": "max:1e-30"},
        "trades",
        {},
    ),
    "consistency without weight": (
        "consistency-at", (), {"consistency-at.lam": 0}, "pgd-at", {},
    ),
    "adr that does not trust": ("adr", (), {"adr.lam_low": 0, "adr.lam_high": 0}, "pgd-at", {}),
    "cure that conserves and masks nothing": (
        "cure", (), {"cure.percent": 0, "cure.gamma": 0}, "trades", {"trades.beta": 1},
    ),
    "kd of the base alone": (
        "pgd-at", ("kd",), {"kd.w_base": 1, "kd.w_natural": 0, "kd.w_robust": 0}, "pgd-at", {},
    ),
    "awp of size zero": ("pgd-at", ("awp",), {"awp.gamma": 0}, "pgd-at", {}),
    "awp before its start": ("pgd-at", ("awp",), {"awp.warmup": 1}, "pgd-at", {}),
    "rebat without weight": ("rebat", (), {"rebat.beta": 0}, "pgd-at", {}),
    "rebat before its start": ("rebat", (), {"rebat.start": 1}, "pgd-at", {}),
    "rpat++ without weight": ("rpat++", (), {"rpat++.beta": 0}, "pgd-at", {}),
    "rpat++ before its start": ("rpat++", (), {"rpat++.start": 1}, "pgd-at", {}),
    "weight averaging": ("wa", (), {}, "pgd-at", {}),
    "stochastic weight averaging": ("pgd-at", ("swa",), {}, "pgd-at", {}),
}  # fmt: skip


def differentiated(config, net):
    """Return the crafted images, the objective and the gradient that training would use."""
    built, step = prepared(config, net)
    step.x_adv = built.craft(step)
    loss = total(built.backward(step, built.loss)).detach()
    return step.x_adv, loss, [parameter.grad for parameter in net.parameters()]


@pytest.mark.parametrize("case", REDUCTIONS.values(), ids=REDUCTIONS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_objective_without_its_own_part_is_its_simpler_cousin(case, norm, small_network):
    name, stack, changes, simpler, knobs = case
    config = few_steps(name, stack, norm, **changes)
    base = few_steps(simpler, (), norm, **knobs)
    base = dataclasses.replace(base, attack=config.attack)  # both start and climb alike
    found, expected = differentiated(config, small_network()), differentiated(base, small_network())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_te_is_its_base_method_until_its_start(small_network):
    net, twin = small_network(), small_network()
    built, step = prepared(few_steps("te"), net, epoch=88)
    base, other = prepared(few_steps("pgd-at"), twin, epoch=88)
    step.x_adv, other.x_adv = built.craft(step), base.craft(other)
    assert torch.equal(step.x_adv, other.x_adv)
    assert torch.equal(total(built.loss(step)), total(base.loss(other)))
    assert built.memory.sum() == 0
    step.epoch = 89  # the ninetieth
    built.craft(step)
    assert "te" in built.loss(step)


@pytest.mark.parametrize("base", ["pgd-at", "trades"])
def test_the_attack_on_te_climbs_its_base_and_the_pull_on_the_adversarial_prediction(
    base, small_network
):
    net = small_network()
    built, step = prepared(few_steps("te", **{"te.base": base}), net)
    step.x_adv = built.craft(step)
    z, soft = step.z_adv.detach(), step.aux["soft"]
    p, clean = torch.softmax(z, 1), torch.softmax(step.aux["clean"], 1)
    pull = 300 * ((p - soft) ** 2).mean(1)
    if base == "trades":
        own = 6 * (clean * (clean.log() - p.log())).sum(1)
    else:
        own = -p[torch.arange(6), step.y].log()
    torch.testing.assert_close(built.ascent(step)(z), own + pull)


def test_swa_estimates_the_statistics_of_its_average_anew(small_network):
    net = small_network()
    built = build(few_steps("kd+swa"))
    x, _ = images()
    run = Run(net, 5, 20, 200, 1, lambda epoch: iter([x[:4], x[4:]]), lambda word: frozen_copy(net))
    built.setup(run)
    built.epoch_end(run, 55)
    mean = net.conv(x).mean((0, 2, 3))
    torch.testing.assert_close(built.average.bn.running_mean, mean.detach())


def test_ewat_weighs_identical_images_alike(small_network):
    grads = []
    for config in (few_steps("ewat", **{"ewat.base": 0}), few_steps("pgd-at")):
        net = small_network()
        built, step = prepared(config, net)
        step.x = step.x_adv = step.x[:1].expand(6, -1, -1, -1).clone()
        total(built.backward(step, built.loss))
        grads.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*grads, rtol=0, atol=1e-12)


def sure(net, x):
    """Make a network sure of some predictions, and return them as labels."""
    with torch.no_grad():
        net.linear.weight.mul_(200)
        y = net(x).argmax(1)
        assert (soft_margin(net(x), y) < 0).all()
    net.bn.reset_running_stats()
    return y


def test_mma_without_a_margin_to_reach_is_a_third_of_clean_training(small_network):
    net, twin = small_network(), small_network()
    built, step = prepared(few_steps("mma", **{"mma.d_max": 1e-9}), net)
    step.y = step.target = sure(net, step.x)
    sure(twin, step.x)
    step.x_adv = built.craft(step)
    assert step.aux["correct"].all()
    terms = built.backward(step, built.loss)
    assert terms["margin"] == 0
    (ce(twin(step.x), step.y) / 3).backward()
    for one, other in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_mma_with_wrong_images_only_is_clean_training(small_network):
    net = small_network()
    built, step = prepared(few_steps("mma"), net)
    step.y = step.target = (sure(net, step.x) + 1) % 5
    step.x_adv = built.craft(step)
    assert torch.equal(step.x_adv, step.x)
    torch.testing.assert_close(total(built.loss(step)), ce(net(step.x), step.y))
    built.after_step(step)
    assert built.radius.sum() == 0


def test_averages_that_equal_the_network_leave_an_affine_model_its_base_loss(small_network):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(243, 5).double())
    net.register_module("conv", torch.nn.Identity())
    built, step = prepared(few_steps("rpat++"), net)
    step.x_adv = built.craft(step)
    net[1].bias.data.zero_()
    built.average.load_state_dict(net.state_dict())
    terms = built.loss(step)
    assert terms["rpat++"].abs() < 1e-14


# ------------------------------------------------------------- invariances

logits = st.integers(0, 10**6).map(
    lambda seed: 5 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)).double()
)


@given(
    kappa=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    steps=st.integers(9, 12),
    lam=st.floats(-3, 3),
    form=st.sampled_from(["tanh", "sigmoid", "discrete"]),
)
def test_weights_of_gairat_have_mean_one_and_fall_with_the_count(kappa, steps, lam, form):
    weights = geometry_weights(torch.tensor(kappa).double(), steps, lam, form)
    assert weights.mean().item() == pytest.approx(1)
    ordered = weights[torch.tensor(kappa).argsort()]
    assert (ordered.diff() <= 1e-12).all()


@given(z=logits)
def test_weights_of_mail_have_mean_one_and_no_gradient(z):
    z.requires_grad_()
    y = torch.arange(6) % 5
    for name in ("mail-at", "mail-trades"):
        weights = margin_weights(z, y, recipe(name).method)
        assert weights.mean().item() == pytest.approx(1)
        assert not weights.requires_grad


@pytest.mark.parametrize(
    ("base", "normalise", "mean"), [(0, False, 1), (1, False, 2), (1, True, 1)]
)
def test_weights_of_ewat_have_a_known_mean(base, normalise, mean, small_network):
    net = small_network()
    config = few_steps("ewat", **{"ewat.base": base, "ewat.normalise": normalise})
    built, step = prepared(config, net)
    step.x_adv = built.craft(step)
    assert built.weights(step).mean().item() == pytest.approx(mean)
    assert not built.weights(step).requires_grad


@given(z=logits, tau=st.floats(0.1, 5), lam=st.floats(0, 1))
def test_rectified_labels_are_distributions_that_keep_the_label(z, tau, lam):
    y = torch.arange(6) % 5
    label = rectified(z, y, tau, lam)
    assert label.sum(1).tolist() == pytest.approx([1] * 6)
    assert (label >= 0).all()
    assert (label[torch.arange(6), y] >= label.amax(1) - 1e-12).all()


@given(
    visits=st.lists(st.lists(st.integers(0, 7), min_size=1, unique=True), min_size=1, max_size=6)
)
def test_soft_labels_of_te_sum_to_one_and_unseen_rows_stay_empty(visits):
    net = torch.nn.Linear(1, 1)
    built = build(recipe("te"))
    built.setup(Run(net, 5, 8, 200, 1))
    draw = torch.Generator().manual_seed(0)
    for index in visits:
        p = torch.softmax(torch.randn(len(index), 5, generator=draw), 1)
        soft = built.remember(torch.tensor(index), p)
        assert soft.sum(1).tolist() == pytest.approx([1] * len(index), abs=1e-6)
    counts = Counter(i for index in visits for i in index)
    expected = [1 - 0.9 ** counts[i] for i in range(8)]
    assert built.memory.sum(1).tolist() == pytest.approx(expected, abs=1e-6)


@given(n=st.integers(1, 200), percent=st.floats(0, 100), seed=st.integers(0, 99))
def test_a_percentile_keeps_the_largest_entries_and_enough_of_them(n, percent, seed):
    score = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    flags = kept(score, percent)
    assert flags.sum() >= max((n - 1) * (1 - percent / 100) - 1e-6, 1)
    assert flags.sum() <= n * (1 - percent / 100) + 1 + 1e-6
    if not flags.all():
        assert score[~flags].max() < score[flags].min()
    assert kept(score, 0).all()


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "preactresnet18", "wrn-34-10"])
@pytest.mark.parametrize("normalize", ["none", "cifar10"])
def test_cure_spares_the_classifier_of_every_network(name, normalize):
    with torch.device("meta"):
        net = models.BUILDERS[name](10, 1)
    names = [n for n, _ in net.named_parameters()]
    assert list(masked(net)) == names[:-2]
    if name == "resnet8":
        whole = models.build(ModelConfig(name=name, normalize=normalize), 10, 32)
        assert len(masked(whole)) == len(names) - 2


# ------------------------------------------------------------- what is left alone


def with_search(config, mode):
    return config.override({"mma.search_mode": mode}) if config.method.NAME == "mma" else config


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_crafting_leaves_gradients_modes_and_statistics_alone(name, norm, small_network, same):
    net = small_network()
    config = few_steps(name, norm=norm)
    built, step = prepared(config, net)
    net.linear.eval()  # a part with a mode of its own
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(net.state_dict())
    x_adv = built.craft(step)
    assert all((parameter.grad == 1).all() for parameter in net.parameters())
    assert net.training
    assert net.bn.training
    assert not net.linear.training
    assert not x_adv.requires_grad
    passes = int(net.bn.num_batches_tracked)
    if name in LONG:
        assert passes == (2 if name == "kd+swa" else 3)
    elif name == "mma":
        assert passes == 1  # the clean pass, which the loss reads again; nothing was correct
    else:
        assert same(net.state_dict(), before)
    if name != "mma":
        delta = (x_adv - step.x).flatten(1)
        length = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
        assert (length <= config.threat.epsilon + 1e-5).all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1


@pytest.mark.parametrize(("mode", "passes"), [("train", 12), ("eval", 1)])
def test_mma_searches_its_margins_in_the_mode_it_was_told(mode, passes, small_network):
    net = small_network()
    config = few_steps("mma", **{"mma.search_mode": mode})
    built, step = prepared(config, net)
    step.y = step.target = sure(net, step.x)
    x_adv = built.craft(step)
    assert int(net.bn.num_batches_tracked) == passes
    assert net.training
    eps = step.aux["eps"].view(-1, 1, 1, 1)
    assert ((x_adv - step.x).abs() <= eps + 1e-12).all()
    assert (eps <= 1.05 * config.method.d_max).all()
    assert all(parameter.grad is None for parameter in net.parameters())


def statistics_of_revision(key):
    return "revision." in key and "bn." in key and not key.endswith(("weight", "bias"))


@pytest.mark.parametrize(("name", "stack"), STACKS)
def test_a_loss_computed_twice_gives_the_same_and_leaves_the_method_as_it_was(
    name, stack, small_network, same
):
    net = small_network()
    built, step = prepared(few_steps(name, stack), net)
    step.x_adv = built.craft(step)
    before = copy.deepcopy(built.state_dict())
    first, second = built.loss(step.fresh()), built.loss(step.fresh())
    assert list(first) == list(second)
    for term in first:
        assert torch.equal(first[term], second[term])
        assert first[term].dim() == 0
    after = built.state_dict()
    changed = {key for key in before if not same(before[key], after[key])}
    # CURE's revision network normalises by the batch: its running statistics follow each pass
    assert changed == {key for key in before if statistics_of_revision(key)}
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["rebat", "rpat++", "adr", "kd+swa", "cure"])
def test_no_gradient_reaches_a_teacher(name, small_network):
    net = small_network()
    built, step = prepared(few_steps(name), net)
    step.x_adv = built.craft(step)
    for part in built.modules():
        for parameter in part.parameters():
            parameter.requires_grad_(True)
    built.backward(step, built.loss)
    assert all(parameter.grad is None for parameter in built.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


# ------------------------------------------------------------- steps of training


@pytest.fixture
def with_teachers(monkeypatch):
    """Let the trained network's first weights stand for any teacher's."""
    monkeypatch.setattr(Training, "teacher", lambda self, word: frozen_copy(self.model))


def batch_of(job, epoch=0, at=0):
    batch = next(job.loader.epoch(epoch, at))
    return Step(job.model, batch.x, batch.y, batch.index, epoch, job.t, job.total, 0, batch.target)


PASSES = {
    "clean": ["clean"],
    "random": ["adv"],
    "pgd-at": ["adv"],
    "trades": ["clean", "adv", "clean"],
    "mart": ["clean", "adv"],
    "consistency-at": ["adv"],
    "mma": ["clean", "adv"],
    "gairat": ["adv"],
    "ewat": ["adv"],
    "mail-at": ["adv"],
    "mail-trades": ["clean", "adv"],
    "te": ["adv"],
    "sovr": ["adv"],
    "adr": ["adv"],
    "cure": ["clean", "adv", "clean"],
    "kd+swa": ["attack"] * 10 + ["adv"],
    "wa": ["attack"] * 10 + ["adv", "adv", "clean"],
    "rebat": ["attack"] * 10 + ["adv", "adv", "clean"],
    "rpat++": ["attack"] * 10 + ["adv", "adv", "clean"],
    "awp": ["attack"] * 10 + ["adv", "adv", "clean"],
}
"""Forward passes of a late step that move BatchNorm's running statistics, in their order."""


def expected_passes(name, rpat):
    passes = PASSES[name]
    if not rpat:
        return passes
    trailing = ["clean"] if name in LONG and name != "kd+swa" else []
    own = passes[: len(passes) - len(trailing)]
    return own + (["mid"] if "clean" in own else ["mid", "clean"]) + trailing


def train_mode_passes(job, step):
    """Train a step and return what each forward pass in train mode was given."""
    seen = []

    def look(module, inputs, output):
        if module.training:
            seen.append(inputs[0].detach().clone())

    with job.model.register_forward_hook(look):
        job.train_step(step)
    known = {"clean": step.x, "adv": step.x_adv, "mid": (step.x + step.x_adv) / 2}
    return [next((k for k, v in known.items() if torch.allclose(x, v)), "attack") for x in seen]


@pytest.mark.parametrize("rpat", [False, True], ids=["alone", "rpat"])
@pytest.mark.parametrize("name", NAMES)
def test_the_running_statistics_see_the_passes_of_the_method_in_order(
    name, rpat, training, short, with_teachers
):
    if rpat and refuses_rpat(name):
        return  # there is nothing to add the term to
    changes = {"attack.steps": 10} if name not in ("clean", "random") else {}
    job = training(short(name, ("rpat",) if rpat else (), **changes))
    assert set(PASSES) == set(NAMES)
    step = batch_of(job)
    step.epoch = job.config.schedule.epochs - 1
    found, expected = train_mode_passes(job, step), expected_passes(name, rpat)
    assert int(job.model.bn.num_batches_tracked) == len(expected)
    if name == "awp":  # the passes for its direction come first, and their statistics go again
        own = expected[11:-1]
        expected = [*expected[:11], *own, *own, "clean"]
    if name == "mma":
        expected = ["clean"] * len(expected)  # wrong images stay where they are
    assert found == expected


@pytest.mark.parametrize("rpat", [False, True], ids=["alone", "rpat"])
@pytest.mark.parametrize("name", ["wa", "rebat", "rpat++"])
def test_cutmix_passes_twice_a_step_of_the_attack(name, rpat, training, short):
    if rpat and refuses_rpat(name):
        return  # RPAT++ has the term in its own
    changes = {"attack.steps": 10, "attack.double_forward": True, "data.cutmix": True}
    job = training(short(name, ("rpat",) if rpat else (), **changes))
    step = batch_of(job)
    assert step.target.shape == (16, 10)
    job.train_step(step)
    assert int(job.model.bn.num_batches_tracked) == (25 if rpat else 23)


def test_awp_takes_its_perturbation_back(training, short):
    for stack in (("awp",), ("rpat", "awp"), ("awp", "wa")):
        job = training(short("trades", stack))
        job.optimizer.param_groups[0]["lr"] = 0.0
        before, at_step = copy.deepcopy(dict(job.model.named_parameters())), {}
        job.optimizer.register_step_pre_hook(
            lambda *_, job=job, seen=at_step: seen.update(
                {name: p.detach().clone() for name, p in job.model.named_parameters()}
            )
        )
        job.train_step(batch_of(job))
        for name, parameter in job.model.named_parameters():
            torch.testing.assert_close(parameter, before[name], rtol=0, atol=1e-7)
            moved = (at_step[name] - before[name]).norm() / before[name].norm().clamp(min=1e-9)
            expected = 0.01 if name in ("conv.weight", "linear.weight") else 0.0
            assert moved.item() == pytest.approx(expected, abs=1e-6)


def find(method, name):
    """Return a part of the state by the end of its name."""
    return next(m for key, m in method.named_modules() if key.rpartition(".")[2] == name)


@pytest.mark.parametrize(
    ("name", "stack"),
    [
        ("wa", ()),
        ("rebat", ()),
        ("rpat++", ()),
        ("wa", ("awp",)),
        ("trades", ("rpat", "awp", "wa")),
    ],
)
def test_an_average_is_an_exact_copy_before_its_start_and_follows_afterwards(
    name, stack, training, short, same
):
    config = short(name, stack, **{"schedule.epochs": 4, "optim.batch_size": 8})
    job = training(config)
    average = find(job.method, "average")
    decay = config.wrappers[-1].decay
    assert 0 < decay < 1
    for epoch in (0, 1):
        job.train_epoch(epoch, 0)
        assert same(dict(average.state_dict()), dict(job.model.state_dict()))
    start = copy.deepcopy(dict(average.state_dict()))
    step = batch_of(job, epoch=2)
    job.train_step(step)
    state = job.model.state_dict()
    for key, value in average.state_dict().items():
        expected = state[key]
        if value.is_floating_point():
            expected = decay * start[key] + (1 - decay) * expected
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    assert not same(dict(average.state_dict()), dict(state))


def test_the_averages_of_adr_and_cure_follow_what_their_papers_say(training, short, same):
    job = training(short("adr", **{"adr.decay": 0.995}))
    average = find(job.method, "average")
    start = copy.deepcopy(dict(average.state_dict()))
    job.train_step(batch_of(job))
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            expected = 0.995 * start[key] + 0.005 * job.model.state_dict()[key]
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    job = training(short("cure", **{"cure.rate": 0}))
    revision = find(job.method, "revision")
    start = copy.deepcopy(dict(revision.named_parameters()))
    for _ in range(3):
        job.train_step(batch_of(job))
    assert same(dict(revision.named_parameters()), start)
    assert int(job.method.steps) == 3


def test_cure_clears_the_gradient_of_weights_with_little_prominence(training, short):
    for score in ("rgp", "total"):
        job = training(short("cure", **{"cure.percent": 50, "cure.score": score}))
        step = batch_of(job)
        step.x_adv = job.method.craft(step)
        job.method.backward(step, job.method.loss)
        gradient = job.model.conv.weight.grad
        share = (gradient == 0).double().mean().item()
        assert share == pytest.approx(0.5, abs=0.02)
        assert (job.model.linear.weight.grad != 0).double().mean() > 0.9


# ------------------------------------------------------------- memories by image


def still(training, config, indices):
    """Return a training on images of some indices, whose network never changes."""
    job = training(config, n=16)
    images = dataclasses.replace(job.loader.images, index=torch.tensor(indices))
    job.loader.images = images
    job.model.bn.momentum = 0.0
    job.optimizer.param_groups[0]["lr"] = 0.0
    job.set_learning_rate = lambda *_: None
    return job


def test_the_memory_of_te_belongs_to_the_image_wherever_the_shuffle_puts_it(training, short):
    config = short(
        "te", **{"data.augment": "none", "optim.batch_size": 5, "schedule.epochs": 5, "te.start": 0}
    )
    indices = [5, 3, 15, 0, 9, 1, 12, 2, 14, 4, 7, 6, 13, 8, 11, 10]
    job = still(training, config, indices)
    truth = torch.softmax(eval_logits(job.model, pixels(job.loader.images.images)), 1)
    visits = torch.zeros(16)
    for epoch in range(3):
        for batch in job.loader.epoch(epoch):
            visits[batch.index] += 1
        job.train_epoch(epoch, 0)
        expected = torch.zeros(16, 10)
        expected[torch.tensor(indices)] = truth
        expected = expected * (1 - 0.9**visits)[:, None]
        torch.testing.assert_close(job.method.memory, expected, rtol=0, atol=1e-6)
    assert len(set(visits.tolist())) > 1  # a batch of one image is left out of each epoch


def test_the_radii_of_mma_are_written_for_the_images_of_the_batch_alone(training, short):
    job = still(training, short("mma", **{"optim.batch_size": 5}), list(range(15, -1, -1)))
    for epoch in (0, 1):
        job.method.radius.fill_(7.0)
        step = batch_of(job, epoch=epoch, at=1)
        job.train_step(step)
        expected = torch.full((16,), 7.0)
        expected[step.index] = step.aux["eps"].float()
        assert torch.equal(job.method.radius, expected)
        assert set((job.method.radius != 7.0).nonzero()[:, 0].tolist()) == set(step.index.tolist())
