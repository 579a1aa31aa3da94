"""Every bad folder of the checks' own tests, as a user meets it: exit 6, nothing sent, no store."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.model.build import folder
from tests.preflight.cases import BAD, GOOD

REFUSED = {
    name: files
    for name, (files, brief) in BAD.items()
    if any(severity == "error" for _, severity, _ in brief)
}
AS_ADAPTER = ("--base-model", "accounts/fireworks/models/qwen3-4b")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What stands for Fireworks; nobody has called where nothing can be accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        monkeypatch.setenv("FIREWORKS_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("FIREWORKS_API_KEY", "fw_any")
        yield listening


def test_there_are_many_bad_folders() -> None:
    assert len(REFUSED) >= 40


@pytest.mark.parametrize("files", REFUSED.values(), ids=REFUSED)
def test_a_bad_folder_is_refused_and_nothing_sent(
    uploader: Command, home: Path, service: socket.socket, files: dict[str, bytes]
) -> None:
    bad = folder(home / "bad", files)
    answer = uploader("enqueue", bad)
    assert answer.code == 6
    assert not answer.out
    assert "Traceback" not in answer.err
    assert not (home / "state").exists()
    with pytest.raises(BlockingIOError):
        service.accept()


@pytest.mark.parametrize("files", GOOD.values(), ids=GOOD)
def test_a_good_folder_is_taken(uploader: Command, home: Path, files: dict[str, bytes]) -> None:
    good = folder(home / "good", files)
    words = AS_ADAPTER if "adapter_config.json" in files else ()
    answer = uploader("enqueue", good, "--dry-run", *words)
    assert answer.code == 0, answer.err
