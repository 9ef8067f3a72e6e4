"""A robustness linter: from what the store knows of a run to what a reviewer would object to.

Pure functions of stored evidence, so that a better rule judges old runs too. The rules stand in
`attacks` (evaluations against each other), `surface` (the loss at the data), `training` (curves)
and `settings` (how the numbers came about); importing a room registers its rules. Standard
library only.
"""

from __future__ import annotations

from rpat_tui.linter import attacks, settings, surface, training
from rpat_tui.linter.rules import LEVELS, RULES, Evidence, Finding, Rule

__all__ = [
    "LEVELS",
    "RULES",
    "Evidence",
    "Finding",
    "Rule",
    "attacks",
    "lint",
    "settings",
    "surface",
    "training",
]


def lint(evidence: Evidence) -> list[Finding]:
    """Return what all rules find: errors, warnings, notes; then by rule, checkpoint, network.

    A rule finds at most one thing of each network at each checkpoint, the worst. The order of
    the evaluations does not matter.
    """
    found = (finding for rule in RULES.values() for finding in rule.check(evidence))
    return sorted(found, key=lambda f: (LEVELS.index(f.level), f.rule, f.checkpoint, f.network))
