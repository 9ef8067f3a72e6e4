"""Which key does what: built-in maps without clashes, and settings that are refused or obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Input

from rpat.errors import ConfigError
from rpat_tui.acts import ACTS
from rpat_tui.app import RpatApp
from rpat_tui.home import Home
from rpat_tui.replay import Replay
from rpat_tui.screens import keymap
from rpat_tui.screens.detail import Detail
from rpat_tui.screens.keys import key_rows
from rpat_tui.screens.modes import MODES
from rpat_tui.screens.runs import RunsScreen
from rpat_tui.settings import KEY_MAPS
from tests.tui.driving import driven, press, rest, seen, table, until

EVERY = list(keymap.PLACES)


@pytest.fixture(autouse=True)
def _alone(nothing_starts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("RPAT_KEYS", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The user's settings."""
    path = tmp_path / "config" / "rpat" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


# ----------------------------------------------------------------- the maps that come with it


@pytest.mark.parametrize("name", keymap.MAPS)
def test_no_key_of_a_built_in_map_is_bound_twice_in_one_context(name: str) -> None:
    found = [(a.id, b.id, key) for a, b, key in keymap.clashes(keymap.MAPS[name])]
    assert found == []


@pytest.mark.parametrize("name", keymap.MAPS)
def test_a_built_in_map_names_actions_and_keys_that_exist(name: str) -> None:
    known = {b.id for place in EVERY for b in keymap.bound(place) if b.name}
    assert set(keymap.MAPS[name]) <= known
    for keys in keymap.MAPS[name].values():
        for key in keys.split(","):
            assert key == keymap.normal(key)
            assert keymap.is_key(key)
            assert key not in keymap.SENT
            assert key not in keymap.KEPT


def test_the_maps_of_the_setting_are_the_built_in_ones() -> None:
    assert tuple(keymap.MAPS) == KEY_MAPS


def test_each_declared_shadow_is_one() -> None:
    """What is declared without need would hide a clash that comes later."""
    every = {b.id: b for place in EVERY for b in keymap.bound(place)}
    for inner, outer in keymap.SHADOWS:
        assert set(every[inner].keys) & set(every[outer].keys), (inner, outer)


@pytest.mark.parametrize("place", EVERY)
def test_every_action_has_a_name_of_its_own_and_stands_in_the_help(place: str) -> None:
    kind = keymap.kind_of(place)
    named = [b.name for b in keymap.bound(place) if b.name]
    assert len(named) == len(set(named))
    described = [b for b in kind.BINDINGS if isinstance(b, Binding)]
    assert all(b.description for b in described)
    assert {b.id for b in described if b.id} == {f"{place}.{name}" for name in named}
    fixed = [b for b in described if not b.id]
    assert {b.action for b in fixed} <= set(kind.FIXED)
    assert len(key_rows(kind)) == len(described)


def test_the_catalogue_knows_every_screen_and_every_pane_with_keys(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        found: dict[str, set[str]] = {}

        def look() -> None:
            panes = {
                getattr(w, "CONTEXT", "") for w in app.screen.query("*") if w.can_focus
            } - {""}  # fmt: skip
            found[app.screen.CONTEXT] = panes  # type: ignore[attr-defined]

        for mode in MODES:
            app.action_mode(mode)
            await rest(pilot)
            look()
        app.action_mode("runs")
        for push in (lambda: app.open_run(1), app.action_compose):
            push()
            await rest(pilot)
            look()
            app.pop_screen()
        assert found == {screen: set(panes) for screen, panes in keymap.SCREENS.items()}

    driven(shared, drive)


# ----------------------------------------------------------------- what settings ask for


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[keys.runs]\nstop = "hyper+x"', ["keys.runs.stop", "'hyper+x'", "is no key", "ctrl+"]),
        ('[keys.runs]\nstop = ""', ["keys.runs.stop", "is no key"]),
        ("[keys.runs]\nstop = 7.5", ["keys.runs.stop", "'7.5'", "is no key"]),
        ('[keys.runs]\nstopp = "x"', ["keys.runs.stopp", "did you mean 'stop'"]),
        ('[keys.rnus]\nstop = "x"', ["keys.rnus", "did you mean 'runs'"]),
        ('[keys.runs]\nstop = "X"', ["keys.runs.stop", "'X'", "keys.runs.kill", "another"]),
        ('[keys.runs]\nstop = "q"', ["keys.runs.stop", "keys.everywhere.leave"]),
        ('[keys.runs]\nstop = "j"', ["keys.runs.stop", "keys.list.down"]),
        ('[keys.list]\ndown = "j, j"', ["keys.list.down", "twice"]),
        ('[keys.list]\ndown = "ctrl+i"', ["keys.list.down", "terminals send tab"]),
        ('[keys.list]\ndown = "ctrl+q"', ["keys.list.down", "kept for leaving"]),
        ('[keys.everywhere]\nleave = "s"', ["keys.everywhere.leave", "'s'", "keys.runs.stop"]),
        ('[keys]\nmap = "nano"', ["keys.map", "'nano'", "default or emacs"]),
        ("[keys]\nmapp = 1", ["keys.mapp", "is not a setting"]),
    ],
    ids=lambda value: str(value).replace("\n", " ") if isinstance(value, str) else "",
)
def test_a_wrong_key_is_refused_in_one_line_with_its_file(
    file: Path, text: str, words: list[str]
) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        keymap.in_force()
    said = str(error.value)
    assert "\n" not in said
    for word in (str(file), *words):
        assert word in said


