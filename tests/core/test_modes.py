"""The numeric modes: `exact` is `reference` but for rounding, `fast` keeps its weights whole."""

from __future__ import annotations

import math

import pytest
import torch
from test_stacks import LATE, cases, title
from torch import nn

from rpat import models, modes
from rpat.config import ThreatConfig
from rpat.data import loader
from rpat.data.dataset import Images
from rpat.ema import follow, frozen_copy
from rpat.errors import ConfigError
from rpat.evaluate import attack_of, judge
from rpat.models import preact_resnet, resnet, wide_resnet
from rpat.models.normalize import STATISTICS, Normalize, Normalized
from rpat.modes import Exact
from rpat.passes import Passes, carried_out
from rpat.recipes import recipe
from rpat.step import Step
from rpat.train import Sums, Training
from rpat.twin import Convolution, Twin

pytestmark = pytest.mark.usefixtures("tiny_models")

TOLERANCE = 1e-10


@pytest.fixture
def in_float64(monkeypatch):
    """Let whole trainings compute in float64."""
    monkeypatch.setattr(loader, "pixels", lambda images: images.double() / 255)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def trained(training, short, monkeypatch):
    """Return a maker of trainings after their last step, and of what each step saw."""
    monkeypatch.setattr(Training, "teacher", teacher)
    build = models.BUILDERS["resnet8"]

    def make(name="pgd-at", stack=(), norm="linf", *, mode="exact", epochs=3, **changes):
        sure = 100 if name == "mma" else 1  # its margins are those of images it is sure of

        def network(classes, stride):
            built = build(classes, stride)
            built.linear.weight.data.mul_(sure)
            return built

        monkeypatch.setitem(models.BUILDERS, "resnet8", network)
        options = {"schedule.epochs": epochs, "optim.batch_size": 8, "mode": mode}
        if name not in ("clean", "random"):
            options["attack.steps"] = 2
        config = short(name, stack, norm=norm, **options)
        for part in (config.method.NAME, *(w.NAME for w in config.wrappers)):
            changes = LATE.get(part, {}) | changes
        run = training(config.override(changes))
        seen = []
        train_step = run.train_step

        def watched(step):
            terms = train_step(step)
            gradients = {n: p.grad.clone() for n, p in run.model.named_parameters()}
            state = {n: b.clone() for n, b in run.model.state_dict().items()}
            found = {n: term.detach().clone() for n, term in terms.items()}
            seen.append({"terms": found, "gradients": gradients, "state": state})
            return terms

        run.train_step = watched
        for epoch in range(epochs):
            run.train_epoch(epoch, 0)
            run.method.epoch_end(run.facts, epoch)
        return run, seen

    return make


def teacher(self, word):
    net = frozen_copy(self.model)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    return net


def assert_close(found, expected, tolerance=TOLERANCE):
    """Compare every step: terms, gradients, weights and statistics."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


DOUBLE = ("rebat", (), "linf", {"data.cutmix": True, "attack.double_forward": True})
"""CutMix as in the released code, whose attack makes two passes a step."""


@pytest.mark.parametrize(("name", "stack", "norm", "changes"), [*cases(), DOUBLE], ids=title)
def test_exact_is_reference_for_every_method_and_wrapper(
    name, stack, norm, changes, trained, in_float64
):
    (plain, expected), (run, found) = (
        trained(name, stack, norm, mode=mode, **changes) for mode in ("reference", "exact")
    )
    assert next(run.model.parameters()).dtype == torch.float64
    assert_close(found, expected)
    torch.testing.assert_close(
        dict(run.method.state_dict()), dict(plain.method.state_dict()), rtol=1e-10, atol=1e-10
    )
    assert (
        run.optimizer.state_dict()["state"].keys() == plain.optimizer.state_dict()["state"].keys()
    )


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("pgd-at", 1e-5),
        ("mart", 1e-5),
        ("trades", 1e-3),  # its attack starts where gradients are rounding: signs of pixels flip
    ],
)
def test_exact_differs_from_reference_in_float32_by_rounding_alone(name, tolerance, trained):
    both = [trained(name, ("rpat",), mode=m, epochs=1)[1] for m in ("reference", "exact")]
    assert_close(*both, tolerance)


def calls(monkeypatch, kind):
    """Count the passes through a kind of layer; returns a list that grows."""
    made, real = [], kind.forward

    def forward(self, x):
        if isinstance(x, torch.Tensor):  # a trace of the network is no pass
            made.append(len(x))
        return real(self, x)

    monkeypatch.setattr(kind, "forward", forward)
    return made


LIVE = {"pgd-at", "consistency-at", "gairat", "wa", "awp", "rebat", "rpat++"}
"""Methods whose authors let the attack differentiate to the parameters too."""


def live(name, stack):
    """Return whether the code of a case's authors computes gradients to all parameters."""
    return name in LIVE and not {"adr", "kd", "swa"} & set(stack)


