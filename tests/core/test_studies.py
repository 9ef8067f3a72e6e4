"""The studies of perception and smoothness against printed figures and known networks."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rpat import regularizer
from rpat.attacks import norms
from rpat.config import AttackConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.errors import ConfigError
from rpat.evaluate import judge
from rpat.studies import jacobian, smoothness
from rpat.studies.perception import Perception, noise, perceive
from rpat.studies.smoothness import along, deviation, second

VECTORS = {
    vector["id"]: vector
    for vector in json.loads(
        (Path(__file__).parents[1] / "vectors" / "vectors-core.json").read_text("utf-8")
    )["vectors"]
}
LINF, L2 = ThreatConfig(), ThreatConfig(norm="l2", epsilon=128 / 255)
ATTACK = AttackConfig(steps=2)
ATTACKS = {"linf": ATTACK, "l2": AttackConfig(steps=2, step_size=15 / 255, start="box")}

Make = Callable[..., nn.Module]
Study = Callable[..., Any]


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def some_images(n: int = 10, side: int = 8) -> Images:
    draw = torch.Generator().manual_seed(3)
    data = torch.randint(0, 256, (n, 3, side, side), generator=draw, dtype=torch.uint8)
    return Images(data, torch.arange(n) % 5, torch.arange(n))


def some_pairs(n: int = 4, side: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(5)
    x = torch.rand(n, 3, side, side, generator=draw, dtype=torch.float64)
    return x, x + 0.1 * torch.rand(x.shape, generator=draw, dtype=torch.float64)


def look(model: nn.Module, kind: str = "pgd", **changes: Any) -> Perception:
    options = {"kind": kind, "batch_size": 4, "seed": 1} | changes
    threat, attack = options.pop("threat", LINF), options.pop("attack", ATTACK)
    return perceive(model, options.pop("images", some_images()), threat, attack, **options)


def follow(model: nn.Module, **changes: Any) -> smoothness.Smoothness:
    options = {"batch_size": 4, "seed": 1, "iterations": 3, "alphas": 5} | changes
    threat, attack = options.pop("threat", LINF), options.pop("attack", ATTACK)
    images = options.pop("images", some_images())
    return smoothness.smoothness(model, images, threat, attack, **options)


def fields(study: Any) -> dict[str, Any]:
    return {field.name: getattr(study, field.name) for field in dataclasses.fields(study)}


@pytest.fixture
def network(small_network: Make) -> nn.Module:
    return small_network(dtype=torch.float32)


class Recorded(nn.Module):
    """Gives stored logits in turn."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def forward(self, x: Tensor) -> Tensor:
        return next(self.answers)


