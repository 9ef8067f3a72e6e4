"""The printed vectors of losses, attacks, schedules and metrics, through the code that runs.

A network that answers marked images with a vector's logits stands in for a real one, so that
values and gradients come from `loss` of the methods and wrappers as training builds them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rpat import losses, regularizer, schedules
from rpat.attacks import norms
from rpat.attacks.pgd import pgd
from rpat.config import AttackConfig, RunConfig, ThreatConfig
from rpat.data import cutmix
from rpat.data.dataset import Images
from rpat.ema import guarded, refresh_statistics
from rpat.evaluate import attack_of, judge
from rpat.methods.base import Method, Run, total
from rpat.methods.gairat import geometry_weights
from rpat.methods.mma import bisect
from rpat.methods.sovr import largest_margins
from rpat.methods.te import pull_each, ramp
from rpat.recipes import recipe
from rpat.step import Step
from rpat.wrappers import build
from rpat.wrappers.adr import cosine
from rpat.wrappers.awp import perturbed
from rpat.wrappers.cure import kept, prominence, revision_decay
from rpat_tui.compare import mean_nrr

Vector = dict[str, Any]
Values = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "vectors"


def read(name: str) -> list[Vector]:
    return json.loads((FOLDER / f"vectors-{name}.json").read_text("utf-8"))["vectors"]


CORE, SOTA = read("core"), read("sota")
VECTORS: list[Vector] = CORE + SOTA

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
        return self.leaves[name].clone()  # without a graph where gradients are off


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


def check_growing_weight(vector: Vector) -> Values:
    top = vector["params"]["lr_max"]
    return {"beta": [schedules.growing_weight(top, lr) for lr in vector["inputs"]["lr"]]}


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


# ------------------------------------------------------------- two views


def check_consistency(vector: Vector) -> Values:
    inputs, params = vector["inputs"], vector["params"]
    weight = params.get("lam", params.get("lam_con"))

    def terms_with(lam: float) -> dict[str, Tensor]:
        stack = ("rpat",) if "lam_rpat" in params else ()
        return terms_of(
            {
                "inputs": {**inputs, "y": inputs["y"] * 2},
                "params": {"alpha": params["alpha"], "lam": lam} if stack else {},
            },
            "consistency-at",
            stack,
            **{"consistency-at.temperature": params["T"], "consistency-at.lam": lam * weight},
        )[0]

    terms = terms_with(1.0)
    found = {"ce_adv": terms["ce"], "js": terms["js"] / weight, "loss": total(terms)}
    return found | {"loss_lam2": total(terms_with(2.0))}


def check_js(vector: Vector) -> Values:
    one, other = (f64(vector["inputs"][f"logits{i}"]) for i in (1, 2))
    return {"js": losses.js(one, other, vector["params"]["T"])}


# ------------------------------------------------------------- averaged networks and teachers


def built_step(
    config: RunConfig, inputs: Vector, epoch: int = 199, **options: Any
) -> tuple[Method, Step, Answers]:
    """Return the method of a config, set up, and a step whose logits are a vector's."""
    model = Answers(inputs, options.pop("alpha", 0.5))
    rows = len(next(iter(model.leaves.values())))
    x = torch.zeros(rows, 3, 2, 2, dtype=torch.float64)
    y = torch.tensor(inputs.get("y", [0] * rows))
    step = Step(model, x, y, torch.arange(rows), epoch, 5, 10, x_adv=torch.ones_like(x))
    model.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    built = build(config)
    built.setup(Run(model, 4, rows, 200, 10, **options))
    return built, step, model


def check_rebat(vector: Vector) -> Values:
    inputs = {"z_adv": vector["inputs"]["z_adv_online"], "y": vector["inputs"]["y"]}
    config = recipe("rebat").override({"rebat.beta": vector["params"]["beta"]})
    built, step, _ = built_step(config, inputs, 105)
    teacher = built.average.leaves["adv"] = f64(vector["inputs"]["z_adv_ema"]).requires_grad_()
    terms = built.backward(step, built.loss)
    assert teacher.grad is None
    beta = vector["params"]["beta"]
    early, before, _ = built_step(config, inputs, 104)
    assert list(early.loss(before)) == ["ce"]
    return {"ce_adv": terms["ce"], "boat_kl": terms["rebat"] / beta, "loss": total(terms)}


