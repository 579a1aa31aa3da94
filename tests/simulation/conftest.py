from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.lab import template


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("template"))
