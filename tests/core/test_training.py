"""Whole runs: their journal, their checkpoints, and the ways in which they are interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from rpat import __main__ as program
from rpat import checkpoint, evaluate, models, modes
from rpat.assess import Assessment
from rpat.config import METHODS, MODES
from rpat.data.dataset import Images
from rpat.errors import SAVED, SUPERSEDED, ConfigError, RunError
from rpat.journal import Journal, read
from rpat.models.resnet import resnet8
from rpat.recipes import recipe
from rpat.rundir import Attempt, RunDir
from rpat.train import Training

pytestmark = pytest.mark.usefixtures("tiny_models")

EPOCH_METRICS = {
    "train/loss",
    "train/adv_acc",
    "test/clean_acc",
    "test/pgd_acc",
    "test/logit_mse",
    "test/logit_mse_success",
    "test/logit_mse_failure",
    "lr",
    "time/epoch_s",
    "time/images_per_s",
}

STEPS = 9  # of the short run: 3 epochs of 3
TRIAL = 4  # moments of an evaluation after which its state counts: clean, 2 batches, the end
QUESTIONS = STEPS + 2 * (1 + TRIAL)
"""A stop request is looked for before each step and evaluation, and within an evaluation."""


class Asks:
    """Stands in for the stop request: does something when it is asked the n-th time."""

    def __init__(self, monkeypatch, at, act):
        self.count, self.at, self.act = 0, at, act
        monkeypatch.setattr(program, "StopRequest", lambda attempt: self)

    def __call__(self):
        self.count += 1
        return self.act() if self.count == self.at else None


# ------------------------------------------------------------- the journal of a run


def test_a_run_journals_its_beginning_its_epochs_its_evaluations_and_its_end(job, short):
    run = job("run", short("trades", ("rpat",)))
    assert run.start() == 0
    records = run.records(1)
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    kinds = [record["kind"] for record in records if record["kind"] not in ("log", "notice")]
    one_epoch = ["epoch", "checkpoint"]
    assert kinds == ["begin", *one_epoch * 3, "eval", "eval", "end"]

    begin = records[0]
    assert begin["v"] == 1
    assert (begin["attempt"], begin["from_step"]) == (1, 0)
    assert begin["pid"] == os.getpid()
    assert {"host", "boot", "started", "versions", "device", "threads"} <= set(begin)
    assert {"rpat", "torch", "python"} <= set(begin["versions"])

    notices = {r["what"]: r for r in run.kinds(1, "notice")}
    assert {k: notices["data"][k] for k in ("classes", "train", "test", "val")} == {
        "classes": 10, "train": 48, "test": 20, "val": 0
    }  # fmt: skip
    assert notices["plan"]["steps"] == STEPS

    logs = run.kinds(1, "log")
    assert [record["step"] for record in logs] == list(range(1, STEPS + 1))
    assert all(set(record["values"]) == {"step/loss"} for record in logs)

    epochs = run.kinds(1, "epoch")
    assert [(r["epoch"], r["step"]) for r in epochs] == [(1, 3), (2, 6), (3, 9)]
    terms = {"train/ce", "train/kl", "train/rpat", "train/clean_acc"}
    for record in epochs:
        values = record["values"]
        assert set(values) >= EPOCH_METRICS | terms
        summed = sum(values[name] for name in ("train/ce", "train/kl", "train/rpat"))
        assert values["train/loss"] == pytest.approx(summed, rel=1e-6)
        steps = [r["values"]["step/loss"] for r in logs if r["epoch"] == record["epoch"] - 1]
        assert values["train/loss"] == pytest.approx(sum(steps) / 3, rel=1e-6)
        for name in ("test/clean_acc", "test/pgd_acc", "train/clean_acc", "train/adv_acc"):
            assert 0 <= values[name] <= 100
        assert values["test/pgd_acc"] % 5 == 0  # 20 images
    rates = [record["values"]["lr"] for record in epochs]
    assert rates == pytest.approx([0.05, 0.005, 0.0005])

    evals = run.kinds(1, "eval")
    assert [(r["checkpoint"], r["attack"], r["steps"], r["step"]) for r in evals] == [
        ("best", "pgd", 2, STEPS),
        ("final", "pgd", 2, STEPS),
    ]
    for record in evals:
        assert (record["network"], record["split"]) == ("online", "test")
        assert (record["n"], record["of"]) == (20, 20)
        assert 0 <= record["robust"] <= 100
        file = run.dir.checkpoints / f"{record['checkpoint']}-online.pt"
        kept = checkpoint.load(file)
        assert record["weights"] == checkpoint.digest(kept["weights"])
        assert record["epoch"] == kept["epoch"]
    assert evals[0]["selected_on"] == "test"
    assert evals[1]["selected_on"] == ""
    assert evals[1]["epoch"] == 3
    assert (records[-1]["epoch"], records[-1]["step"]) == (3, STEPS)
    assert not list(run.dir.checkpoints.glob("next-*"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_metrics_it_can(name, job, short):
    run = job("run", short(name, **{"schedule.epochs": 1}))
    assert run.start() == 0
    (epoch,) = run.kinds(1, "epoch")
    values = set(epoch["values"])
    assert EPOCH_METRICS - {"train/adv_acc"} <= values
    on_clean = ("clean", "trades", "mart", "mma", "mail-trades")
    assert ("train/clean_acc" in values) == (name in on_clean)
    assert ("train/adv_acc" in values) == (name != "clean")


def test_weights_of_every_nth_epoch_are_kept_when_asked(job, short):
    run = job("run", short(**{"keep_every": 2, "schedule.epochs": 4, "eval.attack": "none"}))
    assert run.start() == 0
    names = {file.name for file in run.dir.checkpoints.iterdir()}
    assert names == {
        "last.pt",
        "best-online.pt",
        "final-online.pt",
        "epoch-0002-online.pt",
        "epoch-0004-online.pt",
    }
    kept, final = (
        checkpoint.load(run.dir.checkpoints / f"{name}-online.pt")["weights"]
        for name in ("epoch-0004", "final")
    )
    assert checkpoint.digest(kept) == checkpoint.digest(final)
    assert checkpoint.load(run.dir.last)["t"] == 12


def test_the_same_config_gives_the_same_run(job, short, same):
    one, other = (job(name, short("mart", ("rpat",))) for name in ("one", "other"))
    assert one.start() == other.start() == 0
    assert one.merged() == other.merged()
    assert same(one.weights(), other.weights())
    third = job("third", short("mart", ("rpat",), seed=1))
    assert third.start() == 0
    assert third.merged() != one.merged()


def test_logging_more_or_less_often_changes_no_weight(job, short, same):
    often, rarely = job("often", short(log_every=1)), job("rarely", short(log_every=50))
    assert often.start() == rarely.start() == 0
    assert rarely.kinds(1, "log") == []
    weights = [run.weights()["final-online.pt"]["weights"] for run in (often, rarely)]
    assert same(*weights)


# ------------------------------------------------------------- stop and go on


@pytest.fixture(scope="module")
def uninterrupted():
    """Finished runs by config, to compare others with."""
    return {}


def straight(uninterrupted, job, config):
    key = config.fingerprint()
    if key not in uninterrupted:
        run = job("straight", config)
        assert run.start() == 0
        uninterrupted[key] = run.merged(), run.weights()
    return uninterrupted[key]


@pytest.mark.parametrize("at", range(1, QUESTIONS + 1))
def test_a_run_stopped_anywhere_and_continued_equals_one_at_a_stretch(
    at, job, short, same, monkeypatch, uninterrupted
):
    config = short("trades", ("rpat",))
    numbers, weights = straight(uninterrupted, job, config)
    run = job("run", config)
    with monkeypatch.context() as patch:
        Asks(patch, at, lambda: "pause")
        assert run.start() == SAVED
    stop = run.records(1)[-1]
    assert (stop["kind"], stop["word"], stop["step"]) == ("stop", "pause", min(at - 1, STEPS))
    assert len(run.kinds(1, "eval")) == (at > STEPS + 1 + TRIAL)
    assert run.start() == 0
    begin = run.records(2)[0]
    assert (begin["kind"], begin["from_step"]) == ("begin", stop["step"])
    assert run.merged() == numbers
    assert same(run.weights(), weights)


def test_a_run_stopped_after_every_step_equals_one_at_a_stretch(
    job, short, same, monkeypatch, uninterrupted
):
    config = short("trades", ("rpat",))
    numbers, weights = straight(uninterrupted, job, config)
    run = job("run", config)
    codes = []

    class AfterWork:
        """Stands in for the stop request: one step or one evaluation an attempt is enough."""

        def __init__(self, attempt):
            self.attempt = attempt.number

        def __call__(self):
            return "stop" if run.kinds(self.attempt, "log", "eval") else None

    with monkeypatch.context() as patch:
        patch.setattr(program, "StopRequest", AfterWork)
        while not codes or codes[-1] == SAVED:
            codes.append(run.start())
            assert len(codes) <= STEPS + 2
    assert codes == [*[SAVED] * (STEPS + 1), 0]  # nothing is asked after the last evaluation
    assert run.merged() == numbers
    assert same(run.weights(), weights)


@pytest.mark.parametrize("at", [2, 3, 6])
def test_a_rate_that_changes_within_an_epoch_continues_where_it_was(
    at, job, short, same, monkeypatch
):
    config = short(**{"schedule.granularity": "iteration", "eval.attack": "none"})
    whole, run = job("whole", config), job("run", config)
    assert whole.start() == 0
    rates = [record["values"]["lr"] for record in whole.kinds(1, "epoch")]
    assert rates == pytest.approx([0.005, 0.0005, 0.0005])  # the last batch before a milestone
    with monkeypatch.context() as patch:
        Asks(patch, at, lambda: "stop")
        assert run.start() == SAVED
    assert run.start() == 0
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


@pytest.fixture
def real_networks(tiny_models, monkeypatch):
    """Let `resnet8` be itself again."""
    monkeypatch.setitem(models.BUILDERS, "resnet8", resnet8)


@pytest.mark.parametrize("mode", MODES)
def test_a_real_network_continues_bit_for_bit_too(
    mode, job, short, same, monkeypatch, real_networks
):
    monkeypatch.setattr(modes, "processor_flags", lambda: {"avx512_bf16"})
    options = {"schedule.epochs": 2, "data.train_n": 32, "eval.attack": "none"}
    config = short("trades", ("rpat", "wa"), mode=mode, **options)
    whole, run = job("whole", config), job("run", config)
    assert whole.start() == 0
    with monkeypatch.context() as patch:
        Asks(patch, 4, lambda: "stop")
        assert run.start() == SAVED
    assert run.start() == 0
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


def test_a_stop_file_is_obeyed_at_the_next_step(job, short):
    run = job("run", short())
    attempt = Attempt(run.dir.path, 1)
    attempt.path.mkdir(parents=True)
    attempt.stop.write_text("pause\n", "utf-8")
    assert program.execute(run.dir, attempt, Journal(attempt.journal)) == SAVED
    stop = run.records(1)[-1]
    assert (stop["kind"], stop["word"], stop["step"]) == ("stop", "pause", 0)
    assert checkpoint.load(run.dir.last)["t"] == 0
    assert run.start() == 0


def test_an_empty_stop_file_means_stop(tmp_path):
    attempt = RunDir(tmp_path).take_attempt()
    asked = program.StopRequest(attempt)
    try:
        assert asked() is None
        attempt.stop.touch()
        assert asked() == "stop"
    finally:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_is_a_stop_request(name, job, short, monkeypatch):
    run = job("run", short())
    real = Training.train_step

    def once_then_signal(self, step):
        if step.t == 1:
            os.kill(os.getpid(), signal.Signals[name])
        return real(self, step)

    monkeypatch.setattr(Training, "train_step", once_then_signal)
    assert run.start() == SAVED
    stop = run.records(1)[-1]
    assert (stop["kind"], stop["word"], stop["step"]) == ("stop", name, 2)


def test_the_attempt_may_be_claimed_by_the_parent_process(job, short, monkeypatch):
    run = job("run", short(**{"schedule.epochs": 1}))
    for _ in range(3):
        attempt = run.dir.take_attempt()
    monkeypatch.setenv("RPAT_ATTEMPT", str(attempt.number))
    assert run.start() == 0
    assert run.records(1) == []
    assert run.records(3)[0]["attempt"] == 3
    assert len(run.dir.attempts()) == 3


def spawn(run, log):
    """Start `python -m rpat` on a run as a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "RPAT_ATTEMPT"}
    environment["OMP_NUM_THREADS"] = "1"
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rpat", str(run.dir.path)],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def wait_for_epochs(run, n, process):
    """Return when so many epochs are journaled; a process that ends before that is an error."""
    path = Attempt(run.dir.path, 1).journal
    deadline = time.monotonic() + 200
    while sum(record["kind"] == "epoch" for record, _ in read(path)) < n:
        assert process.poll() is None
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("stack", "epochs"),
    [
        (("rpat",), 2),
        pytest.param(("wa", "awp", "rpat"), 3, marks=pytest.mark.slow),
    ],
    ids=["rpat+trades", "wa+awp+rpat+trades"],
)
def test_a_killed_process_continues_as_if_nothing_had_happened(
    stack, epochs, job, short, same, tmp_path, real_networks
):
    options = {"schedule.epochs": 4, "data.train_n": 32, "eval.attack": "none"}
    config = short("trades", stack, **options)
    whole, run = job("whole", config), job("run", config)
    assert whole.start() == 0
    log = tmp_path / "output.log"
    process = spawn(run, log)
    wait_for_epochs(run, epochs, process)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert "end" not in [record["kind"] for record in run.records(1)]
    again = spawn(run, log)
    assert again.wait(200) == 0, log.read_text("utf-8")
    assert run.records(2)[0]["from_step"] in (2 * epochs - 2, 2 * epochs)
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