def check_rpat_plus_plus(vector: Vector) -> Values:
    given, params = vector["inputs"], vector["params"]
    inputs = {"z_adv": given["z_adv_online"], "y": given["y"]}
    config = recipe("rpat++").override(
        {"rpat++.beta": params["beta"], "rpat++.alpha": params["alpha"]}
    )
    built, step, model = built_step(config, inputs, 105, alpha=params["alpha"])
    teacher = {
        "clean": f64(given["z_clean_ema"]).requires_grad_(),
        "interp": f64(given["z_interp_ema"]).requires_grad_(),
    }
    built.average.leaves = teacher
    built.average.calls.clear()
    terms = built.backward(step, built.loss)
    assert built.average.calls == ["clean", "interp"]
    assert list(terms) == ["ce", "rpat++"]
    assert all(z.grad is None for z in teacher.values())
    early, before, _ = built_step(config, inputs, 104)
    return {
        "ce_adv": terms["ce"],
        "rpat_kl": terms["rpat++"] / params["beta"],
        "loss": total(terms),
        "loss_before_warmup": total(early.loss(before)),
        "grad_z_adv_online": model.leaves["adv"].grad,
    }


def check_guard(vector: Vector) -> Values:
    inputs, beta = vector["inputs"], vector["params"]["beta"]
    term = f64(float(inputs["reg"])).requires_grad_()
    loss = f64(inputs["ce_adv"]) + beta * guarded(term)
    loss.backward()
    assert term.grad in (0.0, beta)
    return {"loss": loss}


def check_kd(vector: Vector) -> Values:
    given, params = vector["inputs"], vector["params"]
    words = {"0" * 64: given["teacher_std_adv"], "1" * 64: given["teacher_rob_adv"]}
    config = recipe("pgd-at", ["kd"]).override({"kd.natural": "0" * 64, "kd.robust": "1" * 64})
    built, step, _ = built_step(
        config,
        {"z_adv": given["student_adv"], "y": given["y"]},
        teacher=lambda word: Answers({"z_adv": words[word]}),
    )
    knobs = config.wrapper("kd")
    weights = (knobs.w_base, knobs.w_natural, knobs.w_robust)
    assert weights == (params["coef_ce"], params["coef_kd_std"], params["coef_kd_rob"])
    assert knobs.temperature == params["T"]
    terms = built.backward(step, built.loss)
    assert all(net.leaves["adv"].grad is None for net in (built.natural, built.robust))
    return {
        "ce_adv": terms["ce"] / weights[0],
        "kd_std": terms["kd_natural"] / weights[1],
        "kd_rob": terms["kd_robust"] / weights[2],
        "loss": total(terms),
    }


