"""A data folder on a disk that is full for a while: nothing is answered for that is not kept."""

from __future__ import annotations

import errno
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from uploader.sandbox.folder import DataFolder
from uploader.sandbox.part import Part
from uploader.sandbox.state import StateFile
from uploader.sandbox.world import World

BLOCK = bytes(range(256)) * 1024


class Disk:
    """Where only so many bytes fit."""

    def __init__(self) -> None:
        self.left_bytes: int | None = None

    def take(self, count: int) -> int:
        if self.left_bytes is None:
            return count
        if not self.left_bytes:
            raise OSError(errno.ENOSPC, "full")
        taken = min(count, self.left_bytes)
        self.left_bytes -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    full = Disk()

    class Limited(FileIO):
        def write(self, content: Any) -> int:
            return super().write(memoryview(content)[: full.take(len(content))])

    opened: Callable[..., FileIO] = lambda descriptor, *_, **__: Limited(descriptor, "r+b")  # noqa: E731
    monkeypatch.setattr("uploader.sandbox.folder.os.fdopen", opened)
    return full


def test_an_upload_counts_what_its_file_holds(disk: Disk, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    part = Part(folder, "a")
    token = part.begin()
    disk.left_bytes = len(BLOCK) + len(BLOCK) // 2
    part.write(token, BLOCK)
    with pytest.raises(OSError, match="full"):
        part.write(token, BLOCK)
    part.end(token)
    disk.left_bytes = None
    assert part.persisted == len(BLOCK)
    token = part.begin()
    part.write(token, BLOCK)
    part.end(token, whole=True)
    kept = folder.read("a")
    assert kept == BLOCK * 2
    assert part.crc == google_crc32c.value(kept)


@pytest.mark.parametrize("fits", [0, 1, 40])
def test_a_sandbox_starts_again_after_its_disk_was_full(
    disk: Disk, tmp_path: Path, fits: int
) -> None:
    world = World(data_dir=tmp_path)
    kept = StateFile(world)
    kept.save()
    disk.left_bytes = fits
    with pytest.raises(OSError, match="full"):
        kept.save()
    disk.left_bytes = None
    world.ledger.count("creates")
    kept.save()
    kept._changes.close()  # as after a SIGKILL
    kept._lock.close()
    again = World(data_dir=tmp_path)
    StateFile(again).close()
    assert again.ledger.counts["creates"] == 1
