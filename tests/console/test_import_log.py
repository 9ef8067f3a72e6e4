"""Text logs of other code bases become runs that stand in the same tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rpat.errors import ConfigError
from rpat.rundir import RunDir, read_json
from rpat_tui import textlogs
from rpat_tui.home import Home
from rpat_tui.launch import imported
from rpat_tui.launch.rebuild import rebuild
from rpat_tui.store import queries
from tests.console.conftest import Rpat

BRACKETED = """\
[2024-05-01 12:00:00.000001] Namespace(RA=True, RA_ip_rate=0.5, T=0.5, alpha=0.00784313725490196, \
batch_size=128, beta=6.0, consistency=False, dataset='cifar100', distance='Linf', epochs=3, \
epsilon=0.03137254901960784, lam=2.0, lr_init=0.1, mode='adv_trades_ra', model='resnet18', \
n_iters=10, seed=4, where=<object at 1>, weight_decay=0.0005)
[2024-05-01 12:00:01.000001] ResNet(
  (conv1): Conv2d(3, 64, kernel_size=(3, 3))
)
Epoch 1 (logs/0501_1200_adv_trades_ra)
[2024-05-01 12:00:02.000001] [Epoch   1;   0] [Time 0.300] [Data 0.100] [LR 0.10000]
[LossC 4.605200] [LossAdv 0.100000]
[2024-05-01 12:01:02.000001] [Epoch   1;  50] [Time 0.300] [Data 0.100] [LR 0.10000]
[LossC 4.100000] [LossAdv 0.200000]
[2024-05-01 12:02:00.000001] [DONE] [Time 0.300] [Data 0.010] [LossC 3.900000] [LossAdv 0.300000]
[2024-05-01 12:03:00.000001]  * [Error@1 80.000] [AdvError@1 90.000]
[2024-05-01 12:03:00.000001]  * [Acc@1 20.000] [AdvAcc@1 10.000]
[2024-05-01 12:03:00.000001] [Epoch   1] [Adv_Test 90.00] [Best 90.00]
Epoch 2 (logs/0501_1200_adv_trades_ra)
[2024-05-01 12:05:00.000001] [DONE] [Time 0.300] [Data 0.010] [LossC 3.500000] [LossAdv 0.400000]
[2024-05-01 12:06:00.000001]  * [Acc@1 30.000] [AdvAcc@1 15.000]
a line that nobody knows
Epoch 3 (logs/0501_1200_adv_trades_ra)
[2024-05-01 12:09:00.000001]  * [Acc@1 31.000] [AdvAcc@1 14.000]
=> Loading checkpoint from 'logs/0501_1200_adv_trades_ra/best.model'
initial accuracy: 30.50%
robust accuracy after APGD-CE: 14.00% (total time 9.0 s)
robust accuracy: 13.25%
"""


def _row(prefix: str, epoch: int, clean: float, robust: float) -> str:
    head = f"[2023/05/01 1{epoch}:00:00] - "
    return (
        f"{head}[{prefix}] {epoch} \t 120.5 \t \t 10.2 \t \t 0.1000 \t 2.1000 \t 0.2500 \t 2.3000 "
        f"\t 0.2000 \t \t 1.6000 \t \t {clean:.4f} \t 2.0000 \t \t {robust:.4f}\n"
    )


TABULAR = (
    "[2023/05/01 09:00:00] - Namespace(batch_size=128, cutmix=False, epochs=3, epsilon=8, "
    "attack_iters=10, pgd_alpha=2, eval_online=False, lr_factor=1.5, lr_max=0.1, "
    "model='PreActResNet18', norm='l_inf', num_classes=10, seed=1, val=False)\n"
    "[2023/05/01 09:00:01] - Epoch \t Train Time \t Test Time \t LR \t \t Train Loss \t Train Acc\n"
    + _row("", 0, 0.41, 0.29)
    + _row("", 1, 0.55, 0.38)
    + _row("wa_", 1, 0.57, 0.40)
    + _row("wa_", 1, 0.91, 0.80)  # of the training images
    + _row("", 2, 0.56, 0.37)
    + _row("wa_", 2, 0.58, 0.41)
    + "[2023/05/02 01:00:00] - Mode \t clean \t PGD20 \t AA\n"
    "[2023/05/02 01:00:00] - [last wa] \t 0.5800 \t 0.4000 \t 0.3600 \n"
    "[2023/05/02 02:00:00] - [best wa] \t 0.5790 \t 0.4050 \t 0.3650 \n"
)

EPOCHWISE = """\
Files already downloaded and verified
Train Epoch: 1 [0/50000 (0%)]\tLoss: 2.302585
Train Epoch: 1 [25600/50000 (51%)]\tLoss: 2.100000
================================================================
Training: Average loss: 1.7512, Accuracy: 18000/50000 (36%)
Test: Average loss: 1.7010, Accuracy: 4000/10000 (40%)
================================================================
Train Epoch: 2 [0/50000 (0%)]\tLoss: 2.000000
Training: Average loss: 1.5000, Accuracy: 20000/50000 (40%)
Test: Average loss: 1.4000, Accuracy: 4500/10000 (45%)
pgd white-box attack
err pgd (white-box):  tensor(90., device='cuda:0')
natural_err_total:  tensor(1508., device='cuda:0')
robust_err_total:  tensor(4321., device='cuda:0')
"""

LOGS = {"bracketed": BRACKETED, "tabular": TABULAR, "epochwise": EPOCHWISE}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with a log of each layout."""
    for name, text in LOGS.items():
        (tmp_path / f"{name}.log").write_text(text)
    return tmp_path