class Weights(nn.Module):
    """A parameter, a running statistic and a counter."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(f64(values))
        self.register_buffer("mean", f64(values))
        self.register_buffer("count", torch.tensor(0))

    def put(self, values: Any) -> None:
        with torch.no_grad():
            self.weight.copy_(f64(values))
            self.mean.copy_(f64(values))
            self.count += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.view(1, -1) + 0 * x.flatten(1)[:, :1]


def some_step(model: nn.Module, epoch: int = 0, rows: int = 1) -> Step:
    x = torch.zeros(rows, 3, 2, 2, dtype=torch.float64)
    y = torch.zeros(rows, dtype=torch.int64)
    return Step(model, x, y, torch.arange(rows), epoch, 0, 10, x_adv=x)


def check_swa(vector: Vector) -> Values:
    collected = vector["inputs"]["weights_per_collect"]
    config = recipe("pgd-at", ["swa"], epochs=200)
    model = Weights([0.0, 0.0])
    built, facts = build(config), Run(model, 2, 1, 200, 1)
    built.setup(facts)
    model.put([9.0, 9.0])
    built.epoch_end(facts, 54)  # before the start the average is a copy
    assert built.average.weight.tolist() == [9.0, 9.0]
    averages = []
    for epoch, values in enumerate(collected, 55):
        model.put(values)
        built.epoch_end(facts, epoch)
        averages.append(built.average.weight.tolist())
    return {"average_after_each": averages}


def check_swa_statistics(vector: Vector) -> Values:
    layer = nn.BatchNorm1d(1, momentum=0.1).double()
    layer.running_mean.fill_(50.0)
    pairs = zip(vector["inputs"]["batch_means"], vector["inputs"]["batch_sizes"], strict=True)
    batches = [torch.full((size, 1), mean, dtype=torch.float64) for mean, size in pairs]
    refresh_statistics(layer, lambda: batches)
    assert layer.momentum == 0.1
    assert not layer.training
    return {"running_mean": layer.running_mean[0]}


def check_average(vector: Vector) -> Values:
    found = []
    for name in ("wa", "rebat", "rpat++"):
        config = recipe(name)
        assert config.wrapper(name).decay == vector["params"]["decay"]
        model = Weights([vector["inputs"]["ema_init"]])
        built = build(config)
        built.setup(Run(model, 1, 1, 200, 10))
        assert built.active == vector["params"]["warmup_epoch"]
        averages = []
        for update in vector["inputs"]["updates"]:
            model.put([update["online"]])
            built.after_step(some_step(model, update["epoch"]))
            averages.append(built.average.weight.item())
            assert built.average.mean.item() == averages[-1]
            assert built.average.count == model.count
        found.append(averages)
    assert found[0] == found[1] == found[2]
    return {"ema_after_each": found[0]}


def check_awp(vector: Vector) -> Values:
    inputs, params = vector["inputs"], vector["params"]
    model = Weights(inputs["weight"])
    slopes = iter([inputs["ascent_grad"], inputs["grad_at_perturbed"]])
    config = recipe("awp").override({"awp.gamma": params["gamma"]})
    built = build(config)
    seen = []

    def loss(step: Step) -> dict[str, Tensor]:
        seen.append(model.weight.detach().clone())
        return {"linear": (f64(next(slopes)) * model.weight).sum()}

    optimizer = torch.optim.SGD(
        model.parameters(), lr=params["lr"], momentum=0.9, weight_decay=params["weight_decay"]
    )
    step = some_step(model)
    built.backward(step, loss)
    diff = built.base.moves["weight"] / params["gamma"]
    optimizer.step()
    stepped = model.weight.detach().clone()
    built.after_step(step)
    return {
        "diff": diff,
        "perturbed": seen[1],
        "after_step_before_restore": stepped,
        "restored": model.weight,
    }


def check_awp_names(vector: Vector) -> Values:
    model = nn.Module()
    for name, shape in vector["inputs"]["param_shapes"].items():
        layer, _, kind = name.partition(".")
        if not hasattr(model, layer):
            model.add_module(layer, nn.Module())
        getattr(model, layer).register_parameter(kind, nn.Parameter(torch.zeros(shape)))
    return {"perturbed_names": ",".join(perturbed(model))}


def check_box(vector: Vector) -> Values:
    given = vector["inputs"]
    size = (given["H"], given["W"])
    cut = cutmix.box(*size, given["lam_drawn"], given["cx"], given["cy"])
    return {"box_x1y1x2y2": cut, "lam_adjusted": cutmix.outside(*size, cut)}


def check_mixed_labels(vector: Vector) -> Values:
    logits = f64(vector["inputs"]["logits"])
    one, other = (torch.tensor(vector["inputs"][name]) for name in ("y_a", "y_b"))
    mixed = cutmix.target(one, other, 3, vector["params"]["lam"], torch.float64)
    found = {"ce_a": losses.ce(logits, one), "ce_b": losses.ce(logits, other)}
    return found | {"loss": losses.ce(logits, mixed)}


# ------------------------------------------------------------- the compared methods


def compared(
    vector: Vector, method: str, epoch: int = 199, **changes: Any
) -> tuple[Method, Step, Answers]:
    """Return a compared method, a late step on a vector's logits, and their holder."""
    config = recipe(method).override({k.replace("__", "."): v for k, v in changes.items()})
    return built_step(config, vector["inputs"], epoch)


def check_mma_margin(vector: Vector) -> Values:
    z, y = f64(vector["inputs"]["z"]), torch.tensor(vector["inputs"]["y"])
    slm = losses.soft_margin(z, y)
    assert_close(torch.nn.functional.softplus(slm), losses.ce_each(z, y))
    return {
        "slm": slm,
        "correct": slm < 0,
        "argmax_correct": z.argmax(1) == y,
        "ce": losses.ce_each(z, y),
        "logit_margin": losses.logit_margin(z, y),
    }


