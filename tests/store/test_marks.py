from __future__ import annotations

import hashlib
import os
import stat
import struct
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from uploader.core.errors import UsageError
from uploader.core.job import WRITTEN, FileState, PrefixCrc
from uploader.core.redact import SessionUri
from uploader.store.marks import EVERY_BYTES, EVERY_S, Marks

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FILE = FileState(1, "a.bin", 10**10, "x", session=SessionUri("https://s/o?upload_id=secret"))
PAIR = PrefixCrc(7 << 20, 2**32 - 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Marks(tmp_path / "marks").sweep(NOW)
    return tmp_path / "marks"


def write(folder: Path, file: FileState = FILE, pair: PrefixCrc = PAIR) -> Path:
    mark = Marks(folder).of(file)
    mark.note(PrefixCrc(), 0.0)
    mark.note(pair, EVERY_S)
    (path,) = folder.iterdir()
    return path


def test_another_worker_reads_what_was_noted_last(folder: Path) -> None:
    write(folder)
    write(folder, pair=PrefixCrc(8 << 20, 5))
    assert Marks(folder).of(FILE).read() == PrefixCrc(8 << 20, 5)


@pytest.mark.parametrize(
    "other",
    [
        replace(FILE, session=SessionUri("https://s/o?upload_id=other")),
        replace(FILE, path="b.bin"),
        replace(FILE, session=None),
    ],
)
def test_a_mark_is_of_one_session_of_one_file(folder: Path, other: FileState) -> None:
    path = write(folder)
    assert Marks(folder).of(other).read() is None
    if other.session is not None:
        mark = Marks(folder).of(other)
        mark.note(PrefixCrc(), 0.0)
        mark.note(PrefixCrc(1, 1), 9.0)
        (theirs,) = set(folder.iterdir()) - {path}
        theirs.write_bytes(path.read_bytes())
        assert mark.read() is None, "a record copied from another file is not believed"


def test_what_was_sent_stays_known_when_the_file_has_another_fingerprint(folder: Path) -> None:
    write(folder)
    assert Marks(folder).of(replace(FILE, fingerprint="y")).read() == PAIR


def test_a_mark_of_an_earlier_version_is_read_and_written_on(folder: Path) -> None:
    """It had the fingerprint in its name, and in what proves it."""
    key = hashlib.sha256(b"https://s/o?upload_id=secret\0a.bin\0x").digest()
    fields = struct.pack(">QI", PAIR.offset, PAIR.crc32c)
    proof = hashlib.sha256(key + fields).digest()[:16]
    (folder / key.hex()[:32]).write_bytes(fields + proof)
    for fingerprint in ("x", "x" + WRITTEN):
        assert Marks(folder).of(replace(FILE, fingerprint=fingerprint)).read() == PAIR
    write(folder, pair=PrefixCrc(8 << 20, 5))
    assert Marks(folder).of(FILE).read() == PrefixCrc(8 << 20, 5)


@pytest.mark.parametrize("damage", [b"", b"\0" * 28, None])
def test_a_torn_record_is_no_record(folder: Path, damage: bytes | None) -> None:
    path = write(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:12] + bytes(16) if damage is None else damage)
    assert Marks(folder).of(FILE).read() is None


def test_marks_are_written_by_time_and_by_bytes_and_no_more_often(folder: Path) -> None:
    mark = Marks(folder).of(FILE)
    mark.note(PrefixCrc(), 0.0)
    mark.note(PrefixCrc(EVERY_BYTES - 1, 1), EVERY_S * 0.99)
    assert mark.read() is None
    mark.note(PrefixCrc(EVERY_BYTES, 2), EVERY_S * 0.99)
    assert mark.read() == PrefixCrc(EVERY_BYTES, 2)
    mark.note(PrefixCrc(EVERY_BYTES + 1, 3), EVERY_S * 1.5)
    assert mark.read() == PrefixCrc(EVERY_BYTES, 2)
    mark.note(PrefixCrc(EVERY_BYTES + 2, 4), EVERY_S * 2)
    assert mark.read() == PrefixCrc(EVERY_BYTES + 2, 4)


def test_a_short_transfer_writes_nothing(folder: Path) -> None:
    mark = Marks(folder).of(FILE)
    mark.note(PrefixCrc(1 << 20, 1), 0.0)
    mark.forget()
    assert list(folder.iterdir()) == []


