"""What `rpat run --dry-run` prints: the exact configs, and nothing is made."""

from __future__ import annotations

from rpat.config import RunConfig
from rpat.knobs import show
from rpat.recipes import label
from rpat_tui.cli.output import console, print_json, say
from rpat_tui.wording import describe, flat


def show_plan(configs: list[RunConfig], json: bool) -> None:
    """Print every resolved config: JSON whole, or the first one and what the others change."""
    if json:
        print_json(
            [
                {"fingerprint": c.fingerprint(), "group": c.group(), "config": c.to_dict()}
                for c in configs
            ]
        )
        return
    out = console()
    first = configs[0]
    noun = "run" if len(configs) == 1 else "runs"
    out.print(f"{len(configs)} {noun}", style="bold", end="")
    out.print(" would be queued; nothing was started")
    out.print(f"fingerprint {first.fingerprint()}\n")
    for line in describe(first):
        say(line)
    base = flat(first.to_dict())
    for config in configs[1:]:
        changed = {k: v for k, v in flat(config.to_dict()).items() if base.get(k) != v}
        words = ", ".join(f"{key} {show(value)}" for key, value in changed.items())
        say(f"and {label(config)}: {words}")
