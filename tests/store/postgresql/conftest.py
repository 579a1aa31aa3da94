"""Every store here is on PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs


@pytest.fixture
def backend() -> str:
    return "postgresql"


@contextlib.contextmanager
def store_at(url: str, **options: float) -> Iterator[Jobs]:
    engine = open_engine(url, **options)
    try:
        yield Jobs(engine)
    finally:
        engine.dispose()