# ------------------------------------------------------------- the best epoch


def with_accuracies(monkeypatch, accuracies, split="test"):
    """Let the epochs have these PGD accuracies."""
    real = Training.test

    def test(self, name, network, done):
        return real(self, name, network, done) | {f"{split}/pgd_acc": accuracies[done - 1]}

    monkeypatch.setattr(Training, "test", test)


def test_the_best_epoch_is_the_first_of_equal_maxima(job, short, monkeypatch):
    with_accuracies(monkeypatch, [10.0, 30.0, 30.0, 20.0])
    run = job("run", short(**{"schedule.epochs": 4, "keep_every": 1}))
    assert run.start() == 0
    best = checkpoint.load(run.dir.best("online"))
    assert best["epoch"] == 2
    assert best["metrics"]["test/pgd_acc"] == 30.0
    assert (best["network"], best["config"]) == ("online", short(
        **{"schedule.epochs": 4, "keep_every": 1}
    ).to_dict())  # fmt: skip
    second = checkpoint.load(run.dir.kept("online", 2))
    assert checkpoint.digest(best["weights"]) == checkpoint.digest(second["weights"])
    assert run.kinds(1, "eval")[0]["epoch"] == 2
    assert checkpoint.load(run.dir.last)["best"] == {"online": {"epoch": 2, "accuracy": 30.0}}


