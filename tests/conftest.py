"""What every test shares: hypothesis does not judge the speed of a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rpat", deadline=None, print_blob=True)
settings.load_profile("rpat")
