"""Changing a setting for good, from the command line and from the window alike."""

from __future__ import annotations

import os

from rpat_tui import settings, themes


def put(name: str, text: str | None, *, project: bool = False) -> str:
    """Write a setting into the user's file, or the project's; None takes it out.

    Returns what to say; raises `ConfigError` for what the setting does not take.
    """
    known = settings.setting(name)
    if name == "tui.theme" and text is not None:
        themes.load(themes.check(text))
    user, own = settings.config_files()
    file = own if project else user
    settings.write(file, name, text)
    now = settings.settings()[name]
    said = f"{name} is {now.value if now.value != '' else 'empty'} ({now.origin})"
    if text is not None and now.origin != str(file):
        said += f"; {file} says {text}, which {now.origin} outweighs"
    return said + (f"; for this terminal {known.env} is set" if os.environ.get(known.env) else "")


def takes(name: str) -> str:
    """Return what a setting takes, in words."""
    if name == "tui.theme":
        return ", ".join(themes.names())
    known = settings.setting(name)
    return known.takes if known.read is not str else "text"