def check_mma_loss(vector: Vector) -> Values:
    given = vector["inputs"]
    inputs = {"z_clean": given["z_clean"], "z_adv": given["z_mix"], "y": given["y"]}
    share = given["clean_coeff"]
    changes = {"mma.d_max": given["d_max"], "mma.clean_coeff": share}
    built, step, model = built_step(recipe("mma").override(changes), inputs)
    step.aux["correct"] = losses.soft_margin(model.leaves["clean"], step.y) < 0
    step.aux["eps"] = f64(given["eps"])
    terms = built.loss(step)
    slopes = gradients(total(terms), model)
    return {
        "correct": step.aux["correct"],
        "weight": slopes["grad_z_adv"].abs().sum(1) > 0,
        "loss_clean": terms["clean"] / share,
        "loss_margin": terms["margin"] / (1 - share),
        "loss": total(terms),
        "grad_z_clean": slopes["grad_z_clean"],
        "grad_z_mix": slopes["grad_z_adv"],
    }


def check_mma_search(vector: Vector) -> Values:
    given = vector["inputs"]
    boundary, start = f64(given["boundary"]), f64(given["prev_eps"])
    found = {}
    for steps in (1, 2, given["steps"]):
        found[f"eps_after_{steps}"] = bisect(
            lambda eps: 10 * (eps - boundary), start, given["max_eps"], steps
        )
    return found


def check_gairat(vector: Vector) -> Values:
    given = vector["inputs"]
    kappa, steps = f64(given["kappa"]), given["K"]
    found = {}
    for form, lam in (("tanh", -1), ("tanh", 0), ("sigmoid", -1), ("sigmoid", 0), ("discrete", 0)):
        found[f"w_{form}_{lam}"] = geometry_weights(kappa, steps, lam, form)
        # the raw weights follow from a row whose raw weight is known
        known, there = (1.0, 0.0) if form == "discrete" else (0.5, steps / 2 * (1 + lam / 5))
        more = geometry_weights(torch.cat([kappa, f64([there])]), steps, lam, form)
        found[f"raw_{form}_{lam}"] = known * more[:-1] / more[-1]
    assert_close(geometry_weights(kappa, steps, 1e9, "tanh"), torch.ones(4))
    built, step, model = compared(vector, "gairat", epoch=100)  # the first after the burn-in
    assert (built.config.lam, built.config.weight, built.attack.steps) == (-1, "tanh", steps)
    step.aux["kappa"] = kappa.long()
    loss = total(built.loss(step))
    found["ce"] = losses.ce_each(step.z_adv, step.y)
    found |= {"loss_tanh_m1": loss, "grad_z_adv_tanh_m1": gradients(loss, model)["grad_z_adv"]}
    early, step, _ = compared(vector, "gairat", epoch=99)
    step.aux["kappa"] = kappa.long()
    return found | {"loss_burn_in": total(early.loss(step))}


