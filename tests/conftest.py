"""For every test: no fuzzing against the clock, and a PostgreSQL where one is asked for."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("uploader", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("uploader")

pytest_plugins = ("tests.postgresql",)
