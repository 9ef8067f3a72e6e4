"""`rpat`, and `python -m rpat_tui`: into the command line and out of it.

Most commands live for a tenth of a second. While their modules are imported, and when all is over,
there is no garbage to be found, so nobody looks for any.
"""

from __future__ import annotations

import gc

from rpat_tui.uncollected import uncollected


def main() -> None:
    """Run the command line."""
    try:
        with uncollected():
            from rpat_tui import cli
        cli.main()
    finally:
        gc.freeze()  # the process ends, and with it all that is left


if __name__ == "__main__":
    main()