def attacks():
    """Yield mode, method and stack: every stack as the authors run it, the live ones without."""
    for name, stack, norm, _ in cases():
        if norm == "linf":
            yield "reference", name, stack
            if live(name, stack):
                yield "exact", name, stack
    yield "fast", "pgd-at", ("rpat",)


@pytest.mark.parametrize(("mode", "name", "stack"), attacks(), ids=title)
@pytest.mark.usefixtures("bfloat16")
def test_reference_alone_computes_the_gradients_that_the_authors_throw_away(
    mode, name, stack, trained, monkeypatch
):
    computed, real = [], Training.train_step

    def counted(self, step):
        weights, craft = list(self.model.parameters()), self.method.craft

        def watched(step):
            hooks = [p.register_hook(lambda gradient: computed.append(1)) for p in weights]
            x_adv = craft(step)
            for hook in hooks:
                hook.remove()
            return x_adv

        self.method.craft = watched
        terms = real(self, step)
        del self.method.craft
        return terms

    monkeypatch.setattr(Training, "train_step", counted)
    run, seen = trained(name, stack, mode=mode, epochs=1)
    wasted = mode == "reference" and live(name, stack)
    steps = len(seen) * run.config.attack.steps if wasted else 0
    assert len(computed) == steps * len(list(run.model.parameters()))


@pytest.mark.parametrize(
    ("name", "stack", "norm", "changes"),
    [
        ("pgd-at", ("rpat",), "linf", {}),
        ("consistency-at", ("rpat",), "l2", {}),
        ("gairat", (), "linf", {}),
        ("awp", ("rpat",), "linf", {}),
        DOUBLE,
    ],
    ids=title,
)
def test_gradients_that_are_thrown_away_change_no_bit(
    name, stack, norm, changes, trained, monkeypatch
):
    found = []
    for alone in (False, True):
        if alone:
            to_images = lambda self, loss, x, *_: torch.autograd.grad(loss, x)[0]  # noqa: E731
            monkeypatch.setattr(Passes, "gradient", to_images)
        found.append(trained(name, stack, norm, mode="reference", **changes)[1])
    assert_close(*found, tolerance=0)


@pytest.mark.parametrize(
    ("mode", "through_network", "through_twin"), [("reference", 1 + 2 + 4, 0), ("exact", 1 + 3, 2)]
)
def test_exact_attacks_a_twin_and_repeats_no_pass(
    mode, through_network, through_twin, trained, monkeypatch, network_class
):
    network, twin = calls(monkeypatch, network_class), calls(monkeypatch, Twin)
    trained("trades", ("rpat",), mode=mode, epochs=1)
    assert (len(network), len(twin)) == (2 * through_network, 2 * through_twin)
    assert set(network) == {8}


@pytest.mark.parametrize("mode", ["reference", "exact"])
def test_statistics_see_each_batch_as_often_as_the_release_shows_it(mode, trained):
    run, seen = trained("trades", ("rpat",), mode=mode, epochs=1)
    assert seen[-1]["state"]["bn.num_batches_tracked"] == 2 * 4  # x, x', x, x~ of two batches
    assert run.model.bn.num_batches_tracked == 2 * 4


@pytest.mark.parametrize(("mode", "passes"), [("reference", 2 * 2), ("exact", 2)])
def test_exact_makes_one_pass_where_cutmix_code_makes_two(
    mode, passes, training, short, monkeypatch, network_class
):
    options = {"data.cutmix": True, "attack.double_forward": True, "attack.steps": 2}
    run = training(short("rebat", mode=mode, **options))
    made = calls(monkeypatch, network_class)
    run.train_epoch(0, 0)
    assert len(made) == passes + 3  # the closing pass, the robust one, and the clean one
    assert run.model.bn.num_batches_tracked == 2 * 2 + 3


