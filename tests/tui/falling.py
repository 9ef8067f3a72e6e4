"""The window, in which a key fails: for tests of how it leaves."""

from __future__ import annotations

from rpat_tui.app import RpatApp
from rpat_tui.cli import main


def fail(_: RpatApp) -> None:
    """Fail."""
    raise ValueError("this key\x1b[2J was pulled")


RpatApp.action_keys = fail  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