class Quadratic(nn.Module):
    """Logits x' Q_c x / 2 + w_c x with symmetric Q_c; affine for a curvature of zero."""

    def __init__(self, size: int, classes: int = 4, curvature: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        q = torch.randn(classes, size, size, dtype=torch.float64)
        self.q = nn.Parameter(curvature * (q + q.transpose(1, 2)) / 2)
        self.linear = nn.Linear(size, classes).double()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return torch.einsum("bi,cij,bj->bc", rows, self.q, rows) / 2 + self.linear(rows)


class Constant(nn.Module):
    """Logits of zero for every image."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :5]


# ----------------------------------------------------------------- perception


def recorded_batches() -> Perception:
    """Return the study of the vector's logits; those at the midpoint lie on the line."""
    batches = list(VECTORS["fig2-mse"]["inputs"].values())
    answers = []
    for batch in batches:
        clean, pert = f64(batch["z_clean"]), f64(batch["z_pert"])
        answers += [clean, (clean + pert) / 2, pert]
    y = torch.tensor([label for batch in batches for label in batch["y"]])
    images = Images(torch.zeros(len(y), 3, 2, 2, dtype=torch.uint8), y, torch.arange(len(y)))
    return look(Recorded(answers), "noise", images=images, batch_size=len(batches[0]["y"]))


def test_the_averages_over_images_and_over_batches_are_those_of_the_vector():
    study, expected = recorded_batches(), VECTORS["fig2-mse"]["expected"]
    assert study.mse.tolist() == pytest.approx(expected["per_sample_mse"], abs=1e-6)
    for how in ("sample", "batch"):
        found = study.averages(how)
        for case in ("success", "failure"):
            figure = expected[f"{case}_mse_{how}_weighted"]
            assert found[f"mse_{case}"] == pytest.approx(figure, abs=1e-6)
            assert found[f"n_{case}"] == expected[f"{case}_count"]
            for half in ("clean_mid", "mid_pert"):  # half the way has a quarter of the MSE
                assert found[f"{half}_{case}"] == pytest.approx(figure / 4, abs=1e-6)
        assert found["mse"] == pytest.approx(expected["all_mse"], abs=1e-6)
        assert found["ratio"] == found["mse_failure"] / found["mse_success"]
        assert (found["clean_acc"], found["perturbed_acc"]) == (20, 60)


def test_the_clean_prediction_plays_no_role_in_success():
    study = recorded_batches()
    assert study.success.tolist() == [True, False, True, True, False]
    assert study.clean.tolist() == [False, False, True, False, False]
    assert study.batch.tolist() == [0, 0, 0, 1, 1]


def test_averages_over_one_batch_are_those_over_its_images(network):
    study = look(network, batch_size=10)
    assert study.averages("batch") == pytest.approx(study.averages())


def rare() -> Perception:
    """Return a study whose second batch has no failure."""
    success, mse = torch.tensor([True, False, True, True]), torch.tensor([1.0, 2.0, 3.0, 5.0])
    batch = torch.tensor([0, 0, 1, 1])
    return Perception("pgd", success, success, mse, mse, mse, batch)


def test_a_batch_without_failures_leaves_their_batch_average_undefined():
    study = rare()
    assert study.averages()["mse_failure"] == 2
    found = study.averages("batch")
    assert (found["mse_failure"], found["ratio"], found["mse_success"]) == (None, None, 2.5)
    assert found["mse"] == 2.75


@pytest.mark.parametrize("how", ["sample", "batch"])
def test_a_study_without_failures_has_no_mean_of_them(how):
    study = dataclasses.replace(rare(), success=torch.ones(4, dtype=torch.bool))
    found = study.averages(how)
    assert {key for key, value in found.items() if value is None} == {
        "mse_failure", "clean_mid_failure", "mid_pert_failure", "ratio",
    }  # fmt: skip
    json.dumps(found, allow_nan=False)


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="sample or batch, not 'median'"):
        rare().averages("median")


@pytest.mark.parametrize(("kind", "attack"), [("pgd", None), ("square", ATTACK)])
def test_an_unknown_perturbation_is_refused(network, kind, attack):
    with pytest.raises(ValueError, match=f"kind '{kind}'"):
        look(network, kind, attack=attack)


def test_noise_is_that_of_the_vector(monkeypatch):
    vector = VECTORS["random-noise"]
    x, u = (f64(vector["inputs"][name]).view(1, 1, 1, -1) for name in ("x", "u"))
    monkeypatch.setattr(norms, "_uniform", lambda *_: (u + 1) / 2)
    found = noise(x, ThreatConfig(epsilon=vector["params"]["eps"]), torch.Generator())
    assert found.flatten().tolist() == pytest.approx(vector["expected"]["x_noisy"], abs=1e-6)


def test_noise_of_l2_has_the_full_radius_inside_the_box_and_never_leaves_it():
    grey = torch.full((6, 3, 8, 8), 0.5, dtype=torch.float64)
    delta = noise(grey, L2, torch.Generator().manual_seed(0)) - grey
    assert delta.flatten(1).norm(dim=1).tolist() == pytest.approx([L2.epsilon] * 6)
    black = noise(0 * grey, L2, torch.Generator().manual_seed(0))
    assert black.min() == 0
    assert black.flatten(1).norm(dim=1).max() < L2.epsilon


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_the_perception_of_pgd_is_the_logit_mse_of_an_evaluation(network, threat):
    images = some_images()
    attack = dataclasses.replace(ATTACKS[threat.norm], start="zero")  # without draws
    study = look(network, threat=threat, attack=attack, images=images)
    judged = judge(network, images, threat, attack, batch_size=4, seed=1, position=0)
    assert torch.equal(study.mse, judged.gap)
    assert torch.equal(study.clean, judged.clean)
    assert torch.equal(study.success, judged.robust)


