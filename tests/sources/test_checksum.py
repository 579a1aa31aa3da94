"""A machine without a fast CRC32C is told so before it spends a day."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import pytest

from uploader import wiring
from uploader.settings.load import load
from uploader.sources.checksum import slowness
from uploader.store.database.dialect import open_engine


def test_a_fast_machine_hears_nothing() -> None:
    assert google_crc32c.implementation == "c"
    assert slowness() == ""


def test_a_worker_hears_of_a_slow_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_crc32c, "implementation", "python")
    settings = load(environ={"UPLOADER_STATE_DIR": str(tmp_path / "state")})
    engine = open_engine(settings.database_url)
    assert "pure Python" in "".join(wiring.concerns(settings, engine))
    engine.dispose()
