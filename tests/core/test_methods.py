"""Every method and wrapper against its formula, and what they promise to the training loop."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rpat import regularizer, train
from rpat.config import METHODS, WRAPPERS, MethodConfig, method
from rpat.errors import ConfigError
from rpat.knobs import knob
from rpat.losses import ce
from rpat.methods.base import Method, Run, implementation, total
from rpat.recipes import recipe
from rpat.regularizer import smoothness, smoothness_eq3
from rpat.step import Step
from rpat.wrappers import build

TAKES_RPAT = sorted(name for name, knobs in METHODS.items() if "rpat" not in knobs.REFUSES)
REFUSES_RPAT = sorted(set(METHODS) - set(TAKES_RPAT))


# ------------------------------------------------------------- straight-line formulas


def soft(z):
    """Softmax by its definition."""
    e = torch.exp(z)
    return e / e.sum(1, keepdim=True)


def cross_entropy(z, y):
    return -torch.log(soft(z)[range(len(y)), y]).mean()


def divergence(p, q):
    return (p * (torch.log(p) - torch.log(q))).sum(1)


def formula_clean(net, x, x_adv, y, config):
    return cross_entropy(net(x), y)


def formula_robust(net, x, x_adv, y, config):
    return cross_entropy(net(x_adv), y)


def formula_trades(net, x, x_adv, y, config):
    z, z_adv, z_again = net(x), net(x_adv), net(x)
    kl = divergence(soft(z_again), soft(z_adv)).mean()
    return cross_entropy(z, y) + config.beta * kl


def formula_mart(net, x, x_adv, y, config):
    p, p_adv = soft(net(x)), soft(net(x_adv))
    value = 0.0
    for i, label in enumerate(y.tolist()):
        wrong = max(p_adv[i, c] for c in range(p.shape[1]) if c != label)
        value = value - torch.log(p_adv[i, label]) - torch.log(1.0001 - wrong + 1e-12)
        kl = sum(p[i, c] * (torch.log(p[i, c]) - torch.log(p_adv[i, c] + 1e-12)) for c in range(5))
        value = value + config.beta * (1.0000001 - p[i, label]) * kl
    return value / len(y)


def each_cross_entropy(z, y):
    return -torch.log(soft(z)[range(len(y)), y])


def formula_consistency(net, x, x_adv, y, config):
    z = net(x_adv)
    half = len(y) // 2
    p, q = (soft(part / config.temperature) for part in (z[:half], z[half:]))
    m = (p + q) / 2
    js = (divergence(p, m) / 2 + divergence(q, m) / 2).mean()
    return cross_entropy(z, y) + config.lam * js


def formula_mma(net, x, x_adv, y, config):
    z, z_mix = net(x), net(x_adv)
    value = 0.0
    for i, each in enumerate(each_cross_entropy(z_mix, y)):
        if not LEFT["correct"][i] or LEFT["eps"][i] < config.d_max:
            value = value + each
    return config.clean_coeff * cross_entropy(z, y) + (1 - config.clean_coeff) * value / len(y)


def formula_gairat(net, x, x_adv, y, config):
    kappa = LEFT["kappa"].double()
    raw = (1 + torch.tanh(config.lam + 5 * (1 - 2 * kappa / 10))) / 2
    return (len(y) * raw / raw.sum() * each_cross_entropy(net(x_adv), y)).sum() / len(y)


def formula_ewat(net, x, x_adv, y, config):
    z = net(x_adv)
    p = soft(z).detach()
    entropy = -(p * torch.log(p)).sum(1)
    return ((config.base + entropy / entropy.mean()) * each_cross_entropy(z, y)).mean()


def margin_weights(z, y, config):
    p = soft(z).detach()
    gap = []
    for row, k in zip(p, y.tolist(), strict=True):
        gap.append(row[k] - max(v for c, v in enumerate(row) if c != k))
    raw = 1 / (1 + torch.exp(-config.slope * (config.bias - torch.stack(gap))))
    return raw / raw.mean()


def formula_mail_at(net, x, x_adv, y, config):
    z = net(x_adv)
    return (margin_weights(z, y, config) * each_cross_entropy(z, y)).mean()


def formula_mail_trades(net, x, x_adv, y, config):
    z, z_adv = net(x), net(x_adv)
    kl = margin_weights(z_adv, y, config) * divergence(soft(z), soft(z_adv))
    return cross_entropy(z, y) + config.beta * kl.mean()


def formula_te(net, x, x_adv, y, config):
    z = net(x_adv)
    pull = ((soft(z) - LEFT["soft"]) ** 2).sum() / z.numel()
    return cross_entropy(z, y) + config.weight * pull


def formula_sovr(net, x, x_adv, y, config):
    z, value = net(x_adv), 0.0
    margins = []
    for row, k in zip(z.tolist(), y.tolist(), strict=True):
        margins.append(max(v for c, v in enumerate(row) if c != k) - row[k])
    chosen = sorted(range(len(y)), key=lambda i: -margins[i])[: int(len(y) * config.percent / 100)]
    for i, each in enumerate(each_cross_entropy(z, y)):
        if i in chosen:
            sign = torch.ones(z.shape[1], dtype=z.dtype)
            sign[y[i]] = -1
            value = value + config.lam * torch.log(1 + torch.exp(sign * z[i])).sum()
        else:
            value = value + each
    return value / len(y)


FORMULAS = {
    "clean": formula_clean,
    "random": formula_robust,
    "pgd-at": formula_robust,
    "trades": formula_trades,
    "mart": formula_mart,
    "consistency-at": formula_consistency,
    "mma": formula_mma,
    "gairat": formula_gairat,
    "ewat": formula_ewat,
    "mail-at": formula_mail_at,
    "mail-trades": formula_mail_trades,
    "te": formula_te,
    "sovr": formula_sovr,
}

LATE = 199
"""An epoch in which every burn-in and warm-up of the recipes has passed."""

LEFT = {
    "kappa": torch.tensor([0, 3, 5, 10, 1, 7]),
    "correct": torch.tensor([True, False, True, True, False, True]),
    "eps": torch.tensor([0.03, 0.0, 0.2, 0.05, 0.0, 0.2]),
    "soft": torch.softmax(torch.arange(30.0, dtype=torch.float64).view(6, 5).sin(), 1),
}
"""What the methods' `craft` could have left for their `loss`, for six images of five classes."""


