"""PGD: it stays in its ball and in the image box, and leaves the network as it found it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rpat.attacks.norms import L2, NORMS, Linf, length
from rpat.attacks.pgd import pgd
from rpat.config import AttackConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.evaluate import attack_of, judge
from rpat.losses import ce_each
from rpat.recipes import recipe

STARTS = {
    "linf": ("zero", "uniform", "normal:0.001", "normal:1"),
    "l2": ("zero", "box", "direction", "normal:0.001", "normal:1"),
}
ORDERS = ("clip-project", "project-clip")
FLOORS = ("max:1e-06", "add:1e-08")


def images(n: int = 4, size: int = 6, seed: int = 0) -> torch.Tensor:
    """Return images with pixels anywhere in [0, 1], many of them at its ends."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, size, size, generator=draw) * 1.6 - 0.3).clamp(0, 1)


def labels(n: int = 4, classes: int = 5) -> torch.Tensor:
    return torch.arange(n) % classes


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )


def attack(model, x, y, norm="linf", epsilon=0.1, generator=None, **options):
    threat = ThreatConfig(norm=norm, epsilon=epsilon)
    extra = {k: options.pop(k) for k in ("probe",) if k in options}
    per_image = {
        k.removeprefix("own_"): options.pop(k)
        for k in ("own_epsilon", "own_step_size")
        if k in options
    }
    config = AttackConfig(**{"steps": 3, "step_size": 0.05, "start": "zero"} | options)
    ascent = partial(ce_each, target=y)
    return pgd(model, x, ascent, threat, config, generator or draws(), **extra, **per_image)


def assert_in_ball(x, x_adv, norm, epsilon):
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    radius = torch.as_tensor(epsilon).expand(len(x))
    delta = (x_adv - x).flatten(1)
    if norm == "linf":
        assert (delta.abs().amax(1) <= radius + 1e-6).all()
    else:
        assert (delta.norm(dim=1) <= radius + 1e-5).all()


@st.composite
def attacks(draw):
    norm = draw(st.sampled_from(sorted(NORMS)))
    return {
        "norm": norm,
        "start": draw(st.sampled_from(STARTS[norm])),
        "order": draw(st.sampled_from(ORDERS)),
        "floor": draw(st.sampled_from(FLOORS)),
        "reduction": draw(st.sampled_from(("sum", "mean"))),
        "bn": draw(st.sampled_from(("eval", "train"))),
        "steps": draw(st.integers(0, 3)),
        "step_size": draw(st.floats(0, 1.5)),
        "epsilon": draw(st.floats(0, 1)),
    }


@settings(max_examples=150)
@given(options=attacks(), seed=st.integers(0, 1000))
def test_adversarial_images_stay_in_the_ball_and_in_the_box(network, options, seed):
    x = images(seed=seed)
    x_adv = attack(network, x, labels(), generator=draws(seed), **options)
    assert x_adv.shape == x.shape
    assert not x_adv.requires_grad
    assert_in_ball(x, x_adv, options["norm"], options["epsilon"])


@settings(max_examples=60)
@given(options=attacks(), seed=st.integers(0, 1000))
def test_each_image_stays_in_a_ball_of_its_own_size(network, options, seed):
    x = images(seed=seed)
    epsilon = torch.rand(4, generator=draws(seed))
    steps = torch.rand(4, generator=draws(seed + 1))
    x_adv = attack(network, x, labels(), **options, own_epsilon=epsilon, own_step_size=steps)
    assert_in_ball(x, x_adv, options["norm"], epsilon)


@pytest.mark.parametrize("norm", NORMS)
def test_an_epsilon_and_a_step_of_each_image_act_as_if_it_were_alone(network, norm):
    x, y = images(), labels()
    epsilon, steps = torch.tensor([0.0, 0.02, 0.1, 0.3]), torch.tensor([0.1, 0.01, 0.05, 0.2])
    together = attack(network, x, y, norm, own_epsilon=epsilon, own_step_size=steps)
    for i in range(4):
        alone = attack(
            network, x[i : i + 1], y[i : i + 1], norm, float(epsilon[i]), step_size=float(steps[i])
        )
        torch.testing.assert_close(together[i : i + 1], alone)
    assert torch.equal(together[0], x[0])


@pytest.mark.parametrize("norm", NORMS)
def test_the_attack_raises_the_loss_it_climbs(network, norm):
    x, y = images(16), labels(16)
    network.eval()
    for order in ORDERS:
        x_adv = attack(
            network,
            x,
            y,
            norm,
            {"linf": 0.1, "l2": 1.0}[norm],
            steps=5,
            step_size=0.03,
            order=order,
        )
        before, after = (F.cross_entropy(network(z), y) for z in (x, x_adv))
        assert after > before + 0.01


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_every_part_of_the_network_gets_its_own_mode_back(network, bn):
    network.train()
    network[1].eval()
    network[3].eval()
    before = [module.training for module in network.modules()]
    attack(network, images(), labels(), bn=bn)
    assert [module.training for module in network.modules()] == before
    network.eval()
    attack(network, images(), labels(), bn=bn)
    assert not any(module.training for module in network.modules())


