"""`--compiled`: the same numbers from compiled code, which is made once for each kind of pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_modes import DOUBLE, networks, stir, teacher
from test_stacks import LATE, cases, stop_at, title
from torch import nn
from torch._dynamo.utils import counters

from rpat import evaluate, modes
from rpat.compiled import Climbed, Compiled, require
from rpat.data import loader
from rpat.errors import ConfigError
from rpat.models import BUILDERS, resnet
from rpat.train import Training
from rpat.twin import Twin, flat

pytestmark = [
    pytest.mark.usefixtures("tiny_models"),
    # torch asks any tensor for its `grad`, and hides the warning in a way of its own.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture(autouse=True, scope="module")
def compiler():
    """Compile in this process alone, and forget the code afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # read when the compiler is imported
        yield
    torch.compiler.reset()


@pytest.fixture
def in_float64(monkeypatch):
    """Let whole trainings compute in float64."""
    for place in (loader, evaluate):
        monkeypatch.setattr(place, "pixels", lambda images: images.double() / 255)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def traced(monkeypatch):
    """Spare the C++ compiler: what is traced is carried out operation by operation."""
    real = torch.compile

    def compiled(net, options, **rest):
        return real(net, backend="eager", **rest)

    monkeypatch.setattr(torch, "compile", compiled)


OPTIONS = {"optim.batch_size": 4, "attack.steps": 2, "schedule.epochs": 2}
IMAGES = 11
"""Two batches of 4 images, and one of 3 which there is no code for."""


@pytest.fixture
def learn(training, short, monkeypatch):
    """Return a maker of trainings after their last step, and of what each step saw."""
    monkeypatch.setattr(Training, "teacher", teacher)
    build = BUILDERS["resnet8"]

    def make(name, stack=(), norm="linf", *, epochs=2, **changes):
        sure = 100 if name == "mma" else 1  # its margins are those of images it is sure of

        def network(classes, stride):
            built = build(classes, stride)
            built.linear.weight.data.mul_(sure)
            return built

        if sure > 1:
            monkeypatch.setitem(BUILDERS, "resnet8", network)
        options = OPTIONS | {"schedule.epochs": epochs}
        if name in ("clean", "random"):
            del options["attack.steps"]
        config = short(name, stack, norm=norm, **options)
        for part in (config.method.NAME, *(w.NAME for w in config.wrappers)):
            changes = LATE.get(part, {}) | changes
        run = training(config.override(changes), IMAGES)
        seen, real = [], run.train_step

        def watched(step):
            terms = real(step)
            seen.append({
                "terms": {n: term.detach().clone() for n, term in terms.items()},
                "gradients": {n: p.grad.clone() for n, p in run.model.named_parameters()},
                "state": {n: b.clone() for n, b in run.model.state_dict().items()},
            })  # fmt: skip
            return terms

        run.train_step = watched
        for epoch in range(epochs):
            go(run, epoch)
        return run, seen

    return make


def go(run, epoch):
    """Train an epoch and judge the network, as a run does."""
    run.train_epoch(epoch, 0)
    run.method.epoch_end(run.facts, epoch)
    run.test("online", run.model, epoch)


@pytest.fixture
def coded(monkeypatch):
    """Return a list that gets kind and rows of each pass through compiled code."""
    made, real = [], Compiled.__call__

    def counted(self, x):
        made.append((type(self), len(x)))
        return real(self, x)

    monkeypatch.setattr(Compiled, "__call__", counted)
    return made


