"""For every test: no fuzzing against the clock, no key of an earlier test, Ctrl-C as usual."""

from __future__ import annotations

import signal
from collections import deque

import pytest
from hypothesis import settings

from uploader.core import redact

settings.register_profile("uploader", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("uploader")

pytest_plugins = ("tests.postgresql", "tests.scheme")


def pytest_configure() -> None:
    """A shell that runs the tests in the background ignores Ctrl-C for them and their processes."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_key_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_KEYS", deque(maxlen=redact._KEYS.maxlen))