# ----------------------------------------------------------------- smoothness


def weights(classes: int, n: int = 4) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    return torch.randn(n, classes, generator=draw, dtype=torch.float64)


def measures(model: nn.Module, iterations: int = 300) -> dict[str, Tensor]:
    x, x_adv = some_pairs()
    alphas = (0.0, 0.25, 0.5, 0.75, 1.0)
    z = along(model, x, x_adv, alphas)
    change, clean, adv, last = jacobian.end_norms(model, x, x_adv, weights(4), iterations)
    return {
        "deviation": deviation(z, alphas),
        "second": second(z),
        "change": change,
        "clean": clean,
        "adv": adv,
        "last": last,
    }


def test_an_affine_network_is_perfectly_smooth():
    model = Quadratic(48, curvature=0)
    found = measures(model)
    for name in ("deviation", "second", "change"):
        assert found[name].abs().max() < 1e-11, name
    norm = torch.linalg.matrix_norm(model.linear.weight, ord=2).item()
    for name in ("clean", "adv"):
        assert found[name].tolist() == pytest.approx([norm] * 4)


def test_a_quadratic_network_has_the_bends_that_its_matrices_say():
    model = Quadratic(48)
    found = measures(model)
    x, x_adv = some_pairs()
    delta = (x_adv - x).flatten(1)
    bend = torch.einsum("bi,cij,bj->bc", delta, model.q, delta)  # d^2 z / d alpha^2
    alpha = f64([0, 0.25, 0.5, 0.75, 1])
    expected = (alpha * (1 - alpha) / 2)[None, :, None] * bend[:, None, :]
    torch.testing.assert_close(found["deviation"], expected.square().mean(2).detach())
    torch.testing.assert_close(found["second"], bend.norm(dim=1)[:, None].expand(4, 3).detach())
    change = torch.einsum("cij,bj->bci", model.q, delta)
    norm = torch.linalg.matrix_norm(change, ord=2).detach()
    torch.testing.assert_close(found["change"], norm, rtol=1e-6, atol=0)


def test_the_deviation_is_the_regulariser_of_each_image(small_network):
    model = small_network(dtype=torch.float64).eval()
    x, x_adv = some_pairs(side=8)
    z = along(model, x, x_adv, (0.0, 0.25, 0.5, 0.75, 1.0))
    found = deviation(z, (0.0, 0.25, 0.5, 0.75, 1.0)).mean(0)
    assert found[0] == found[-1] == 0
    for column, alpha in ((1, 0.25), (2, 0.5), (3, 0.75)):
        expected = regularizer.smoothness(z[0], z[column], z[-1], alpha)
        torch.testing.assert_close(found[column], expected)


def test_power_iteration_finds_the_norms_of_dense_jacobians(small_network):
    model = small_network(dtype=torch.float64).eval()
    x, x_adv = some_pairs(side=6)
    x_adv = x_adv + 0.5  # far enough to pass kinks
    *found, last = jacobian.end_norms(model, x, x_adv, weights(5), 400)

    def dense(images: Tensor) -> Tensor:
        rows = [
            torch.autograd.functional.jacobian(lambda z: model(z[None])[0], image)
            for image in images
        ]
        return torch.stack(rows).flatten(2)  # [B, C, D]

    ends = dense(x), dense(x_adv)
    for norm, matrix in zip(found, (ends[1] - ends[0], *ends), strict=True):
        torch.testing.assert_close(norm, torch.linalg.matrix_norm(matrix, ord=2), rtol=1e-6, atol=0)
    assert found[0].min() > 1e-3
    assert last.max() < 1e-6


