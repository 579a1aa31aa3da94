"""A home and a configuration of each test's own, read or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.core.errors import UsageError
from uploader.settings import places
from uploader.settings.load import load
from uploader.settings.schema import Settings

KEY = "fw_canary0123456789"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no test reads the developer's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "etc")
    return tmp_path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "given.toml"


def from_file(config: Path, text: str, **environ: str) -> Settings:
    config.write_text(text)
    return load(config, environ)


def refusal(config: Path, text: str, **environ: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        from_file(config, text, **environ)
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value