def test_two_keys_may_change_places(file: Path) -> None:
    file.write_text('[keys.runs]\nstop = "p"\npause = "s"', "utf-8")
    assert keymap.in_force() == {"runs.stop": "p", "runs.pause": "s"}


def test_the_project_outweighs_the_user_and_a_list_gives_several_keys(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text('[keys.runs]\nstop = "x"\n[keys.list]\ndown = ["w", "down"]', "utf-8")
    Path("rpat.toml").write_text('[keys.runs]\nstop = "Ctrl+X"', "utf-8")
    assert keymap.in_force() == {"runs.stop": "ctrl+x", "list.down": "w,down"}


def test_settings_lie_above_the_chosen_map(file: Path) -> None:
    file.write_text('[keys]\nmap = "emacs"\n[keys.list]\ndown = "j"', "utf-8")
    found = keymap.in_force()
    assert found["list.down"] == "j"
    assert found["list.up"] == "ctrl+p,up"


def test_without_settings_no_screen_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, rpat_tui.screens.keymap as k; k.in_force();"
        "print([m for m in sys.modules if m.startswith('rpat_tui.screens.') and m != k.__name__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ----------------------------------------------------------------- the keys in force


def test_a_key_that_was_remapped_works_and_its_old_one_does_nothing(
    shared: Home, file: Path
) -> None:
    file.write_text('[keys.list]\ndown = "w"\n[keys.runs]\nfilter = "ctrl+f"', "utf-8")

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "j")
        assert table(app).cursor == 0
        await press(pilot, "w")
        assert table(app).cursor == 1
        await press(pilot, "slash")
        assert not app.screen.query_one("#filter", Input).display
        await press(pilot, "ctrl+f")
        assert app.screen.query_one("#filter", Input).has_focus

    driven(shared, drive, keymap=keymap.in_force())


def test_help_and_foot_show_the_keys_in_force(shared: Home) -> None:
    keys = {"runs.stop": "f9", "everywhere.keys": "f1", "list.down": "ctrl+n,down"}

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await until(pilot, lambda: "f9 stop" in seen(app).splitlines()[-1])
        foot = seen(app).splitlines()[-1].split()
        words = ["space", "mark", "⏎", "open", "n", "new", "f9", "stop", "p"]
        assert foot[: len(words)] == words  # in the place of the key before
        assert foot[-4:] == ["f1", "keys", "q", "quit"]
        await press(pilot, "f1", *"down")
        assert "ctrl+n down" in seen(app)
        await press(pilot, *["backspace"] * 4, *"stop")
        assert "f9" in seen(app)

    driven(shared, drive, keymap=keys)


def test_what_keys_do_is_found_in_the_palette_with_the_keys_in_force(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        acts = {act.title for act in ACTS.values()}
        offered = {c.title: c for c in app.get_system_commands(app.screen)}
        for place in ("runs", "list"):
            for b in keymap.bound(place):
                assert b.what in offered or b.what in acts, b.id
        assert offered["choose and order columns"].help == "f8"
        found = offered["fold runs that differ only in the seed"].callback()
        await found
        await rest(pilot)
        assert app.screen.query_of_list.group_seeds  # type: ignore[attr-defined]
        await offered["last"].callback()
        assert table(app).cursor == table(app).count - 1

    driven(shared, drive, keymap={"runs.columns": "f8"})


def test_the_emacs_map_is_driven_with_its_own_keys(shared: Home) -> None:
    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        await press(pilot, "ctrl+n", "ctrl+n", "ctrl+p")
        assert table(app).cursor == 1
        await press(pilot, "ctrl+s", *"mart")
        await until(pilot, lambda: "/mart" in seen(app))
        await press(pilot, "enter", "ctrl+g")
        assert app.screen.query_of_list.where == ""  # type: ignore[attr-defined]
        await press(pilot, "enter")
        assert isinstance(app.screen, Detail)
        await press(pilot, "ctrl+g")
        assert isinstance(app.screen, RunsScreen)
        await press(pilot, "alt+x")
        assert type(app.screen).__name__ == "CommandPalette"

    driven(shared, drive, keymap=keymap.MAPS["emacs"])


def test_sentences_name_the_keys_in_force(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    replay = Replay(home, cast=[])
    replay.begin()

    async def drive(pilot: Pilot[int], app: RpatApp) -> None:
        assert "No runs yet: N composes" in seen(app)
        await press(pilot, "N")
        await until(pilot, lambda: "f6          dry run" in seen(app))

    driven(home, drive, keymap={"runs.compose": "N", "compose.plan": "f6"})


def test_no_reason_names_a_key_since_keys_can_be_others() -> None:
    rows = [
        {"id": "r0001", "state": state, "archived": archived}
        for state in ("queued", "starting", "running", "pausing", "paused", "done", "failed")
        for archived in (0, 1)
    ]
    reasons = {act.refuse(row) for act in ACTS.values() for row in rows}
    assert "r0001 is paused: pause / resume lets it go on" in reasons
    keys = {act.key for act in ACTS.values()}
    assert not [reason for reason in reasons if keys & set(reason.replace("/", "").split())]