def test_statistics_that_are_a_cumulative_mean_take_a_second_pass(small_network):
    net, twin = small_network(), small_network()
    x = torch.rand(4, 3, 9, 9, dtype=torch.float64)
    for model, way in ((net, Exact(net)), (twin, Passes())):
        model.bn.momentum = None
        with carried_out(way):
            step = Step(model, x, torch.arange(4), torch.arange(4), 0, 0, 1)
            assert torch.equal(step.z_clean, step.again("clean"))
    assert torch.equal(net.bn.running_var, twin.bn.running_var)
    assert net.bn.num_batches_tracked == 2


# ------------------------------------------------------------- the twin


def networks():
    """Return every kind of network, small where the real one is large."""
    yield "resnet8", resnet.resnet8(5).double()
    yield "bottleneck", resnet.ResNet(resnet.Bottleneck, (4, 8), 2, 5, 1).double()
    yield "preactresnet18", preact_resnet.preactresnet18(5).double()
    yield "wide", wide_resnet.WideResNet(16, 1, 5, 2).double()
    inner = resnet.resnet8(5).double()
    normalize = Normalize(*STATISTICS["cifar10"]).double()
    yield "normalised", Normalized(normalize, inner)


def stir(net):
    """Give a network weights and statistics that training might have given it."""
    net.train()
    with torch.no_grad():
        for _ in range(2):
            net(torch.rand(4, 3, 16, 16, dtype=torch.float64))
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)


@pytest.mark.parametrize(("name", "net"), networks(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_twin_computes_the_same_function_and_the_same_gradient(name, net):
    torch.manual_seed(0)
    stir(net)
    twin = Twin(net)
    stir(net)  # it must follow what the network becomes
    before = {key: value.clone() for key, value in net.state_dict().items()}
    twin.refresh()
    net.eval()
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    one, other = net(x), twin(x)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(z.square().sum(), x)[0] for z in (one, other)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)
    assert gradients[1].is_contiguous()
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in net.parameters())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_twin_keeps_no_batchnorm_that_follows_a_convolution():
    counts = {}
    for name, net in networks():
        twin = Twin(net)
        norms = [m for m in twin.modules() if isinstance(m, nn.BatchNorm2d)]
        counts[name] = len(norms)
        assert len([m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]) > len(norms)
    assert counts == {
        "resnet8": 0,
        "bottleneck": 0,
        "normalised": 0,
        "preactresnet18": 9,
        "wide": 7,
    }


def test_refreshing_a_twin_keeps_the_storage_of_its_weights(small_network):
    net = small_network()
    twin = Twin(net)
    places = [t.data_ptr() for t in twin.state_dict().values()]
    net.conv.weight.data.mul_(2)
    twin.refresh()
    assert [t.data_ptr() for t in twin.state_dict().values()] == places


def test_the_verdict_after_an_epoch_is_the_plain_one_on_every_image():
    torch.manual_seed(0)
    net = resnet.resnet8(5).double()
    stir(net)
    net.float().eval()
    pictures = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        net.linear.bias -= net(loader.pixels(pictures)).mean(0)  # now it tells them apart
        labels = net(loader.pixels(pictures)).argmax(1)
    images = Images(pictures, labels, torch.arange(40))
    settings = recipe("pgd-at", dataset="digits")
    found = []
    for way in (Passes(), Exact(net).judging(net)):
        with carried_out(way):
            found.append(
                judge(
                    net, images, ThreatConfig(epsilon=0.01), attack_of(settings.eval, 5),
                    batch_size=16, seed=0, position=1,
                )
            )  # fmt: skip
    plain, folded = found
    assert plain.clean.all()
    assert 0 < plain.robust.sum() < 40
    assert torch.equal(plain.clean, folded.clean)
    assert torch.equal(plain.robust, folded.robust)
    torch.testing.assert_close(plain.gap, folded.gap, rtol=1e-3, atol=1e-5)


# ------------------------------------------------------------- fast


