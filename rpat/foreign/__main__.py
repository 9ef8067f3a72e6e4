"""`python -m rpat.foreign FILE [MODEL [KEY]]`: say as JSON what network a file holds.

Exit codes: 0 recognised, 2 not; the reason is one line on standard error.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from rpat import checkpoint, foreign
from rpat.errors import ConfigError


def main(arguments: list[str]) -> int:
    """Recognise a file, write one JSON object and return the exit code."""
    if not 1 <= len(arguments) <= 3:
        sys.stderr.write("python -m rpat.foreign takes FILE [MODEL [KEY]]\n")
        return 2
    path = Path(arguments[0])
    try:
        found = foreign.load(path, *arguments[1:])
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    values = {
        "model": found.model,
        "num_classes": found.num_classes,
        "normalize": found.normalize,
        "text": found.text,
        "origin": found.origin,
        "config": found.config,
        "epoch": found.epoch,
        "network": found.network,
        "sha256": sha256,
        "digest": checkpoint.digest(found.state),
    }
    sys.stdout.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
