"""For every test: no fuzzing against the clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("uploader", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("uploader")