@pytest.fixture
def bfloat16(monkeypatch):
    """Let any processor pass for one with bfloat16 instructions: it computes, if slowly."""
    monkeypatch.setattr(modes, "processor_flags", lambda: {"avx512_bf16"})


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(("name", "stack", "norm", "changes"), cases(), ids=title)
def test_fast_keeps_weights_statistics_and_terms_in_float32(name, stack, norm, changes, trained):
    run, seen = trained(name, stack, norm, mode="fast", epochs=2, **changes)
    for record in seen:
        for part in record.values():
            for value in part.values():
                assert value.dtype in (torch.float32, torch.int64)
                assert value.isfinite().all()
    for value in run.method.state_dict().values():
        assert value.dtype in (torch.float32, torch.int64)
    for state in run.optimizer.state.values():
        assert state["momentum_buffer"].dtype == torch.float32


@pytest.mark.usefixtures("bfloat16")
def test_fast_computes_convolutions_and_nothing_else_in_bfloat16(trained, monkeypatch):
    kinds = {nn.Conv2d: set(), nn.BatchNorm2d: set(), nn.Linear: set(), Convolution: set()}
    for kind, found in kinds.items():

        def forward(self, x, real=kind.forward, found=found):
            out = real(self, x)
            found.add((self.weight.dtype, out.dtype))
            return out

        monkeypatch.setattr(kind, "forward", forward)
    trained("pgd-at", ("rpat",), mode="fast", epochs=1)
    whole, half = torch.float32, torch.bfloat16
    assert kinds[nn.Conv2d] == {(whole, half)}
    assert kinds[nn.BatchNorm2d] == {(whole, half)}
    assert kinds[nn.Linear] == {(whole, whole)}
    assert kinds[Convolution] == {(half, half)}


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(
    ("name", "full"), [("trades", 3), ("mail-trades", 3), ("mart", 0), ("pgd-at", 0)]
)
def test_the_first_steps_away_from_the_clean_prediction_are_in_float32(
    name, full, trained, monkeypatch
):
    real, types = Convolution.forward, []

    def forward(self, x):
        types.append(self.weight.dtype)
        return real(self, x)

    monkeypatch.setattr(Convolution, "forward", forward)
    trained(name, mode="fast", epochs=1, **{"attack.steps": 5})
    one_step = [torch.float32] * full + [torch.bfloat16] * (5 - full)
    assert types == 2 * one_step


@pytest.mark.usefixtures("bfloat16")
def test_fast_learns_what_reference_learns(training, short):
    losses = {}
    for mode in ("reference", "fast"):
        options = {
            "schedule.epochs": 40,
            "data.augment": "none",
            "threat.epsilon": 0.01,
            "optim.lr": 0.2,
        }
        run = training(short("pgd-at", ("rpat",), mode=mode, **options))
        for epoch in range(40):
            run.sums = Sums(run.device)
            run.train_epoch(epoch, 0)
        losses[mode] = run.sums.means()["train/loss"]
    first = math.log(10)
    assert losses["reference"] < 0.9 * first
    assert losses["fast"] == pytest.approx(losses["reference"], rel=0.05)


def test_fast_is_refused_without_bfloat16_instructions(training, short, monkeypatch):
    monkeypatch.setattr(modes, "processor_flags", lambda: {"avx2"})
    with pytest.raises(
        ConfigError, match=r"mode is fast, and this processor has no bfloat16 .*exact"
    ):
        training(short(mode="fast"))


def test_averages_follow_in_place_as_one_tensor_after_the_other_would(small_network):
    average, net = small_network(dtype=torch.float32), small_network(dtype=torch.float32, seed=1)
    net.bn.num_batches_tracked += 3
    expected = {}
    for key, mean in average.state_dict().items():
        value, mean = net.state_dict()[key], mean.clone()
        moves = mean.is_floating_point()
        expected[key] = mean.mul_(0.97).add_(value, alpha=1 - 0.97) if moves else value.clone()
    places = [t.data_ptr() for t in average.state_dict().values()]
    follow(average, net, 0.97)
    assert [t.data_ptr() for t in average.state_dict().values()] == places
    for key, value in average.state_dict().items():
        assert torch.equal(value, expected[key])
    follow(average, net, 0)
    for key, value in average.state_dict().items():
        assert torch.equal(value, net.state_dict()[key])
