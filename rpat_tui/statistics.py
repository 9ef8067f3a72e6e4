"""Tests between two groups of seeds: Welch's t, paired where the seeds match, Holm's correction.

Pure: values in, verdicts out. SciPy is imported when a p-value is asked for and not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

LEAST = 3
"""Seeds that each side of a test has at least."""
LEVEL = 0.05
"""What a corrected p-value lies below where a difference is called significant."""
WELCH, PAIRED = "Welch's t", "paired t"


class Test(NamedTuple):
    """What a test of `b` against `a` found; without a p-value, `reason` says why there is none.

    `p` is two-sided. `corrected` is Holm's over all comparisons that are shown together.
    A tuple, since a table may have thousands; give its values by name.
    """

    diff: float | None
    name: str = ""
    n: tuple[int, int] = (0, 0)
    t: float | None = None
    df: float | None = None
    p: float | None = None
    corrected: float | None = None
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value lies below the level."""
        return self.corrected is not None and self.corrected < LEVEL


_test: Callable[[tuple[Any, ...]], Test] = partial(tuple.__new__, Test)
"""Made of all its values, in a fraction of the time: there are thousands."""


def compare(a: Mapping[int, float], b: Mapping[int, float]) -> Test:
    """Test whether `b` differs from `a`; both are values by seed."""
    found = _statistic(a, b)
    if found.t is None or found.df is None:
        return found
    return found._replace(p=two_sided(found.t, found.df))


def _statistic(a: Mapping[int, float], b: Mapping[int, float]) -> Test:
    """Return a test before it has a p-value."""
    one, other = len(a), len(b)
    n = (one, other)
    if not a or not b:
        return Test(None, n=n, reason="nothing to compare")
    xs, ys = a.values(), b.values()
    diff = math.fsum(ys) / other - math.fsum(xs) / one
    if one < LEAST or other < LEAST:
        return Test(diff, n=n, reason=f"n too small ({min(n)}): no test")
    paired = a.keys() == b.keys()
    error, df = _paired([b[seed] - x for seed, x in a.items()]) if paired else _welch(xs, ys)
    largest = max(1.0, max(xs), max(ys), -min(xs), -min(ys))
    if error <= 1e-12 * largest:
        return Test(diff, n=n, reason="no spread over seeds: no test")
    return _test((diff, PAIRED if paired else WELCH, n, diff / error, df, None, None, ""))


def two_sided(t: float, df: float) -> float:
    """Return how likely a t at least as far from 0 is where nothing differs."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, step down, in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = highest
    return corrected


def together(tests: Mapping[tuple[str, str], Test]) -> dict[tuple[str, str], Test]:
    """Return tests that are shown together, each with its corrected p-value."""
    known = {key: test.p for key, test in tests.items() if test.p is not None}
    corrected = dict(zip(known, holm(list(known.values())), strict=True))
    return {key: test._replace(corrected=corrected.get(key)) for key, test in tests.items()}


def all_together(
    pairs: Mapping[tuple[str, str], tuple[Mapping[int, float], Mapping[int, float]]],
) -> dict[tuple[str, str], Test]:
    """Return what `together` makes of each pair's `compare`, with one question to SciPy."""
    found = {key: _statistic(a, b) for key, (a, b) in pairs.items()}
    done = {key: (test.df, -abs(test.t)) for key, test in found.items() if test.t is not None}
    if done:
        from scipy.special import stdtr

        p = (2 * stdtr(*zip(*done.values(), strict=True))).tolist()
        for key, chance, corrected in zip(done, p, holm(p), strict=True):
            found[key] = _test((*found[key][:5], chance, corrected, ""))
    return found


def method(tests: Mapping[tuple[str, str], Test]) -> str:
    """Say which tests were done: `paired t, Holm over 10 comparisons; * p < 0.05`."""
    done = [test for test in tests.values() if test.p is not None]
    if not done:
        return ""
    names = " and ".join(dict.fromkeys(test.name for test in done))
    many = f"Holm over {len(done)} comparisons" if len(done) > 1 else "one comparison"
    return f"{names}, two-sided, {many}; * p < {LEVEL:g}"


def p_text(p: float) -> str:
    """Return `p=.002`, `p<.001`."""
    if p < 0.001:
        return "p<.001"
    return f"p={p:.3f}".replace("=0.", "=.") if p < 0.0995 else f"p={p:.2f}".replace("=0.", "=.")


def _variance(values: Collection[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum([(value - mean) ** 2 for value in values]) / (len(values) - 1)


def _paired(differences: Sequence[float]) -> tuple[float, float]:
    """Return the standard error of the mean difference, and the degrees of freedom."""
    return math.sqrt(_variance(differences) / len(differences)), float(len(differences) - 1)


def _welch(a: Collection[float], b: Collection[float]) -> tuple[float, float]:
    """Return the standard error of the difference, and Welch and Satterthwaite's freedom."""
    one, other = _variance(a) / len(a), _variance(b) / len(b)
    total = one + other
    if total == 0:
        return 0.0, 1.0
    return math.sqrt(total), total**2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))
