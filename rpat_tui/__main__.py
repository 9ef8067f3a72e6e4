"""`python -m rpat_tui`: the same as `rpat`."""

from rpat_tui.cli import main

main()
