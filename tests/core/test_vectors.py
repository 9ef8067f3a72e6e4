"""The printed vectors of losses, attacks, schedules and metrics, through the code that runs.

A network that answers marked images with a vector's logits stands in for a real one, so that
values and gradients come from `loss` of the methods and wrappers as training builds them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rpat import losses, regularizer, schedules
from rpat.attacks import norms
from rpat.attacks.pgd import pgd
from rpat.config import METHODS, WRAPPERS, AttackConfig, DataConfig, ThreatConfig
from rpat.data.dataset import Images
from rpat.evaluate import attack_of, judge
from rpat.methods.base import total
from rpat.recipes import recipe
from rpat.step import Step
from rpat.wrappers import build
from rpat_tui.compare import mean_nrr

Vector = dict[str, Any]
Values = dict[str, Any]

FILE = Path(__file__).parents[1] / "vectors" / "vectors-core.json"
VECTORS: list[Vector] = json.loads(FILE.read_text("utf-8"))["vectors"]

LATER = ("consistency-at", "rebat", "rpat++", "kd", "swa", "wa", "awp", "cutmix")
"""What has vectors and is not part of the package yet."""

NOT_OURS = {"success_mse_batch_weighted", "failure_mse_batch_weighted"}
"""Figures of another rule, which ours must not give."""


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Answers(nn.Module):
    """Gives stored logits: x is all 0, x' all 1, and what lies between is x~."""

    def __init__(self, inputs: Vector, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.calls: list[str] = []
        self.leaves = {
            key.removeprefix("z_"): f64(rows).requires_grad_()
            for key, rows in inputs.items()
            if key.startswith("z_")
        }

    def forward(self, x: Tensor) -> Tensor:
        mark = x.flatten()[0].item()
        name = {0.0: "clean", 1.0: "adv"}.get(mark, "interp")
        assert name != "interp" or mark == pytest.approx(self.alpha, abs=1e-12)
        self.calls.append(name)
        return self.leaves[name]


def terms_of(
    vector: Vector, method: str, stack: tuple[str, ...], **changes: Any
) -> tuple[dict[str, Tensor], Answers]:
    """Return the terms that the built method makes of a vector's logits."""
    inputs, params = vector["inputs"], vector["params"]
    config = recipe(method, stack)
    if "beta" in params:
        changes[f"{method}.beta"] = params["beta"]
    if stack:
        changes["rpat.alpha"] = params["alpha"]
        changes["rpat.lam"] = params.get("lam", 1.0)
    config = config.override({name.replace("__", "."): value for name, value in changes.items()})
    model = Answers(inputs, params.get("alpha", 0.5))
    rows = len(next(iter(model.leaves.values())))
    y = torch.tensor(inputs.get("y", [0] * rows))
    x = torch.zeros(rows, 3, 2, 2, dtype=torch.float64)
    step = Step(model, x, y, torch.arange(rows), 0, 0, 10, x_adv=torch.ones_like(x))
    return build(config).loss(step), model


def gradients(value: Tensor, model: Answers) -> Values:
    names = list(model.leaves)
    found = torch.autograd.grad(value, [model.leaves[name] for name in names])
    return {f"grad_z_{name}": gradient for name, gradient in zip(names, found, strict=True)}


def check_ce(vector: Vector) -> Values:
    for method, name in (("clean", "z_clean"), ("random", "z_adv"), ("pgd-at", "z_adv")):
        inputs = {name: vector["inputs"]["logits"], "y": vector["inputs"]["y"]}
        terms, _ = terms_of({"inputs": inputs, "params": {}}, method, ())
        assert list(terms) == ["ce"]
        assert_close(total(terms), vector["expected"]["loss"])
    return {"loss": total(terms)}


def check_rpat_term(vector: Vector) -> Values:
    terms, model = terms_of(vector, "pgd-at", ("rpat",))
    eq3, _ = terms_of(vector, "pgd-at", ("rpat",), rpat__form="eq3")
    found = {"mse_interp": terms["rpat"], "mse_eq3": eq3["rpat"]}
    return found | {"ratio": eq3["rpat"] / terms["rpat"]} | gradients(terms["rpat"], model)


def check_criterion(vector: Vector) -> Values:
    target = vector["inputs"]["z_target"]  # the straight line, where both of its ends are it
    inputs = {
        "z_clean": target,
        "z_adv": target,
        "z_interp": vector["inputs"]["z_interp"],
    }
    names = {"mse": "mse", "kl_target_interp": "kl", "js": "js", "cosine": "cosine"}
    given = {"inputs": inputs, "params": vector["params"]}
    return {
        key: terms_of(given, "pgd-at", ("rpat",), rpat__criterion=criterion)[0]["rpat"]
        for key, criterion in names.items()
    }


def check_pgd_at_rpat(vector: Vector) -> Values:
    terms, model = terms_of(vector, "pgd-at", ("rpat",))
    eq3, _ = terms_of(vector, "pgd-at", ("rpat",), rpat__form="eq3")
    assert model.calls == ["adv", "interp", "clean"]
    found = {"ce_adv": terms["ce"], "rpat": terms["rpat"], "loss": total(terms)}
    return found | {"loss_eq3": total(eq3)}


def check_trades(vector: Vector) -> Values:
    terms, model = terms_of(vector, "trades", ())
    assert model.calls == ["clean", "adv", "clean"]
    kl = terms["kl"] / vector["params"]["beta"]
    reverse = losses.kl(model.leaves["adv"], model.leaves["clean"])
    assert abs(reverse - kl) > 1e-3
    found = {"ce_clean": terms["ce"], "kl_clean_adv": kl, "kl_reversed": reverse}
    return found | {"loss": total(terms)} | gradients(total(terms), model)


def check_trades_rpat(vector: Vector) -> Values:
    terms, model = terms_of(vector, "trades", ("rpat",))
    assert model.calls == ["clean", "adv", "clean", "interp"]
    return {"loss": total(terms)}


def check_mart(vector: Vector) -> Values:
    terms, model = terms_of(vector, "mart", ())
    assert model.calls == ["clean", "adv"]
    wrong = losses.wrong_class(model.leaves["adv"], torch.tensor(vector["inputs"]["y"]))
    found = {"wrong_class": wrong, "bce": terms["bce"], "loss": total(terms)}
    found["weighted_kl"] = terms["kl"] / vector["params"]["beta"]
    return found | gradients(total(terms), model)


def check_mart_rpat(vector: Vector) -> Values:
    terms, model = terms_of(vector, "mart", ("rpat",))
    assert model.calls == ["clean", "adv", "interp"]
    return {"loss": total(terms)}


def check_rates_of_iterations(vector: Vector) -> Values:
    params = vector["params"]
    schedule = dataclasses.replace(
        recipe("pgd-at", epochs=200).schedule,
        granularity="iteration",
        decay=params["factor"],
    )
    assert schedules.milestones(schedule) == [params["stage1"], params["stage2"]]
    rates = []
    for t in vector["inputs"]["t"]:
        epoch = max(math.ceil(t) - 1, 0)  # t = epoch + (i+1)/n
        rates.append(schedules.learning_rate(params["lr_max"], schedule, epoch, t - epoch))
    return {"lr": rates}


def check_rates_of_epochs(vector: Vector) -> Values:
    params, epochs = vector["params"], vector["inputs"]["epoch_1based"]
    schedule = recipe("pgd-at", epochs=epochs[-1]).schedule
    assert schedules.milestones(schedule) == params["milestones"]
    assert 1 / schedule.decay == params["gamma"]
    rate = schedules.learning_rate
    return {"lr": [rate(params["lr_max"], schedule, epoch - 1, 1.0) for epoch in epochs]}


class Pixels(nn.Module):
    """Logits that are the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def one_step(vector: Vector, norm: str, order: str) -> Tensor:
    """Return delta after one step from the vector's delta along the vector's gradient."""
    inputs, params = vector["inputs"], vector["params"]
    x, delta, slope = (f64(inputs[name]).view(1, 1, 1, -1) for name in ("x", "delta", "grad"))
    attack = AttackConfig(
        steps=1, step_size=params["step"], start="zero", order=order, floor="max:1e-6"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norms.NORMS[norm], "start", staticmethod(lambda *_: delta))
        x_adv = pgd(
            Pixels(),
            x,
            lambda logits: (logits * slope.flatten(1)).sum(1),
            ThreatConfig(norm=norm, epsilon=params["eps"]),
            attack,
            torch.Generator(),
        )
    return (x_adv - x).flatten()


def check_step_linf(vector: Vector) -> Values:
    delta = one_step(vector, "linf", "project-clip")
    assert_close(one_step(vector, "linf", "clip-project"), delta)
    return {"delta_next": delta, "x_next": delta + f64(vector["inputs"]["x"])}


def check_step_l2(vector: Vector) -> Values:
    orders = ("clip-project", "project-clip")
    return {order.replace("-", "_then_"): one_step(vector, "l2", order) for order in orders}


def check_random_noise(vector: Vector) -> Values:
    x = f64(vector["inputs"]["x"]).view(1, 1, 1, -1)
    config = recipe("random")
    assert config.threat.epsilon == vector["params"]["eps"]
    step = Step(Pixels(), x, torch.tensor([0]), torch.arange(1), 0, 0, 10)
    with pytest.MonkeyPatch.context() as patch:
        u = f64(vector["inputs"]["u"]).view_as(x)
        patch.setattr(norms, "_uniform", lambda *_: (u + 1) / 2)
        return {"x_noisy": build(config).craft(step).flatten()}


def check_start_box(vector: Vector) -> Values:
    x, v = (f64(vector["inputs"][name]).view(1, 1, 1, -1) for name in ("x", "v"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norms, "_uniform", lambda *_: v)
        delta = norms.L2.start("box", x, vector["params"]["eps"], torch.Generator())
    return {"delta0": delta.flatten()}


def check_start_direction(vector: Vector) -> Values:
    n = f64(vector["inputs"]["n"]).view(1, 1, 1, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *_, **__: n)
        patch.setattr(torch, "rand", lambda *_, **__: f64([vector["inputs"]["r"]]))
        start = norms.L2.start(
            "direction", torch.zeros_like(n), vector["params"]["eps"], torch.Generator()
        )
    return {"delta0": start.flatten()}


def check_interpolation(vector: Vector) -> Values:
    x, x_adv = (f64(vector["inputs"][name])[None] for name in ("x", "x_adv"))
    step = Step(Pixels(), x, torch.tensor([0]), torch.arange(1), 0, 0, 10, x_adv=x_adv)
    alphas = vector["inputs"]["alpha"]
    assert_close(regularizer.interpolate(x, x_adv, alphas[0]), step.z_mid(alphas[0]))
    return {"x_interp": torch.cat([step.z_mid(alpha) for alpha in alphas])}


class Recorded(nn.Module):
    """Gives stored logits in turn."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def forward(self, x: Tensor) -> Tensor:
        return next(self.answers)


def check_fig2(vector: Vector) -> Values:
    batches = list(vector["inputs"].values())
    answers = [f64(batch[name]) for batch in batches for name in ("z_clean", "z_pert")]
    y = torch.tensor([label for batch in batches for label in batch["y"]])
    images = Images(torch.zeros(len(y), 3, 2, 2, dtype=torch.uint8), y, torch.arange(len(y)))
    judged = judge(
        Recorded(answers),
        images,
        ThreatConfig(),
        attack_of(recipe("pgd-at").override({"eval.start": "zero"}).eval, 0),
        batch_size=len(batches[0]["y"]),
        seed=0,
        position=0,
    )
    metrics = judged.metrics("test")
    found = {
        "per_sample_mse": judged.gap,
        "success_count": int(judged.robust.sum()),
        "failure_count": int((~judged.robust).sum()),
        "success_mse_sample_weighted": metrics["test/logit_mse_success"],
        "failure_mse_sample_weighted": metrics["test/logit_mse_failure"],
        "all_mse": metrics["test/logit_mse"],
    }
    for side in ("success", "failure"):
        found[f"{side}_mse_batch_weighted"] = found[f"{side}_mse_sample_weighted"]
    return found


def check_metrics(vector: Vector) -> Values:
    mean, nrr = mean_nrr(vector["inputs"]["clean"], vector["inputs"]["aa"])
    return {"mean": mean, "nrr": nrr}


class RunningMean(nn.Module):
    """A BatchNorm of one number, of which only the running mean is watched."""

    def __init__(self, inputs: Vector) -> None:
        super().__init__()
        self.means = {0.0: inputs["clean"], 1.0: inputs["adv"], 0.5: inputs["interp"]}
        self.momentum = inputs["momentum"]
        self.running = inputs["running"]

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean = self.means[x.flatten()[0].item()]
            self.running = (1 - self.momentum) * self.running + self.momentum * mean
        return x.flatten(1)[:, :3]


def check_bn_order(vector: Vector) -> Values:
    found = {}
    for method in ("pgd-at", "trades", "mart"):
        for stack in ((), ("rpat",)):
            model = RunningMean(vector["inputs"])
            x = torch.zeros(4, 3, 2, 2)
            y = torch.tensor([0, 1, 2, 0])
            step = Step(model, x, y, y, 0, 0, 10, x_adv=torch.ones_like(x))
            built = build(recipe(method, stack))
            built.ascent(step)  # what the attack prepares must not count
            built.loss(step)
            found["_".join((method.replace("-", ""), *stack))] = model.running
    return found


CHECKS: dict[str, Callable[[Vector], Values]] = {
    "ce-": check_ce,
    "rpat-term-": check_rpat_term,
    "rpat-criterion-": check_criterion,
    "pgdat-rpat-": check_pgd_at_rpat,
    "trades-": check_trades,
    "trades-rpat-": check_trades_rpat,
    "mart-": check_mart,
    "mart-rpat-": check_mart_rpat,
    "lr-iter": check_rates_of_iterations,
    "lr-epoch-": check_rates_of_epochs,
    "pgd-step-linf": check_step_linf,
    "pgd-step-l2": check_step_l2,
    "random-noise": check_random_noise,
    "l2-init-box": check_start_box,
    "l2-init-ball": check_start_direction,
    "interp": check_interpolation,
    "fig2-mse": check_fig2,
    "metrics-": check_metrics,
    "bn-order": check_bn_order,
}
"""Beginning of a vector's id -> what computes its expected figures; the longest one counts."""


def methods_of(vector: Vector) -> set[str]:
    """Return the single names in `a|b+c`; the two plus signs of RPAT++ are part of a name."""
    return set(re.findall(r"rpat\+\+|[^|+]+", vector["method"]))


def is_later(vector: Vector) -> bool:
    return bool(methods_of(vector) & set(LATER))


def check_of(vector: Vector) -> Callable[[Vector], Values] | None:
    prefixes = [prefix for prefix in CHECKS if vector["id"].startswith(prefix)]
    return CHECKS[max(prefixes, key=len)] if prefixes else None


def assert_close(found: Any, expected: Any) -> None:
    found = torch.as_tensor(found).detach().double()
    torch.testing.assert_close(found, torch.as_tensor(expected).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if not is_later(v)], ids=lambda vector: vector["id"]
)
def test_the_code_gives_the_figures_of_the_vector(vector):
    check = check_of(vector)
    assert check is not None, f"no check for {vector['id']}"
    found = check(vector)
    for name, expected in vector["expected"].items():
        if name in NOT_OURS:
            assert found[name] != pytest.approx(expected, abs=1e-4)
        else:
            assert_close(found[name], expected)


def test_every_vector_has_a_check_or_waits_for_its_method():
    without = [v["id"] for v in VECTORS if not is_later(v) and check_of(v) is None]
    assert not without
    used = {check_of(v) for v in VECTORS if not is_later(v)}
    assert used == set(CHECKS.values())


def test_no_method_of_the_package_still_waits_for_its_vectors():
    part_of_the_package = {*METHODS, *WRAPPERS} | {f.name for f in dataclasses.fields(DataConfig)}
    assert not part_of_the_package & set(LATER)
    waiting = {name for v in VECTORS if is_later(v) for name in methods_of(v)}
    assert set(LATER) <= waiting
