"""Whole uploads: each file has its digest, whatever happens on the way, and is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.fast import FastLab
from tests.engine.hashing.conftest import SIZE
from tests.simulation.lab import SimLab
from uploader.engine.hashing import Digests
from uploader.sources.local import LocalFile


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The length of every block that is read of any source."""
    found: list[int] = []
    real = LocalFile.block

    def block(self: LocalFile, start: int, count: int) -> bytes:
        found.append(count)
        return real(self, start, count)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "block", block)
        yield found


SIZES = [0, 1, GRANULE - 1, GRANULE, GRANULE + 1, 4 * GRANULE, 8 * GRANULE + 1, 9 * GRANULE - 1]


@pytest.mark.parametrize("kind", ["resumable", "put", "refused"])
def test_files_of_every_size_have_their_digest_and_are_read_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lab.world.config.url_kind = kind
    sizes = {f"f{number}_bin": size for number, size in enumerate(SIZES)}
    lab.enqueue(lab.model("model", **sizes))
    with reads(monkeypatch) as found:
        lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert all(file.sha256 for file in lab.jobs.files(1))
    assert sum(found) == sum(SIZES)


def test_without_it_nothing_is_computed(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=3 * GRANULE, b_bin=1))
    lab.run(digests=Digests.OFF)
    lab.assert_ready()
    assert [file.sha256 for file in lab.jobs.files(1)] == [None, None]


FAULTS: dict[str, list[dict[str, Any]]] = {
    "cut": [{"on": "put", "do": "cut", "at_byte": 2 * GRANULE + 1}],
    "cut often": [{"on": "put", "do": "cut", "at_byte": GRANULE, "times": 8}],
    "lost answer": [{"on": "put", "do": "lost-answer", "nth": 3}],
    "went back": [{"on": "put", "do": "short-308", "at_byte": GRANULE + 12_345}],
    "kept nothing": [{"on": "put", "do": "no-range-308"}],
    "session lost": [{"on": "put", "nth": 2, "do": "dead-session"}],
    "other object": [{"on": "put", "do": "wrong-hash", "nth": 3}],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_on_the_way_the_digest_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    read: dict[Digests, int] = {}
    for digests in (Digests.ON, Digests.OFF):
        (tmp_path / digests).mkdir()
        lab = Lab(tmp_path / digests)
        lab.world.script.add(FAULTS[fault])
        lab.enqueue(lab.model(a_bin=SIZE))
        with reads(monkeypatch) as found:
            lab.run(digests=digests)
        lab.assert_ready()
        assert (lab.file().sha256 is None) == (digests is Digests.OFF)
        assert lab.file().sha256_as_sent == (digests is Digests.ON)
        read[digests] = sum(found)
        lab.close()
    assert read[Digests.ON] == read[Digests.OFF], "the hash itself reads nothing"


@pytest.mark.parametrize("after", [2, 5, 9, 14, 25, 39])
def test_after_a_kill_the_hash_reads_a_quarter_of_a_second_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    lab, size = SimLab(tmp_path, 1, landing_polls=1), 40 * GRANULE + 7
    lab.bytes_per_s = 16.0 * GRANULE
    lab.enqueue(lab.model(a_bin=size))
    whole = {"max_put_bytes": 1 << 30}
    lab.run_until_killed(after, **whole)
    persisted = lab.object()["persisted"]
    with reads(monkeypatch) as found:
        assert lab.run_once(**whole)
    lab.assert_ready()
    assert lab.file().sha256
    quarter = 4 * GRANULE + GRANULE
    assert sum(found) <= size - persisted + 2 * quarter, "once for the CRC, once for the hash"
    lab.close()


def test_real_threads_find_the_same(tmp_path: Path) -> None:
    lab = FastLab(tmp_path)
    lab.world.script.add(FAULTS["cut often"])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=5 * GRANULE, c_bin=9))
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert all(file.sha256 for file in lab.jobs.files(1))
    lab.close()


def test_a_receipt_needs_no_file_any_more(lab: Lab) -> None:
    from uploader.intake.receipt import receipt_of  # noqa: PLC0415

    folder = lab.model(a_bin=SIZE)
    expected = hashlib.sha256((folder / "a.bin").read_bytes()).hexdigest()
    lab.enqueue(folder)
    lab.run(digests=Digests.ON)
    (folder / "a.bin").unlink()
    receipt = receipt_of(lab.job(), lab.jobs.files(1))
    assert receipt["subject"] == [{"name": "a.bin", "digest": {"sha256": expected}}]
