"""A job in the hands of a worker, and what is told of one of its files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.store.conftest import NOW
from uploader.core.job import Event, PrefixCrc, Reason
from uploader.core.redact import SessionUri
from uploader.core.resumable import read_url
from uploader.store.held import Held
from uploader.store.held_files import FileProgress

LATER = NOW + timedelta(seconds=5)
PATH = "a.safetensors"
URI = SessionUri("https://storage/o?upload_id=1")
PUT_URL = read_url("https://storage/b/k")
SHA256 = "0a" * 32
REASON = Reason("net", "reset")


@pytest.fixture
def held(claimed: Callable[..., Held], told: list[Event]) -> Held:
    held = claimed()
    told.clear()
    return held


def row_of(sessions: int = 1, offset: int = 20, *, advanced: bool = True) -> FileProgress:
    return FileProgress(
        PATH, sessions, PrefixCrc(offset, 2), PrefixCrc(offset + 5, 3), 40, advanced
    )
