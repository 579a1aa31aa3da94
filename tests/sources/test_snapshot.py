"""Links that keep a folder's files, and what they do not protect against."""

from __future__ import annotations

import errno
import fcntl
import itertools
import mmap
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from uploader.core.errors import SourceChanged, UsageError
from uploader.core.job import FileState, Manifest, ManifestFile
from uploader.files import has_writer
from uploader.model.fingerprint import fingerprint_of, same, surely_same
from uploader.runtime import StopToken
from uploader.sources import snapshot
from uploader.sources.local import LocalFolder
from uploader.sources.reader import Reader
from uploader.sources.snapshot import COPIED_BELOW_BYTES, MOST_COPIED_BYTES, Snapshots

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as a trainer leaves it: small texts, large weights."""
    root = tmp_path / "checkpoint-5"
    root.mkdir()
    (root / "config.json").write_text("{}")
    (root / "model.safetensors").write_bytes(os.urandom(MIB))
    os.utime(root / "config.json", ns=(1, 1_700_000_000_123_456_789))
    return root


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "kept")


def taken(snapshots: Snapshots, root: Path) -> Path:
    with snapshots.taking(LocalFolder(root).list().manifest) as (path, _):
        return Path(path)


def goes_on(_: str) -> tuple[bool, str]:
    """The job table was not put back."""
    return True, ""


def readable(root: Path, kept: Path) -> list[bool]:
    """Of each listed file: is the one in the snapshot the same, as far as a source can know?"""
    source, stop = LocalFolder(kept), StopToken()
    found = []
    for file in LocalFolder(root).list().manifest.files:
        row = FileState(1, file.path, file.size_bytes, file.fingerprint)
        with Reader(source.open(row, stop), stop) as reader:
            found.append(same(file.fingerprint, reader.fingerprint))
    return found


def test_a_copy_is_not_taken_for_a_file_that_was_touched(snapshots: Snapshots, root: Path) -> None:
    listed = LocalFolder(root).list().manifest
    with snapshots.taking(listed) as (path, manifest):
        there = LocalFolder(Path(path)).list().manifest.files
        assert [file.path for file in manifest.files] == [file.path for file in there]
        assert all(
            surely_same(a.fingerprint, b.fingerprint)
            for a, b in zip(manifest.files, there, strict=True)
        )
    assert manifest.root == listed.root
    for before, now in zip(listed.files, manifest.files, strict=True):
        assert listed.same(before.fingerprint, now.fingerprint)


def test_other_rights_and_links_since_it_was_listed_do_not_matter(
    snapshots: Snapshots, root: Path
) -> None:
    listed = LocalFolder(root).list().manifest
    for path in root.iterdir():
        path.chmod(0o600)
        os.link(path, root.with_name(f"backup-{path.name}"))
    with snapshots.taking(listed) as (place, manifest):
        shutil.rmtree(root)
        there = LocalFolder(Path(place)).list().manifest.files
        for kept, now in zip(manifest.files, there, strict=True):
            assert surely_same(kept.fingerprint, now.fingerprint)


@pytest.mark.parametrize("writes", [False, True])
def test_a_small_file_that_is_mapped_for_writing_is_not_copied_while_it_changes(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch, writes: bool
) -> None:
    path, read = root / "config.json", snapshot._content
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        if not has_writer(file.fileno()):
            pytest.skip("this kernel or this file system has no leases")
        mapped[:] = b"[]"  # from now on no store moves its time
        os.utime(path, ns=(1, 1))
        listed = LocalFolder(root).list().manifest

        def reading(descriptor: int) -> bytes:
            content = read(descriptor)
            if writes:
                mapped[:] = b"{}"
            return content

        monkeypatch.setattr(snapshot, "_content", reading)
        refused = pytest.raises(SourceChanged, match="changed while")
        with refused if writes else nullcontext(), snapshots.taking(listed) as (kept, _):
            assert (Path(kept) / "config.json").read_bytes() == b"[]"


def test_every_file_is_the_one_that_was_listed(snapshots: Snapshots, root: Path) -> None:
    kept = taken(snapshots, root)
    assert readable(root, kept) == [True, True]
    assert (kept / "model.safetensors").stat().st_ino == (root / "model.safetensors").stat().st_ino
    assert kept.stat().st_mode & 0o777 == 0o700


def test_it_outlives_its_folder(snapshots: Snapshots, root: Path) -> None:
    weights = (root / "model.safetensors").read_bytes()
    kept = taken(snapshots, root)
    shutil.rmtree(root)
    assert (kept / "model.safetensors").read_bytes() == weights
    assert (kept / "config.json").read_text() == "{}"


def test_a_small_file_may_be_written_in_place_and_a_large_one_may_be_replaced(
    snapshots: Snapshots, root: Path
) -> None:
    kept = taken(snapshots, root)
    (root / "config.json").write_text('{"later": 1}')
    (root / "new").write_bytes(bytes(MIB))
    (root / "new").replace(root / "model.safetensors")
    assert (kept / "config.json").read_text() == "{}"
    assert (kept / "model.safetensors").read_bytes() != bytes(MIB)


def test_copies_take_little_room_whatever_is_in_the_folder(
    snapshots: Snapshots, root: Path
) -> None:
    """Countless names of one file take no room where they are."""
    os.truncate(root / "model.safetensors", COPIED_BELOW_BYTES - 1)
    for number in range(80):
        os.link(root / "model.safetensors", root / f"{number}.safetensors")
    kept = taken(snapshots, root)
    inode = (root / "model.safetensors").stat().st_ino
    copies = [path for path in kept.iterdir() if path.stat().st_ino != inode]
    assert 60 * MIB < sum(path.stat().st_size for path in copies) <= MOST_COPIED_BYTES
    assert all(readable(root, kept))


def test_a_large_file_that_is_written_in_place_is_seen_to_have_changed(
    snapshots: Snapshots, root: Path
) -> None:
    listed = LocalFolder(root).list().manifest
    kept = taken(snapshots, root)
    with (root / "model.safetensors").open("r+b") as file:
        file.write(b"x")
    os.utime(root / "model.safetensors", ns=(5, 5))
    later = LocalFolder(kept).list().manifest
    same = {f.path: listed.same(f.fingerprint, g.fingerprint)
            for f, g in zip(listed.files, later.files, strict=True)}  # fmt: skip
    assert same == {"config.json": True, "model.safetensors": False}


@pytest.mark.parametrize("size_bytes", [5, MIB])
def test_of_a_link_the_file_behind_it_is_kept(
    snapshots: Snapshots, tmp_path: Path, size_bytes: int
) -> None:
    repository = tmp_path / "models--a--b"
    snapshot, blobs = repository / "snapshots" / "0", repository / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "abc").write_bytes(bytes(size_bytes))
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    kept = taken(snapshots, snapshot)
    assert not (kept / "model.safetensors").is_symlink()
    assert readable(snapshot, kept) == [True]
    shutil.rmtree(repository)
    assert (kept / "model.safetensors").stat().st_size == size_bytes


@pytest.mark.parametrize("size_bytes", [5, MIB])
def test_what_became_a_link_to_a_file_that_looks_the_same_is_not_kept(
    snapshots: Snapshots, root: Path, tmp_path: Path, size_bytes: int
) -> None:
    """On another device even the inode can be the same, so looks are not enough."""
    (root / "model.safetensors").unlink()
    (tmp_path / "secret").write_bytes(bytes(size_bytes))
    (root / "model.safetensors").symlink_to(tmp_path / "secret")
    looks = fingerprint_of((tmp_path / "secret").stat())
    listed = Manifest(str(root), (ManifestFile("model.safetensors", size_bytes, looks),))
    with pytest.raises(SourceChanged), snapshots.taking(listed):
        pytest.fail("it was taken")


def _rewritten(root: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (root / name).write_bytes(os.urandom(COPIED_BELOW_BYTES))


def _replaced_by_a_link(root: Path) -> None:
    (root / "model.safetensors").unlink()
    (root / "model.safetensors").symlink_to("/etc/passwd")


def _replaced_by_a_pipe(root: Path) -> None:
    (root / "config.json").unlink()
    os.mkfifo(root / "config.json")


@pytest.mark.parametrize(
    "change", [_rewritten, _replaced_by_a_link, _replaced_by_a_pipe, shutil.rmtree]
)
def test_what_has_changed_since_it_was_listed_is_refused_and_nothing_stays(
    snapshots: Snapshots, root: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    listed = LocalFolder(root).list().manifest
    change(root)
    with pytest.raises(SourceChanged) as raised, snapshots.taking(listed):
        pytest.fail("it was taken")
    assert "enqueue it again" in raised.value.hint
    snapshots.sweep(list, goes_on)
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.EXDEV, "another file system", "`state_dir`"),
        (errno.EPERM, "Operation not permitted", "as the user"),
        (errno.EMLINK, "Too many links", "`snapshot`"),
        (errno.ENOTSUP, "not supported", "`snapshot`"),
    ],
)
def test_where_no_link_can_be_made_the_error_says_why_and_what_to_do(
    snapshots: Snapshots,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    words: str,
    hint: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UsageError, match=words) as raised:
        taken(snapshots, root)
    assert hint in raised.value.hint
    assert str(root) in raised.value.message


@pytest.mark.parametrize("place", [(Path, "mkdir"), (os, "fsync"), (os, "open"), (fcntl, "flock")])
def test_a_disk_that_takes_nothing_more_is_said_in_words(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    """At any moment: without free inodes nothing can be made, but files can be opened."""
    works, manifest = getattr(*place), LocalFolder(root).list().manifest

    def ends(moment: int) -> str:
        calls = itertools.count()

        def full(*of: Any, **how: Any) -> Any:
            if next(calls) == moment:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return works(*of, **how)

        with monkeypatch.context() as disk:
            disk.setattr(*place, full)
            try:
                with snapshots.taking(manifest):
                    return "taken"
            except UsageError as refused:
                return refused.message

    ended = [*itertools.takewhile("taken".__ne__, map(ends, range(100)))]
    assert 0 < len(ended) < 100
    assert all("No space left on device" in message for message in ended)


def test_a_folder_that_somebody_has_locked_is_not_waited_for_for_ever(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_PATIENCE_S", 0.3)
    snapshots.home.mkdir()
    snapshots.home.chmod(0o755)
    descriptor = os.open(snapshots.home, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another process has locked it") as raised:
        taken(snapshots, root)
    assert f"fuser {snapshots.home}" in raised.value.hint
    os.close(descriptor)
    assert taken(snapshots, root)
    assert snapshots.home.stat().st_mode & 0o777 == 0o700, "nobody else opens it any more"


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_what_is_not_a_folder_in_its_place_is_said_in_words(
    snapshots: Snapshots, root: Path, make: Callable[[Path], None]
) -> None:
    make(snapshots.home)
    with pytest.raises(UsageError, match="File exists"):
        taken(snapshots, root)
