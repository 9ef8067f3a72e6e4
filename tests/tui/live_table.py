"""A program with one run table whose runs change when asked: driven by tests on a pty.

e  an equal tick      t  a tick that changes four cells      i  a new run
x  take the processor time of the next keys; x again writes it to the title
"""

from __future__ import annotations

import sys
import time

from textual.app import ComposeResult

from rpat_tui.glyphs import ASCII, UNICODE
from rpat_tui.store.rows import Stat
from rpat_tui.widgets.thrift import save_bytes
from tests.tui.conftest import Many, Shown


class Live(Shown):
    """Shows runs; keys stand for what a database would bring."""

    BINDINGS = [(key, f"do('{key}')", "") for key in "etix"]  # noqa: RUF012  read by textual
    ticks = 0
    clock: float | None = None

    def compose(self) -> ComposeResult:
        yield from super().compose()

    def action_do(self, key: str) -> None:
        """Let something happen."""
        if key == "x":
            now = time.process_time()
            if self.clock is not None:
                self.table.empty = f"cpu {1e3 * (now - self.clock):.3f} ms"
                self.source.keys = []
                self.source.new = True
                self.table.reload()
            self.clock = now
            return
        if key == "t":
            self.ticks += 1
            top = len(self.source.keys)
            for n, name in ((top, "clean"), (top - 2, "pgd"), (top - 5, "nrr"), (top - 9, "pgd")):
                values = self.source.window(top - n, 1)[0].values
                self.source.change(n, values={**values, name: Stat(10.0 + self.ticks)})
        if key == "i":
            self.source.insert(len(self.source.keys) + 1)
        self.source.new = True
        self.table.reload()


if __name__ == "__main__":
    if "thrift" in sys.argv:
        save_bytes()
    glyphs = ASCII if "ascii" in sys.argv else UNICODE
    Live(Many(int(sys.argv[1])), glyphs=glyphs).run()
