from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.ledger import different_bytes
from tests.soak.soak import main

pytestmark = pytest.mark.acceptance


@pytest.mark.long
@pytest.mark.tls
def test_a_few_seconds_of_soak_keep_every_promise(
    capsys: pytest.CaptureFixture[str], secure: bool
) -> None:
    words = ["--minutes", "0.05", "--seed", "2", "--largest", "1", "--every", "2"]
    code = main([*words, "--tls"] if secure else words)
    told = capsys.readouterr().out
    assert code == 0, told
    assert "every promise was kept" in told


@pytest.mark.parametrize(
    ("stored", "lost"), [(b"abcd", 0), (b"abXd", 1), (b"ab", 2), (b"abcdef", 2), (None, 4)]
)
def test_lost_bytes_are_counted(tmp_path: Path, stored: bytes | None, lost: int) -> None:
    source, target = tmp_path / "source", tmp_path / "stored"
    source.write_bytes(b"abcd")
    if stored is not None:
        target.write_bytes(stored)
    assert different_bytes(source, target) == lost
