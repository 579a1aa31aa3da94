"""How far transfers were when the process was killed: more often than a row could say it.

A row is written once a second, because it costs an fsync. Here each transfer writes sixteen bytes
into a small file of its own, with no fsync: the kernel keeps them if the process is killed. They
are a hint. A record that is torn, or is of another session or another source, is not believed; one
that is merely old is still true. After a power cut there may be none, and more is read again.
"""

from __future__ import annotations

import hashlib
import os
import struct
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from uploader.core.job import FileState, PrefixCrc
from uploader.store.database.state_folder import private_folder

#: A mark is written after so many bytes, or so many seconds, whichever comes first.
EVERY_BYTES = 64 * 1024 * 1024
EVERY_S = 0.25
#: No session lives longer.
_KEPT = timedelta(days=8)
_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDWR
_PAIR = struct.Struct(">QI")
_PROOF_BYTES = 16


class Marks:
    """The marks of all transfers of one state folder; without a folder, none is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def of(self, file: FileState) -> Mark:
        """The mark of a file's present session."""
        if self._folder is None or file.session is None:
            return Mark(None, b"")
        whose = f"{file.session.reveal()}\0{file.path}\0{file.fingerprint}"
        key = hashlib.sha256(whose.encode("utf-8", "surrogatepass")).digest()
        return Mark(self._folder / key.hex()[:32], key)

    def sweep(self, now: datetime) -> None:
        """Delete the marks of sessions that must have ended. Raises UsageError, OSError."""
        if self._folder is None:
            return
        private_folder(self._folder)
        oldest_s = (now - _KEPT).timestamp()
        for entry in os.scandir(self._folder):
            with suppress(OSError):  # another worker may delete it, too
                if entry.stat(follow_symlinks=False).st_mtime < oldest_s:
                    Path(entry.path).unlink()


class Mark:
    """The mark of one transfer, for its thread. Nothing here raises: it is only a hint."""

    def __init__(self, path: Path | None, key: bytes) -> None:
        self._path = path
        self._key = key
        self._written: tuple[int, float] | None = None

    def read(self) -> PrefixCrc | None:
        """The last mark that was written; None if there is none, or not a whole one."""
        if self._path is None:
            return None
        try:
            record = self._path.read_bytes()
        except OSError:
            return None
        pair = record[: _PAIR.size]
        if len(pair) < _PAIR.size or record[_PAIR.size :] != self._proof(pair):
            return None
        return PrefixCrc(*_PAIR.unpack(pair))

    def note(self, pair: PrefixCrc, now_s: float) -> None:
        """Bytes up to ``pair`` go to the socket at ``now_s``; written if it is time."""
        if self._written is None:
            self._written = (pair.offset, now_s)
            return
        offset, at_s = self._written
        if pair.offset - offset >= EVERY_BYTES or now_s - at_s >= EVERY_S:
            self._written = (pair.offset, now_s)
            self._write(_PAIR.pack(pair.offset, pair.crc32c))

    def _write(self, pair: bytes) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            descriptor = os.open(self._path, _FLAGS, 0o600)
            try:
                os.pwrite(descriptor, pair + self._proof(pair), 0)
            finally:
                os.close(descriptor)

    def _proof(self, pair: bytes) -> bytes:
        return hashlib.sha256(self._key + pair).digest()[:_PROOF_BYTES]

    def forget(self) -> None:
        """The file is stored."""
        if self._path is not None and self._written is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
