"""A .bin is a zip by the word of the one reader that reads it: nothing else decides how much."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from tests.model.build import zipped
from uploader.model import pickled
from uploader.model.pickled import Unfamiliar, check_pickled

ENTRIES = 100
#: Bytes that the directory of `large` exceeds, and that of a small model does not.
BOUND = 1000
_END, _END_64 = b"PK\5\6", b"PK\6\6"


def large() -> tuple[bytes, int, int]:
    """The zip of a model without its end record; where its directory begins, and its length."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"x")
        for number in range(ENTRIES):
            file.writestr(f"archive/data/{number}", b"x")
        begins = file.start_dir
    body = archive.getvalue()[:-22]
    return body, begins, len(body) - begins


def end(length: int, begins: int | bytes, comment: bytes = b"") -> bytes:
    offset = begins if isinstance(begins, bytes) else struct.pack("<L", begins)
    said = struct.pack("<4s4HL", _END, 0, 0, 0, 0, length)
    return said + offset + struct.pack("<H", len(comment)) + comment


def end_64(length: int, begins: int, at: int) -> bytes:
    """The record of a large zip, and what names its place."""
    record = struct.pack("<4sQ2H2L4Q", _END_64, 44, 45, 45, 0, 0, 1, 1, length, begins)
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)


def ends() -> dict[str, bytes]:
    """Ends by which zipfile reads a long directory, and another reader may find a short one."""
    body, begins, length = large()
    place = len(body)
    short = end(40, 0)
    unknown = end(0xFFFFFFFF, 0xFFFFFFFF)
    whole_64 = end_64(length, begins, place)
    return {
        "the plain one": body + end(length, begins),
        "an offset that looks like a record": body + end(length, _END),
        "a comment": body + end(length, begins, b"a comment"),
        "a record before it": body + short + end(length, begins),
        "the one of a large zip": body + whole_64 + unknown,
        "a small one, and that of a large zip": body + whole_64 + end(40, begins),
        "that of a large zip with another before it": (
            body + end_64(40, begins, place) + whole_64 + unknown
        ),
        "that of a large zip, and its name in an offset": (
            body + whole_64 + end(0xFFFFFFFF, _END_64)
        ),
    }


@pytest.mark.parametrize("name", ends())
def test_no_end_of_a_zip_makes_a_long_directory_look_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(ends()[name])
    monkeypatch.setattr(pickled, "_MAX_DIRECTORY_BYTES", BOUND)
    with pytest.raises(Unfamiliar, match="directory too long"):
        check_pickled(path)


def test_a_directory_within_the_bound_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(zipped({"a": 8}))
    monkeypatch.setattr(pickled, "_MAX_DIRECTORY_BYTES", BOUND)
    check_pickled(path)