def test_a_stored_file_has_no_mark(folder: Path) -> None:
    mark = Marks(folder).of(FILE)
    mark.note(PrefixCrc(), 0.0)
    mark.note(PAIR, EVERY_S)
    mark.forget()
    assert list(folder.iterdir()) == []
    assert mark.read() is None


def test_a_mark_that_cannot_be_written_or_read_does_no_harm(folder: Path) -> None:
    path = write(folder)
    path.unlink()
    path.mkdir()
    mark = Marks(folder).of(FILE)
    assert mark.read() is None
    mark.note(PrefixCrc(), 0.0)
    mark.note(PAIR, EVERY_S)
    mark.forget()


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = write(folder)
    path.unlink()
    path.symlink_to(victim)
    mark = Marks(folder).of(FILE)
    mark.note(PrefixCrc(), 0.0)
    mark.note(PAIR, EVERY_S)
    assert victim.read_bytes() == b"precious"


def test_marks_are_private_and_say_nothing_of_the_session(folder: Path) -> None:
    path = write(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"secret" not in path.read_bytes()
    assert "secret" not in path.name


def test_a_folder_that_others_may_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(UsageError):
        Marks(folder).sweep(NOW)


def test_marks_of_sessions_that_must_have_ended_are_swept(folder: Path) -> None:
    old = write(folder)
    os.utime(old, (int((NOW - timedelta(days=9)).timestamp()),) * 2)
    Marks(folder).sweep(NOW)
    assert list(folder.iterdir()) == []
    young = write(folder)
    os.utime(young, (int((NOW - timedelta(days=6)).timestamp()),) * 2)
    Marks(folder).sweep(NOW)
    assert list(folder.iterdir()) == [young]


def test_a_pipe_in_the_place_of_a_mark_is_not_waited_for(folder: Path) -> None:
    path = write(folder)
    path.unlink()
    os.mkfifo(path)
    mark = Marks(folder).of(FILE)
    assert mark.read() is None
    mark.note(PrefixCrc(), 0.0)
    mark.note(PAIR, EVERY_S)


def test_a_mark_is_read_as_far_as_its_record_however_long_its_file_is(folder: Path) -> None:
    os.truncate(write(folder), 1 << 30)
    tracemalloc.start()
    try:
        assert Marks(folder).of(FILE).read() == PAIR
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_mark_by_its_name_is_not_swept(folder: Path) -> None:
    theirs = folder / "2024.csv"
    theirs.touch()
    os.utime(theirs, (0, 0))
    Marks(folder).sweep(NOW)
    assert theirs.exists()


def test_a_folder_that_is_a_link_is_neither_swept_nor_used(folder: Path, tmp_path: Path) -> None:
    """A cloned or restored state folder may have one; data sets have names by MD5, too."""
    theirs = folder / hashlib.md5(b"an image", usedforsecurity=False).hexdigest()
    theirs.touch()
    os.utime(theirs, (0, 0))
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(UsageError, match="is a link") as raised:
        Marks(link).sweep(NOW)
    assert "remove the link" in raised.value.hint
    assert theirs.exists()


def test_without_a_folder_nothing_is_kept() -> None:
    mark = Marks().of(FILE)
    mark.note(PrefixCrc(), 0.0)
    mark.note(PAIR, 9.0)
    assert mark.read() is None
    mark.forget()


def saved(folder: Path) -> tuple[object, ...] | None:
    return Marks(folder).of(FILE).hash.read()


def test_a_hash_is_forgotten_only_beyond_what_is_sent_again(folder: Path) -> None:
    write(folder)
    Marks(folder).of(FILE).hash.write(64, 1, bytes(32), True)
    another = Marks(folder).of(FILE)
    another.hash.forget_beyond(64)
    assert saved(folder) == (64, 1, bytes(32), True)
    another.hash.forget_beyond(63)
    assert saved(folder) is None
    assert another.read() == PAIR, "the mark in the same file is left"


def test_a_hash_that_cannot_be_overwritten_is_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Marks(folder).of(FILE)
    mark.hash.write(64, 1, bytes(32), True)

    def full(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "pwrite", full)
    mark.hash.forget_beyond(0)
    assert saved(folder) is None
