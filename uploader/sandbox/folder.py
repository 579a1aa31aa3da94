"""The data folder: files by key, never outside it and never through a link.

A key is a path below the folder, its parts divided by `/`. Every part is opened relative to the one
before it, without following links, so that neither a key nor a foreign link in the folder leads
elsewhere. What is created is private to its user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

#: The longest name of an object, in UTF-8 (cloud.google.com/storage/docs/objects#naming).
_LONGEST_KEY_BYTES = 1024
_LONGEST_PART_BYTES = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class IllegalKey(ValueError):
    """A key does not name a place below the folder."""


def check_key(key: str) -> list[str]:
    """The parts of a key. Raises IllegalKey for one that could lead elsewhere."""
    parts = key.split("/")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise IllegalKey("the name is not text") from None
    if not all(map(_is_name, parts)):
        raise IllegalKey("a part of the name is empty, `.`, `..`, or contains an illegal character")
    if max(sizes) > _LONGEST_PART_BYTES or sum(sizes) + len(parts) > _LONGEST_KEY_BYTES:
        raise IllegalKey("the name is too long")
    return parts


def _is_name(part: str) -> bool:
    printable = all(char >= " " and char not in "\\\x7f" for char in part)
    return printable and part not in ("", ".", "..")


class DataFolder:
    """The files below `root`, which is created if it is missing.

    Every method raises IllegalKey for an illegal key, and OSError if something other than a plain
    file is in the way: a link, a folder, a pipe.
    """

    def __init__(self, root: Path) -> None:
        """Raises OSError, and ValueError if others may write `root`."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root.resolve()
        facts = self.root.stat()
        if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError(f"the data folder {self.root} is not ours, or others may write it")

    def open(self, key: str) -> FileIO:
        """The file for reading and writing, unbuffered; created if it is missing."""
        with suppress(FileExistsError):
            return self._create(key)
        with self._parent(key) as (folder, name):
            return _plain(os.open(name, os.O_RDWR | _FILE, dir_fd=folder))

    def read(self, key: str) -> bytes:
        """The bytes of a file; empty if it is not there."""
        try:
            with self._parent(key) as (folder, name):
                descriptor = os.open(name, os.O_RDWR | _FILE, dir_fd=folder)
        except FileNotFoundError:
            return b""
        with _plain(descriptor) as file:
            return file.readall()

    def write(self, key: str, content: bytes) -> None:
        """Replace a file's bytes; after a crash it has either all the new ones or the old ones."""
        scratch = f"{key}.new"
        self.remove(scratch)
        with self._create(scratch) as file:
            write_whole(file, content)
        self.move(scratch, key)

    def move(self, key: str, to: str) -> None:
        """Rename a file; an existing file of that name, or a link itself, is replaced."""
        with self._parent(key) as (old, name), self._parent(to, create=True) as (new, wanted):
            os.rename(name, wanted, src_dir_fd=old, dst_dir_fd=new)

    def remove(self, key: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError), self._parent(key) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def _create(self, key: str) -> FileIO:
        with self._parent(key, create=True) as (folder, name):
            made = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE
            return _plain(os.open(name, made, 0o600, dir_fd=folder))

    @contextmanager
    def _parent(self, key: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder of a key's file, and the file's name in it."""
        *folders, name = check_key(key)
        current = os.open(self.root, _FOLDER)
        try:
            for folder in folders:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(folder, 0o700, dir_fd=current)
                inner = os.open(folder, _FOLDER, dir_fd=current)
                os.close(current)
                current = inner
            yield current, name
        finally:
            os.close(current)


def write_whole(file: FileIO, content: bytes) -> None:
    """A disk that is about to be full takes a part of it, and says so by the count alone."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _plain(descriptor: int) -> FileIO:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise OSError("a file in the data folder is not a plain one, or belongs to somebody else")
    return os.fdopen(descriptor, "r+b", buffering=0)
