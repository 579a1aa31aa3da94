"""`auto` hashes only if a second processor may be used, whoever decides that."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from uploader import runtime, threads, wiring
from uploader.engine.hashing import Digests
from uploader.settings.load import load


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells of this group's share; at first nothing, on a machine of four."""
    monkeypatch.setattr(runtime, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 4),
        ("150000 100000", 1.5),
        ("900000 100000", 4),
        ("", 4),
        ("1 0", 4),
        ("x y", 4),
    ],
)
def test_a_quota_is_counted(quota: Path, text: str, expected: float) -> None:
    assert runtime.processors() == 4
    quota.write_text(text)
    assert runtime.processors() == expected


@pytest.mark.parametrize("chosen", [*Digests])
@pytest.mark.parametrize(("share", "spare"), [("100000", False), ("200000", True), ("max", True)])
def test_auto_needs_a_second_processor(
    quota: Path, tmp_path: Path, chosen: Digests, share: str, spare: bool
) -> None:
    quota.write_text(f"{share} 100000")
    variables = {"UPLOADER_STATE_DIR": str(tmp_path), "UPLOADER_INTEGRITY__SHA256": chosen.value}
    found = wiring._limits(load(environ=variables)).digests
    assert found is (Digests.OFF if chosen is Digests.AUTO and not spare else chosen)


def test_auto_is_the_default(quota: Path, tmp_path: Path) -> None:
    assert not quota.exists()
    settings = load(environ={"UPLOADER_STATE_DIR": str(tmp_path)})
    assert wiring._limits(settings).digests is Digests.AUTO


def test_only_the_thread_that_asks_gives_way() -> None:
    found: list[int] = []

    def run() -> None:
        threads.give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread.start()
    thread.join()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert found[0] >= before
