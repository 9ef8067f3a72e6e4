"""Words to people when a run has ended: a command, a webhook. Each run and state once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from rpat_tui.home import settings
from rpat_tui.store.db import transaction

FRESH = 3600.0
"""Seconds after which an end is no news any more: for a worker that was away."""

TIMEOUT = 20.0

Say = Callable[[str], None]


def news(db: sqlite3.Connection, states: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the runs that have come to one of the states lately and were not told; mark them."""
    marks = ", ".join("?" for _ in states)
    cursor = db.execute(
        "select n, id, state, reason, name, kind, method, rpat, dataset, seed, epoch, epochs, "
        f"attempt from runs where state in ({marks}) and notified <> state || attempt "
        "and ended > ?",
        [*states, time.time() - FRESH],
    )
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    with transaction(db):
        db.executemany(
            "update runs set notified = state || attempt where n = ?", [(r["n"],) for r in rows]
        )
    return rows


def tell(db: sqlite3.Connection, say: Say) -> None:
    """Tell what is new, as the settings ask; a deaf receiver costs a line in the worker's log."""
    known = settings()
    command, url = known["notify_command"].value, known["notify_webhook"].value
    if not (command or url):
        return
    states = tuple(word.strip() for word in known["notify_on"].value.split(",") if word.strip())
    for row in news(db, states):
        threading.Thread(target=_send, args=(row, command, url, say), daemon=True).start()


def text_of(row: dict[str, Any]) -> str:
    """Return a run's news as a line for people."""
    what = row["method"] + (" + RPAT" if row["rpat"] else "")
    why = f": {row['reason']}" if row["reason"] else ""
    return f"{row['id']} {row['state']}{why} ({what}, {row['dataset']}, seed {row['seed']})"


def _send(row: dict[str, Any], command: str, url: str, say: Say) -> None:
    text = text_of(row)
    if command:
        env = {"RPAT_TEXT": text, "RPAT_RUN": row["id"], "RPAT_STATE": row["state"],
               "RPAT_REASON": row["reason"]}  # fmt: skip
        try:
            subprocess.run(
                command, shell=True, env={**os.environ, **env}, timeout=TIMEOUT, check=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            say(f"notify_command: {error}")
    if url and not url.startswith(("http://", "https://")):
        say(f"notify_webhook: {url} is no http address")
    elif url:
        import urllib.request  # for the few who have such an address

        body = json.dumps({"text": text, **row}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
        except (OSError, ValueError) as error:
            say(f"notify_webhook: {error}")
