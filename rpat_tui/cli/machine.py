"""The command that shows this machine: rpat gpus."""

from __future__ import annotations

import typer

from rpat_tui.cli.output import (
    HomeOption,
    JsonOption,
    console,
    has_home,
    print_json,
    reading,
    remark,
    shows_glyphs,
)


def gpus(json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the cards and places of this machine, and who uses them."""
    from rpat_tui.gauges import lines
    from rpat_tui.launch.box import rules, survey
    from rpat_tui.launch.cards import Driver

    driver = Driver()
    cards = driver.read()
    if has_home(home):
        with reading(home) as (_, db):
            found = survey(db, cards, rules())
    else:
        found = survey(None, cards, rules())
    driver.close()
    if json:
        print_json({"driver": driver.version, **found})
        return
    if not cards:
        remark("no GPU that NVIDIA's driver shows; runs use the CPU")
    if found["hold"] is not None:
        remark("everything is on hold" + (f": {found['hold']}" if found["hold"] else ""))
    out = console()
    for line in lines(found, out.width, glyphs=shows_glyphs()):
        out.print(line, no_wrap=True, overflow="ellipsis" if shows_glyphs() else "crop")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(gpus)