def test_the_first_epoch_is_the_best_where_none_is_better(job, short, monkeypatch):
    with_accuracies(monkeypatch, [0.0, 0.0, 0.0])
    run = job("run", short())
    assert run.start() == 0
    assert checkpoint.load(run.dir.best("online"))["epoch"] == 1


class Crash(BaseException):
    """The machine goes away."""


@pytest.mark.parametrize("place", ["_keep", "save", "_publish", "write"])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_best_weights_survive_a_crash_at_any_point_of_an_epochs_end(
    place, epoch, job, short, same, monkeypatch
):
    with_accuracies(monkeypatch, [10.0, 20.0, 30.0, 25.0])
    config = short(**{"schedule.epochs": 4})
    whole, run = job("whole", config), job("run", config)
    assert whole.start() == 0
    with monkeypatch.context() as patch:
        crash_at(patch, place, epoch)
        attempt = run.dir.take_attempt()
        with pytest.raises(Crash):
            program.execute(run.dir, attempt, Journal(attempt.journal))
    saved = checkpoint.load(run.dir.last)
    published = checkpoint.load(run.dir.best("online"))
    candidate = checkpoint.load(run.dir.checkpoints / "next-best-online.pt")
    if place == "_publish":  # the state speaks of a best epoch whose weights wait
        assert saved["best"]["online"]["epoch"] == candidate["epoch"] == epoch
        assert published is None or published["epoch"] == epoch - 1
    if place == "save":  # weights wait of which the state does not know
        assert candidate["epoch"] == epoch
        assert saved is None or saved["best"]["online"]["epoch"] == epoch - 1

    with monkeypatch.context() as patch:  # what the next attempt finds before it trains
        Asks(patch, 1, lambda: "stop")
        assert run.start() == SAVED
    best = checkpoint.load(run.dir.last)["best"]
    published = checkpoint.load(run.dir.best("online"))
    assert (best["online"]["epoch"] if best else None) == (published and published["epoch"])
    assert run.start() == 0
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


