"""Checks a .bin of weights without unpickling it, because a pickle runs the code that it names.

`torch.save` writes a zip with its directory at the end, since PyTorch 1.6; before that it wrote a
pickle, and long ago a tar. The tensors' bytes are the members `…/data/0`, `…/data/1` and so on.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from uploader import files
from uploader.core.text import size
from uploader.model.reading import Malformed

_HEAD_BYTES = 512
#: A directory's end record may have a comment of 64 KiB.
_TAIL_BYTES = 22 + 65535
_MAX_DIRECTORY_BYTES = 32_000_000
#: An empty dictionary takes some 300 bytes as a pickle; weights that can be served, far more.
_MIN_PICKLE_BYTES = 1000
_PICKLE = re.compile(rb"\x80[\0-\5]")
_PAGE = re.compile(rb"<(?:!doctype|!--|html|head|body|\?xml|error)", re.IGNORECASE)
_JSON = re.compile(rb'\{\s*"[ -~]*"\s*:', re.ASCII)
_PAYLOAD = re.compile(r"[^/]*/data/\d+", re.ASCII)
_ZIP, _TAR, _END, _END_64 = b"PK\3\4", b"ustar", b"PK\5\6", b"PK\6\6"
_UNKNOWN_U32 = 0xFFFFFFFF


class Unfamiliar(Malformed):
    """It is not one of the formats in which PyTorch saves; something may still read it."""


def check_pickled(path: Path) -> None:
    """Raises Malformed if the file certainly contains no weights, Unfamiliar if it may."""
    try:
        with files.opened(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            if head.startswith(_ZIP):
                _check_zip(file, size_bytes)
            elif _PICKLE.match(head):
                if size_bytes < _MIN_PICKLE_BYTES:
                    raise Malformed(f"contains no weights: it is a pickle of {size_bytes} bytes")
            elif head[257:262] != _TAR:
                raise _foreign(head)
    except OSError as problem:
        raise Malformed(f"cannot be read: {problem.strerror}") from None


def _foreign(head: bytes) -> Malformed:
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    if _PAGE.match(text):
        return Malformed("is a web page or XML, not weights")
    if _JSON.match(text):
        return Malformed("is JSON, not weights")
    if not head.strip(b"\0"):
        return Malformed("begins with zeros only: an unfinished download")
    return Unfamiliar("is neither a zip nor a pickle, as PyTorch saves weights")


def _check_zip(file: BinaryIO, size_bytes: int) -> None:
    directory_bytes = _directory_bytes(file, size_bytes)
    if directory_bytes is None:
        raise Malformed(f"is cut short: {size(size_bytes)} without the directory at a zip's end")
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise Unfamiliar("has a directory too long to be read")
    try:
        with ZipFile(file) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except (BadZipFile, struct.error, ValueError, RuntimeError, OverflowError):
        raise Malformed("is cut short or broken: its directory cannot be read") from None
    if not any(name.rpartition("/")[2] == "data.pkl" for name in sizes):
        raise Unfamiliar("is a zip, but not as PyTorch saves weights")
    if not any(length for name, length in sizes.items() if _PAYLOAD.fullmatch(name)):
        raise Malformed(f"contains no weights: none of its {size(size_bytes)} belong to a tensor")


def _directory_bytes(file: BinaryIO, size_bytes: int) -> int | None:
    """The directory's length as its end record gives it; None without one."""
    start = max(size_bytes - _TAIL_BYTES, 0)
    file.seek(start)
    tail = file.read(_TAIL_BYTES)
    end, end_64 = tail.rfind(_END), tail.rfind(_END_64)
    if end < 0:
        return None
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    if length == _UNKNOWN_U32 and end_64 >= 0:
        return int.from_bytes(tail[end_64 + 40 : end_64 + 48], "little")
    return length