class Predicts(nn.Module):
    """Gives stored logits in turn, the last ones for ever; the input has no influence."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = [rows if isinstance(rows, Tensor) else f64(rows) for rows in answers]
        self.register_parameter("unused", nn.Parameter(torch.zeros(1)))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return rows + 0 * x.flatten(1).sum(1, keepdim=True)


def check_gairat_count(vector: Vector) -> Values:
    flags = torch.tensor(vector["inputs"]["correct_before_step"])  # an image a row
    y = torch.tensor([0, 1, 2])
    right = torch.nn.functional.one_hot(y, 3).double()
    answers = [torch.where(flags[:, k, None] > 0, right, right.roll(1, 1)) for k in range(3)]
    built = build(recipe("gairat").override({"attack.steps": 3}))
    step = some_step(Predicts(*answers, right), rows=3)
    step.y = step.target = y
    built.craft(step)
    return {"kappa": step.aux["kappa"]}


def check_ewat(vector: Vector) -> Values:
    found = {}
    for base in (0, 1):
        built, step, model = compared(vector, "ewat", ewat__base=base)
        loss = total(built.loss(step))
        found[f"w_base{base}"] = built.weights(step)
        found[f"loss_base{base}"] = loss
        found[f"grad_z_adv_base{base}"] = gradients(loss, model)["grad_z_adv"]
    found["entropy_over_batch_mean"] = found["w_base0"]
    return found | {"entropy": losses.entropy_each(step.z_adv)}


def check_mail(vector: Vector) -> Values:
    given = vector["inputs"]
    built, step, model = compared(vector, "mail-at", epoch=127)  # the first after the burn-in
    assert (built.config.slope, built.config.bias) == (given["slope_at"], given["bias_at"])
    loss = total(built.loss(step))
    found = {
        "pm": losses.probability_margin(step.z_adv, step.y),
        "pm_nat": losses.probability_margin(step.z_clean, step.y),
        "kl": losses.kl_each(step.z_clean, step.z_adv),
        "w_at_mean1": built.weights(step),
        "loss_at_mean1": loss,
    }
    found["grad_z_adv_at_mean1"] = torch.autograd.grad(loss, model.leaves["adv"])[0]
    built, step, _ = compared(vector, "mail-at", **{"mail-at.normalise": "times3"})
    found |= {"w_at": built.weights(step) / 3, "loss_at_times3": total(built.loss(step))}
    for scale in ("mean", "times3"):
        built, step, _ = compared(vector, "mail-trades", **{"mail-trades.normalise": scale})
        knobs = (built.config.slope, built.config.bias, built.config.beta)
        assert knobs == (given["slope_trades"], given["bias_trades"], given["beta"])
        terms = built.loss(step)
        found[f"loss_trades_{'mean1' if scale == 'mean' else scale}"] = total(terms)
        found["ce_clean_mean"] = terms["ce"]
    slope = torch.autograd.grad(terms["kl"], step.model.leaves["adv"])[0]
    p, q = (torch.softmax(step.model.leaves[name], 1) for name in ("clean", "adv"))
    rows = (slope / (q - p)).mean(1)  # the gradient of KL(p || q) is q - p
    return found | {"w_trades": rows * len(step.y) / (3 * given["beta"])}


def check_te_ramp(vector: Vector) -> Values:
    given = vector["inputs"]
    built, step, _ = compared({"inputs": {"z_adv": [[0.0]]}}, "te")
    weights = []
    for epoch in given["epochs"]:
        step.epoch = epoch - 1
        weights.append(built.weight(step))
    shares = [ramp(epoch, given["start"], given["end"]) for epoch in given["epochs"]]
    return {"weight": weights, "rampup": shares}


def check_te_memory(vector: Vector) -> Values:
    given, found = vector["inputs"], {}
    built = build(recipe("te"))
    assert built.config.momentum == given["momentum"]
    built.setup(Run(Predicts([[0.0]]), 4, given["num_samples"], 200, 10))
    for i in (1, 2):
        step = some_step(Predicts(given[f"z_{i}"]), epoch=89, rows=2)
        step.index = torch.tensor(given[f"index_{i}"])
        built.craft(step)
        found |= {f"memory_{i}": built.memory.clone(), f"soft_{i}": step.aux["soft"]}
    return found


def check_te_loss(vector: Vector) -> Values:
    given, found = vector["inputs"], {}
    for base, name in (("pgd-at", "pgd"), ("trades", "trades")):
        built, step, model = compared(
            vector, "te", epoch=119, te__base=base, te__beta=given["beta"]
        )
        assert_close(built.weight(step), given["weight"])
        step.aux["soft"] = f64(given["soft"])
        loss = total(built.loss(step))
        found[f"loss_{name}_te"] = loss
        if base == "pgd-at":
            slope = torch.autograd.grad(loss, model.leaves["adv"])[0]
            found["grad_z_adv_pgd_te"] = slope
    for name in ("adv", "clean"):
        found[f"mse_{name}"] = pull_each(model.leaves[name], step.aux["soft"]).mean()
    return found


def check_sovr(vector: Vector) -> Values:
    found = {}
    for percent, lam in ((50, 0.5), (25, 0.4)):
        built, step, model = compared(vector, "sovr", sovr__percent=percent, sovr__lam=lam)
        name = f"M{percent}_lam{str(lam).replace('.', 'p')}"
        loss = total(built.loss(step))
        found[f"selected_M{percent}"] = largest_margins(step.z_adv, step.y, percent)
        found |= {f"loss_{name}": loss}
        found[f"grad_z_adv_{name}"] = gradients(loss, model)["grad_z_adv"]
    z, y = step.z_adv, step.y
    found |= {"ovr": losses.ovr_each(z, y), "ce": losses.ce_each(z, y)}
    return found | {"logit_margin": losses.logit_margin(z, y)}


def check_sovr_zero(vector: Vector) -> Values:
    z, y = torch.zeros(1, vector["inputs"]["C"], dtype=torch.float64), torch.tensor([3])
    return {"ce": losses.ce_each(z, y)[0], "ovr": losses.ovr_each(z, y)[0]}


def check_adr_schedule(vector: Vector) -> Values:
    given, knobs = vector["inputs"], recipe("adr").wrapper("adr")
    assert [knobs.tau_high, knobs.tau_low] == given["tau"]
    assert [knobs.lam_low, knobs.lam_high] == given["lam"]
    shares = [t / given["T"] for t in given["t"]]
    return {name: [cosine(*given[name], share) for share in shares] for name in ("tau", "lam")}


def check_adr_label(vector: Vector) -> Values:
    given = vector["inputs"]
    z_adv = f64(given["z_adv"]).requires_grad_()
    model, y = Predicts(z_adv), torch.tensor(given["y"])
    built = build(recipe("adr"))
    built.setup(Run(Predicts(given["z_teacher"]), 4, 4, 200, 1))
    x = torch.zeros(4, 3, 2, 2, dtype=torch.float64)
    step = Step(model, x, y, torch.arange(4), 0, 5, 10)  # half of the run: tau 2.25, lambda 0.825
    step.x_adv = built.craft(step)
    loss = total(built.loss(step))
    p = torch.softmax(f64(given["z_teacher"]) / given["tau"], 1)
    rows = torch.arange(4)
    return {
        "p_teacher": p,
        "lam_i": (1 - step.target[rows, y]) / (1 - p[rows, y]),
        "label": step.target,
        "loss": loss,
        "grad_z_adv": torch.autograd.grad(loss, z_adv)[0],
    }


def check_cure_prominence(vector: Vector) -> Values:
    given, expected = vector["inputs"], vector["expected"]
    natural, robust = f64(given["g_nat"]), f64(given["g_adv"])
    score = prominence(natural, robust, given["alpha"])
    other = (given["alpha"] * natural + (1 - given["alpha"]) * robust).abs()
    found = {"score": score, "score_abs_of_sum": other}
    found |= {"keep": kept(score, given["p"]), "keep_abs_of_sum": kept(other, given["p"])}
    found["g_masked"] = f64(given["g_loss"]) * found["keep"]
    for name in ("", "_abs_of_sum"):  # a threshold is seen by what it keeps
        flags = found[f"score{name}"] >= expected[f"threshold{name}"]
        assert torch.equal(flags, found[f"keep{name}"])
        found[f"threshold{name}"] = expected[f"threshold{name}"]
    return found


def check_cure_loss(vector: Vector) -> Values:
    given, found = vector["inputs"], {}
    inputs = {name: given[name] for name in ("z_clean", "z_adv", "y")}
    for beta in (1, 5):
        config = recipe("cure").override({"trades.beta": beta, "cure.gamma": given["gamma"]})
        built, step, _ = built_step(config, inputs)
        built.revision.leaves = {
            "clean": f64(given["z_rev_clean"]).requires_grad_(),
            "adv": f64(given["z_rev_adv"]).requires_grad_(),
        }
        terms = built.loss(step)
        total(terms).backward()
        assert all(z.grad is None for z in built.revision.leaves.values())
        found[f"loss_beta{beta}"] = total(terms)
    found |= {"ce_clean": terms["ce"], "kl_robust": terms["kl"] / beta}
    return found | {"consistency": terms["conserve"] / given["gamma"]}


def check_cure_revision(vector: Vector) -> Values:
    given, moved = vector["inputs"], []
    config = recipe("cure").override({"cure.rate": 1.0, "cure.decay": given["d"]})
    for t in given["t"]:
        model, built = Weights([given["rev"]]), build(config)
        built.setup(Run(model, 1, 1, 200, 10))
        model.put([given["theta"]])
        built.steps.fill_(t - 1)
        built.after_step(some_step(model))
        assert built.revision.count == 0  # buffers are its own
        moved.append(built.revision.weight.item())
    return {"alpha": [revision_decay(t, given["d"]) for t in given["t"]], "rev_new": moved}


def check_rpat_on_methods(vector: Vector) -> Values:
    given, found = vector["inputs"], {}
    inputs = {**given, "z_interp": given["z_mid"]}
    inputs.pop("z_mid")
    for alpha in (0.5, 0.2):
        tail = f"alpha{str(alpha).replace('.', 'p')}"
        both = {"inputs": inputs, "params": {"alpha": alpha}}
        terms, model = terms_of(both, "pgd-at", ("rpat",))
        eq3, _ = terms_of(both, "pgd-at", ("rpat",), rpat__form="eq3")
        found |= {f"mse_{tail}": terms["rpat"], f"mse_ratio_form_{tail}": eq3["rpat"]}
        for name, slope in gradients(terms["rpat"], model).items():
            found[f"{name.replace('interp', 'mid')}_{tail}"] = slope
        if alpha == 0.5:
            found["loss_pgdat_lam1"] = total(terms)
    built, step, _ = built_step(recipe("gairat", ["rpat"]), inputs)
    kappa = next(v for v in SOTA if v["id"] == "gairat-weights")["inputs"]["kappa"]
    step.aux["kappa"] = torch.tensor(kappa).long()
    return found | {"loss_gairat_lam1": total(built.loss(step))}


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
    "beta-dependent": check_growing_weight,
    "pgd-step-linf": check_step_linf,
    "pgd-step-l2": check_step_l2,
    "random-noise": check_random_noise,
    "l2-init-box": check_start_box,
    "l2-init-ball": check_start_direction,
    "interp": check_interpolation,
    "fig2-mse": check_fig2,
    "metrics-": check_metrics,
    "bn-order": check_bn_order,
    "consistency-": check_consistency,
    "js-": check_js,
    "rebat-": check_rebat,
    "rpatpp-": check_rpat_plus_plus,
    "rpatpp-guard-": check_guard,
    "kd-": check_kd,
    "swa": check_swa,
    "swa-bn": check_swa_statistics,
    "ema": check_average,
    "awp": check_awp,
    "awp-skip": check_awp_names,
    "cutmix-box-": check_box,
    "cutmix-ce-": check_mixed_labels,
    "mma-slm": check_mma_margin,
    "mma-loss": check_mma_loss,
    "mma-bisection": check_mma_search,
    "gairat-weights": check_gairat,
    "gairat-kappa": check_gairat_count,
    "ewat": check_ewat,
    "mail": check_mail,
    "te-ramp": check_te_ramp,
    "te-memory": check_te_memory,
    "te-loss": check_te_loss,
    "sovr": check_sovr,
    "sovr-zero": check_sovr_zero,
    "adr-schedule": check_adr_schedule,
    "adr-label": check_adr_label,
    "cure-rgp": check_cure_prominence,
    "cure-loss": check_cure_loss,
    "cure-ema": check_cure_revision,
}
"""Beginning of a vector's id -> what computes its expected figures; the longest one counts."""


