"""Who may write into a folder can make another file of the same CRC32C, block by block."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import google_crc32c
import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_sources import SIZE, assert_refused, interrupted, rewrite
from uploader.engine.hashing import Digests
from uploader.intake.kept import unchanged
from uploader.intake.receipt import receipt_of
from uploader.model.links import NOTHING
from uploader.sources import sha256

_NOTHING = google_crc32c.extend(0, bytes(4))


def _changed_by(last: int) -> int:
    """How the CRC32C of a block changes with its last four bytes: linear in their bits."""
    return int(google_crc32c.extend(0, last.to_bytes(4, "little")) ^ _NOTHING)


def _last_for(wanted: int) -> int:
    """The four bytes that change a CRC32C by ``wanted``."""
    basis: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        last, change = 1 << bit, _changed_by(1 << bit)
        while change and (top := change.bit_length()) in basis:
            last, change = last ^ basis[top][0], change ^ basis[top][1]
        basis[change.bit_length()] = last, change
    found = 0
    while wanted:
        last, change = basis[wanted.bit_length()]
        found, wanted = found ^ last, wanted ^ change
    return found


def forged(content: bytes, *stops: int) -> bytes:
    """Other bytes of the same CRC32C at the end of every 256 KiB, and at each of ``stops``."""
    blocks = []
    ends = sorted({*range(GRANULE, len(content), GRANULE), *stops, len(content)} - {0})
    for start, stop in pairwise([0, *ends]):
        block = content[start:stop]
        other = bytearray(os.urandom(len(block)))
        change = google_crc32c.value(block) ^ google_crc32c.value(bytes(other))
        last = int.from_bytes(other[-4:], "little") ^ _last_for(change)
        other[-4:] = last.to_bytes(4, "little")
        blocks.append(bytes(other))
    return b"".join(blocks)


@pytest.fixture
def half(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was hashed as far as it was sent, when its upload was interrupted."""
    monkeypatch.setattr(lab, "run_until", lambda reached: _until(lab, reached, Digests.ON))
    return interrupted(lab)


@pytest.fixture
def unhashed(lab: Lab) -> Path:
    """A file that nobody hashed while it was sent."""
    return interrupted(lab)


def _until(lab: Lab, reached: Callable[[], bool], digests: Digests) -> None:
    Lab.run_until(lab, reached, digests=digests)


def forge(lab: Lab, path: Path) -> None:
    """In the place of the file, another one that passes for it by its CRC32C."""
    file = lab.file()
    rewrite(path, forged(path.read_bytes(), file.checkpoint.offset, file.mark.offset))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_forged_file_has_the_same_checksums() -> None:
    content = os.urandom(2 * GRANULE + 99)
    other = forged(content)
    for stop in (GRANULE, 2 * GRANULE, len(content)):
        assert other[:stop] != content[:stop]
        assert google_crc32c.value(other[:stop]) == google_crc32c.value(content[:stop])


def test_a_forged_file_is_not_the_one_whose_beginning_was_hashed(lab: Lab, half: Path) -> None:
    forge(lab, half)
    lab.run(digests=Digests.ON)
    assert_refused(lab)


def test_a_file_that_was_only_touched_keeps_its_digest_and_is_not_sent_again(
    lab: Lab, half: Path
) -> None:
    os.utime(half, ns=(1, 1))
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert lab.file().sha256 == digest(half.read_bytes())
    assert not lab.file().unproven
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE


def test_a_forged_file_whose_beginning_nobody_hashed_gets_no_digest(
    lab: Lab, unhashed: Path
) -> None:
    """Nothing tells that it is another: so nothing says that it is the one that was sent."""
    forge(lab, unhashed)
    lab.run(digests=Digests.ON)
    assert lab.file().stored
    assert lab.file().sha256 is None
    (told,) = [event.message for event in lab.jobs.events(1) if event.kind == "reidentified"]
    assert told.endswith("as far as CRC32C shows: it gets no SHA-256")
    (proven,) = receipt_of(lab.job(), lab.jobs.files(1))["predicate"]["files"]
    assert not proven["sha256_as_sent"]