def formula_rpat(net, x, x_adv, config):
    """Return lam R with R written out; the three logits are forward passes of their own."""
    alpha = config.alpha
    z_adv, z_mid, z = net(x_adv), net((1 - alpha) * x + alpha * x_adv), net(x)
    line = (1 - alpha) * z + alpha * z_adv
    if config.form == "eq3":
        value = (((z_mid - z) / alpha - (z_adv - z_mid) / (1 - alpha)) ** 2).mean()
    elif config.criterion == "mse":
        value = ((z_mid - line) ** 2).mean()
    elif config.criterion == "kl":
        value = divergence(soft(line), soft(z_mid)).mean()
    elif config.criterion == "js":
        p, q = soft(z_mid), soft(line)
        m = (p + q) / 2
        value = (divergence(p, m) / 2 + divergence(q, m) / 2).mean()
    else:
        cosine = (z_mid * line).sum(1) / (z_mid.norm(dim=1) * line.norm(dim=1))
        value = (1 - cosine).mean()
    return config.lam * value


def batch(n=6, size=9, dtype=torch.float64):
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(n, 3, size, size, generator=draw, dtype=dtype)
    noise = torch.rand(x.shape, generator=draw, dtype=dtype) - 0.5
    return x, (x + 0.2 * noise).clamp(0, 1), torch.arange(n) % 5


def step_of(net, epoch=0, t=0, **options):
    x, x_adv, y = batch(dtype=next(net.parameters()).dtype)
    step = Step(net, x, y, torch.arange(len(y)), epoch, t, 10, x_adv=x_adv, **options)
    step.aux |= LEFT
    return step


def gradients(value, net):
    return torch.autograd.grad(value, list(net.parameters()))