def crash_at(patch, place, epoch):
    """Make the end of an epoch crash before it keeps, saves or publishes weights, or just after
    it has journaled."""
    if place == "write":
        real_write = Journal.write

        def write(self, kind, /, **values):
            number = real_write(self, kind, **values)
            if kind == "epoch" and values["epoch"] == epoch:
                raise Crash
            return number

        patch.setattr(Journal, "write", write)
        return
    real = getattr(Training, place)

    def crash(self, *arguments):
        if self.t == epoch * len(self.loader):
            raise Crash
        return real(self, *arguments)

    patch.setattr(Training, place, crash)


def test_a_hold_out_selects_the_best_epoch(job, short, monkeypatch):
    with_accuracies(monkeypatch, [10.0, 40.0, 20.0], "val")
    run = job("run", short(**{"data.val_n": 16}))
    assert run.start() == 0
    notice = next(r for r in run.kinds(1, "notice") if r["what"] == "data")
    assert (notice["train"], notice["val"], notice["test"]) == (32, 16, 20)
    for record in run.kinds(1, "epoch"):
        for split in ("val", "test"):
            assert {f"{split}/clean_acc", f"{split}/pgd_acc", f"{split}/logit_mse"} <= set(
                record["values"]
            )
    best, final = run.kinds(1, "eval")
    assert (best["selected_on"], best["epoch"], best["split"]) == ("val", 2, "test")
    assert final["selected_on"] == ""


