"""What a form comes to: what the runs that are there say about it, and both as text."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from rpat.config import RunConfig
from rpat.data.locate import locate
from rpat.errors import RpatError
from rpat.recipes import label
from rpat_tui.compose import title
from rpat_tui.draft import FIELDS, Draft, Resolved
from rpat_tui.estimate import Load, left
from rpat_tui.glyphs import Glyphs, duration
from rpat_tui.launch import enqueue
from rpat_tui.store import queries
from rpat_tui.wording import changes, describe

SHOWN, LISTED = 6, 200
"""Lines of a list before it is cut, and runs of a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What would happen."""

    wanted: tuple[RunConfig, ...] = ()
    """What would be trained: the configs without prerequisites that are there already."""
    before: tuple[RunConfig, ...] = ()
    """Those of them that others wait for."""
    twins: tuple[tuple[RunConfig, Mapping[str, Any]], ...] = ()
    """Those of them that a run has already, with the run."""
    present: int = 0
    """Prerequisites that are there already."""
    seconds: tuple[float | None, ...] = ()
    """How long each new run will train here; None where nothing alike has."""
    downloads: tuple[str, ...] = ()
    """Data sets that are not here yet and would be downloaded."""
    errors: Mapping[str, str] = field(default_factory=dict)


def look(db: sqlite3.Connection | None, resolved: Resolved) -> Prospect:
    """Ask what is known about runs that would be queued; without a database, nothing is."""
    asked = set(map(id, resolved.asked))
    if db is None:
        return Prospect(
            wanted=resolved.configs,
            before=tuple(c for c in resolved.configs if id(c) not in asked),
            seconds=(None,) * len(resolved.configs),
            downloads=_downloads(resolved.configs),
            errors={"after": "no run is there yet"} if resolved.after else {},
        )
    errors = {}
    try:
        queries.find(db, resolved.after)
    except RpatError as error:
        errors["after"] = str(error)
    wanted = {c.fingerprint(): c for c in enqueue.without_present(db, resolved.configs)}
    found = queries.by_fingerprint(db, list(wanted))
    new = [
        config
        for key, config in wanted.items()
        if not (resolved.reuse and key in found and _is_taken(found[key]))
    ]
    return Prospect(
        wanted=tuple(wanted.values()),
        before=tuple(c for c in wanted.values() if id(c) not in asked),
        twins=tuple((config, found[key]) for key, config in wanted.items() if key in found),
        present=len(resolved.configs) - len(wanted),
        seconds=tuple(_seconds(db, new)),
        downloads=_downloads(resolved.configs),
        errors=errors,
    )


def _downloads(configs: Sequence[RunConfig]) -> tuple[str, ...]:
    places = {(c.data.name, c.data.dir) for c in configs if c.data.source == "official"}
    return tuple(sorted(name for name, root in places if locate(name, Path(root)) is None))


def _is_taken(twin: Mapping[str, Any]) -> bool:
    """Return whether --reuse takes a run; failed, stopped and paused ones are not."""
    return twin["state"] not in ("failed", "stopped", "paused")


def _seconds(db: sqlite3.Connection, configs: Sequence[RunConfig]) -> Iterator[float | None]:
    """Yield how long each will train, by the pace of the newest runs like it."""
    paces: dict[tuple[str, str, str, int], Sequence[float]] = {}
    for config in configs:
        rpat = int(config.wrapper("rpat") is not None)
        key = (config.model.name, config.data.name, label(config), rpat)
        if key not in paces:
            paces[key] = queries.usual_paces(db, *key)
        span = left(Load(n=0, running=False, epochs_left=config.schedule.epochs, paces=paces[key]))
        yield sum(span) / 2 if span else None


# ----------------------------------------------------------------- as text


def verdict(resolved: Resolved, prospect: Prospect, glyphs: Glyphs) -> Text:
    """Return what is wrong, or what may surprise, and what it will cost."""
    checks = _checks(resolved, prospect, glyphs)
    if not resolved.configs:
        return checks
    return checks.append("\n").append_text(_cost(prospect))


def summary(resolved: Resolved, draft: Draft, width: int) -> Text:
    """Return the exact config, and what is not as the preset has it."""
    config = _config(resolved, width)
    if not resolved.configs:
        return config
    return _differs(resolved, draft).append("\n\n").append_text(config)


def plan(resolved: Resolved, prospect: Prospect, width: int) -> Text:
    """Return every run that would be queued, as a dry run prints it."""
    if not resolved.configs:
        return Text("nothing would be queued: something is wrong")
    text = Text(f"{_runs(len(prospect.wanted))} would be queued; nothing was started\n")
    if prospect.present:
        text.append(f"{_runs(prospect.present)} needed before: there already\n", style="dim")
    for n, config in enumerate(prospect.wanted[:LISTED], 1):
        text.append(f"\n{n}  {_named(config)}", style="bold")
        text.append(f"  {config.fingerprint()[:10]}\n", style="dim")
        if n == 1:
            for line in describe(config):
                _append_section(text, line, width)
                text.append("\n")
        else:
            text.append(f"   {_brief(changes(prospect.wanted[0], config))}\n")
    if (more := len(prospect.wanted) - LISTED) > 0:
        text.append(f"\nand {more:,} more\n", style="dim")
    return text


HINTS = (
    ("Three ways to begin", (
        ("method", "type one, as mart; enter lists all, a comma makes a grid"),
        ("preset", "enter lists the paper's rows, and your own"),
        ("{runs.clone} on a run", "in the list: a form filled with that run"),
    )),
    ("What to try first", (
        ("digits", "as data set: embedded, trains in about a minute without a GPU"),
        ("seeds 0-2", "three runs, so that the table has a deviation and tests"),
        ("rpat [x]", "stack the paper's term; space switches it"),
    )),
    ("Then", (
        ("{compose.plan}", "dry run: the exact config of every run; starts nothing"),
        ("{compose.queue}", "queue them; {compose.on-top} in front of all others"),
        ("{compose.keep}", "keep the form as a preset of your own"),
        ("{compose.copy}", "copy the command below, which does the same"),
    )),
)  # fmt: skip
"""What to do, by its head; {compose.plan} is the key of that action."""

KEY = re.compile(r"\{([\w.-]+)\}")


def hints(key_of: Callable[[str], str]) -> Text:
    """Return what an empty form says: how one begins, with the keys in force."""

    def said_with_keys(words: str) -> str:
        return KEY.sub(lambda found: key_of(found[1]), words)

    text = Text()
    for head, lines in HINTS:
        text.append(f"{head}\n", style="bold")
        for name, said in lines:
            text.append(f"  {said_with_keys(name):<12}", style="cyan")
            text.append(f"{said_with_keys(said)}\n")
        text.append("\n")
    text.rstrip()
    return text


def _titled(title: str, more: str = "") -> Text:
    return Text().append(title, style="bold").append(f"  {more}" if more else "", style="dim")


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n:,} runs"


def _named(config: RunConfig) -> str:
    rpat = "+rpat" if config.wrapper("rpat") is not None else ""
    return f"{label(config)}{rpat} {config.data.name} {config.model.name} seed {config.seed}"


def _brief(text: str) -> str:
    """Shorten the fingerprints of runs that a config names."""
    return re.sub(r"run:([0-9a-f]{10})[0-9a-f]{54}", r"run:\1…", text)


def _append_section(text: Text, line: str, width: int) -> None:
    """Append a line of `section  key value …`, folded between two values."""
    section, _, rest = _brief(line).partition(" ")
    text.append(f"{section:<11}", style="bold dim")
    column = 11
    for n, item in enumerate(rest.strip().split("  ")):
        if n and column + 2 + len(item) > width:
            text.append("\n" + " " * 11)
            column = 11
        elif n:
            text.append("  ")
            column += 2
        text.append(item)
        column += len(item)


def _config(resolved: Resolved, width: int) -> Text:
    config = next(iter(resolved.asked), resolved.base)
    if config is None:
        return Text("")
    more = f"1 of {len(resolved.asked)}" if len(resolved.asked) > 1 else ""
    text = _titled("Resolved config" if resolved.asked else "The recipe, before changes", more)
    for line in describe(config)[1:]:  # the schema says nothing to people
        text.append("\n")
        _append_section(text, line, width)
    if resolved.asked:
        text.append("\nhash       ", style="bold dim").append(config.fingerprint()[:16])
    return text


def _differs(resolved: Resolved, draft: Draft) -> Text:
    found = resolved.differs
    title = "Differs from preset" if draft.text("preset") else "Differs from the recipe"
    text = _titled(title, "" if found else "in nothing")
    for key, old, new in found[: 2 * SHOWN]:
        text.append(f"\n{key} ").append(f"{_brief(old)} -> ", style="dim").append(_brief(new))
    if len(found) > 2 * SHOWN:
        text.append(f"\nand {len(found) - 2 * SHOWN} more", style="dim")
    return text


def _checks(resolved: Resolved, prospect: Prospect, glyphs: Glyphs) -> Text:
    good, bad, note = glyphs.states["done"], glyphs.states["failed"], "!"
    errors = {**prospect.errors, **resolved.errors}
    text = _titled("Checks")
    for name, problem in errors.items():
        place = f"{FIELDS[name].title}: " if name in FIELDS else ""
        text.append(f"\n{bad} {place}{problem}", style="red")
    if errors:
        return text
    for config in prospect.before[:SHOWN]:
        text.append(f"\n{note} queued first: {_named(config)}")
    if prospect.present:
        text.append(f"\n{good} {_runs(prospect.present)} needed before: there already")
    for name in prospect.downloads:
        text.append(f"\n{note} {title(name)} is not here: the run downloads it", style="yellow")
    twins = prospect.twins
    for config, twin in twins[:SHOWN]:
        text.append(f"\n{note} {_twin(config, twin, resolved.reuse)}", style="yellow")
    if len(twins) > SHOWN:
        text.append(f"\nand {len(twins) - SHOWN} more", style="dim")
    if not twins:
        text.append(f"\n{good} no run of the same config is there", style="green")
    return text


def _twin(config: RunConfig, twin: Mapping[str, Any], reuse: bool) -> str:
    words = {
        "done": "already run", "queued": "queued already", "failed": "has failed before",
        "stopped": "was stopped before",
    }  # fmt: skip
    rpat = "+rpat" if config.wrapper("rpat") is not None else ""
    state = words.get(twin["state"], "is running")
    said = f"{label(config)}{rpat} seed {config.seed} {state}: {twin['id']}"
    return said + (", taken instead" if reuse and _is_taken(twin) else "")


def _cost(prospect: Prospect) -> Text:
    new = prospect.seconds
    text = _titled("Cost", f"{_runs(len(new))} to queue")
    known = [value for value in new if value is not None]
    if not new:
        return text.append("\nnothing new to train")
    if not known:
        return text.append("\nunknown here yet: nothing alike has trained in this home")
    low, high = duration(min(known)), duration(max(known))
    if len(new) == 1:
        return text.append(f"\n~{low}, from runs like it here")
    text.append(f"\n~{low} each" if low == high else f"\n~{low} to {high} each")
    if len(known) == len(new):
        return text.append(f", {duration(sum(known))} together")
    return text.append(f"; unknown for {len(new) - len(known)} of them")