# ----------------------------------------------------------------- what logs state


@pytest.mark.parametrize("layout", LOGS)
def test_a_layout_is_recognised_by_its_lines(layout: str) -> None:
    assert textlogs.read(LOGS[layout].splitlines()).layout == layout


def test_bracketed_words() -> None:
    found = textlogs.read(BRACKETED.splitlines(), "rpat")
    assert found.settings == {
        "method": "trades", "rpat": True, "rpat.lam": 2.0, "trades.beta": 6.0, "seed": 4,
        "schedule.epochs": 3, "optim.lr": 0.1, "optim.weight_decay": 0.0005,
        "optim.batch_size": 128, "threat.epsilon": 8 / 255, "attack.step_size": 2 / 255,
        "attack.steps": 10, "norm": "linf", "dataset": "cifar100", "model": "resnet18",
    }  # fmt: skip
    assert found.epochs[1] == {
        "lr": 0.1, "train/ce": 3.9, "train/kl": 0.3, "train/loss": pytest.approx(4.2),
        "test/clean_acc": 20.0, "test/pgd_acc": 10.0,
    }  # fmt: skip
    assert found.epochs[3] == {"test/clean_acc": 31.0, "test/pgd_acc": 14.0}
    assert found.losses == [(0, 0.0, pytest.approx(4.7052)), (0, 50.0, pytest.approx(4.3))]
    assert found.results == [
        textlogs.Result(attack="aa", clean=30.5, robust=13.25, checkpoint="best")
    ]
    assert found.unread == ["a line that nobody knows"]
    assert list(found.times) == [0, 1, 2, 3]


def test_columns_of_numbers() -> None:
    found = textlogs.read(TABULAR.splitlines(), "rebat")
    assert found.settings == {
        "seed": 1, "schedule.epochs": 3, "optim.lr": 0.1, "optim.batch_size": 128,
        "attack.steps": 10, "schedule.decay": 1.5, "threat.epsilon": 8 / 255,
        "attack.step_size": 2 / 255, "dataset": "cifar10", "norm": "linf",
        "model": "preactresnet18",
    }  # fmt: skip
    assert found.epochs[1]["test/clean_acc"] == pytest.approx(41)
    assert found.epochs[2]["test/pgd_acc"] == pytest.approx(38)
    assert found.epochs[2]["wa/test/pgd_acc"] == pytest.approx(40)  # not the training images'
    assert found.epochs[3]["time/epoch_s"] == 120.5
    assert "wa/lr" not in found.epochs[2]
    assert [(r.attack, r.checkpoint, r.network, r.robust) for r in found.results] == [
        ("pgd", "final", "wa", pytest.approx(40)), ("aa", "final", "wa", pytest.approx(36)),
        ("pgd", "best", "wa", pytest.approx(40.5)), ("aa", "best", "wa", pytest.approx(36.5)),
    ]  # fmt: skip
    assert not found.unread


