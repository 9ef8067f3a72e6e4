"""Settings: where a value comes from, and how one is written without harm to the file."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rpat.errors import ConfigError
from rpat_tui import settings
from rpat_tui.settings import SETTINGS, flat, write
from tests.console.conftest import Rpat


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for s in SETTINGS:
        monkeypatch.delenv(s.env, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The user's settings."""
    return tmp_path / "config" / "rpat" / "config.toml"


def test_each_source_outweighs_the_one_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def now() -> tuple[object, str]:
        value = settings.settings()["tui.theme"]
        return value.value, value.origin

    assert now() == ("dark", "default")
    write(file, "tui.theme", "light")
    assert now() == ("light", str(file))
    write(Path("rpat.toml"), "tui.theme", "mono")
    assert now() == ("mono", "rpat.toml")
    monkeypatch.setenv("RPAT_THEME", "colour-blind")
    assert now() == ("colour-blind", "RPAT_THEME")
    found = settings.settings(**{"tui.theme": "high-contrast"})["tui.theme"]
    assert (found.value, found.origin) == ("high-contrast", "command line")


def test_every_setting_of_the_window_has_a_variable_and_is_read_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = {"tui.theme": "light", "tui.charts": "block", "tui.colors": "256", "tui.mouse": "off",
            "tui.frames": "20", "tui.poll": "2.5", "keys.map": "emacs"}  # fmt: skip
    tui = [s for s in SETTINGS if s.name.startswith(("tui.", "keys."))]
    assert {s.name for s in tui} == set(good)
    for s in tui:
        monkeypatch.setenv(s.env, good[s.name])
    found = settings.settings()
    assert {name: str(found[name].value) for name in good} == good
    assert {found[s.name].origin for s in tui} == {s.env for s in tui}


def test_a_setting_of_the_cluster_is_written_into_its_table(file: Path) -> None:
    write(file, "launcher.slurm.partition", "low")
    write(file, "launcher.default", "slurm")
    write(file, "launcher.slurm.cpus", "8")
    found = settings.settings()
    assert [found[f"launcher.{n}"].value for n in ("default", "slurm.partition", "slurm.cpus")] == [
        "slurm", "low", 8,
    ]  # fmt: skip
    write(file, "launcher.slurm.partition", None)
    assert settings.settings()["launcher.slurm.partition"].origin == "default"


@pytest.mark.parametrize(
    ("name", "value"),
    [("launcher.default", "pbs"), ("tui.charts", "dots"),
     ("tui.colors", "8"), ("tui.mouse", "maybe"), ("tui.frames", "0"),
     ("tui.frames", "61"), ("tui.poll", "0"), ("keys.map", "nano"), ("retries", "x")],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_origin_and_the_remedy(
    file: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=rf"setting {name} is '{value}' .*; write "):
        write(file, name, value)
    assert not file.exists()
    s = settings.setting(name)
    monkeypatch.setenv(s.env, value)
    with pytest.raises(ConfigError, match=s.env):
        settings.settings()


FILES = (
    "",
    "# mine\nretries = 2 # twice\n",
    "[tui]\nmouse = 'off'\n\n[keys.runs]\nstop = 'x'\n",
    "tui.mouse = 'off'\n[keys]\nmap = 'emacs'\n",
    "retries = 1\n\n# about keys\n[keys.list]\ndown = ['j',\n  'down']\n[tui] # how it looks\n",
)


@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize(
    ("name", "value"),
    [("retries", "7"), ("tui.theme", "li\"g'ht λ"), ("keys.map", "default"), ("data_dir", "/b/#c")],
)
def test_writing_a_setting_changes_that_and_no_other_line(
    tmp_path: Path, text: str, name: str, value: str
) -> None:
    file = tmp_path / "some.toml"
    file.write_text(text, "utf-8")
    before = flat(tomllib.loads(text), file)
    lines = [line for line in text.splitlines() if line.strip()]
    if text.startswith("tui.mouse") and name == "tui.theme":
        with pytest.raises(ConfigError, match="edit it by hand"):  # no TOML has both forms
            write(file, name, value)
        assert file.read_text("utf-8") == text
        return
    write(file, name, value)
    written = file.read_text("utf-8")
    after = flat(tomllib.loads(written), file)
    assert str(after.pop(name)) == value
    before.pop(name, None)
    assert after == before
    there = written.splitlines()
    kept = [line for line in lines if line in there]
    assert len(kept) >= len(lines) - 1
    assert [line for line in there if line in kept] == kept  # in their order
    write(file, name, None)
    assert flat(tomllib.loads(file.read_text("utf-8")), file) == before


@hypothesis_settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["retries", "tui.theme", "keys.map", "data_dir"]),
                          st.one_of(st.none(), st.sampled_from(["1", "emacs", "a \"b\" 'c'"]))),
                max_size=8))  # fmt: skip
