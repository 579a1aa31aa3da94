"""The data folder: no key and no link leads out of it, and nothing in it is for others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from uploader.sandbox.folder import DataFolder, IllegalKey, check_key

ILLEGAL = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "a/../b",
    "a/..",
    "../a",
    "a//b",
    "a/",
    "a/./b",
    "a\n/../../b",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "\ud800",
    "x" * 256,
    "é" * 128,
    "/".join(["x" * 200] * 6),
]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_bytes(b"secret")
    return path


@pytest.mark.parametrize("key", ILLEGAL)
def test_a_key_that_could_lead_elsewhere_is_refused(folder: DataFolder, key: str) -> None:
    with pytest.raises(IllegalKey):
        check_key(key)
    for verb in (folder.open, folder.remove):
        with pytest.raises(IllegalKey):
            verb(key)
    assert list(folder.root.iterdir()) == []


@pytest.mark.parametrize("key", ["a", "a/b/c", "a/..b", "a/b..", "a/.b", "a/é ü", "x" * 255])
def test_a_key_below_the_folder_is_its_path(folder: DataFolder, key: str) -> None:
    with folder.open(key) as file:
        file.write(b"x")
    assert (folder.root / key).read_bytes() == b"x"
    folder.move(key, f"to/{key}")
    assert not (folder.root / key).exists()
    folder.remove(f"to/{key}")
    folder.remove(f"to/{key}")
    assert not (folder.root / "to" / key).exists()


def test_what_is_created_is_private(folder: DataFolder) -> None:
    before = os.umask(0)
    try:
        folder.open("a/b/c").close()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((folder.root / key).stat().st_mode) for key in ("a", "a/b", "a/b/c")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    before = (tmp_path / "shared").stat().st_mode
    DataFolder(tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode == before


@pytest.mark.parametrize("key", ["link/secret", "a/link/secret", "a/link/new"])
def test_a_link_to_a_folder_is_not_followed(folder: DataFolder, outside: Path, key: str) -> None:
    folder.open("a/file").close()
    for place in (folder.root, folder.root / "a"):
        (place / "link").symlink_to(outside)
    with pytest.raises(OSError):  # noqa: PT011
        folder.open(key)
    with pytest.raises(OSError):  # noqa: PT011
        folder.move("a/file", key)
    with pytest.raises(OSError):  # noqa: PT011
        folder.remove(key)
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_link_to_a_file_is_neither_read_nor_written(folder: DataFolder, outside: Path) -> None:
    folder.open("a/file").close()
    (folder.root / "a/link").symlink_to(outside / "secret")
    (folder.root / "a/new").symlink_to(outside / "new")
    for key in ("a/link", "a/new"):
        with pytest.raises(OSError):  # noqa: PT011
            folder.open(key)
    folder.move("a/file", "a/link")
    assert (folder.root / "a/link").is_file()
    assert not (folder.root / "a/link").is_symlink()
    folder.remove("a/new")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_whole_file_is_replaced_and_no_link_followed(folder: DataFolder, outside: Path) -> None:
    (folder.root / "state").symlink_to(outside / "secret")
    (folder.root / "state.new").symlink_to(outside / "secret")
    folder.write("state", b"one")
    folder.write("state", b"two")
    assert folder.read("state") == (folder.root / "state").read_bytes() == b"two"
    assert folder.read("nothing") == folder.read("no/thing") == b""
    assert (outside / "secret").read_bytes() == b"secret"
    assert [path.name for path in folder.root.iterdir()] == ["state"]


def test_a_file_of_somebody_else_is_not_believed(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("state", b"x")
    monkeypatch.setattr("uploader.sandbox.folder.os.geteuid", lambda: os.getuid() + 1)
    for verb in (folder.read, folder.open):
        with pytest.raises(OSError, match="somebody else"):
            verb("state")


def test_only_a_plain_file_is_opened(folder: DataFolder) -> None:
    os.mkfifo(folder.root / "pipe")
    (folder.root / "folder").mkdir()
    for key in ("pipe", "folder"):
        with pytest.raises(OSError):  # noqa: PT011
            folder.open(key)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    DataFolder(tmp_path / "link").open("a").close()
    assert (tmp_path / "real/a").is_file()


@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_a_data_folder_that_others_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    tmp_path.chmod(0o755 | bits)
    with pytest.raises(ValueError, match="others may write"):
        DataFolder(tmp_path)


def test_a_data_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    with pytest.raises(ValueError, match="not ours"):
        DataFolder(tmp_path)
