"""JSON with an indent, beside the standard library's own."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpat_tui.indented import indented

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=values, ascii_only=st.booleans())
def test_it_is_what_the_standard_library_writes(value: Any, ascii_only: bool) -> None:
    expected = json.dumps(value, indent=2, ensure_ascii=ascii_only)
    assert indented(value, ascii_only=ascii_only) == expected


@pytest.mark.parametrize("value", [(1, (2, ())), {1: [], None: {True: 2}}, [{"a": (1, 2)}]])
def test_tuples_and_keys_that_are_no_texts_are_written_the_same(value: Any) -> None:
    assert indented(value) == json.dumps(value, indent=2)


def test_a_number_that_is_not_finite_is_refused_where_it_must_be() -> None:
    assert indented({"a": [math.nan]}) == json.dumps({"a": [math.nan]}, indent=2)
    with pytest.raises(ValueError, match="JSON compliant"):
        indented({"a": [math.nan]}, nan=False)