def test_the_mode_comes_back_when_the_attack_fails(network):
    network.train()
    with pytest.raises(ZeroDivisionError):
        attack(network, images(), labels(), probe=lambda k, logits: 1 / 0)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_parameter_gradients_are_neither_made_nor_touched(network, bn):
    for parameter in network.parameters():
        parameter.grad = None
    attack(network, images(), labels(), bn=bn, closing_forward=True)
    assert all(parameter.grad is None for parameter in network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    attack(network, images(), labels(), bn=bn)
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())
    for parameter in network.parameters():
        parameter.grad = None


def test_the_attack_works_where_gradients_are_switched_off(network):
    x = images()
    with torch.no_grad():
        silent = attack(network, x, labels())
    assert torch.equal(silent, attack(network, x, labels()))
    assert not torch.equal(silent, x)


def buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_crafting_in_eval_mode_leaves_the_running_statistics_alone(network, same):
    network.train()
    before = buffers(network)
    attack(network, images(), labels(), bn="eval", closing_forward=True, double_forward=True)
    assert same(buffers(network), before)


@pytest.mark.parametrize(
    ("options", "updates"),
    [
        ({}, 3),
        ({"closing_forward": True}, 4),
        ({"double_forward": True}, 6),
        ({"closing_forward": True, "double_forward": True}, 7),
        ({"steps": 0}, 0),
        ({"steps": 0, "closing_forward": True}, 1),
    ],
)
def test_crafting_in_train_mode_updates_the_statistics_once_a_forward(network, options, updates):
    network.eval()
    before = buffers(network)
    attack(network, images(), labels(), bn="train", **options)
    moved = network[1].num_batches_tracked - before["1.num_batches_tracked"]
    assert moved == updates
    assert torch.equal(network[1].running_mean, before["1.running_mean"]) == (updates == 0)


def test_the_extra_forwards_do_not_change_the_images(network):
    x = images()
    plain = attack(network, x, labels(), bn="train")
    extra = attack(network, x, labels(), bn="train", closing_forward=True, double_forward=True)
    assert torch.equal(plain, extra)