def test_every_method_has_a_formula_here_and_a_file_of_its_own():
    assert set(FORMULAS) == set(METHODS)
    for package, registry in (("rpat.methods", METHODS), ("rpat.wrappers", WRAPPERS)):
        for knobs in registry.values():
            found = implementation(package, knobs)
            assert issubclass(found, Method)
            assert found.__doc__
    for knobs in (*METHODS.values(), *WRAPPERS.values()):
        assert knobs.TITLE
        assert knobs.CITATION
        assert knobs.OBJECTIVE
        assert knobs.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_the_value_and_the_gradients_of_its_formula(name, small_network):
    net = small_network()
    config = recipe(name)
    x, x_adv, y = batch()
    expected = FORMULAS[name](net, x, x_adv, y, config.method)
    mean = net.bn.running_mean.clone()
    twin = small_network()
    found = total(build(config).loss(step_of(twin, LATE)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(found, twin), gradients(expected, net), rtol=0, atol=1e-12)
    torch.testing.assert_close(twin.bn.running_mean, mean, rtol=0, atol=1e-14)


RPAT_VARIANTS = [
    {"rpat.lam": 1.0},
    {"rpat.lam": 0.3, "rpat.alpha": 0.2},
    {"rpat.form": "eq3", "rpat.alpha": 0.8},
    {"rpat.criterion": "kl"},
    {"rpat.criterion": "js", "rpat.alpha": 0.3},
    {"rpat.criterion": "cosine", "rpat.lam": 2.0},
]


@pytest.mark.parametrize("name", TAKES_RPAT)
@pytest.mark.parametrize("changes", RPAT_VARIANTS, ids=str)
def test_rpat_adds_its_formula_to_any_method(name, changes, small_network):
    net = small_network()
    config = recipe(name, ["rpat"]).override(changes)
    x, x_adv, y = batch()
    base = FORMULAS[name](net, x, x_adv, y, config.method)
    expected = base + formula_rpat(net, x, x_adv, config.wrapper("rpat"))
    twin = small_network()
    terms = build(config).loss(step_of(twin, LATE))
    assert list(terms)[-1] == "rpat"
    found = total(terms)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(found, twin), gradients(expected, net), rtol=0, atol=1e-12)


def test_each_forward_pass_has_batch_statistics_of_its_own(small_network):
    net, config = small_network(), recipe("pgd-at", ["rpat"])
    x, x_adv, _ = batch()
    means = []
    for images in (x_adv, (x + x_adv) / 2, x):
        means.append(net.conv(images).mean((0, 2, 3)).detach())
    build(config).loss(step_of(net))
    expected = 0.081 * means[0] + 0.09 * means[1] + 0.1 * means[2]
    torch.testing.assert_close(net.bn.running_mean, expected)


# ------------------------------------------------------------- identities


class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * 81, 5).double()

    def forward(self, x):
        return self.linear(x.flatten(1))


@settings(max_examples=30)
@given(alpha=st.floats(0.01, 0.99), variant=st.sampled_from(RPAT_VARIANTS))
def test_a_linear_model_is_perfectly_smooth(alpha, variant):
    config = recipe("pgd-at", ["rpat"]).override(variant | {"rpat.alpha": alpha})
    step = step_of(Affine())
    terms = build(config).loss(step)
    assert abs(terms["rpat"].item()) < 1e-14
    assert total(terms).item() == pytest.approx(ce(step.z_adv, step.y).item(), abs=1e-14)