# ------------------------------------------------------------- another attempt takes over


@pytest.mark.parametrize("at", [2, 3, 5, 9])
def test_a_superseded_attempt_leaves_and_writes_nothing_more(at, job, short, same, monkeypatch):
    run = job("run", short(log_every=50))
    before = {}

    def take_over():
        run.dir.take_attempt()
        before["weights"] = run.weights() if run.dir.checkpoints.exists() else {}
        before["records"] = run.records(1)

    with monkeypatch.context() as patch:
        Asks(patch, at, take_over)
        assert run.start() == SUPERSEDED
    assert run.records(1) == before["records"]
    after = run.weights() if run.dir.checkpoints.exists() else {}
    assert same(after, before["weights"])
    assert not list(run.dir.path.glob("**/*.tmp"))


def test_a_superseded_attempt_does_not_save_when_it_is_stopped(job, short, monkeypatch):
    run = job("run", short())

    def take_over():
        run.dir.take_attempt()
        return "stop"

    Asks(monkeypatch, 2, take_over)
    assert run.start() == SUPERSEDED
    assert not run.dir.last.exists()
    assert not run.kinds(1, "stop")


# ------------------------------------------------------------- what goes wrong


def error_of(run, attempt=1):
    """Return the error record, which is the last one."""
    record = run.records(attempt)[-1]
    assert record["kind"] == "error"
    return record


