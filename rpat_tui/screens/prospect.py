"""What a form comes to: what the runs that are there say about it, and both as text."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from rpat.config import RunConfig
from rpat.errors import RpatError
from rpat.recipes import label
from rpat_tui.draft import FIELDS, Draft, Resolved, differences
from rpat_tui.estimate import Load, left
from rpat_tui.glyphs import Glyphs, duration
from rpat_tui.launch import enqueue
from rpat_tui.store import queries
from rpat_tui.wording import describe

SHOWN = 6
"""Lines of a list before it is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What would happen."""

    wanted: tuple[RunConfig, ...] = ()
    """What would be trained: the configs without prerequisites that are there already."""
    twins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fingerprint -> the run of the same config."""
    present: int = 0
    """Prerequisites that are there already."""
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    """Fingerprint -> how long it will train here; None where nothing alike has."""
    errors: Mapping[str, str] = field(default_factory=dict)


def look(db: sqlite3.Connection | None, resolved: Resolved) -> Prospect:
    """Ask what is known about runs that would be queued; without a database, nothing is."""
    configs = resolved.configs
    if db is None:
        none = {c.fingerprint(): None for c in configs}
        problem = {"after": "no run is there yet"} if resolved.after else {}
        return Prospect(wanted=configs, seconds=none, errors=problem)
    errors = {}
    try:
        queries.find(db, resolved.after)
    except RpatError as error:
        errors["after"] = str(error)
    wanted = enqueue.without_present(db, configs)
    twins = queries.by_fingerprint(db, [config.fingerprint() for config in wanted])
    paces: dict[tuple[str, str, str, int], Sequence[float]] = {}
    seconds: dict[str, float | None] = {}
    for config in wanted:
        rpat = int(config.wrapper("rpat") is not None)
        key = (config.model.name, config.data.name, label(config), rpat)
        if key not in paces:
            paces[key] = queries.usual_paces(db, *key)
        span = left(Load(n=0, running=False, epochs_left=config.schedule.epochs, paces=paces[key]))
        seconds[config.fingerprint()] = sum(span) / 2 if span else None
    return Prospect(
        wanted=tuple(wanted), twins=twins, present=len(configs) - len(wanted), seconds=seconds,
        errors=errors,
    )  # fmt: skip


# ----------------------------------------------------------------- as text


def summary(
    resolved: Resolved,
    prospect: Prospect,
    draft: Draft,
    *,
    glyphs: Glyphs,
    width: int,
    brief: bool = False,
) -> Text:
    """Return what the form comes to; `brief` has what may surprise in front of the config."""
    config = _config(resolved, width)
    checks = _checks(resolved, prospect, glyphs)
    if not resolved.configs:
        return _joined([checks, config])
    differs = _differs(resolved, draft)
    cost = _cost(resolved, prospect)
    return _joined([checks, cost, differs, config] if brief else [config, differs, checks, cost])


def plan(resolved: Resolved, prospect: Prospect, *, glyphs: Glyphs, width: int) -> Text:
    """Return every run that would be queued, as a dry run prints it."""
    if not resolved.configs:
        nothing = Text("nothing would be queued\n\n")
        return nothing.append_text(_checks(resolved, prospect, glyphs))
    text = Text(f"{_runs(len(prospect.wanted))} would be queued; nothing was started\n")
    if prospect.present:
        text.append(f"{_runs(prospect.present)} needed before: there already\n", style="dim")
    for n, config in enumerate(prospect.wanted, 1):
        if n > 50:
            text.append(f"\nand {len(prospect.wanted) - 50} more\n", style="dim")
            break
        text.append(f"\n{n}  {_named(config)}", style="bold")
        text.append(f"  {config.fingerprint()[:10]}\n", style="dim")
        for line in describe(config) if n <= 5 else ():
            _append_section(text, line, width)
            text.append("\n")
    return text


def _joined(parts: Sequence[Text]) -> Text:
    return Text("\n\n").join(part for part in parts if part)


def _titled(title: str, more: str = "") -> Text:
    return Text(title, style="bold").append(f"  {more}" if more else "", style="not bold dim")


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n:,} runs"


def _named(config: RunConfig) -> str:
    rpat = "+rpat" if config.wrapper("rpat") is not None else ""
    return f"{label(config)}{rpat} {config.data.name} {config.model.name} seed {config.seed}"


def _append_section(text: Text, line: str, width: int) -> None:
    """Append a line of `section  key value …`, folded between two values."""
    section, _, rest = line.partition(" ")
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
        text.append("\nfinger     ", style="bold dim").append(config.fingerprint()[:16])
    return text


def _differs(resolved: Resolved, draft: Draft) -> Text:
    found = differences(resolved, draft)
    title = "Differs from preset" if draft.text("preset") else "Differs from the recipe"
    text = _titled(title, "" if found else "in nothing")
    for key, old, new in found[: 2 * SHOWN]:
        text.append(f"\n{key} ").append(f"{old} -> ", style="dim").append(new)
    if len(found) > 2 * SHOWN:
        text.append(f"\nand {len(found) - 2 * SHOWN} more", style="dim")
    return text


def _checks(resolved: Resolved, prospect: Prospect, glyphs: Glyphs) -> Text:
    good, bad, note = glyphs.states["done"], glyphs.states["failed"], "!"
    errors = {**prospect.errors, **resolved.errors}
    text = _titled("Checks")
    for name, problem in errors.items():
        title = f"{FIELDS[name].title}: " if name in FIELDS else ""
        text.append(f"\n{bad} {title}{problem}", style="red")
    if errors:
        return text
    queued = [c for c in prospect.wanted if c.fingerprint() not in prospect.twins]
    before = [c for c in prospect.wanted if c not in resolved.asked]
    for config in before[:SHOWN]:
        text.append(f"\n{note} queued first: {_named(config)}")
    if prospect.present:
        text.append(f"\n{good} {_runs(prospect.present)} needed before: there already")
    twins = [(c, prospect.twins[c.fingerprint()]) for c in prospect.wanted if c not in queued]
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
    said = f"seed {config.seed} {words.get(twin['state'], 'is running')}: {twin['id']}"
    taken = reuse and twin["state"] not in ("failed", "stopped")
    return said + (", taken instead" if taken else "")


def _cost(resolved: Resolved, prospect: Prospect) -> Text:
    new = [
        prospect.seconds[c.fingerprint()]
        for c in prospect.wanted
        if not (resolved.reuse and c.fingerprint() in prospect.twins)
    ]
    text = _titled("Cost", f"{_runs(len(new))} to queue")
    known = [value for value in new if value is not None]
    if not new:
        return text.append("\nnothing new to train")
    if not known:
        return text.append("\nunknown here yet: nothing alike has trained in this home")
    low, high = duration(min(known)), duration(max(known))
    text.append(f"\n~{low} each" if low == high else f"\n~{low} to {high} each")
    if len(known) == len(new):
        return text.append(f", {duration(sum(known))} together")
    return text.append(f"; unknown for {len(new) - len(known)} of them")
