"""Tests between groups of seeds, against SciPy's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat_tui import statistics
from rpat_tui.statistics import PAIRED, WELCH, compare, holm, method, p_text, together

values = st.lists(
    st.floats(0, 100).map(lambda v: round(v, 2)), min_size=3, max_size=6, unique=True
)  # fmt: skip


@given(values, values)
def test_other_seeds_are_compared_by_welchs_test(a: list[float], b: list[float]) -> None:
    from scipy import stats

    found = compare(dict(enumerate(a)), {seed + 100: v for seed, v in enumerate(b)})
    known = stats.ttest_ind(b, a, equal_var=False)
    assert found.name == WELCH
    assert found.t == pytest.approx(known.statistic, rel=1e-9, abs=1e-12)
    assert found.df == pytest.approx(known.df, rel=1e-9)
    assert found.p == pytest.approx(known.pvalue, rel=1e-8, abs=1e-14)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=6))
def test_the_same_seeds_are_compared_in_pairs(pairs: list[tuple[float, float]]) -> None:
    from scipy import stats

    pairs = [(round(a, 2), round(b, 2)) for a, b in pairs]
    if len({round(b - a, 6) for a, b in pairs}) < 2:
        return
    a, b = zip(*pairs, strict=True)
    found = compare(dict(enumerate(a)), dict(enumerate(b)))
    known = stats.ttest_rel(b, a)
    assert found.name == PAIRED
    assert found.t == pytest.approx(known.statistic, rel=1e-6, abs=1e-9)
    assert found.p == pytest.approx(known.pvalue, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holms_correction_by_its_definition(p: list[float]) -> None:
    found = holm(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    for place, i in enumerate(order):
        wanted = max(min(1, (len(p) - k) * p[j]) for k, j in enumerate(order[: place + 1]))
        assert found[i] == pytest.approx(wanted)
    assert all(a <= b for a, b in zip(p, found, strict=True))


def test_holms_correction_of_a_known_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_pairs_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1, so t = 2 sqrt 3 with 2 degrees of freedom."""
    found = compare({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 4.0, 2: 6.0})
    assert (found.name, found.df) == (PAIRED, 2)
    assert found.t == pytest.approx(12**0.5)
    assert found.p == pytest.approx(1 - (12 / 14) ** 0.5), "closed form of two degrees of freedom"


def test_welch_by_hand() -> None:
    """Means 2 and 6, variances 1 and 4 of three values each."""
    found = compare({0: 1.0, 1: 2.0, 2: 3.0}, {5: 4.0, 6: 6.0, 7: 8.0})
    one, other = 1 / 3, 4 / 3
    assert found.name == WELCH
    assert found.t == pytest.approx(4 / (one + other) ** 0.5)
    assert found.df == pytest.approx((one + other) ** 2 / (one**2 / 2 + other**2 / 2))


def test_a_seed_more_on_one_side_makes_it_welchs() -> None:
    found = compare({0: 1.0, 1: 2.0, 2: 3.0, 3: 2.5}, {0: 2.0, 1: 4.0, 2: 6.0})
    assert (found.name, found.n) == (WELCH, (4, 3))


def test_two_seeds_are_no_test() -> None:
    found = compare({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.5, 2: 4.0})
    assert found.p is None
    assert found.reason == "n too small (2): no test"
    assert found.diff == pytest.approx(9.5 / 3 - 1.5)


def test_values_without_spread_are_no_test_and_nothing_is_no_difference() -> None:
    same = {0: 50.0, 1: 50.0, 2: 50.0}
    assert compare(same, {0: 51.0, 1: 51.0, 2: 51.0}).reason == "no spread over seeds: no test"
    assert compare(same, {}).diff is None


def test_only_tests_that_were_done_count_for_the_correction() -> None:
    a, b = {0: 50.0, 1: 50.2, 2: 49.8}, {0: 53.0, 1: 53.1, 2: 52.9}
    tests = together({("B", "clean"): compare(a, b), ("B", "aa"): compare(a, {0: 3.0})})
    assert tests["B", "clean"].corrected == tests["B", "clean"].p
    assert tests["B", "clean"].significant
    assert not tests["B", "aa"].significant
    assert method(tests) == "paired t, two-sided, one comparison; * p < 0.05"
    assert method({}) == ""


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.00001, "p<.001"), (0.002, "p=.002"), (0.0994, "p=.099"), (0.25, "p=.25"), (1.0, "p=1.00")],
)
def test_p_values_as_people_write_them(p: float, text: str) -> None:
    assert p_text(p) == text


def test_scipy_is_imported_only_for_a_p_value() -> None:
    code = f"import sys, {statistics.__name__}; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
