"""The command that opens the terminal UI: rpat tui."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rpat_tui.cli.elsewhere import RemoteOption, asked_for
from rpat_tui.cli.output import HomeOption

COLOURS = {"auto": "", "16": "standard", "256": "256", "true": "truecolor"}
"""What Textual calls them."""


def tui(
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Look, but change nothing: for shared terminals.")
    ] = False,
    charts: Annotated[str | None, typer.Option("--charts", help="braille, block or ascii.")] = None,
    colors: Annotated[str | None, typer.Option("--colors", help="16, 256 or true.")] = None,
    theme: Annotated[
        str | None, typer.Option("--theme", help="Name of a theme; :theme lists them.")
    ] = None,
    no_mouse: Annotated[
        bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal.")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Show what the window costs: bytes, queries.")
    ] = False,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Replay recorded runs in a home that is deleted afterwards."),
    ] = False,
    remote: RemoteOption = None,
    home: HomeOption = None,
) -> None:
    """Open the terminal UI.

    Compose, launch, watch and compare runs; closing it touches no run.
    """
    import gc

    gc.disable()  # nothing that starting makes is garbage; the window turns it on again
    from rpat.errors import ConfigError
    from rpat.knobs import unknown
    from rpat_tui import themes
    from rpat_tui.home import find_home, settings
    from rpat_tui.settings import CHARTS

    if charts is not None and charts not in CHARTS:
        raise ConfigError(f"--charts {unknown(charts, CHARTS)}")
    if colors is not None and colors not in COLOURS:
        raise ConfigError(f"--colors {unknown(colors, COLOURS)}")
    known = settings(home=home, **{"tui.charts": charts, "tui.colors": colors, "tui.theme": theme})
    worn = known["tui.theme"]
    themes.check(worn.value, "--theme" if theme else f"tui.theme (from {worn.origin})")
    themes.load(worn.value)
    colors, charts = known["tui.colors"].value, known["tui.charts"].value
    if os.environ.get("TERM", "") in ("", "dumb") or not (
        sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()
    ):
        from rpat_tui.cli.runs import list_runs

        list_runs(remote=remote, home=home)
        return
    if COLOURS[colors]:
        os.environ["TEXTUAL_COLOR_SYSTEM"] = COLOURS[colors]
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_FPS", str(known["tui.frames"].value))
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    _import_numpy()
    from rpat_tui.app import RpatApp
    from rpat_tui.glyphs import ASCII, UNICODE, glyphs_for
    from rpat_tui.remembered import Remembered
    from rpat_tui.screens.keymap import in_force
    from rpat_tui.widgets.thrift import save_bytes

    for name in ("COLUMNS", "LINES"):  # what an earlier terminal was; this one says so itself
        os.environ.pop(name, None)
    save_bytes()
    signs = glyphs_for(sys.__stderr__.encoding)
    if charts == "ascii" or os.environ.get("TERM") == "linux" or _is_posix():
        signs = ASCII
    keymap = in_force()
    replay = None
    if demo:
        from rpat_tui.replay import Replay

        replay = Replay.somewhere()
    place = replay.home if replay else find_home(home)
    machines = [] if demo else asked_for(home, remote)
    elsewhere = None
    if machines:
        from rpat_tui.remote.follow import Elsewhere
        from rpat_tui.remote.view import View

        elsewhere = Elsewhere(View(place, machines), known["remote_wait"].value)
        with elsewhere.view.opened():
            pass  # made now where it is missing: a wrong home is refused before the window opens
    kept = Remembered(elsewhere.view.home if elsewhere else place, write=not readonly)
    app = RpatApp(
        place,
        replay=replay,
        readonly=readonly,
        charts=("braille" if signs is UNICODE else "ascii") if charts == "auto" else charts,
        glyphs=signs,
        stats=stats,
        poll=known["tui.poll"].value,
        theme=worn.value if worn.origin != "default" else "",
        keymap=keymap,
        remembered=kept,
        elsewhere=elsewhere,
    )
    try:
        if theme:  # what is asked for now outweighs NO_COLOR
            app.wear(theme)
        elif worn.origin == "default" and app.console.color_system == "standard":
            app.wear(themes.MONO if app.no_color else themes.SIXTEEN)
        app.run(mouse=known["tui.mouse"].value == "on" and not no_mouse)
        raise typer.Exit(app.return_code or 0)
    finally:
        kept.save()
        if replay is not None:
            replay.remove()


def _import_numpy() -> None:
    """Import numpy without the threads of its linear algebra, which charts do not need.

    To start them takes a third of the import, more on many cores. The variable that leaves them
    out is read then and taken back: workers and runs that the window starts have theirs.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        return
    os.environ[name] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[name]


def _is_posix() -> bool:
    """Return whether the locale that was asked for knows no more than ASCII.

    Python itself writes UTF-8 then; a terminal that was set up so may not read it.
    """
    asked = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    return asked in ("C", "POSIX")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(tui)