def assert_close(found, expected, tolerance):
    """Compare every step: terms, gradients, weights and statistics."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------- the same numbers


@pytest.mark.parametrize(
    ("name", "stack", "climbed", "trained"),
    [
        ("pgd-at", ("rpat",), 2, 3),
        ("trades", (), 2, 2),  # the second pass of the clean images is none
        ("rebat", (), 2, 1),  # its attack moves the network's statistics
        ("trades", ("cure", "rpat", "awp", "wa"), 2, 6),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_compiled_passes_give_the_same_numbers(
    name, stack, climbed, trained, learn, in_float64, coded
):
    plain, expected = learn(name, stack)
    assert not coded
    run, found = learn(name, stack, compiled=True)
    assert_close(found, expected, 1e-10)
    assert_close([dict(run.method.state_dict())], [dict(plain.method.state_dict())], 1e-10)
    full = 2 * 2  # batches of 4 images in two epochs
    assert coded.count((Climbed, 4)) == full * climbed
    assert coded.count((Compiled, 4)) == full * trained
    assert len(coded) == full * (climbed + trained)  # none of the last batch's 3 images


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stack", "norm", "changes"), [*cases(), DOUBLE], ids=title)
def test_every_method_and_wrapper_computes_the_same_compiled(
    name, stack, norm, changes, learn, in_float64
):
    plain, expected = learn(name, stack, norm, epochs=3, **changes)
    run, found = learn(name, stack, norm, epochs=3, compiled=True, **changes)
    assert_close(found, expected, 1e-10)
    assert_close([dict(run.method.state_dict())], [dict(plain.method.state_dict())], 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pgd-at", "mart"])
def test_in_float32_compiled_passes_differ_by_rounding_alone(name, learn):
    both = [learn(name, ("rpat",), epochs=1, compiled=flag)[1] for flag in (False, True)]
    assert_close(*both, 1e-5)


@pytest.mark.parametrize("how", ["traced", pytest.param("compiler", marks=pytest.mark.slow)])
def test_fast_keeps_weights_statistics_and_terms_in_float32_when_compiled(
    how, learn, monkeypatch, coded, request
):
    request.getfixturevalue(how)
    monkeypatch.setattr(modes, "processor_flags", lambda: {"avx512_bf16"})
    first = {"mode": "fast", "epochs": 1, "attack.steps": 5}
    both = [learn("trades", ("rpat",), compiled=flag, **first)[1] for flag in (False, True)]
    assert coded.count((Climbed, 4)) == 2 * 5  # three through the float32 twin, two in bfloat16
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.02)  # types as well
    assert all(value.dtype == torch.float32 for value in both[1][0]["gradients"].values())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_real_network_learns_the_same_compiled(mode, learn, monkeypatch):
    monkeypatch.setitem(BUILDERS, "resnet8", resnet.resnet8)
    monkeypatch.setattr(modes, "processor_flags", lambda: {"avx512_bf16"})
    both = [learn("pgd-at", ("rpat",), mode=mode, compiled=flag)[0] for flag in (False, True)]
    losses = [run.sums.means()["train/loss"] for run in both]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if mode == "exact" else 0.02)


# ------------------------------------------------------------- made once


def test_code_is_made_once_for_each_kind_of_pass_and_not_in_each_epoch(learn, in_float64):
    require(torch.device("cpu"))  # the trial's code is made once in a process
    before = counters["stats"]["unique_graphs"]
    run, _ = learn("pgd-at", ("rpat",), epochs=1, compiled=True)
    assert counters["stats"]["unique_graphs"] - before == 2  # the twin, and the network in training
    with torch.compiler.set_stance("fail_on_recompile"):
        for epoch in (1, 2):
            go(run, epoch)


def test_nothing_is_compiled_where_nobody_asks(learn):
    before = counters["stats"]["unique_graphs"]
    learn("pgd-at", ("rpat",), epochs=1)
    assert counters["stats"]["unique_graphs"] == before


def each_network():
    """Return every kind of network; one for every day, the others where tests may take long."""
    return [
        pytest.param(net, id=name, marks=() if name == "normalised" else pytest.mark.slow)
        for name, net in networks()
    ]


@pytest.mark.parametrize("net", each_network())
def test_every_network_is_one_piece_of_code(net, traced):
    stir(net)
    twin = Twin(net, compiled=3)
    training, climbed = Compiled(flat(net), 3), Climbed(flat(net, frozen=True), 3)
    x = torch.rand(3, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    net.eval()
    torch.testing.assert_close(twin(x), net(x), rtol=1e-12, atol=1e-12)
    assert twin.code.made
    net.train()
    expected = net(x.detach())
    for code, images in ((training, x.detach()), (climbed, x)):
        assert code.takes(images)
        torch.testing.assert_close(code(images), expected, rtol=1e-12, atol=1e-12)


def test_what_is_compiled_of_a_network_are_its_own_weights_and_statistics(small_network):
    net = small_network()
    own, frozen = flat(net), flat(net, frozen=True)
    for copy in (own, frozen):
        assert all(b is dict(net.named_buffers())[n] for n, b in copy.named_buffers())
        for name, weight in copy.named_parameters():
            assert weight.data_ptr() == net.get_parameter(name).data_ptr()
            assert weight.requires_grad == (copy is own)
    assert all(p.requires_grad for p in net.parameters())
    assert type(net.linear) is nn.Linear


# ------------------------------------------------------------- interrupted


def test_an_interrupted_compiled_run_goes_on_bit_for_bit(job, short, same, monkeypatch, in_float64):
    changes = {"compiled": True, "data.train_n": 22, "eval.attack": "none"}  # five batches and 2
    config = short("pgd-at", ("rpat", "wa"), **(OPTIONS | changes))
    whole, run = job("whole", config), job("run", config)
    assert whole.start() == 0
    for step in (3, 6):  # in mid-epoch, and at the end of one
        stop_at(run, step, monkeypatch)
    assert run.start() == 0
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


# ------------------------------------------------------------- what CUDA graphs ask for


class Replayed(torch.autograd.Function):
    """A pass as a CUDA graph makes it: its results lie where those of the next one will."""

    @staticmethod
    def forward(ctx, x, net, places):
        ctx.places = places
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.logits = net(ctx.x)
        return places[0].copy_(ctx.logits.detach())

    @staticmethod
    def backward(ctx, gradient):
        return ctx.places[1].copy_(torch.autograd.grad(ctx.logits, ctx.x, gradient)[0]), None, None


def test_what_a_pass_gave_outlives_the_next_pass(small_network):
    net = small_network().eval().requires_grad_(False)
    code = Climbed(net, 2)
    x = [torch.rand(2, 3, 9, 9, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    places = torch.empty(2, 5, dtype=torch.float64), torch.empty_like(x[0])
    code.code = lambda x: Replayed.apply(x, net, places)
    logits, gradients = [], []
    for one in x:
        logits.append(code(one))
        gradients.append(torch.autograd.grad(logits[-1].square().sum(), one)[0])
    for one, found, gradient in zip(x, logits, gradients, strict=True):
        assert torch.equal(found, net(one))
        assert torch.equal(gradient, torch.autograd.grad(net(one).square().sum(), one)[0])


def steps(net, passes, device):
    """Attack and train a network by hand for four steps; returns everything that came out."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    draw, seen = torch.Generator().manual_seed(0), []
    for _ in range(4):  # CUDA warms up, records, and then replays
        x = torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=draw).to(device)
        for training in (False, True):
            net.train(training)
            with passes.attack(net, 0) as network:
                leaf = x.clone().requires_grad_()
                logits = network(0)(leaf)
                gradient = torch.autograd.grad(logits.square().sum(), leaf)[0]
            seen += [logits.detach(), gradient]
        optimizer.zero_grad()
        both = [passes.trained(net, images)[0] for images in (x, x + gradient)]
        (both[0] - both[1]).square().sum().backward()
        optimizer.step()
        seen += [value.clone() for value in net.state_dict().values()]
    return seen


CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_replayed_passes_follow_weights_and_statistics(device, network_class):
    skipped, found = counters["inductor"]["cudagraph_skips"], []
    for rows in (0, 4):
        torch.manual_seed(0)
        net = network_class(10).double().to(device)
        found.append(steps(net, modes.make("exact", net, torch.device(device), rows), device))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    if device == "cuda":
        assert counters["inductor"]["cudagraph_skips"] == skipped


# ------------------------------------------------------------- refused


def test_the_authors_own_passes_are_not_compiled(short):
    with pytest.raises(ConfigError, match=r"^compiled is on; mode reference .* leave out --comp"):
        short(mode="reference", compiled=True)


def test_a_compiled_run_is_the_same_experiment(short):
    assert short(compiled=True).fingerprint() == short().fingerprint()
    assert short(compiled=True).group() == short().group()


def broken(*causes):
    """Return a stand-in for torch.compile whose code fails for a chain of causes."""

    def compiled(net, **options):
        def code(x):
            raise error

        return code

    error = None
    for cause in reversed(causes):
        cause.__cause__, error = error, cause
    return compiled


@pytest.mark.parametrize(
    ("causes", "said"),
    [
        (
            (RuntimeError("a page"), RuntimeError("No working C++ compiler found\nmore")),
            "compiled is on, but torch.compile fails (No working C++ compiler found); install a "
            "C++ compiler and Python's headers, or leave out --compiled",
        ),
        (
            (RuntimeError("C++ compile error\n\nm.cpp:1: fatal error: Python.h: none\nended."),),
            "compiled is on, but torch.compile fails (m.cpp:1: fatal error: Python.h: none); "
            "install a C++ compiler and Python's headers, or leave out --compiled",
        ),
        (
            (PermissionError(13, "Permission denied", "/code"),),
            "compiled is on, but torch.compile fails ([Errno 13] Permission denied: '/code'); let "
            "TORCHINDUCTOR_CACHE_DIR name a folder that takes files, or leave out --compiled",
        ),
    ],
)
def test_a_run_without_a_compiler_is_refused_in_a_line(causes, said, job, short, monkeypatch):
    run = job("run", short(compiled=True))
    monkeypatch.setattr(torch, "compile", broken(*causes))
    assert run.start() == 2
    (error,) = run.kinds(1, "error")
    assert (error["reason"], error["message"]) == ("config", said)
    assert not run.kinds(1, "log", "epoch")


FULL = torch.OutOfMemoryError("CUDA out of memory")


def test_a_full_card_is_not_taken_for_a_missing_compiler(small_network):
    code = Compiled(small_network(), 2)
    for causes in (FULL,), (RuntimeError("CUDA out of memory, in a page"), FULL):
        code.code = broken(*causes)(None)
        with pytest.raises(RuntimeError, match="out of memory"):
            code(torch.rand(2, 3, 9, 9))


@pytest.mark.slow
def test_torch_itself_says_that_there_is_no_compiler(job, short):
    run = job("run", short(compiled=True))
    env = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-m", "rpat", str(run.dir.path)]
    assert subprocess.run(words, env=env, capture_output=True).returncode == 2
    (error,) = run.kinds(1, "error")
    assert "No working C++ compiler found" in error["message"]
    assert "\n" not in error["message"]
