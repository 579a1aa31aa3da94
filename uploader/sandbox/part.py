"""The file in which an upload arrives, with the CRC32C of its bytes."""

from __future__ import annotations

import base64
import os
import threading
from io import FileIO

import google_crc32c

from uploader.sandbox.folder import DataFolder, write_whole
from uploader.sandbox.wire import ConnectionCut

GRANULE_BYTES = 256 * 1024


class Part:
    """Bytes [0, persisted) of an object, plus those that a running request adds.

    A request that is cut leaves everything that was received, rounded down to a granule. One
    request writes at a time: the next one on the same upload takes over, and the older one is cut;
    the block that it was just reading is neither kept nor counted. `cuts` counts a cut when the
    bytes are lost, however long the older request's thread takes to notice.
    """

    def __init__(self, folder: DataFolder, key: str) -> None:
        self.key = key
        self._folder = folder
        self.persisted = 0
        self.crc = 0
        self.cuts = 0
        self._arrived = 0
        self._arrived_crc = 0
        self._file: FileIO | None = None
        self._lock = threading.RLock()

    @property
    def crc32c(self) -> str:
        """The CRC32C of bytes [0, persisted) as the services print it."""
        return base64.b64encode(self.crc.to_bytes(4, "big")).decode()

    def recover(self, persisted: int) -> None:
        """After a restart: go on with what the file has, but not below `persisted`."""
        with self._folder.open(self.key) as file:
            size = file.seek(0, os.SEEK_END)
            granules = size // GRANULE_BYTES * GRANULE_BYTES
            self.persisted = max(min(persisted, size), granules)
            file.seek(0)
            left, self.crc = self.persisted, 0
            while left and (block := file.read(min(left, GRANULE_BYTES))):
                self.crc = google_crc32c.extend(self.crc, block)
                left -= len(block)
        self._arrived, self._arrived_crc = self.persisted, self.crc

    @property
    def receiving(self) -> bool:
        """Is a request adding to it?"""
        return self._file is not None

    def begin(self) -> FileIO:
        """Take over; returns the token (the open file) that `write` and `end` ask for."""
        with self._lock:
            self.settle()
            self._file = self._folder.open(self.key)
            self._file.seek(self.persisted)
            return self._file

    def write(self, token: FileIO, block: bytes) -> None:
        """Append a block. Raises ConnectionCut if another request has taken over."""
        with self._lock:
            if token is not self._file:
                raise ConnectionCut(reset=True)
            write_whole(token, block)
            self._advance(block)

    def end(self, token: FileIO, *, whole: bool = False, cut: bool = False) -> bool:
        """The request is over; `whole` keeps the odd bytes after the last granule, too.

        False if another request has taken over; that one counted the cut.
        """
        with self._lock:
            ours = token is self._file
            if ours:
                self._close(whole=whole, cut=cut)
            return ours

    def settle(self) -> None:
        """Cut whoever is writing, and keep what has arrived down to a granule."""
        with self._lock:
            self._close(whole=False, cut=True)

    def move_to(self, key: str) -> None:
        """The upload is complete: this is the object now."""
        self._folder.move(self.key, key)

    def discard(self) -> None:
        """The upload was cancelled: nothing of it is kept."""
        with self._lock:
            self.settle()
            self.persisted = self.crc = self._arrived = self._arrived_crc = 0
            self._folder.remove(self.key)

    def _close(self, *, whole: bool, cut: bool) -> None:
        if self._file is None:
            return
        self.cuts += cut
        if whole:
            self.persisted, self.crc = self._arrived, self._arrived_crc
        self._file.truncate(self.persisted)
        self._file.close()
        self._file = None
        self._arrived, self._arrived_crc = self.persisted, self.crc

    def _advance(self, block: bytes) -> None:
        stop = self._arrived + len(block)
        granules = stop // GRANULE_BYTES * GRANULE_BYTES
        if granules > self._arrived:
            head, block = block[: granules - self._arrived], block[granules - self._arrived :]
            self.crc = self._arrived_crc = google_crc32c.extend(self._arrived_crc, head)
            self.persisted = granules
        self._arrived_crc = google_crc32c.extend(self._arrived_crc, block)
        self._arrived = stop
