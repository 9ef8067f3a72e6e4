"""Make the recordings that `rpat tui --demo` replays, from runs that were really executed.

    python bench/record.py HOME r0001 r0002 … > rpat_tui/demo/recordings.jsonl

One line a run: its config and its journal without checkpoints and digests, times in seconds since
its beginning, numbers rounded to what a screen shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rpat import journal
from rpat.rundir import RunDir, read_json

KINDS = ("notice", "epoch", "log", "eval", "end")
DROPPED = ("seq", "t", "kind", "weights", "indices", "fingerprint", "evidence")


def rounded(value: Any) -> Any:
    """Return a value whose numbers have as many digits as a screen could show."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return value


def recording(run: RunDir) -> dict[str, Any]:
    """Return what is kept of a run."""
    records = [record for record, _ in journal.read(run.attempts()[-1].journal)]
    start = records[0]["t"]
    kept = [
        [round(r["t"] - start, 1), r["kind"],
         {k: rounded(v) for k, v in r.items() if k not in DROPPED}]
        for r in records if r["kind"] in KINDS
    ]  # fmt: skip
    return {"versions": records[0]["versions"], "config": read_json(run.config)["config"],
            "records": kept}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[2:]:
        line = json.dumps(recording(RunDir(Path(sys.argv[1]) / "runs" / name)))
        print(line.replace(", ", ",").replace(": ", ":"))
