"""Make docs/pictures: the real screens of `rpat tui --demo`, driven by keys, at a fixed time.

python bench/pictures.py [FOLDER]
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

NOW = 1_800_000_000.0
"""Friday, 15 January 2027, 08:00 UTC: when all pictures are taken."""

WIDE, NARROW = (160, 48), (80, 24)
OVERLAY = (
    *("down",) * 4, "space", "down", "space", *("down",) * 4, "space", *("up",) * 4,
)  # fmt: skip
FILLED = (
    "n", *"mart", "down", "space", "down", *"0.5,1", *("down",) * 3, *"digits", *("down",) * 12,
    *"0-2",
)  # fmt: skip

SHOTS = (
    ("runs", WIDE, OVERLAY),
    ("runs-light", WIDE, OVERLAY),
    ("runs-80", NARROW, ("down",) * 5),
    ("queue", (120, 34), ("2", "down")),
    ("compare", WIDE, (*("down",) * 13, "space", "up", "space", "up", "space", "3")),
    ("table", (120, 34), ("4",)),
    ("compose", WIDE, FILLED),
    ("detail", WIDE, ("G", "enter")),
    ("failed", (120, 34), (*("down",) * 8, "enter")),
    ("logs", (120, 34), ("G", "5")),
    ("keys", (120, 34), ("question_mark",)),
)
"""Name, which ends in that of the theme where it is another one, size, the keys that lead there."""


async def shoot(folder: Path, names: tuple[str, ...] = ()) -> None:
    """Take every picture, each of a fresh window on the same demo."""
    from rpat_tui.app import RpatApp
    from rpat_tui.home import Home
    from rpat_tui.launch.cards import Driver
    from rpat_tui.replay import Replay
    from rpat_tui.themes import BUILT_IN

    Driver.read = lambda _: []  # type: ignore[method-assign]  # not this machine's cards
    with tempfile.TemporaryDirectory() as place:
        replay = Replay(Home(Path(place) / "demo"))
        replay.begin()
        for name, size, keys in SHOTS:
            if names and name not in names:
                continue
            theme = next((t for t in BUILT_IN if name.endswith(f"-{t}")), "")
            os.environ["RPAT_HOME"] = str(replay.home.path)  # then no command names it
            app = RpatApp(replay.home, replay=replay, theme=theme)
            async with app.run_test(size=size) as pilot:
                await settle(pilot)
                for key in keys:
                    await pilot.press(key)
                    await settle(pilot)
                app.clear_notifications()
                await settle(pilot)
                picture = small(app.export_screenshot(title="rpat tui --demo"))
                (folder / f"{name}.svg").write_text(picture, "utf-8")


def small(picture: str) -> str:
    """Return a picture without what no viewer needs: fonts from elsewhere, clips of lines."""
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = re.sub(
        r"<clipPath id=\"[^\"]*-line-\d+\">.*?</clipPath>\s*", "", picture, flags=re.DOTALL
    )
    picture = re.sub(r" clip-path=\"url\(#[^\"]*-line-\d+\)\"", "", picture)
    return re.sub(r"terminal-\d+-", "t", picture)


async def settle(pilot: object) -> None:
    """Wait until two screens that follow each other are equal."""
    app, before = pilot.app, ""  # type: ignore[attr-defined]
    for _ in range(60):
        await pilot.pause(0.15)  # type: ignore[attr-defined]
        now = app.export_screenshot()
        if now == before:
            return
        before = now


if __name__ == "__main__":
    os.environ.update(
        TZ="UTC", TEXTUAL_ANIMATIONS="none", RPAT_CPU_SLOTS="3", CUDA_VISIBLE_DEVICES="",
        XDG_CONFIG_HOME="/nonexistent",
    )  # fmt: skip
    time.tzset()
    time.time = lambda: NOW
    sys.path.insert(0, str(Path(__file__).parents[1]))
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(target, tuple(sys.argv[2:])))
