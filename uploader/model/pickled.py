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
from uploader.model.reading import Allowance, Malformed

_HEAD_BYTES = 512
#: Enough for 150 000 tensors; as objects its entries take ten times their bytes.
_MAX_DIRECTORY_BYTES = 16_000_000
#: What `zipfile` reads to the end: a record with a comment, 64 KiB together.
_TAIL_BYTES = 1 << 17
#: An empty dictionary takes some 300 bytes as a pickle; weights that can be served, far more.
_MIN_PICKLE_BYTES = 1000
_PICKLE = re.compile(rb"\x80[\0-\5]")
_PAGE = re.compile(rb"<(?:!doctype|!--|html|head|body|\?xml|error)", re.IGNORECASE)
_JSON = re.compile(rb'\{\s*"[ -~]*"\s*:', re.ASCII)
_PAYLOAD = re.compile(r"[^/]*/data/\d+", re.ASCII)
_ZIP, _TAR = b"PK\3\4", b"ustar"


class Unfamiliar(Malformed):
    """It is not one of the formats in which PyTorch saves; something may still read it."""


def check_pickled(path: Path, allowance: Allowance | None = None) -> None:
    """Raises Malformed if the file certainly contains no weights, Unfamiliar if it may.

    The length of a zip's directory is taken from ``allowance``: TooLong without any left.
    """
    try:
        with files.opened(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            if head.startswith(_ZIP):
                _check_zip(file, size_bytes, allowance)
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


def _check_zip(file: BinaryIO, size_bytes: int, allowance: Allowance | None) -> None:
    try:
        with ZipFile(_Bounded(file, allowance)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except Malformed:
        raise
    except (BadZipFile, struct.error, ValueError, RuntimeError, OverflowError):
        found = f"{size(size_bytes)} without a sound directory at the end"
        raise Malformed(f"is cut short or broken: {found}") from None
    if not any(name.rpartition("/")[2] == "data.pkl" for name in sizes):
        raise Unfamiliar("is a zip, but not as PyTorch saves weights")
    if not any(length for name, length in sizes.items() if _PAYLOAD.fullmatch(name)):
        raise Malformed(f"contains no weights: none of its {size(size_bytes)} belong to a tensor")


class _Bounded:
    """A zip for `zipfile`, which reads a directory at once, however long an end record says it is.

    Only `zipfile` knows which of the records it believes, so the bound is on what it reads.
    """

    def __init__(self, file: BinaryIO, allowance: Allowance | None) -> None:
        self._file = file
        self._allowance = allowance

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, length: int = -1, /) -> bytes:
        """The next ``length`` bytes; raises Unfamiliar if they are more than a directory has."""
        if length > _MAX_DIRECTORY_BYTES:
            raise Unfamiliar("has a directory too long to be read")
        if self._allowance and length > 0:
            self._allowance.take(length)
        return self._file.read(length if length >= 0 else _TAIL_BYTES)