def test_whatever_is_written_in_any_order_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str | None]]
) -> None:
    file = tmp_path_factory.mktemp("written") / "c.toml"
    wanted: dict[str, str] = {}
    for name, value in steps:
        fits = {"retries": "1", "keys.map": "emacs"}.get(name, value)
        text = None if value is None else fits
        write(file, name, text)
        wanted.pop(name, None)
        if text is not None:
            wanted[name] = text
        found = flat(settings.read_toml(file), file)
        assert {k: str(v) for k, v in found.items()} == wanted


def test_a_linked_file_stays_a_link_and_a_folder_in_its_place_is_said(
    tmp_path: Path, file: Path
) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("retries = 1\n", "utf-8")
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    write(file, "retries", "2")
    assert file.is_symlink()
    assert real.read_text("utf-8") == "retries = 2\n"
    with pytest.raises(ConfigError, match="cannot be read"):
        write(real / "below" / "c.toml", "retries", "3")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        write(tmp_path / "folder.toml", "retries", "3")


# ----------------------------------------------------------------- rpat config


def test_config_changes_a_setting_and_shows_where_it_comes_from(
    rpat: Rpat, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rpat("config", "tui.theme", "light").code == 0
    (found,) = rpat("config", "tui.theme", "--json").json
    assert found == {"name": "tui.theme", "value": "light", "origin": str(file)}
    assert "high-contrast" in rpat("config", "tui.theme").out
    rpat("config", "tui.theme", "mono", "--project")
    assert Path("rpat.toml").read_text("utf-8") == '[tui]\ntheme = "mono"\n'
    assert "outweighs" in rpat("config", "tui.theme", "dark").out
    monkeypatch.setenv("RPAT_THEME", "light")
    assert "RPAT_THEME" in rpat("config", "tui.theme", "dark").out
    monkeypatch.delenv("RPAT_THEME")
    rpat("config", "tui.theme", "--unset", "--project")
    assert rpat("config", "tui.theme", "--json").json[0]["value"] == "dark"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tui.thme", "light"), "did you mean 'tui.theme'"),
        (("tui.theme", "ligt"), "did you mean 'light'"),
        (("tui.theme", "light", "--unset"), "--unset"),
        (("--unset",), "name the setting"),
        (("--project",), "--project"),
        (("cpu_slots", "two"), "write a number"),
    ],
)
def test_config_refuses_in_one_line_and_writes_nothing(
    rpat: Rpat, file: Path, words: tuple[str, ...], said: str
) -> None:
    done = rpat("config", *words)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not file.exists()


def test_config_lists_remapped_keys_and_judges_them(rpat: Rpat, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text('[keys.runs]\nstop = ["x", "ctrl+x"]\n', "utf-8")
    found = {v["name"]: v["value"] for v in rpat("config", "--json").json}
    assert found["keys.runs.stop"] == "x, ctrl+x"
    assert found["keys.map"] == "default"
    file.write_text('[keys.runs]\nstop = "X"\n', "utf-8")
    assert "keys.runs.kill" in rpat("config").err


def test_a_theme_that_is_missing_stops_no_other_command(rpat: Rpat, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text('[tui]\ntheme = "gone"\n[keys.runs]\nstop = "X"\n', "utf-8")
    assert rpat("list").code == 0
    done = rpat("tui")
    assert done.code == 2
    assert "tui.theme" in done.err
    assert "'gone'" in done.err


def test_settings_and_themes_import_nothing_heavy() -> None:
    code = (
        "import sys; from rpat_tui import settings, themes;"
        "settings.settings(); themes.load('dark');"
        "print(sorted({'textual', 'rich', 'numpy', 'torch', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
