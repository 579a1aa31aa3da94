"""What a library opens by a name: a descriptor, or a file in memory that begins as another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO


def name_of(file: BinaryIO) -> str:
    """What is open, for a library that opens a name: wherever its own name leads by now.

    On macOS the library shares the position with ``file``.
    """
    return f"/dev/fd/{file.fileno()}"


@contextmanager
def beginning(file: BinaryIO, *parts: bytes, size_bytes: int) -> Iterator[str]:
    """As `name_of`, of a file that begins with ``parts`` and goes on with zeros to ``size_bytes``.

    For a library that reads again what was judged: nobody else can write that file, which is in
    memory and takes no more of it than ``parts``. Without such files, as on macOS, it is ``file``.
    """
    descriptor = _in_memory(parts, size_bytes)
    if descriptor is None:
        os.lseek(file.fileno(), 0, os.SEEK_SET)  # the library may share the position
        yield name_of(file)
        return
    try:
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _in_memory(parts: Iterable[bytes], size_bytes: int) -> int | None:
    """A descriptor; None if the system has no such files, or of no such size."""
    try:
        descriptor = os.memfd_create("beginning")
    except (AttributeError, OSError):
        return None
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.writelines(parts)
        os.truncate(descriptor, size_bytes)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _makes_memory_files() -> bool:
    descriptor = _in_memory((), 0)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is not None


#: Whether `beginning` gives a file in memory, which no disk keeps waiting.
HAS_MEMORY_FILES = _makes_memory_files()
