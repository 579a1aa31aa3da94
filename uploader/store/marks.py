"""How far transfers were when the process was killed: more often than a row could say it.

A row is written once a second, because it costs an fsync. Here each transfer writes a few bytes
into a small file of its own, with no fsync: the kernel keeps them if the process is killed. They
are a hint. A record that is torn, or of another session, is not believed; one that is merely old is
still true, for that of a hash is forgotten before any of its bytes are sent again. After a power
cut there may be none, and more is read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from uploader import files
from uploader.core.job import WRITTEN, FileState, PrefixCrc
from uploader.store.database.state_folder import folder_of_ours

#: A mark is written after this many bytes or seconds, whichever comes first.
EVERY_BYTES = 64 * 1024 * 1024
EVERY_S = 0.25
#: No session lives longer.
_KEPT = timedelta(days=8)
_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDWR
_PAIR = struct.Struct(">QI")
_HASH = struct.Struct(">QI32s?")
_PROOF_BYTES = 16
#: What `_at` makes.
_NAME = re.compile("[0-9a-f]{32}")


class Marks:
    """The marks of all transfers of one state folder; without a folder, none is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def of(self, file: FileState) -> Mark:
        """The mark of a file's present session.

        It says what was sent there, which stays true whatever becomes of the file: a transfer that
        finds it changed compares the two.
        """
        if self._folder is None or file.session is None:
            return Mark(None, b"")
        whose = f"{file.session.reveal()}\0{file.path}"
        older = f"{whose}\0{file.fingerprint.removesuffix(WRITTEN)}"  # as earlier versions wrote it
        mark = self._at(self._folder, older)
        return mark if mark.is_there else self._at(self._folder, whose)

    def _at(self, folder: Path, whose: str) -> Mark:
        key = hashlib.sha256(whose.encode("utf-8", "surrogatepass")).digest()
        return Mark(folder / key.hex()[:32], key)

    def sweep(self, now: datetime) -> None:
        """Delete the marks of sessions that must have ended. Raises UsageError, OSError."""
        if self._folder is None:
            return
        folder_of_ours(self._folder)
        oldest_s = (now - _KEPT).timestamp()
        for entry in os.scandir(self._folder):
            if not _NAME.fullmatch(entry.name):
                continue  # it is not ours
            with suppress(OSError):  # another worker may delete it, too
                if entry.stat(follow_symlinks=False).st_mtime < oldest_s:
                    Path(entry.path).unlink()


class Mark:
    """The marks of one transfer. Nothing here raises: they are only hints.

    ``key`` is empty if nothing can be kept of it.
    """

    def __init__(self, path: Path | None, key: bytes) -> None:
        self.key = key
        #: Offset, CRC32C and state of the SHA-256 of the bytes before it, and if they are certainly
        #: those that were sent; for the hashing thread.
        self.hash = _Record(path, key, _PAIR.size + _PROOF_BYTES, _HASH)
        self._path = path
        self._sent = _Record(path, key, 0, _PAIR)

    @property
    def is_there(self) -> bool:
        """Does it have a file?"""
        return self._path is not None and os.path.exists(self._path)  # noqa: PTH110 - raises nothing

    def read(self) -> PrefixCrc | None:
        """The last mark that was written; None if there is none, or not a whole one."""
        pair = self._sent.read()
        return None if pair is None else PrefixCrc(*pair)

    def note(self, pair: PrefixCrc, now_s: float) -> None:
        """Bytes up to ``pair`` go to the socket at ``now_s``; written if it is time."""
        if self._sent.due(pair.offset, now_s):
            self._sent.write(pair.offset, pair.crc32c)

    def forget(self) -> None:
        """The file is stored."""
        if self._path is not None and (self._sent.exists or self.hash.exists):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


class _Record:
    """Some fields at a fixed place of a mark's file; each record is for one thread at a time."""

    def __init__(self, path: Path | None, key: bytes, place: int, form: struct.Struct) -> None:
        #: May it be in the file?
        self.exists = False
        self._offset: int | None = None
        self._path = path
        self._key = key
        self._place = place
        self._form = form
        self._written: tuple[int, float] | None = None

    @property
    def offset(self) -> int:
        """The first field of what is there, whoever wrote it; 0 if there is nothing."""
        if self._offset is None:
            self._offset, *_ = self.read() or (0,)
        return self._offset

    def read(self) -> tuple[Any, ...] | None:
        """The fields as last written; None if they were not, or not wholly."""
        if self._path is None:
            return None
        try:
            # As far as the record: somebody may have made the file longer.
            most = self._place + self._form.size + _PROOF_BYTES
            record = files.read(self._path, most)[0][self._place :]
        except OSError:
            return None
        self.exists = True
        fields = record[: self._form.size]
        if len(fields) < self._form.size or record[self._form.size :] != self._proof(fields):
            return None
        return self._form.unpack(fields)

    def due(self, offset: int, now_s: float) -> bool:
        """Is it time to write down that a transfer is at ``offset``?"""
        if self._written is not None:
            written, at_s = self._written
            if offset - written < EVERY_BYTES and now_s - at_s < EVERY_S:
                return False
        due, self._written = self._written is not None, (offset, now_s)
        return due

    def write(self, *fields: Any) -> None:
        """Write it now, with no fsync."""
        packed = self._form.pack(*fields)
        if self._path is not None:
            self.exists, (self._offset, *_) = True, fields
            with suppress(OSError):
                self._put(self._path, packed + self._proof(packed))

    def forget_beyond(self, offset: int) -> None:
        """Bytes from there on are sent again: not even a power cut brings back their record."""
        if self._path is not None and self.offset > offset:
            self._offset = 0
            try:
                self._put(self._path, bytes(self._form.size + _PROOF_BYTES), lasting=True)
            except OSError:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def _put(self, path: Path, record: bytes, *, lasting: bool = False) -> None:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            os.pwrite(descriptor, record, self._place)
            if lasting:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _proof(self, fields: bytes) -> bytes:
        return hashlib.sha256(self._key + fields).digest()[:_PROOF_BYTES]
