"""Every method and stack, interrupted once its late phases have begun, goes on bit for bit."""

from __future__ import annotations

import pytest
import torch

from rpat import __main__ as program
from rpat import checkpoint, models
from rpat.config import METHODS, WRAPPERS
from rpat.errors import SAVED
from rpat.recipes import COMBINATIONS
from rpat.train import Training
from rpat_tui.compose import with_prerequisites

pytestmark = pytest.mark.usefixtures("tiny_models")

PER_EPOCH, EPOCHS = 3, 4
MIDDLE, END = 8, 9
"""Steps of the two interruptions: inside the third epoch, and between it and the fourth."""

LATE = {
    "mail-at": {"mail-at.burn_in": 0.5},
    "mail-trades": {"mail-trades.burn_in": 0.5},
    "cure": {"cure.rate": 0.5},
    "mma": {"optim.lr": 0.001},
    "rpat": {"rpat.alpha": "beta-"},
}
"""Values that let late phases begin in the third of four epochs; the others do so by themselves."""


def refused(name):
    """Return whether RPAT is refused on a method or a published combination."""
    base, stack = COMBINATIONS.get(name, (name, ()))
    return any("rpat" in part.REFUSES for part in (METHODS[base], *(WRAPPERS[w] for w in stack)))


def cases():
    """Yield method, stack, norm and further values of every case."""
    for name in (*METHODS, *COMBINATIONS):
        yield name, (), "linf", {}
        if not refused(name):
            yield name, ("rpat",), "linf", {}
    for name in ("trades", "mma", "te", "consistency-at", "rpat++", "awp"):
        yield name, () if refused(name) else ("rpat",), "l2", {}
    yield "trades", ("wa", "awp", "rpat"), "linf", {}
    yield "pgd-at", ("adr", "rpat"), "linf", {}
    yield "mma", ("awp",), "linf", {}
    yield "te", ("rpat", "swa"), "linf", {"te.base": "trades"}
    yield "trades", ("cure", "rpat", "awp", "wa"), "linf", {"cure.score": "total"}
    yield "rebat", (), "linf", {"data.cutmix": True}
    yield "rpat++", (), "linf", {"data.cutmix": True, "rpat++.keep_rebat_kl": True}
    yield "pgd-at", ("rpat",), "linf", {"data.augment": "autoaug-late"}
    yield "consistency-at", (), "linf", {"data.augment": "autoaug-late"}


def title(value):
    """Name a part of a case."""
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items()) or "-"
    return value if isinstance(value, str) else "+".join(value) or "plain"


@pytest.fixture
def prepare(job, short, monkeypatch):
    """Return a maker of two equal runs of a case, in a home with the finished runs they need."""
    build = models.BUILDERS["resnet8"]

    def sure_of_itself(classes, stride):
        network = build(classes, stride)
        network.linear.weight.data.mul_(100)
        return network

    def make(name, stack, norm, changes):
        if name == "mma":  # its margins are those of images that the network is sure of
            monkeypatch.setitem(models.BUILDERS, "resnet8", sure_of_itself)
        config = short(name, stack, norm=norm, **{"schedule.epochs": EPOCHS, "eval.attack": "none"})
        for part in (config.method.NAME, *(w.NAME for w in config.wrappers)):
            changes = LATE.get(part, {}) | changes
        *before, config = with_prerequisites(config.override(changes))
        for number, needed in enumerate(before, 1):
            assert job(f"home/runs/r{number:04d}", needed).start() == 0
        return tuple(job(f"home/runs/r{n:04d}", config) for n in (101, 102))

    return make


def stop_at(run, step, monkeypatch):
    """Start a run and ask it to stop before a step; return the state that it saved."""

    class Asked:
        def __init__(self, attempt):
            pass

        def __call__(self):
            return "stop" if training and training[-1].t == step else None

    training = []
    real = Training.fit

    def fit(self):
        training.append(self)
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", fit)
        patch.setattr(program, "StopRequest", Asked)
        assert run.start() == SAVED
    saved = checkpoint.load(run.dir.last)
    assert saved["t"] == step
    return saved


@pytest.mark.parametrize(("name", "stack", "norm", "changes"), cases(), ids=title)
def test_every_method_continues_as_if_nothing_had_happened(
    name, stack, norm, changes, prepare, same, monkeypatch
):
    whole, run = prepare(name, stack, norm, changes)
    assert whole.start() == 0
    for step in (MIDDLE, END):
        stop_at(run, step, monkeypatch)
    assert run.start() == 0
    assert [run.records(n)[0]["from_step"] for n in (1, 2, 3)] == [0, MIDDLE, END]
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


def differs(state, prefix):
    """Return whether an averaged network has left the trained one."""
    pairs = [(k, v) for k, v in state["method"].items() if k.startswith(prefix)]
    assert pairs
    return any(not torch.equal(v, state["model"][k.removeprefix(prefix)]) for k, v in pairs)


REMEMBERED = [
    ("te", (), lambda s: (s["method"]["memory"].sum(1) > 0).sum() >= 48),
    ("mma", (), lambda s: (s["method"]["radius"] > 0).sum() >= 2),
    ("wa", (), lambda s: differs(s, "average.")),
    ("rebat", (), lambda s: differs(s, "average.")),
    ("rpat++", (), lambda s: differs(s, "average.")),
    ("adr", (), lambda s: differs(s, "average.")),
    ("kd+swa", (), lambda s: s["method"]["collected"] == 1 and differs(s, "average.")),
    ("cure", (), lambda s: s["method"]["steps"] == MIDDLE and differs(s, "revision.")),
    ("awp", ("wa",), lambda s: differs(s, "average.")),
]
"""Methods with a state, and what it must look like in mid-epoch of the third epoch."""


@pytest.mark.parametrize(
    ("name", "stack", "begun"), REMEMBERED, ids=lambda v: "" if callable(v) else title(v)
)
def test_what_a_method_remembers_has_begun_is_saved_and_matters(
    name, stack, begun, prepare, same, monkeypatch
):
    whole, run = prepare(name, stack, "linf", {})
    assert whole.start() == 0
    assert begun(stop_at(run, MIDDLE, monkeypatch))
    real = Training.restore
    monkeypatch.setattr(
        Training,
        "restore",
        lambda self, state: real(self, state | {"method": self.method.state_dict()}),
    )
    assert run.start() == 0  # without its memory the run goes another way
    assert not same(run.weights()["last.pt"], whole.weights()["last.pt"])
