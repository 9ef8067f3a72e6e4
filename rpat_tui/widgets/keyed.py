"""Names for what keys do, so that settings can give each another key: `runs.stop`, `list.down`.

A name is the place and the action. The action is called what the code calls it (`filter`), an act
by its own name (`stop`), and where one action is bound twice in a place, by what the help says of
it (`page-down`). Names are part of people's settings: renaming one breaks them.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

_ACTION = re.compile(r"(?:app\.|screen\.)?(\w+)(?:\((.*)\))?")
_WORD = re.compile(r"'([\w-]+)'")


class Keyed:
    """A screen, a pane or the app whose keys have names; `CONTEXT` is what the place is called."""

    CONTEXT: ClassVar[str] = ""
    FIXED: ClassVar[tuple[str, ...]] = ()
    """Actions that always have their keys."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the bindings of a kind before Textual takes them."""
        if "BINDINGS" in vars(cls):
            context = vars(cls).get("CONTEXT") or cls.__name__.removesuffix("Screen").lower()
            cls.CONTEXT = context
            setattr(cls, "BINDINGS", named(context, vars(cls)["BINDINGS"], cls.FIXED))  # noqa: B010
        super().__init_subclass__(**options)


def named(
    context: str, bindings: Sequence[BindingType], fixed: Sequence[str] = ()
) -> list[BindingType]:
    """Return bindings with their names as ids; those that are fixed or not described have none."""
    parts = [_parts(b) for b in bindings if isinstance(b, Binding)]
    often = Counter(action for action, _ in parts)
    made: list[BindingType] = []
    for binding in bindings:
        if isinstance(binding, Binding) and binding.description:
            action, words = _parts(binding)
            word = _WORD.fullmatch(words)
            if word:
                name = word[1]
            elif often[action] == 1:
                name = action.replace("_", "-")
            else:
                name = re.sub(r"\W+", "-", binding.description).strip("-")
            if action not in fixed:
                binding = dataclasses.replace(binding, id=f"{context}.{name}")
        made.append(binding)
    return made


def _parts(binding: Binding) -> tuple[str, str]:
    found = _ACTION.fullmatch(binding.action)
    return (found[1], found[2] or "") if found else (binding.action, "")
