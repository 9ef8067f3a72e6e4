"""A step queues its work and reads nothing back: a GPU would have to finish everything first.

On a CPU the operations that hand a value to the host, or whose shape depends on values, can be
counted.
"""

from __future__ import annotations

import pytest
import torch
from test_modes import teacher
from torch.utils._python_dispatch import TorchDispatchMode

from rpat.config import METHODS
from rpat.recipes import COMBINATIONS
from rpat.train import Training

pytestmark = pytest.mark.usefixtures("tiny_models")

READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")

EXPECTED = {"mma": 1}
"""Reads in a step: MMA attacks the images that are classified correctly, if there are any."""


class Reads(TorchDispatchMode):
    """Collects the names of operations that read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.__name__.startswith(READS):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", ["reference", "exact"])
@pytest.mark.parametrize("name", [*METHODS, *COMBINATIONS])
def test_a_step_reads_nothing_from_the_device(name, mode, training, short, monkeypatch):
    monkeypatch.setattr(Training, "teacher", teacher)
    late = {"cure.rate": 0.0} if name == "cure" else {}  # a revision reads its counter
    run = training(short(name, mode=mode, log_every=100, **late))
    batches = list(run.loader.epoch(0))[:1]  # random numbers are drawn on the host
    monkeypatch.setattr(run.loader, "epoch", lambda epoch, start: iter(batches))
    with Reads() as reads:
        run.train_epoch(0, 0)
    assert len(reads.seen) == EXPECTED.get(name, 0), reads.seen


def test_the_loss_is_read_when_it_is_journaled(training, short):
    run = training(short("pgd-at", log_every=1))
    with Reads() as reads:
        run.train_epoch(0, 0)
    assert len(reads.seen) == run.t


def test_reads_are_noticed():
    with Reads() as reads:
        float(torch.ones(()))
        torch.ones(3).nonzero()
    assert reads.seen == ["_local_scalar_dense.default", "nonzero.default"]