@given(alpha=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_equation_3_is_the_released_form_divided_by_a_square(alpha, seed):
    draw = torch.Generator().manual_seed(seed)
    z_clean, z_mid, z_adv = torch.randn(3, 4, 5, generator=draw, dtype=torch.float64)
    eq3 = smoothness_eq3(z_clean, z_mid, z_adv, alpha)
    torch.testing.assert_close(
        eq3, smoothness(z_clean, z_mid, z_adv, alpha) / (alpha * (1 - alpha)) ** 2
    )


@given(alpha=st.floats(0.01, 0.99))
def test_the_default_criterion_is_the_released_form(alpha):
    z = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(regularizer.divergence("mse", *z, alpha), smoothness(*z, alpha))


@pytest.mark.parametrize("criterion", ["mse", "kl", "js", "cosine"])
def test_the_gradient_of_the_term_reaches_all_three_logits(criterion):
    draw = torch.Generator().manual_seed(0)
    logits = [torch.randn(4, 5, generator=draw, requires_grad=True) for _ in range(3)]
    regularizer.divergence(criterion, *logits, 0.3).backward()
    assert all(z.grad is not None and z.grad.abs().sum() > 0 for z in logits)


def test_the_interpolation_stays_between_its_ends():
    x, x_adv, _ = batch()
    for alpha in (0.01, 0.5, 0.99):
        mid = regularizer.interpolate(x, x_adv, alpha)
        assert (mid >= torch.minimum(x, x_adv) - 1e-15).all()
        assert (mid <= torch.maximum(x, x_adv) + 1e-15).all()


def test_trades_without_its_divergence_is_clean_training(small_network):
    net, twin = small_network(), small_network()
    trades = total(build(recipe("trades").override({"trades.beta": 0})).loss(step_of(net)))
    clean = total(build(recipe("clean")).loss(step_of(twin)))
    assert torch.equal(trades, clean)
    torch.testing.assert_close(gradients(trades, net), gradients(clean, twin), rtol=0, atol=0)


def test_mart_without_its_divergence_is_boosted_cross_entropy(small_network):
    net = small_network()
    step = step_of(net)
    terms = build(recipe("mart").override({"mart.beta": 0})).loss(step)
    p = soft(step.z_adv)
    wrong = p.clone()
    wrong[range(len(step.y)), step.y] = 0
    boosted = cross_entropy(step.z_adv, step.y) - torch.log(1.0001 - wrong.amax(1)).mean()
    torch.testing.assert_close(total(terms), boosted, rtol=0, atol=1e-9)


def test_mart_takes_a_batch_of_one_image(small_network):
    net = small_network().eval()
    x, x_adv, y = (part[:1] for part in batch())
    step = Step(net, x, y, torch.arange(1), 0, 0, 10, x_adv=x_adv)
    found = total(build(recipe("mart")).loss(step))
    expected = formula_mart(net, x, x_adv, y, recipe("mart").method)
    torch.testing.assert_close(found, expected)


# ------------------------------------------------------------- two steps of training


def trained(training, config):
    job = training(config)
    job.train_epoch(0, 0)
    assert job.t == 2
    return {"model": job.model.state_dict(), "momentum": job.optimizer.state_dict()["state"]}


@pytest.mark.parametrize("name", TAKES_RPAT)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_rpat_without_weight_or_before_its_start_is_the_base_method(
    name, norm, training, short, same
):
    options = {"optim.batch_size": 8, "attack.steps": 2, "norm": norm}
    base = trained(training, short(name, **options))
    assert int(base["model"]["bn.num_batches_tracked"]) >= 2
    without = trained(training, short(name, ("rpat",), **options | {"rpat.lam": 0}))
    before = trained(training, short(name, ("rpat",), **options | {"rpat.start_epoch": 1}))
    assert same(without, base)
    assert same(before, base)
    with_rpat = trained(training, short(name, ("rpat",), **options))
    assert not same(with_rpat["model"], base["model"])
    started = training(short(name, ("rpat",), **options | {"rpat.start_epoch": 1}))
    step = step_of(started.model.double(), epoch=1)
    step.aux["soft"] = torch.full((6, 10), 0.1)
    assert "rpat" in started.method.loss(step)


@pytest.mark.parametrize("name", METHODS)
def test_training_twice_gives_the_same_weights(name, training, short, same):
    config = short(name, **{"optim.batch_size": 8})
    assert same(trained(training, config), trained(training, config))
    other = trained(training, config.override({"seed": 1}))
    assert not same(trained(training, config), other)


def everything():
    return [(name, ()) for name in METHODS] + [(name, ("rpat",)) for name in TAKES_RPAT]


@pytest.mark.parametrize(("name", "stack"), everything())
def test_a_loss_may_be_computed_twice(name, stack, small_network, same):
    net, config = small_network(), recipe(name, stack)
    built = build(config)
    built.setup(Run(net, 5, 6, 1, 1))
    step = step_of(net)
    before = copy.deepcopy(built.state_dict())
    first, second = built.loss(step), built.loss(step.fresh())
    assert list(first) == list(second)
    for term in first:
        assert torch.equal(first[term], second[term])
    assert same(built.state_dict(), before)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(("name", "stack"), everything())
def test_backward_writes_the_gradient_of_the_sum_of_the_terms(name, stack, small_network):
    net, twin, built = small_network(), small_network(), build(recipe(name, stack))
    terms = built.backward(step_of(net), built.loss)
    expected = gradients(total(built.loss(step_of(twin))), twin)
    found = [parameter.grad for parameter in net.parameters()]
    torch.testing.assert_close(found, list(expected), rtol=0, atol=0)
    assert all(term.dim() == 0 for term in terms.values())


@pytest.mark.parametrize("name", [name for name in METHODS if name != "mma"])
def test_a_method_crafts_in_the_ball_with_the_network_as_it_was(name, small_network, same):
    net, config = small_network(), recipe(name)
    step = step_of(net)
    before = copy.deepcopy(net.state_dict())
    crafted = build(config).craft(step)
    assert same(net.state_dict(), before)
    assert net.training
    assert not crafted.requires_grad
    assert (crafted - step.x).abs().max() <= config.threat.epsilon + 1e-6
    assert torch.equal(crafted, build(config).craft(step.fresh()))
    if name == "clean":
        assert torch.equal(crafted, step.x)
    else:
        assert not torch.equal(crafted, step.x)


def test_trades_climbs_away_from_its_own_clean_predictions(small_network):
    net = small_network()
    step = step_of(net)
    ascent = build(recipe("trades")).ascent(step)
    assert len(net.eval()(step.x)) == len(step.y)
    z, z_adv = net(step.x), net(step.x_adv)
    torch.testing.assert_close(ascent(z_adv), divergence(soft(z), soft(z_adv)))
    assert ascent(z).abs().max() < 1e-14
    assert not build(recipe("trades")).ascent(step.fresh())(z.detach()).requires_grad


# ------------------------------------------------------------- the step and its draws


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return x.flatten(1)


def test_a_step_computes_each_of_its_logits_once():
    x, x_adv, y = batch()
    model = Counts()
    step = Step(model, x, y, torch.arange(6), 0, 0, 10, x_adv=x_adv)
    assert step.seen("clean") is None
    for _ in range(2):
        assert step.z_clean is step.seen("clean")
        assert step.z_adv is step.seen("adv")
        assert step.z_mid(0.3) is step.z_mid(0.3)
    assert len(model.seen) == 3
    torch.testing.assert_close(step.z_mid(0.3), (0.7 * x + 0.3 * x_adv).flatten(1))
    step.z_mid(0.4)
    assert len(model.seen) == 4
    step.again("clean")
    assert len(model.seen) == 5
    fresh = step.fresh()
    assert fresh.seen("clean") is None
    assert torch.equal(fresh.z_clean, step.z_clean)
    assert step.target is y


def alphas(word, steps=200):
    built = build(recipe("pgd-at", ["rpat"]).override({"rpat.alpha": word}))
    net = Counts()
    net.register_parameter("p", nn.Parameter(torch.zeros(1)))
    return [built.alpha(step_of(net, t=t)) for t in range(steps)]


def test_random_alphas_lie_on_their_side_of_one_half():
    low, high = alphas("beta-"), alphas("beta+")
    assert all(0 < alpha <= 0.5 for alpha in low)
    assert all(0.5 <= alpha < 1 for alpha in high)
    assert len(set(low)) == len(low)
    assert [1 - alpha for alpha in low] == pytest.approx(high)
    # the mean of min(b, 1-b) with b ~ Beta(0.75, 0.75) is about 0.221; uniform draws give 0.25
    assert sum(low) / len(low) == pytest.approx(0.221, abs=0.02)


def test_random_alphas_depend_on_the_seed_the_epoch_and_the_step_only():
    built = build(recipe("pgd-at", ["rpat"]).override({"rpat.alpha": "beta-"}))
    net = Affine()
    first = built.alpha(step_of(net, epoch=1, t=3, seed=5))
    assert built.alpha(step_of(net, epoch=1, t=3, seed=5)) == first
    others = [{"epoch": 2, "t": 3}, {"epoch": 1, "t": 4}, {"epoch": 1, "t": 3, "seed": 6}]
    found = {built.alpha(step_of(net, **{"seed": 5} | other)) for other in others}
    assert len(found) == 3
    assert first not in found


def test_both_reads_of_a_random_alpha_in_a_step_are_one(small_network):
    net = small_network()
    built = build(recipe("trades", ["rpat"]).override({"rpat.alpha": "beta+"}))
    step = step_of(net)
    assert torch.equal(built.loss(step)["rpat"], built.loss(step.fresh())["rpat"])


# ------------------------------------------------------------- how methods are found


def test_the_training_loop_names_no_method():
    source = inspect.getsource(train)
    tree = ast.parse(source)
    classes = {
        implementation(package, knobs).__name__
        for package, registry in (("rpat.methods", METHODS), ("rpat.wrappers", WRAPPERS))
        for knobs in registry.values()
    }
    modules = {name.replace("-", "_") for name in (*METHODS, *WRAPPERS)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            package, _, module = node.module.rpartition(".")
            assert not (package in ("rpat.methods", "rpat.wrappers") and module in modules)
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name not in classes
            assert name not in ("NAME", "wrapper")
    # `rpat` is the package, and `clean` the name of the images as they are
    for name in {*METHODS, *WRAPPERS} - {"rpat", "clean"}:
        assert not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", source)
    assert not re.search(r"(?<![\w.])rpat(?![\w.]| import| run)", source)
    assert source.count('"clean"') == 1


@pytest.fixture
def squared_error(monkeypatch):
    """A method that exists only for a test: mean squared logits of adversarial images."""

    @method("squared-error", title="Squared error", cite="-", objective="w mean z(x')^2")
    class SquaredErrorConfig(MethodConfig):
        """Knobs of the squared error."""

        weight: float = knob("weight of the only term", default=0.5, low=0)

    class SquaredError(Method):
        """Mean squared logits."""

        def loss(self, step):
            return {"square": self.config.weight * step.z_adv.square().mean()}

    module = types.ModuleType("rpat.methods.squared_error")
    module.SquaredError = SquaredError
    monkeypatch.setitem(sys.modules, "rpat.methods.squared_error", module)
    yield "squared-error"
    del METHODS["squared-error"]


def test_a_method_added_at_run_time_trains(squared_error, training, short, same):
    config = short(squared_error, ("rpat",), **{"squared-error.weight": "1/4"})
    assert config.method.weight == 0.25
    assert type(config).from_dict(config.to_dict()) == config
    job = training(config, n=16)
    before = copy.deepcopy(job.model.state_dict())
    job.train_epoch(0, 0)
    assert job.t == 1
    assert not same(job.model.state_dict(), before)
    assert set(job.sums.totals) >= {"train/square", "train/rpat", "train/loss", "train/adv_acc"}


def test_the_method_of_a_test_is_gone_afterwards():
    assert "squared-error" not in METHODS
    with pytest.raises(ConfigError, match="'squared-error' is not known"):
        recipe("squared-error")


@pytest.mark.parametrize("name", REFUSES_RPAT)
def test_rpat_is_refused_with_the_reason_where_there_is_no_adversary(name):
    with pytest.raises(ConfigError, match=f"'{name}'.*no adversarial image to interpolate to"):
        recipe(name, ["rpat"])


def test_the_methods_without_an_adversary_are_those_that_refuse_rpat():
    assert REFUSES_RPAT == ["clean", "random"]