def check_of(vector: Vector) -> Callable[[Vector], Values] | None:
    if vector["id"] == "rpat-term":  # the figures of SOTA; those of CORE have longer names
        return check_rpat_on_methods
    prefixes = [prefix for prefix in CHECKS if vector["id"].startswith(prefix)]
    return CHECKS[max(prefixes, key=len)] if prefixes else None


def assert_close(found: Any, expected: Any) -> None:
    found = torch.as_tensor(found).detach().double()
    torch.testing.assert_close(found, torch.as_tensor(expected).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_the_code_gives_the_figures_of_the_vector(vector):
    check = check_of(vector)
    assert check is not None, f"no check for {vector['id']}"
    found = check(vector)
    for name, expected in vector["expected"].items():
        if name in NOT_OURS:
            assert found[name] != pytest.approx(expected, abs=1e-4)
        elif isinstance(expected, str):
            assert found[name] == expected
        else:
            assert_close(found[name], expected)


def test_every_vector_has_a_check():
    ids = [v["id"] for v in VECTORS]
    assert len(set(ids)) == len(ids) >= 95
    assert not [v["id"] for v in VECTORS if check_of(v) is None]
    used = {check_of(v) for v in VECTORS}
    assert used == {*CHECKS.values(), check_rpat_on_methods}
