"""Hypothesis, for the whole run: a busy machine is no failure, and the core's tests stay quick."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("uploader", deadline=None, max_examples=50)
settings.load_profile("uploader")