def test_columns_without_a_bracket_and_with_held_out_images() -> None:
    plain = TABULAR.replace("[] ", "").replace("val=False", "val=True")
    found = textlogs.read(plain.splitlines(), "rebat")
    assert found.epochs[1]["val/pgd_acc"] == pytest.approx(29)
    assert "test/pgd_acc" not in found.epochs[1]


def test_a_resumed_log_counts_by_its_last_rows() -> None:
    found = textlogs.read((TABULAR + _row("", 2, 0.6, 0.5)).splitlines(), "rebat")
    assert found.epochs[3]["test/clean_acc"] == pytest.approx(60)


def test_sentences() -> None:
    found = textlogs.read(EPOCHWISE.splitlines(), "trades")
    assert found.epochs == {
        1: {"train/clean_acc": 36.0, "train/clean_loss": 1.7512, "test/clean_acc": 40.0,
            "test/clean_loss": 1.701},
        2: {"train/clean_acc": 40.0, "train/clean_loss": 1.5, "test/clean_acc": 45.0,
            "test/clean_loss": 1.4},
    }  # fmt: skip
    assert found.losses == [(0, 0.0, 2.302585), (0, 0.512, 2.1), (1, 0.0, 2.0)]
    assert found.results == [
        textlogs.Result(
            attack="pgd", steps=20, clean=pytest.approx(84.92), robust=pytest.approx(56.79)
        )
    ]
    assert not found.unread


# ----------------------------------------------------------------- runs made of them


def test_a_log_becomes_a_done_run_with_its_curves(
    home: Home, db: sqlite3.Connection, logs: Path, rpat: Rpat
) -> None:
    said = rpat("import-log", str(logs / "bracketed.log"), "--name", "old", "--tag", "paper")
    assert said.code == 0
    assert said.out == "r0001 3 epochs and 1 final results from bracketed.log\n"
    assert "1 lines were not understood, the first: a line that nobody knows" in said.err
    (row,) = queries.runs(db)
    assert (row["state"], row["method"], row["rpat"], row["lam"]) == ("done", "trades", True, 2.0)
    assert (row["dataset"], row["seed"], row["epoch"], row["epochs"]) == ("cifar100", 4, 3, 3)
    assert row["imported"] == "log:bracketed.log"
    assert row["ended"] - row["started"] == pytest.approx(540)  # the log's own times
    points = {(p["name"], p["epoch"]): p["value"] for p in queries.metrics(db, 1)}
    assert points["test/pgd_acc", 2] == 15.0
    origin = read_json(RunDir(home.runs / "r0001").provenance)
    assert len(origin["imported"]["sha256"]) == 64
    assert read_json(RunDir(home.runs / "r0001").meta)["imported"] == "log:bracketed.log"
    assert "sha256" in rpat("show", "r1", "--provenance").out
    assert "(imported)" in rpat("list").out
    assert "imported from bracketed.log" in rpat("show", "r1").out
    assert "imported from bracketed.log (a person)" in rpat("explain", "r1").out
    assert "begins at step 0 on another code" in rpat("logs", "r1").out


def test_it_stands_in_the_table_with_a_mark(home: Home, logs: Path, rpat: Rpat) -> None:
    said = rpat("import-log", str(logs / "tabular.log"), "--method", "rebat", "--from", "rebat")
    assert (said.code, said.err) == (0, "")
    best, final = rpat("table", "--checkpoint", "", "--json").json
    assert (best["method"], best["dataset"], best["model"]) == (
        "rebat", "cifar10", "preactresnet18",
    )  # fmt: skip
    assert [best[key]["mean"] for key in ("clean", "pgd20", "aa")] == [57.9, 40.5, 36.5]
    assert [final[key]["mean"] for key in ("clean", "pgd20", "aa")] == [58.0, 40.0, 36.0]
    assert "imported" in best["marks"]
    assert "imported" in rpat("table").out