def test_a_loss_that_is_not_finite_fails_the_run(job, short, capsys):
    run = job("run", short(**{"optim.lr": 1e30}))
    assert run.start() == 1
    record = error_of(run)
    assert record["reason"] == "nan"
    assert "lower optim.lr (now 1e+30)" in record["message"]
    assert "Traceback" in record["traceback"]
    nonfinite = run.kinds(1, "nonfinite")
    assert nonfinite[0]["names"] == ["step/loss"]
    bad = next(r for r in run.kinds(1, "log") if r["values"]["step/loss"] is None)
    assert bad["step"] == nonfinite[0]["step"]
    assert "Traceback" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_found_at_the_epochs_end_at_the_latest(job, short):
    run = job("run", short(**{"optim.lr": 1e30, "log_every": 50}))
    assert run.start() == 1
    assert error_of(run)["reason"] == "nan"
    names = [name for record in run.kinds(1, "nonfinite") for name in record["names"]]
    assert "train/loss" in names
    epoch = run.kinds(1, "epoch")[-1]
    assert epoch["values"]["train/loss"] is None
    saved = checkpoint.load(run.dir.last)
    assert saved is None or saved["t"] < epoch["step"]  # broken weights are not kept


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"method": "trade"}, "did you mean 'trades'?"),
        ({"optim": {"lr": -1}}, "optim.lr is -1"),
        ({"schema": 9}, "schema is 9"),
        ({"data": {"name": "digits", "train_n": 10**6}}, "data.train_n is 1000000"),
        ({"data": {"name": "cifar10"}}, "data.dir is empty"),
        ({"device": "cuda:99"}, "device is cuda:99"),
    ],
    ids=str,
)
def test_a_wrong_config_exits_with_2_and_says_why(job, short, values, text):
    run = job("run", short().to_dict() | values)
    assert run.start() == 2
    record = error_of(run)
    assert record["reason"] == "config"
    assert text in record["message"]


def test_a_run_that_fails_before_it_begins_still_says_who_it_was(job, short):
    run = job("run", short().to_dict() | {"mode": "quick"})
    assert run.start() == 2
    begin, error = run.records(1)
    assert begin["kind"] == "begin"
    assert begin["from_step"] is None
    assert begin["pid"] == os.getpid()
    assert error["kind"] == "error"


@pytest.mark.parametrize("text", ["no json", "{}", '{"config": 3}', "[]"])
def test_a_file_that_is_no_config_is_refused(text, job, short):
    run = job("run", short())
    run.dir.config.write_text(text)
    assert run.start() == 2
    assert error_of(run)["reason"] == "config"


def test_files_that_a_killed_attempt_left_half_written_are_removed(job, short):
    run = job("run", short(**{"eval.attack": "none"}))
    run.dir.checkpoints.mkdir()
    (run.dir.checkpoints / ".last.pt.123.tmp").write_bytes(b"half")
    assert run.start() == 0
    assert not list(run.dir.checkpoints.glob(".*"))


def test_an_attempt_superseded_in_its_evaluations_leaves_without_an_end(job, short, monkeypatch):
    run = job("run", short())
    real = Assessment._measure

    def measure(self, *arguments):
        found = real(self, *arguments)
        run.dir.take_attempt()
        return found

    monkeypatch.setattr(Assessment, "_measure", measure)
    assert run.start() == SUPERSEDED
    assert not run.kinds(1, "end")
    assert len(run.kinds(1, "eval")) == 1


