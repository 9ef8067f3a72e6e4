"""What a form holds and what `rpat run` makes of the command beside it are the same."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat.config import RunConfig
from rpat.recipes import presets, recipe
from rpat_tui.cli import main
from rpat_tui.draft import FIELDS, GROUPS, SWITCHES, Draft, decimal, differences, like, resolve
from rpat_tui.home import Home
from rpat_tui.launch import enqueue
from rpat_tui.store import db as database
from tests.console.conftest import Rpat, home, nowhere, rpat  # noqa: F401  fixtures

DIGITS = {"dataset": "digits"}
CASES: dict[str, Draft] = {
    "a preset": Draft({"preset": "digits/mart+rpat"}),
    "a preset, changed": Draft({"preset": "digits/mart+rpat", "lam": "0.5, 1", "seeds": "0-2"}),
    "another method than the preset's": Draft({"preset": "digits/trades+rpat", "method": "mart"}),
    "a grid": Draft(
        {**DIGITS, "method": "pgd-at, trades", "norm": "linf,l2", "epsilon": "8/255,0.1"}
    ),
    "wrappers": Draft({**DIGITS, "method": "pgd-at"}, frozenset({"rpat", "wa", "awp"})),
    "a published name": Draft({**DIGITS, "method": "kd+swa"}),
    "a list of names that stack": Draft({**DIGITS, "method": "wa,adr,pgd-at"}),
    "prerequisites": Draft({**DIGITS, "method": "trades", "seeds": "3"}, frozenset({"cure"})),
    "every number": Draft(
        {
            **DIGITS, "method": "pgd-at", "lam": "1/3", "alpha": "beta-", "form": "eq3",
            "val_split": "100", "model": "resnet18", "epsilon": "4/255", "steps": "7",
            "step_size": "1/255", "epochs": "9", "batch_size": "64", "lr": "1/30", "eval": "none",
            "seeds": "1,4-5", "device": "cpu", "set": "optim.momentum=0.8\n\n# no\nattack.bn=train",
        },
        frozenset({"rpat"}),
    ),
    "cutmix": Draft({**DIGITS, "method": "rebat", "seeds": "0"}, frozenset({"cutmix"})),
    "words for people": Draft(
        {
            **DIGITS, "method": "pgd-at", "tags": "table 2, it's", "name": "-odd", "note": "a; $c",
            "priority": "-3", "retries": "2",
        },
    ),
    "downloads": Draft({"method": "pgd-at", "dataset": "cifar10,cifar100"}),
}  # fmt: skip


def fingerprints(configs: tuple[RunConfig, ...]) -> list[str]:
    return [config.fingerprint() for config in configs]


@pytest.mark.parametrize("case", CASES)
def test_the_command_of_a_draft_makes_the_same_configs(
    case: str, nowhere: Path, rpat: Rpat  # noqa: F811
) -> None:  # fmt: skip
    resolved = resolve(CASES[case], Home(nowhere))
    assert resolved.errors == {}
    said = rpat(*shlex.split(resolved.command)[1:], "--dry-run", "--json")
    assert said.code == 0, said.err
    assert [entry["config"] for entry in said.json] == [c.to_dict() for c in resolved.configs]
    assert [entry["fingerprint"] for entry in said.json] == fingerprints(resolved.configs)


@pytest.mark.parametrize("case", CASES)
def test_the_command_of_a_draft_has_the_same_wishes(
    case: str, home: Home, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    asked: dict[str, Any] = {}

    def start(home: Home, db: Any, configs: Any, wish: Any, command: str, **more: Any) -> Any:
        asked.update(configs=configs, wish=wish, **more)
        return enqueue.Queued(numbers=(), made=(), remarks=())

    monkeypatch.setattr(enqueue, "start", start)
    with database.opened(home):
        pass
    draft = CASES[case]
    draft = Draft({**draft.texts, "after": "r0001, odd"}, draft.on | {"reuse"})
    resolved = resolve(draft, home)
    monkeypatch.setattr(sys, "argv", [*shlex.split(resolved.command), "--detach"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert fingerprints(tuple(asked["configs"])) == fingerprints(resolved.configs)
    assert asked["wish"] == resolved.wish
    assert tuple(asked["after"]) == resolved.after == ("r0001", "odd")
    assert asked["reuse"]


@pytest.mark.parametrize("name", presets())
def test_a_run_of_every_preset_can_be_cloned(name: str, nowhere: Path) -> None:  # noqa: F811
    made = resolve(Draft({"preset": name, "seeds": "4"}), Home(nowhere))
    if "" in made.errors or "dataset" in made.errors:
        pytest.skip(str(made.errors))
    config = made.configs[-1]
    again = resolve(like(config, Home(nowhere)), Home(nowhere))
    assert again.errors == {}
    assert again.configs[-1] == config


@given(
    method=st.sampled_from(["pgd-at", "trades", "mart", "mma", "te"]),
    stack=st.sets(st.sampled_from(["rpat", "awp", "swa"])),
    norm=st.sampled_from(["linf", "l2"]),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "threat.epsilon": st.floats(0, 1),
            "attack.step_size": st.floats(0, 1),
            "attack.steps": st.integers(0, 50),
            "schedule.epochs": st.integers(1, 300),
            "schedule.milestones": st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
            "optim.lr": st.floats(1e-9, 10),
            "optim.weight_decay": st.floats(0, 1),
            "data.padding": st.integers(0, 32),
            "attack.closing_forward": st.booleans(),
            "seed": st.integers(0, 2**31 - 1),
            "keep_every": st.integers(0, 3),
        },
    ),
)
def test_whatever_ran_can_be_cloned_exactly(
    method: str, stack: set[str], norm: str, changes: dict[str, Any]
) -> None:
    place = Home(Path("/nowhere"))
    config = recipe(method, stack, dataset="digits", norm=norm).override(changes)
    again = resolve(like(config, place), place)
    assert again.errors == {}
    assert again.configs == (config,)


WRONG = {
    "a preset": ({"preset": "paper/martt"}, "preset", "did you mean"),
    "a method": ({"method": "pgd-at,trade"}, "method", "'trades'"),
    "no method": ({}, "method", "name a method"),
    "a radius in bytes": ({"method": "mart", "epsilon": "8/255,8"}, "epsilon", "write 8/255"),
    "a word for a number": ({"method": "mart", "lr": "fast"}, "lr", "a fraction"),
    "too low a number": ({"method": "mart", "batch_size": "1"}, "batch_size", "at least 2"),
    "half an epoch": ({"method": "mart", "epochs": "0.5"}, "epochs", "whole number"),
    "seeds backwards": ({"method": "mart", "seeds": "2-0"}, "seeds", "backwards"),
    "a knob of RPAT alone": ({"method": "mart", "lam": "1"}, "lam", "--rpat"),
    "a key that is not": ({"method": "mart", "set": "optim.lrr=1"}, "set", "did you mean 'lr'"),
    "a line without a value": ({"method": "mart", "set": "lr"}, "set", "write key=value"),
    "a folder without images": (
        {"method": "mart", "dataset": "cifar10", "data_dir": "/none"},
        "data_dir",
        "/none",
    ),
    "images nobody has": ({"method": "mart", "dataset": "image-folder"}, "dataset", "--data-dir"),
    "a device": ({"method": "mart", "device": "tpu"}, "device", "cuda:N"),
    "an evaluation": ({"method": "mart", "eval": "pdg"}, "eval", "did you mean 'pgd'"),
    "steps of noise": ({"method": "random", "steps": "3"}, "steps", "PGD-AT"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_stands_at_its_field(case: str, nowhere: Path) -> None:  # noqa: F811
    texts, name, words = WRONG[case]
    resolved = resolve(Draft({"dataset": "digits", **texts}), Home(nowhere))
    assert list(resolved.errors) == [name]
    assert words in resolved.errors[name]
    assert resolved.configs == ()


def test_what_makes_no_sense_together_is_said_of_the_whole(nowhere: Path) -> None:  # noqa: F811
    draft = Draft({"dataset": "digits", "method": "clean"}, frozenset({"rpat"}))
    assert "no adversarial image" in resolve(draft, Home(nowhere)).errors[""]
    twice = Draft({"dataset": "digits", "method": "mart,mart"})
    assert "twice" in resolve(twice, Home(nowhere)).errors[""]


def test_empty_fields_stand_for_the_recipes_values(nowhere: Path) -> None:  # noqa: F811
    found = resolve(Draft({"preset": "paper/wa+rpat"}), Home(nowhere)).defaults
    assert found["epochs"] == "200"
    assert found["epsilon"] == "8/255"
    assert found["method"] == "wa"
    assert found["model"] == "preactresnet18"
    assert set(found) <= set(FIELDS)


def test_what_the_preset_stacks_is_given(nowhere: Path) -> None:  # noqa: F811
    resolved = resolve(Draft({"preset": "digits/wa+rpat"}), Home(nowhere))
    assert resolved.given == {"rpat", "wa", "clean-pass"}


def test_differences_name_old_and_new_values(nowhere: Path) -> None:  # noqa: F811
    draft = Draft({"preset": "digits/mart+rpat", "lam": "0.5,1", "seeds": "0-1"})
    resolved = resolve(draft, Home(nowhere))
    assert differences(resolved, draft) == [("rpat.lam", "1", "0.5, 1"), ("seed", "0", "0, 1")]


def test_a_home_of_its_own_is_part_of_the_command(nowhere: Path) -> None:  # noqa: F811
    draft = Draft({"preset": "digits/mart"})
    assert resolve(draft, Home(nowhere)).command == "rpat run --preset digits/mart"
    assert resolve(draft, Home(Path("/a b"))).command.endswith("--home '/a b'")


def test_a_fraction_shows_its_decimals() -> None:
    assert decimal("8/255") == "= 0.03137"
    assert decimal("0.1") == decimal("8/x") == ""


def test_every_switch_of_the_form_is_explained() -> None:
    shown = {name for group in GROUPS for name in group.switches}
    assert shown == set(SWITCHES)
