"""How the screens look: pictures that somebody has looked at, of the demo's runs and of a table.

They are drawn at a fixed time in UTC, in homes without a path; `pytest --snapshot-update` takes
them anew, and then they are to be looked at.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from bench.pictures import small
from rpat_tui.app import RpatApp
from rpat_tui.glyphs import ASCII
from rpat_tui.home import Home
from rpat_tui.launch import worker
from rpat_tui.launch.cards import Card, Driver, Process
from rpat_tui.replay import Replay
from rpat_tui.widgets.plain import plain
from tests.tui.driving import rest
from tests.tui.stored import paper_home, small_home

NOW = 1_800_000_000.0
"""Friday, 15 January 2027, 08:00 UTC."""

Compare = Callable[..., bool]
MARKED = (*("down",) * 4, "space", "down", "space", *("down",) * 4, "space", *("up",) * 4)
SIZES = {"80": (80, 24), "120": (120, 34), "160": (160, 48), "200": (200, 60)}

DEMO = {
    "runs": (("80", "120", "160", "200"), MARKED),
    "chart": (("80",), (*MARKED, "tab")),
    "changes": (("160",), ("G", "full_stop")),
    "queue": (("80", "160"), ("2", "down")),
    "compare": (("80", "160"), (*("down",) * 12, "space", "down", "space", "3")),
    "table": (("80", "160"), ("4",)),
    "logs": (("80", "160"), ("G", "5")),
    "detail": (("80", "160"), ("G", "enter")),
    "failed": (("80", "160"), (*("down",) * 8, "enter")),
    "compose": (("80", "160"), ("n",)),
    "errors": (("120",), ("n", *"mart", *("down",) * 2, *"-1", "down", *"2")),
    "filtered": (("120",), ("slash", *"method:mart pgd>20", "enter")),
    "seeds": (("80",), ("v",)),
    "keys": (("80",), ("question_mark",)),
    "palette": (("120",), ("ctrl+p",)),
    "kill": (("80",), (*("down",) * 5, "X")),
}  # fmt: skip
"""What is looked at, in which sizes, and the keys that lead there."""

OFTEN = (
    "runs-80", "runs-160", "queue-80", "compare-160", "table-80", "detail-80", "failed-160",
    "compose-80", "logs-80", "filtered-120",
)  # fmt: skip
"""Those that are not slow: one of each screen."""

EVERY = [(name, size) for name, (sizes, _) in DEMO.items() for size in sizes]


@pytest.fixture(scope="module", autouse=True)
def fixed() -> Iterator[None]:
    """Hold clock, time zone and everything else still that pictures depend on."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TZ": "UTC", "RPAT_CPU_SLOTS": "3", "CUDA_VISIBLE_DEVICES": "",
                            "XDG_CONFIG_HOME": "/nonexistent"}.items():  # fmt: skip
            patch.setenv(name, value)
        patch.delenv("NO_COLOR", raising=False)
        time.tzset()
        patch.setattr(time, "time", lambda: NOW)
        patch.setattr(Driver, "read", lambda _: [])
        patch.setattr(worker, "ensure", lambda _: None)
        for kind in (Input, TextArea):
            patch.setattr(kind, "cursor_blink", False)
        yield
    time.tzset()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The demo, which stands still; all pictures of it are of the same runs."""
    replay = Replay(Home(tmp_path_factory.mktemp("demo") / "demo"))
    replay.begin()
    return replay


class Still(RpatApp):
    """A window that looks once, and whose picture leaves out what no viewer needs."""

    def __init__(self, home: Home, **options: Any) -> None:
        super().__init__(home, poll=0, **options)

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        picture = small(super().export_screenshot(title="rpat tui", simplify=simplify))
        return plain(picture) if self.glyphs is ASCII else picture


def going(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Return what leads to a picture: a look at the home, then keys."""

    async def go(pilot: Pilot[Any]) -> None:
        await pilot.app.look()  # type: ignore[attr-defined]
        await rest(pilot)
        for key in keys:
            await pilot.press(key)
            await rest(pilot)
        pilot.app.clear_notifications()
        await rest(pilot)

    return go


def slow(name: str, size: str) -> Any:
    marks = [] if f"{name}-{size}" in OFTEN else [pytest.mark.slow]
    return pytest.param(name, size, id=f"{name}-{size}", marks=marks)


@pytest.mark.parametrize(("name", "size"), [slow(*one) for one in EVERY])
def test_a_screen_of_the_demo_looks_as_it_did(
    demo: Replay, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, name: str, size: str
) -> None:
    monkeypatch.setenv("RPAT_HOME", str(demo.home.path))
    app = Still(demo.home, replay=demo)
    assert snap_compare(app, terminal_size=SIZES[size], run_before=going(*DEMO[name][1]))


@pytest.mark.parametrize("look", ["light", "mono", "ascii"])
def test_it_looks_well_in_light_without_colours_and_in_ascii(
    demo: Replay, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    options: dict[str, Any] = {
        "light": {"theme": "light"}, "mono": {"theme": "mono"},
        "ascii": {"glyphs": ASCII, "charts": "ascii"},
    }[look]  # fmt: skip
    app = Still(demo.home, replay=demo, **options)
    assert snap_compare(app, terminal_size=(120, 34), run_before=going(*MARKED))


@pytest.mark.parametrize(("keys", "size"), [
    pytest.param(("4", "P", "G", "l", "l"), (160, 48), id="paper"),
    pytest.param(("4", "F"), (120, 34), id="fill"),
])  # fmt: skip
def test_a_table_with_holes_and_running_cells_looks_as_it_did(
    tmp_path_factory: pytest.TempPathFactory, snap_compare: Compare, keys: Any, size: Any
) -> None:
    home = small_home(tmp_path_factory.mktemp("holes"))
    assert snap_compare(Still(home), terminal_size=size, run_before=going(*keys))


def test_data_sets_stand_side_by_side(
    tmp_path_factory: pytest.TempPathFactory, snap_compare: Compare
) -> None:
    home = paper_home(tmp_path_factory.mktemp("beside"))
    assert snap_compare(Still(home), terminal_size=(120, 34), run_before=going("4", "v", "P", "j"))


def test_an_empty_home_welcomes(tmp_path: Path, snap_compare: Compare) -> None:
    app = Still(Home(tmp_path / "home"))
    assert snap_compare(app, terminal_size=(120, 34), run_before=going())


def test_cards_and_who_uses_them(
    demo: Replay, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [
        Card(
            index=i, uuid=f"GPU-{i}", name="NVIDIA A100-SXM4-80GB", memory_mb=81_920,
            used_mb=used, utilisation=use, temperature=60 + i, power_w=300 - 40 * i,
            processes=tuple(Process(pid=10**9 + p, used_mb=mb) for p, mb in who),
        )
        for i, (used, use, who) in enumerate([
            (14_400, 94, []), (22_600, 41, [(8812, 22_500)]), (450, 0, [])
        ])
    ]  # fmt: skip
    monkeypatch.setattr(Driver, "read", lambda _: cards)
    app = Still(demo.home, replay=demo)
    assert snap_compare(app, terminal_size=(120, 34), run_before=going("2"))
