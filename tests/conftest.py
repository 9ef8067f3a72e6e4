"""What every test shares: hypothesis does not judge the speed of a busy machine.

A terminal's size in the environment is not the size of the tests' own; libraries that edit lines
put it there for the processes that they start.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)
    os.unsetenv(name)

settings.register_profile("rpat", deadline=None, print_blob=True)
settings.load_profile("rpat")


@pytest.fixture(scope="module", autouse=True)
def _windows_of_tests_are_let_go() -> Iterator[None]:
    """Free what a module's windows held: each has frozen all objects, open files among them."""
    yield
    gc.unfreeze()
    gc.collect()