def test_seeds_of_imported_runs_are_pooled(home: Home, logs: Path, rpat: Rpat) -> None:
    for seed in ("1", "2"):
        rpat("import-log", str(logs / "tabular.log"), "--method", "rebat", "--seed", seed)
    (row,) = rpat("table", "--json").json
    assert row["n"] == 2


def test_a_log_that_states_little_says_what_was_assumed(
    home: Home, db: sqlite3.Connection, logs: Path, rpat: Rpat
) -> None:
    words = ("import-log", str(logs / "epochwise.log"), "--dataset", "cifar10")
    refused = rpat(*words)
    assert refused.code == 2
    assert "name it with --method" in refused.err
    assert not queries.runs(db)
    said = rpat(*words, "--method", "trades", "--set", "threat.epsilon=0.031")
    assert "not in the log, taken from the recipe: model, norm, attack.step_size" in said.err
    (found,) = queries.evaluations(db, 1)
    assert (found["epsilon"], found["robust"]) == (0.031, pytest.approx(56.79))
    assert found["note"] == "which weights (best) is not in the log"
    (row,) = rpat("table", "--json").json
    assert row["pgd20"]["mean"] == pytest.approx(56.79)


def test_options_win_over_the_log(home: Home, db: sqlite3.Connection, logs: Path) -> None:
    ask = imported.Ask(seed=9, dataset="cifar10", method="mart", changes={"optim.lr": "0.05"})
    config = imported.plan(logs / "bracketed.log", ask).config
    assert (config.seed, config.data.name, config.method.NAME) == (9, "cifar10", "mart")
    assert config.optim.lr == 0.05
    assert config.eval.attack == "none"  # nothing is evaluated by itself: there are no weights


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("hello\nworld\n", (), "expected lines such as"),
        ("", (), "nothing in it is known"),
        (BRACKETED, ("--from", "trades"), "Train Epoch"),
        (BRACKETED, ("--from", "robustbench"), "--from"),
        (BRACKETED, ("--evaluated", "last"), "--evaluated"),
        (BRACKETED, ("--method", "tradess"), "--method"),
        (BRACKETED, ("--model", "vgg"), "--model"),
        (TABULAR.replace("num_classes=10, ", ""), ("--method", "rebat"), "--dataset"),
        (BRACKETED.replace("seed=4", "seed=-4"), (), "seed"),
    ],
    ids=range(9),
)
def test_a_wrong_request_makes_nothing(
    home: Home,
    db: sqlite3.Connection,
    tmp_path: Path,
    rpat: Rpat,
    text: str,
    words: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "x.log").write_text(text)
    answer = rpat("import-log", str(tmp_path / "x.log"), *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert not list(home.runs.iterdir())


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        imported.plan(tmp_path / "none", imported.Ask())


def test_reindex_keeps_imported_runs(home: Home, logs: Path, rpat: Rpat) -> None:
    rpat("import-log", str(logs / "tabular.log"), "--method", "rebat")
    before = rpat("table", "--json").out, rpat("list", "--json").json[0]["imported"]
    for file in home.path.glob("rpat.db*"):
        file.unlink()
    assert rebuild(home) == (1, [])
    assert (rpat("table", "--json").out, rpat("list", "--json").json[0]["imported"]) == before
    assert rpat("list", "--json").json[0]["state"] == "done"


def test_an_imported_run_stands_for_no_run_whose_weights_are_needed(
    home: Home, db: sqlite3.Connection, logs: Path, rpat: Rpat
) -> None:
    rpat("import-log", str(logs / "tabular.log"), "--method", "rebat")
    fingerprint = queries.runs(db)[0]["fingerprint"]
    assert queries.usable(db, [fingerprint]) == set()
    assert queries.twins(db, [fingerprint]) == {}
    assert queries.by_fingerprint(db, [fingerprint]) == {}
    assert queries.due(db) == []
    assert rpat("rerun", "r1", "--code", "frozen").code == 2


def test_an_import_that_breaks_off_leaves_nothing(
    home: Home, db: sqlite3.Connection, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imported, "_write", broken)
    plan = imported.plan(logs / "bracketed.log", imported.Ask())
    with pytest.raises(OSError, match="No space"):
        imported.adopt(home, db, plan, imported.Ask())
    assert not list(home.runs.iterdir())
    assert not queries.runs(db)