def test_missing_images_are_named(job, short, tmp_path):
    (tmp_path / "empty").mkdir()
    changes = {
        "name": "tiny-imagenet",
        "dir": str(tmp_path / "empty"),
        "source": "official",
    }
    run = job("run", short().to_dict() | {"data": changes})
    assert run.start() == 1
    record = error_of(run)
    assert record["reason"] == "data"
    assert "data set 'tiny-imagenet' is not in" in record["message"]


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["nowhere"]])
def test_anything_but_a_run_directory_exits_with_2(arguments, capsys):
    assert program.main(arguments) == 2
    assert "takes a run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device"), "disk full"),
        (OSError(122, "Disk quota exceeded"), "disk full"),
        (OSError(5, "Input/output error"), "error"),
        (ImportError("no module named x"), "import"),
        (RunError("the loss is nan", "nan"), "nan"),
        (RuntimeError("shapes differ\nat line 3"), "error"),
        (KeyboardInterrupt(), "error"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_failure_in_a_step_is_journaled_with_its_reason(error, reason, job, short, monkeypatch):
    def fail(self, step):
        raise error

    monkeypatch.setattr(Training, "train_step", fail)
    run = job("run", short())
    assert run.start() == 1
    record = error_of(run)
    assert record["reason"] == reason
    assert "\n" not in record["message"]
    assert type(error).__name__ in record["message"] or str(error) == record["message"]
    assert "train_step" in record["traceback"]


def test_a_disk_that_fills_up_while_a_checkpoint_is_saved_is_named(job, short, monkeypatch, same):
    run = job("run", short())
    real = torch.save
    calls = []

    class Full:
        room = 1000

        def write(self, data):
            self.room -= len(data)
            if self.room < 0:
                raise OSError(28, "No space left on device")
            return len(data)

        def flush(self):
            pass

    def save(content, stream):
        calls.append(content)
        real(content, Full() if len(calls) == 4 else stream)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        assert run.start() == 1
    assert error_of(run)["reason"] == "disk full"
    assert not list(run.dir.checkpoints.glob(".*"))
    assert run.start() == 0  # room was made
    whole = job("whole", short())
    assert whole.start() == 0
    assert run.merged() == whole.merged()
    assert same(run.weights(), whole.weights())


def test_a_damaged_state_is_not_trained_over(job, short):
    run = job("run", short(**{"schedule.epochs": 1}))
    assert run.start() == 0
    run.dir.last.write_bytes(b"nothing of use")
    assert run.start() == 1
    record = error_of(run, 2)
    assert record["reason"] == "checkpoint"
    assert "move it away to start again" in record["message"]
    assert run.dir.last.read_bytes() == b"nothing of use"


def test_lost_weights_are_named(job, short):
    run = job("run", short(**{"schedule.epochs": 1, "eval.attack": "none"}))
    assert run.start() == 0
    run.dir.best("online").unlink()
    job_file = run.dir.config.read_text("utf-8").replace('"attack": "none"', '"attack": "pgd"')
    run.dir.config.write_text(job_file, "utf-8")
    assert run.start() == 1
    record = error_of(run, 2)
    assert record["reason"] == "weights"
    assert (
        "run keeps no weights 'best' of its network online; it has final-online"
        in (record["message"])
    )


def test_a_device_that_is_not_there_is_refused():
    assert program.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device is cuda:7"):
        program.pick_device("cuda:7")


# ------------------------------------------------------------- evaluations


def test_without_evaluations_there_are_no_records_of_them(job, short):
    run = job("run", short(**{"eval.attack": "none", "schedule.epochs": 1}))
    assert run.start() == 0
    assert run.kinds(1, "eval") == []


def test_a_finished_run_evaluates_nothing_twice(job, short, monkeypatch):
    run = job("run", short(**{"schedule.epochs": 1}))
    assert run.start() == 0
    numbers = run.merged()
    monkeypatch.setattr(Assessment, "_measure", None)
    monkeypatch.setattr(Training, "train_step", None)
    assert run.start() == 0
    assert run.kinds(2, "eval", "epoch", "log") == []
    assert run.records(2)[-1]["kind"] == "end"
    assert run.records(2)[0]["from_step"] == 3
    assert run.merged() == numbers


def test_a_run_from_its_start_makes_its_evaluations_again(job, short):
    run = job("run", short(**{"schedule.epochs": 1}))
    assert run.start() == 0
    shutil.rmtree(run.dir.checkpoints)
    assert run.start() == 0
    assert run.records(2)[0]["from_step"] == 0
    assert len(run.kinds(2, "eval")) == len(run.kinds(1, "eval")) == 2


def test_equal_networks_are_measured_once_and_recorded_twice(job, short, monkeypatch):
    calls = []
    real = Assessment._measure

    def measure(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(Assessment, "_measure", measure)
    run = job("run", short(**{"schedule.epochs": 1}))
    assert run.start() == 0
    best, final = run.kinds(1, "eval")
    assert len(calls) == 1
    assert best["weights"] == final["weights"]
    assert (best["clean"], best["robust"]) == (final["clean"], final["robust"])
    assert best["file"] == final["file"]


def test_a_run_that_asks_for_autoattack_measures_pgd_at_its_end(job, short):
    run = job("run", short(**{"eval.attack": "aa", "schedule.epochs": 1}))
    assert run.start() == 0
    assert [r["attack"] for r in run.kinds(1, "eval")] == ["pgd", "pgd"]
    assert run.records(1)[-1]["kind"] == "end"


# ------------------------------------------------------------- other images


def write_folder(root, classes=3):
    draw = torch.Generator().manual_seed(0)
    for split, n in (("train", 8), ("test", 2)):
        for label in range(classes):
            folder = root / split / f"c{label}"
            folder.mkdir(parents=True)
            for i in range(n):
                shape = (32, 32, 3)
                pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return root


def test_an_image_folder_trains_and_is_cached_in_its_home(job, tmp_path):
    folder = write_folder(tmp_path / "images")
    config = recipe("pgd-at", ["rpat"], dataset="image-folder", model="resnet8", epochs=2)
    config = config.override(
        {
            "data.dir": str(folder),
            "optim.batch_size": 8,
            "attack.steps": 1,
            "eval.selection_steps": 1,
            "eval.steps": 1,
            "device": "cpu",
        }
    )
    first = job("home/runs/r0001", config)
    assert first.start() == 0
    fetched = [r for r in first.kinds(1, "notice") if r["what"] == "fetch"]
    assert any("decoding image-folder" in record["text"] for record in fetched)
    assert (tmp_path / "home" / "cache").is_dir()
    shutil.copytree(folder, tmp_path / "copy")
    second = job("home/runs/r0002", config)
    assert second.start() == 0
    assert not [r for r in second.kinds(1, "notice") if r["what"] == "fetch"]
    assert second.merged() == first.merged()
    other_place = job("home/runs/r0003", config.override({"data.dir": str(tmp_path / "copy")}))
    assert other_place.start() == 0
    assert other_place.merged() == first.merged()


class Frozen(nn.Module):
    """Right about every second image, whatever the attack does."""

    def forward(self, x):
        right = nn.functional.one_hot(torch.arange(len(x)) % 2, 2)
        return right.to(x.dtype) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_judging_counts_each_image_once_whatever_the_batches(short):
    images = Images(
        torch.zeros(10, 3, 4, 4, dtype=torch.uint8), torch.zeros(10).long(), torch.arange(10)
    )
    config = short()
    for batch_size in (2, 4, 10, 100):
        judged = evaluate.judge(
            Frozen(), images, config.threat, evaluate.attack_of(config.eval, 1),
            batch_size=batch_size, seed=0, position=0,
        )  # fmt: skip
        assert judged.metrics("test")["test/clean_acc"] == 50.0