def test_both_ways_to_a_jacobian_find_the_same_norms(small_network, monkeypatch):
    model = small_network(dtype=torch.float64).eval()
    x, x_adv = some_pairs(side=6)
    x_adv = x_adv + 0.5
    *power, _ = jacobian.end_norms(model, x, x_adv, weights(5), 400)
    for entries in (jacobian.ENTRIES, 5 * 108 * 3):  # at once, and in slices of three images
        monkeypatch.setattr(jacobian, "ENTRIES", entries)
        *exact, last = jacobian.exact_norms(model, x, x_adv, 5)
        for a, b in zip(exact, power, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
        assert not last.any()


@pytest.mark.parametrize(
    ("iterations", "how"), [(0, None), (1, "power iteration"), (2, "exact")], ids=str
)
def test_few_classes_get_exact_norms_and_the_averages_say_so(network, iterations, how):
    study = follow(network, iterations=iterations)  # of 5 classes; an iteration costs 4
    assert study.averages()["jacobian_how"] == how
    assert study.jacobian_change.isnan().all() == (how is None)
    if how:
        exact = follow(network, iterations=10)
        assert (study.jacobian_change <= exact.jacobian_change * (1 + 1e-5)).all()
        assert study.jacobian_last.any() == (how == "power iteration")


def test_power_iteration_grows_and_says_how_much_it_still_moves():
    x, x_adv = some_pairs()
    sizes, lasts = [], []
    for iterations in (1, 2, 3, 100):
        change, _, _, last = jacobian.end_norms(Quadratic(48), x, x_adv, weights(4), iterations)
        sizes.append(change)
        lasts.append(last)
    for less, more in pairwise(sizes):
        assert (less <= more * (1 + 1e-12)).all()
    assert lasts[0].tolist() == [1] * 4
    assert (lasts[0] > lasts[1]).all()
    assert (lasts[2] > lasts[3]).all()
    moved = (sizes[2] - sizes[1]) / sizes[2]
    assert (lasts[2] >= moved * (1 - 1e-12)).all()  # the worst of three norms


def test_slices_of_a_batch_give_what_the_batch_gives(small_network, monkeypatch):
    model = small_network(dtype=torch.float64).eval()
    x, x_adv = some_pairs(side=8)
    whole = jacobian.end_norms(model, x, x_adv, weights(5), 4)
    monkeypatch.setattr(jacobian, "SLICE", 3)
    for a, b in zip(whole, jacobian.end_norms(model, x, x_adv, weights(5), 4), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_the_averages_of_smoothness_are_means_of_all_success_and_failure(network, threat):
    study = follow(network, threat=threat, attack=ATTACKS[threat.norm])
    study = dataclasses.replace(study, robust=torch.arange(10) < 3)
    found = study.averages()
    json.dumps(found, allow_nan=False)
    assert found["alphas"] == [0, 0.25, 0.5, 0.75, 1]
    assert (found["robust_acc"], found["clean_acc"]) == (30, 10 * int(study.clean.sum()))
    for case, rows in (("all", slice(10)), ("success", slice(3)), ("failure", slice(3, 10))):
        part = found[case]
        assert part["n"] == part["n_jacobian"] == len(study.robust[rows])
        assert part["deviation"] == pytest.approx(study.deviation[rows].mean(0).tolist())
        assert part["deviation_mid"] == part["deviation"][2]
        assert part["second_mean"] == pytest.approx(study.second[rows].mean().item())
        assert part["second_max"] == pytest.approx(study.second[rows].amax(1).mean().item())
        change, clean = study.jacobian_change[rows], study.jacobian_clean[rows]
        assert part["jacobian_change"] == pytest.approx(change.mean().item())
        assert part["jacobian_relative"] == pytest.approx((change / clean).mean().item())
        assert part["jacobian_last"] == study.jacobian_last[rows].max().item()


def test_the_shapes_of_smoothness_are_those_it_names(network):
    study = follow(network, alphas=7)
    assert study.alphas == (0, 1 / 6, 1 / 3, 0.5, 2 / 3, 5 / 6, 1)
    assert study.deviation.shape == (10, 7)
    assert study.second.shape == (10, 5)
    assert not study.deviation[:, [0, -1]].any()
    assert (study.deviation[:, 3] > 0).all()


def test_jacobians_are_measured_on_as_many_images_as_asked_for_of_every_class(network):
    measured = ~follow(network, jacobian_n=5).jacobian_change.isnan()
    assert sorted(some_images().labels[measured].tolist()) == [0, 1, 2, 3, 4]
    assert not follow(network, jacobian_n=50).jacobian_change.isnan().any()


def test_without_iterations_no_jacobian_is_measured_and_nothing_else_changes(network):
    study, full = follow(network, iterations=0), follow(network)
    assert study.jacobian_change.isnan().all()
    assert torch.equal(study.deviation, full.deviation)
    found = study.averages()["all"]
    assert found["n_jacobian"] == 0
    names = ("jacobian_change", "jacobian_clean", "jacobian_adv", "jacobian_relative")
    assert [found[name] for name in (*names, "jacobian_last")] == [None] * 5


@pytest.mark.parametrize("alphas", [1, 2, 10])
def test_a_way_without_a_middle_is_refused(network, alphas):
    with pytest.raises(ConfigError, match=f"alphas is {alphas}; write an odd number"):
        follow(network, alphas=alphas)


def test_a_network_without_slopes_has_no_relative_change():
    found = follow(Constant()).averages()
    assert found["all"]["jacobian_change"] == found["all"]["jacobian_last"] == 0
    assert found["all"]["jacobian_relative"] is None


# ----------------------------------------------------------------- both

STUDIES = {
    "noise": lambda model, **changes: look(model, "noise", **changes),
    "pgd": look,
    "smoothness": follow,
}


@pytest.fixture(params=STUDIES)
def study(request) -> Study:
    return STUDIES[request.param]


def same(a: Any, b: Any) -> bool:
    pairs = zip(fields(a).values(), fields(b).values(), strict=True)
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_a_study_repeats_itself_and_another_seed_does_not(network, study, threat):
    options = {"threat": threat, "attack": ATTACKS[threat.norm]}
    first = study(network, **options)
    torch.manual_seed(99)
    assert same(first, study(network, **options))
    assert not same(first, study(network, **options, seed=2))


def test_a_study_leaves_the_network_as_it_was(network, study):
    network.bn.eval()  # a part that was frozen
    network.linear.weight.requires_grad_(False)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    study(network, attack=dataclasses.replace(ATTACK, bn="train"))
    assert (network.training, network.bn.training, network.conv.training) == (True, False, True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not network.linear.weight.requires_grad
    assert network.conv.weight.requires_grad


def test_a_study_holds_no_graph_and_lies_on_the_cpu(network, study):
    for value in fields(study(network)).values():
        if isinstance(value, Tensor):
            assert not value.requires_grad
            assert value.device.type == "cpu"
            assert len(value) == 10


@pytest.mark.parametrize("name", ["pgd", "smoothness"])
def test_an_image_is_judged_alike_in_batches_of_any_size(network, name):
    attack = dataclasses.replace(ATTACK, start="zero")  # what is drawn is drawn batch by batch
    one, other = (STUDIES[name](network, attack=attack, batch_size=size) for size in (3, 10))
    column = {"pgd": "mse", "smoothness": "deviation"}[name]
    torch.testing.assert_close(getattr(one, column), getattr(other, column))


def test_tf32_is_off_in_a_study_and_restored(network, study, monkeypatch):
    flags = []
    network.register_forward_hook(lambda *_: flags.append(torch.backends.cudnn.allow_tf32))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    study(network)
    assert flags
    assert not any(flags)
    assert torch.backends.cudnn.allow_tf32


def test_progress_counts_images(network, study):
    told = []
    study(network, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_progress_may_interrupt(network, study):
    def enough(done: int, total: int) -> None:
        raise KeyboardInterrupt

    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(KeyboardInterrupt):
        study(network, progress=enough)
    assert network.training
    once = len(calls)
    study(network)
    assert len(calls) > 2 * once


def test_a_diverged_network_has_no_means_and_no_nan(network, study):
    torch.nn.init.constant_(network.linear.weight, math.nan)
    found = study(network).averages()
    json.dumps(found, allow_nan=False)
    if "all" in found:
        assert found["all"]["deviation"] == [None] * 5
        assert (found["all"]["n_jacobian"], found["all"]["jacobian_change"]) == (0, None)
    else:
        assert found["mse"] is found["mse_failure"] is found["ratio"] is None