def test_no_later_transfer_forgets_that_a_file_is_unproven(lab: Lab, unhashed: Path) -> None:
    forge(lab, unhashed)
    lab.bytes_per_s = GRANULE / 20
    _until(lab, lambda: lab.object()["persisted"] > 4 * GRANULE, Digests.ON)
    assert lab.file().unproven
    lab.bytes_per_s = None
    lab.run(digests=Digests.ON)
    assert lab.file().stored
    assert lab.file().sha256 is None


def test_a_session_that_starts_over_sends_every_byte_and_proves_it(
    lab: Lab, unhashed: Path
) -> None:
    os.utime(unhashed, ns=(1, 1))
    lab.world.script.add([{"on": "put", "match": "a.bin", "do": "dead-session", "nth": 1}])
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert "session_dropped" in lab.kinds()
    assert lab.file().sha256 == digest(unhashed.read_bytes())
    assert not lab.file().unproven


def test_where_no_state_can_be_saved_a_touched_file_is_not_sent_again_and_gets_no_digest(
    lab: Lab, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sha256, "_opener", lambda: None)
    os.utime(half, ns=(1, 1))
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert lab.file().sha256 is None
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE


def stored(lab: Lab) -> bytes:
    (found,) = (lab.folder / "objects").rglob("a.bin")
    return found.read_bytes()


def forge_in_place(path: Path) -> None:
    """Another file of the same checksums under the same fingerprint, as far as a time shows it."""
    known, content = path.stat(), path.read_bytes()
    path.write_bytes(forged(content))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


@pytest.mark.parametrize("fault", ["short-308", "cut"])
@pytest.mark.parametrize("strikes", [2, 5, 7])
def test_a_digest_that_counts_is_that_of_what_is_stored(lab: Lab, fault: str, strikes: int) -> None:
    """Whatever is written to the file between what is sent and what is sent again."""
    path = lab.model(a_bin=SIZE) / "a.bin"
    lab.enqueue(path.parent)
    lab.bytes_per_s = GRANULE / 20
    lab.world.script.add([{"on": "put", "do": fault, "at_byte": 3 * GRANULE, "nth": 1}])
    struck: list[int] = []

    def strike(_: str) -> None:
        known = lab.world.report()["objects"]
        if not struck and known and lab.object()["body_bytes_read"] >= strikes * GRANULE:
            struck.append(lab.object()["body_bytes_read"])
            forge_in_place(path)

    lab.boundary = strike
    lab.run(digests=Digests.ON)
    file = lab.file()
    assert struck
    assert file.stored
    assert file.sha256 == digest(stored(lab))
    assert file.sha256_as_sent


def test_a_forged_file_in_the_place_of_a_stored_one_is_refused(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE, b_bin=SIZE)
    lab.enqueue(folder)
    path = folder / "a.bin"
    struck: list[str] = []

    def strike(name: str) -> None:
        of_b = threading.current_thread().name.endswith("b.bin")
        if name == "put after" and of_b and not struck:
            lab.until(lambda: lab.file("a.bin").stored)
            struck.append(name)
            rewrite(path, forged(path.read_bytes()))

    lab.boundary = strike
    lab.run(digests=Digests.ON)
    assert struck
    assert_refused(lab)


def test_a_forged_file_is_not_kept_by_a_rescan(lab: Lab) -> None:
    folder = lab.model(a_bin=SIZE)
    lab.enqueue(folder)
    lab.run(digests=Digests.ON)
    path = folder / "a.bin"
    rewrite(path, forged(path.read_bytes()))
    manifest, (file,) = lab.new_job(folder).manifest, lab.jobs.files(1)
    assert not list(unchanged([file], manifest, NOTHING))
    assert list(unchanged([replace(file, sha256=None)], manifest, NOTHING))
