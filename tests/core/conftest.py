"""Small networks and small runs, so that whole trainings take a fraction of a second."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rpat import __main__ as program
from rpat import journal, models
from rpat.config import RunConfig
from rpat.data.dataset import DataSet, Images
from rpat.jobs import EvalJob, StudyJob
from rpat.journal import Journal, Record
from rpat.recipes import recipe
from rpat.rundir import RunDir, new_uid, write_json
from rpat.train import Training

torch.set_num_threads(1)  # threads that wait for each other slow small networks down tenfold


class Small(nn.Module):
    """A convolution, a BatchNorm and a linear layer on images of any size."""

    def __init__(self, classes: int = 10, width: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, 3, H, W]` to `[B, classes]`."""
        out = F.relu(self.bn(self.conv(x)))
        return self.linear(F.adaptive_avg_pool2d(out, 2).flatten(1))


@pytest.fixture
def small_network() -> Callable[..., nn.Module]:
    """Return a maker of the same small network, in float64 unless told otherwise."""

    def make(classes: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return Small(classes).to(dtype).train()

    return make


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `resnet8` stand for a network that trains in no time."""
    monkeypatch.setitem(models.BUILDERS, "resnet8", lambda classes, stride: Small(classes))


def short(method: str = "pgd-at", stack: tuple[str, ...] = (), **options: object) -> RunConfig:
    """Return a run of 3 epochs of 3 steps on 48 digits, judged on 20."""
    changes = {
        "data.train_n": 48,
        "data.test_n": 20,
        "optim.batch_size": 16,
        "schedule.epochs": 3,
        "eval.steps": 2,
        "eval.selection_steps": 1,
        "eval.batch_size": 16,
        "log_every": 1,
        "device": "cpu",
    }
    norm = str(options.pop("norm", "linf"))
    config = recipe(method, stack, dataset="digits", norm=norm)
    if config.attack.steps:
        changes["attack.steps"] = 1
    return config.override(changes | options)


@pytest.fixture(name="short")
def short_config() -> Callable[..., RunConfig]:
    """Return the maker of short configs; options are dotted keys."""
    return short


class Job:
    """A run directory, the ways to start it and what its attempts wrote."""

    def __init__(
        self, path: Path, config: RunConfig | EvalJob | StudyJob | dict[str, object],
        kind: str = "train",
    ) -> None:  # fmt: skip
        path.mkdir(parents=True)
        self.dir = RunDir(path)
        kind = config.KIND if isinstance(config, EvalJob | StudyJob) else kind
        job: dict[str, object] = {"schema": 1, "uid": new_uid(), "kind": kind, "config": config}
        if isinstance(config, RunConfig | EvalJob | StudyJob):
            job |= {"fingerprint": config.fingerprint(), "config": config.to_dict()}
        write_json(self.dir.config, job)

    def start(self) -> int:
        """Run a new attempt in this process and return its exit code."""
        return program.main([str(self.dir.path)])

    def records(self, attempt: int) -> list[Record]:
        """Return the records of an attempt."""
        path = self.dir.attempts()[attempt - 1].journal
        return [record for record, _ in journal.read(path)]

    def kinds(self, attempt: int, *kinds: str) -> list[Record]:
        """Return an attempt's records of some kinds."""
        return [record for record in self.records(attempt) if record["kind"] in kinds]

    def merged(self) -> dict[tuple[object, ...], object]:
        """Return every number of the run but those of time, each once.

        What an attempt wrote beyond the step from which the next one started is dropped.
        """
        found: dict[tuple[object, ...], object] = {}
        for number in range(1, len(self.dir.attempts()) + 1):
            records = self.records(number)
            begins = [record for record in records if record["kind"] == "begin"]
            if begins:
                from_step = begins[0]["from_step"]
                found = {k: v for k, v in found.items() if k[1] <= from_step}
            for record in records:
                if record["kind"] in ("log", "epoch"):
                    for name, value in record["values"].items():
                        if not name.startswith("time/"):
                            key = ("point", record["step"], record["epoch"], name)
                            assert key not in found
                            found[key] = value
                if record["kind"] == "eval":
                    content = {k: v for k, v in record.items() if k not in ("seq", "t", "seconds")}
                    key = ("eval", record["step"], record["checkpoint"], record["attack"])
                    assert key not in found
                    found[key] = content
        return found

    def weights(self) -> dict[str, object]:
        """Return the content of every checkpoint but what a clock wrote into it."""
        found = {}
        for file in sorted(self.dir.checkpoints.glob("*.pt")):
            content = torch.load(file, weights_only=True)
            content.pop("seconds", None)
            metrics = content.get("metrics", {})
            content["metrics"] = {k: v for k, v in metrics.items() if not k.startswith("time/")}
            found[file.name] = content
        return found


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Job]]:
    """Return a maker of run directories by name; signals are handed back afterwards."""
    monkeypatch.delenv("RPAT_ATTEMPT", raising=False)
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    yield lambda name, config, kind="train": Job(tmp_path / name, config, kind)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return a finished run of `tiny_models` that is right about many of its 60 test images.

    It is shared: nothing may be written into it.
    """
    changes = {
        "data.train_n": 0,
        "data.test_n": 60,
        "optim.batch_size": 32,
        "schedule.epochs": 4,
        "threat.epsilon": "4/255",
        "eval.steps": 3,
        "eval.step_size": "2/255",
        "keep_every": 1,
    }
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RPAT_ATTEMPT", raising=False)
        patch.setitem(models.BUILDERS, "resnet8", lambda classes, stride: Small(classes))
        run = Job(tmp_path_factory.mktemp("home") / "trained", short(**changes))
        assert run.start() == 0
    for number, handler in before.items():
        signal.signal(number, handler)
    return run


@pytest.fixture
def training(tmp_path: Path, tiny_models: None) -> Callable[..., Training]:
    """Return a maker of trainings on random images, with nobody who asks them to stop."""

    def make(config: RunConfig, n: int = 16) -> Training:
        run = RunDir(tmp_path / new_uid())
        run.path.mkdir()
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (n, 3, 32, 32), generator=draw, dtype=torch.uint8)
        some = Images(images, torch.arange(n) % 10, torch.arange(n))
        classes = tuple(str(c) for c in range(10))
        data = DataSet("digits", "embedded", classes, some, some, None, "", n)
        attempt = run.take_attempt()
        return Training(
            run, attempt, config, data, Journal(attempt.journal), lambda: None, torch.device("cpu")
        )

    return make


def same(a: object, b: object) -> bool:
    """Return whether two trees of tensors and plain values are equal, bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return (
            isinstance(b, list | tuple)
            and len(a) == len(b)
            and all(same(x, y) for x, y in zip(a, b, strict=True))
        )
    return type(a) is type(b) and a == b


@pytest.fixture(name="same")
def same_trees() -> Callable[[object, object], bool]:
    """Return the comparison of two trees of tensors."""
    return same


@pytest.fixture(scope="session")
def network_class() -> type[nn.Module]:
    """Return the class of `tiny_models`' network."""
    return Small
