"""Presets of one's own: kept, listed, used with changes, forgotten; and files that are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpat_tui import presets
from rpat_tui.draft import Draft, keep, resolve, with_own
from rpat_tui.home import Home
from tests.console.conftest import Rpat, refused

MART = ("run", "--method", "mart", "--rpat", "--lam", "2", "--dataset", "digits")


def test_what_was_kept_comes_out_again(home: Home, rpat: Rpat) -> None:
    more = ("--seeds", "0-1", "--set", "attack.steps=2", "--lr", "0.1", "--tag", "a b")
    said = rpat(*MART, *more, "--save-preset", "my/mart")
    assert said.out == "my/mart is kept: rpat run --preset my/mart\n"
    plain = rpat(*MART, *more, "--dry-run", "--json")
    assert rpat("run", "--preset", "my/mart", "--dry-run", "--json").out == plain.out
    shown = rpat("presets", "my/mart").out
    assert "--set attack.steps=2" in shown
    assert rpat("presets").out.splitlines()[1].startswith("my/mart")
    mine = rpat("presets", "--json").json[0]
    assert (mine["name"], mine["own"], mine["method"]) == ("my/mart", True, "mart")
    assert not rpat("list").out.count("r0001")


def test_options_are_stronger_than_the_preset(home: Home, rpat: Rpat) -> None:
    rpat(*MART, "--seeds", "0-1", "--save-preset", "mine")
    made = rpat("run", "--preset", "mine", "--lam", "3", "--seed", "7", "--dry-run", "--json").json
    (only,) = made
    assert only["config"]["rpat"]["lam"] == 3
    assert only["config"]["seed"] == 7


def test_a_preset_is_replaced_and_forgotten(home: Home, rpat: Rpat) -> None:
    rpat(*MART, "--save-preset", "mine")
    assert "replaced" in rpat(*MART, "--epochs", "3", "--save-preset", "mine").out
    assert presets.own()["mine"].texts["epochs"] == "3"
    assert rpat("presets", "mine", "--delete").out == "mine is forgotten\n"
    assert presets.own() == {}
    refused(rpat("presets", "mine", "--delete"), "'mine'", "none of your own")
    refused(rpat("run", "--preset", "mine", "--dry-run"), "'mine' is not known")


def test_a_run_is_compiled_where_an_option_or_a_preset_says_so(home: Home, rpat: Rpat) -> None:
    assert not rpat(*MART, "--dry-run", "--json").json[0]["config"]["compiled"]
    assert rpat(*MART, "--compiled", "--dry-run", "--json").json[0]["config"]["compiled"]
    rpat(*MART, "--compiled", "--save-preset", "quick")
    for words in ((), ("--mode", "fast")):
        made = rpat("run", "--preset", "quick", *words, "--dry-run", "--json").json
        assert made[0]["config"]["compiled"]
    plain = rpat("run", "--preset", "quick", "--set", "compiled=off", "--dry-run", "--json").json
    assert not plain[0]["config"]["compiled"]


def test_the_authors_passes_are_never_compiled(nowhere: Path, rpat: Rpat) -> None:
    refused(rpat(*MART, "--compiled", "--mode", "reference"), "compiled is on", "--mode exact")
    refused(rpat(*MART, "--set", "compiled=2"), "compiled is '2'", "true or false")
    assert not nowhere.exists()


@pytest.mark.parametrize("name", ["", "paper/mart", "a b", "../x" + "y" * 70, "-x", "a\nb"])
def test_names_that_cannot_be_are_refused(home: Home, name: str) -> None:
    with pytest.raises(Exception, match="preset"):
        keep(name, Draft({"method": "mart"}))
    assert not presets.file().exists()


def test_a_wrong_request_is_not_kept(home: Home, rpat: Rpat) -> None:
    refused(rpat("run", "--method", "mart", "--epsilon", "8", "--save-preset", "x"), "8/255")
    assert not presets.file().exists()


@pytest.mark.parametrize("text", ["a = 1", "[a]\nmethod = 3", "[a]\non = 3", "[a", "\x00"])
def test_a_broken_file_is_named(home: Home, rpat: Rpat, text: str) -> None:
    place = presets.file()
    place.parent.mkdir(parents=True)
    place.write_text(text)
    refused(rpat("presets"), str(place))
    refused(rpat("run", "--preset", "a", "--dry-run"), str(place))
    assert resolve(Draft({"preset": "a"}), home).errors


def test_any_text_survives(home: Home, tmp_path: Path) -> None:
    note = 'quotes " and \\ and é ▲ and \x7f and\ttabs'
    keep("odd", Draft({"method": "mart", "note": note, "set": "a=1\nb=2"}, frozenset({"rpat"})))
    assert presets.own()["odd"].texts == {"method": "mart", "note": note, "set": "a=1\nb=2"}


def test_the_form_shows_what_a_preset_brings(home: Home) -> None:
    keep("mine", Draft({"method": "mart", "dataset": "digits", "lam": "2"}, frozenset({"rpat"})))
    found = resolve(Draft({"preset": "mine", "seeds": "0-2"}), home)
    assert not found.errors
    assert len(found.configs) == 3
    assert found.defaults["lam"] == "2"
    assert "rpat" in found.given
    assert "--preset mine --seeds 0-2" in found.command
    assert with_own(Draft({"preset": "paper/mart"})).texts == {"preset": "paper/mart"}
