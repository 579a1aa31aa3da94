"""The digests of a whole local file, read once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from uploader import files
from uploader.runtime import StopToken
from uploader.sources.local import LocalFile, unreadable

#: Larger than the blocks that are sent: nothing waits for a socket here.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file consists of; ``sha256`` is in lower-case hexadecimal."""

    size_bytes: int
    crc32c: int
    sha256: str


def digest(path: Path, on_bytes: Callable[[int], None], size_bytes: int) -> Digest:
    """Read a file once; ``on_bytes`` is called with the length of each block.

    A file of another size than ``size_bytes`` is not read: its other fields are those of no bytes.

    A link is followed: only a digest leaves this function. Raises SourceMissing,
    SourceUnreadable, SourceUnsettled if it is written to meanwhile, SourceChanged if it is not a
    regular file.
    """
    try:
        descriptor = files.descriptor_of(path)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        file = LocalFile(path, descriptor, StopToken())
    except BaseException:
        os.close(descriptor)
        raise
    with contextlib.closing(file):
        if file.size_bytes != size_bytes:
            return Digest(file.size_bytes, 0, "")
        return _read(file, on_bytes)


def _read(file: LocalFile, on_bytes: Callable[[int], None]) -> Digest:
    position, crc32c, sha256 = 0, 0, hashlib.sha256()
    while position < file.size_bytes:
        block = file.block(position, min(_BLOCK_BYTES, file.size_bytes - position))
        file.check()
        position, crc32c = position + len(block), google_crc32c.extend(crc32c, block)
        sha256.update(block)
        on_bytes(len(block))
    return Digest(position, crc32c, sha256.hexdigest())
