"""Who may write by an ACL is somebody else, as who may by the mode is."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from uploader.core.errors import UsageError
from uploader.sandbox.folder import DataFolder
from uploader.service.http.tokens import api_token
from uploader.settings.load import load
from uploader.store.database.state_folder import our_file, private_folder
from uploader.ways import hostile
from uploader.wiring.stores import seal

ACL = "system.posix_acl_access"
NOBODY = 0xFFFFFFFF
STRANGER, US = 54321, os.geteuid()
#: The tags of acl(5).
OWNER, USER, OWNING_GROUP, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
READ, WRITE_TOO, ALL = 0o4, 0o6, 0o7


def name_in_acl(path: Path, tag: int, number: int, may: int = ALL, mask: int = ALL) -> None:
    """As `setfacl -m` does: the owner may all, who is named may so much, and nobody else."""
    entries = [
        (OWNER, ALL, NOBODY),
        (tag, may, number),
        (OWNING_GROUP, 0, NOBODY),
        (MASK, mask, NOBODY),
        (OTHER, 0, NOBODY),
    ]
    text = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in sorted(entries))
    try:
        os.setxattr(path, ACL, text)
    except (AttributeError, OSError) as problem:
        pytest.skip(f"no ACLs here: {problem}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "folder"
    found.mkdir(mode=0o700)
    return found


def test_another_user_whom_an_acl_lets_write_may_replace_what_is_in_a_folder(folder: Path) -> None:
    assert hostile(folder / "file") == ""
    name_in_acl(folder, USER, STRANGER)
    assert f"{folder} may be written by the user {STRANGER}, by its ACL" in hostile(folder / "file")


def test_a_group_that_an_acl_lets_write_counts_as_one_of_the_mode_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {STRANGER: ["somebody"], STRANGER + 1: []}
    private = pwd.getpwuid(os.geteuid()).pw_name

    def asked(number: int) -> SimpleNamespace:
        return SimpleNamespace(gr_name=private, gr_mem=members.get(number, []))

    monkeypatch.setattr(grp, "getgrgid", asked)
    name_in_acl(folder, GROUP, STRANGER)
    assert f"by the group {STRANGER}, by its ACL" in hostile(folder / "file")
    name_in_acl(folder, GROUP, STRANGER + 1)
    assert hostile(folder / "file") == ""


@pytest.mark.parametrize(
    ("number", "may", "mask"),
    [(STRANGER, READ, ALL), (STRANGER, ALL, READ), (0, ALL, ALL), (US, ALL, ALL)],
    ids=["reads", "masked", "root", "us"],
)
def test_an_acl_that_lets_nobody_else_write_is_taken(
    folder: Path, number: int, may: int, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the mode then says of the group is the mask, and the group itself may nothing."""
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="x", gr_mem=["y"]))
    name_in_acl(folder, USER, number, may, mask)
    assert hostile(folder / "file") == ""


@pytest.mark.parametrize("raw", [b"", b"\2\0", struct.pack("<I", 3), struct.pack("<I", 2) + b"?"])
def test_of_an_acl_that_cannot_be_read_the_mode_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    folder.chmod(0o770)
    monkeypatch.setattr(os, "getxattr", lambda *_: raw, raising=False)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="x", gr_mem=["y"]))
    assert "written by others (mode 0770)" in hostile(folder / "file")


def state_folder(folder: Path) -> None:
    name_in_acl(folder, USER, STRANGER)
    private_folder(folder)


def job_table(folder: Path) -> None:
    our_file(folder / "uploader.db")
    name_in_acl(folder / "uploader.db", USER, STRANGER, WRITE_TOO)
    our_file(folder / "uploader.db")


def configuration(folder: Path) -> None:
    file = folder / "uploader.toml"
    file.write_text("[fireworks]\nbase_url = 'https://evil.example'\n")
    name_in_acl(file, USER, STRANGER, WRITE_TOO)
    load(file, {})


def token(folder: Path) -> None:
    api_token(folder)
    name_in_acl(folder / "api.token", USER, STRANGER, READ)
    api_token(folder)


def secret_of_the_table(folder: Path) -> None:
    file = folder / "secret"
    file.write_text("s" * 40)
    name_in_acl(file, USER, STRANGER, WRITE_TOO)
    seal(load(None, {"UPLOADER_DATABASE_SECRET_FILE": str(file)}))


def data_folder(folder: Path) -> None:
    name_in_acl(folder, USER, STRANGER)
    DataFolder(folder)


@pytest.mark.parametrize(
    "given",
    [state_folder, job_table, configuration, token, secret_of_the_table, data_folder],
    ids=lambda given: given.__name__,
)
def test_what_an_acl_lets_others_write_is_refused_as_if_the_mode_did(
    folder: Path, given: Callable[[Path], None]
) -> None:
    with pytest.raises((UsageError, ValueError), match=r"others|replaced"):
        given(folder)


def test_a_key_file_that_an_acl_lets_others_read_is_warned_of(folder: Path) -> None:
    file = folder / "key"
    file.touch(0o600)
    name_in_acl(file, USER, STRANGER, READ)
    found = load(None, {"UPLOADER_FIREWORKS__API_KEY_FILE": str(file)}).warnings
    assert any(f"others may read or replace the API key in {file}" in one for one in found)