@pytest.mark.parametrize(("norm", "start"), [(n, s) for n in STARTS for s in STARTS[n]])
def test_the_same_generator_gives_the_same_images(network, norm, start):
    x, y = images(), labels()
    first = attack(network, x, y, norm, start=start, generator=draws(1))
    again = attack(network, x, y, norm, start=start, generator=draws(1))
    other = attack(network, x, y, norm, start=start, generator=draws(2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (start == "zero")


def test_no_start_reads_the_global_random_state(network):
    for norm, starts in STARTS.items():
        for start in starts:
            torch.manual_seed(1)
            before = torch.get_rng_state()
            attack(network, images(), labels(), norm, start=start)
            assert torch.equal(torch.get_rng_state(), before)


def test_without_steps_the_start_is_all_there_is():
    class Refuses(nn.Module):
        def forward(self, x):
            raise AssertionError("no forward pass is needed")

    x = images(64, 16, seed=5)
    x_adv = attack(Refuses(), x, labels(64), steps=0, start="uniform", epsilon=0.1)
    noise = (x_adv - x)[(x > 0.1) & (x < 0.9)]
    assert noise.abs().max() <= 0.1 + 1e-6
    assert noise.abs().max() > 0.099
    assert abs(float(noise.mean())) < 0.002
    assert float(noise.std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert torch.equal(attack(Refuses(), x, labels(64), steps=0, start="zero"), x)


def test_a_normal_start_is_clipped_only_after_the_first_step():
    class Sees(nn.Linear):
        seen = ()

        def forward(self, x):
            self.seen = (*self.seen, x.detach())
            return super().forward(x.flatten(1))

    model = Sees(108, 5)
    x = torch.zeros(4, 3, 6, 6)
    attack(model, x, labels(), start="normal:0.001", steps=2)
    assert model.seen[0].min() < 0
    assert float(model.seen[0].std()) == pytest.approx(0.001, rel=0.2)
    assert model.seen[1].min() >= 0


def test_the_probe_sees_the_logits_before_every_update(network):
    x, y = images(), labels()
    network.eval()
    calls = []
    attack(network, x, y, steps=3, probe=lambda k, logits: calls.append((k, logits)))
    assert [k for k, _ in calls] == [0, 1, 2]
    assert torch.equal(calls[0][1], network(x).detach())
    assert not any(logits.requires_grad for _, logits in calls)
    after_two = attack(network, x, y, steps=2)
    torch.testing.assert_close(calls[2][1], network(after_two).detach())


def test_the_box_start_lies_on_the_sphere_for_images_of_natural_size():
    x = images(32, 32, seed=3)
    delta = L2.start("box", x, 128 / 255, draws())
    torch.testing.assert_close(length(delta).flatten(), torch.full((32,), 128 / 255))
    inside = x + delta
    assert inside.min() >= -1e-6
    assert inside.max() <= 1 + 1e-6


def test_the_direction_start_has_a_uniform_radius():
    x = torch.full((2000, 3, 4, 4), 0.5)
    radius = length(L2.start("direction", x, 0.5, draws())).flatten() / 0.5
    assert radius.max() <= 1
    quarters = torch.histc(radius, 4, 0, 1) / 2000
    assert ((quarters - 0.25).abs() < 0.05).all()


def test_the_two_floors_guard_the_norm_in_their_own_way():
    big = torch.tensor([[3.0, 4.0]])
    small = torch.tensor([[3e-7, 4e-7]])
    nothing = torch.zeros(1, 2)
    for floor in FLOORS:
        torch.testing.assert_close(L2.ascend(big, 2.0, floor), torch.tensor([[1.2, 1.6]]))
        assert torch.equal(L2.ascend(nothing, 2.0, floor), nothing)
    # max: 5e-7 is below 1e-6, so the step is half as long; add: 5e-7 / (5e-7 + 1e-6) = 1/3
    step = length(L2.ascend(small, 2.0, "max:1e-06")).item()
    assert step == pytest.approx(1.0, rel=1e-5)
    assert length(L2.ascend(small, 2.0, "add:1e-06")).item() == pytest.approx(2 / 3, rel=1e-5)


def test_a_step_of_linf_keeps_pixels_without_gradient():
    step = Linf.ascend(torch.tensor([[2.0, -1e-9, 0.0]]), 0.1, "max:1e-06")
    torch.testing.assert_close(step, torch.tensor([[0.1, -0.1, 0.0]]))


def test_the_mean_over_a_batch_shortens_steps_only_below_the_floor(network):
    x, y = images(), labels()
    summed = attack(network, x, y, "l2", reduction="sum", floor="max:1e-06")
    mean = attack(network, x, y, "l2", reduction="mean", floor="max:1e-06")
    torch.testing.assert_close(summed, mean)
    guarded = attack(network, x, y, "l2", reduction="mean", floor="max:1000")
    assert length(guarded - x).max() < 1e-3


def test_the_two_orders_differ_where_the_box_cuts_the_ball():
    x = torch.tensor([[[[0.95, 0.3]]]])
    found = {
        order: pgd(
            nn.Flatten(),
            x,
            lambda logits: logits @ torch.tensor([0.8, 0.6]),
            ThreatConfig(norm="l2", epsilon=0.3),
            AttackConfig(steps=1, step_size=0.5, start="zero", order=order),
            draws(),
        )
        - x
        for order in ORDERS
    }
    torch.testing.assert_close(found["project-clip"].flatten(), torch.tensor([0.05, 0.18]))
    assert length(found["clip-project"]).item() == pytest.approx(0.3, abs=1e-6)


def test_judging_a_network_leaves_it_as_it_was(network, same):
    network.train()
    before = buffers(network)
    many = Images((images(10) * 255).to(torch.uint8), labels(10), torch.arange(10))
    config = recipe("pgd-at")
    options = {"batch_size": 4, "seed": 0, "position": 1}
    judged = judge(network, many, config.threat, attack_of(config.eval, 2), **options)
    again = judge(network, many, config.threat, attack_of(config.eval, 2), **options)
    assert same(buffers(network), before)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(judged.gap, again.gap)
    assert len(judged.clean) == len(judged.robust) == 10
    elsewhere = judge(
        network, many, config.threat, attack_of(config.eval, 2), **options | {"position": 2}
    )
    assert not torch.equal(judged.gap, elsewhere.gap)


def test_a_network_is_judged_by_its_predictions_before_and_after_the_attack(network):
    many = Images((images(10) * 255).to(torch.uint8), labels(10), torch.arange(10))
    config = recipe("pgd-at").override({"eval.start": "zero"})
    judged = judge(
        network, many, config.threat, attack_of(config.eval, 0), batch_size=3, seed=0, position=0
    )
    network.eval()
    right = network(many.images / 255).argmax(1) == many.labels
    assert torch.equal(judged.clean, right)
    assert torch.equal(judged.robust, right)
    assert judged.gap.eq(0).all()
    share = 100 * int(right.sum()) / 10
    metrics = judged.metrics("val")
    assert metrics["val/clean_acc"] == metrics["val/pgd_acc"] == share


def test_a_mean_over_no_images_is_none():
    from rpat.evaluate import Judged

    yes = torch.tensor([True, True])
    metrics = Judged(yes, yes, torch.tensor([1.0, 3.0])).metrics("test")
    assert metrics["test/logit_mse_success"] == 2.0
    assert metrics["test/logit_mse_failure"] is None
