"""A write-ahead log as its bytes: the frames, and which of them end a transaction."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24

Rows = dict[str, list[tuple[Any, ...]]]


class Log:
    """https://www.sqlite.org/fileformat2.html#walformat"""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        (page_bytes,) = struct.unpack_from(">I", raw, 8)
        self._frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        salt = raw[16:24]
        #: Where each frame of the present generation ends.
        self.ends: list[int] = []
        #: The ends of those that commit.
        self.commits: list[int] = []
        at = HEADER_BYTES
        while at + self._frame_bytes <= len(raw) and raw[at + 8 : at + 16] == salt:
            (pages_after,) = struct.unpack_from(">I", raw, at + 4)
            at += self._frame_bytes
            self.ends.append(at)
            if pages_after:
                self.commits.append(at)

    def torn(self) -> list[int]:
        """Cuts in the middle of frames: in their headers, their pages, one byte short."""
        starts = [HEADER_BYTES, *self.ends[:-1]]
        inside = (5, _FRAME_HEADER_BYTES + 100, self._frame_bytes - 1)
        return [start + inside[number % 3] for number, start in enumerate(starts)]

    def committed(self, cut: int) -> int:
        """The end of the last transaction that is whole before ``cut``."""
        return max((end for end in self.commits if end <= cut), default=0)


def lose_power(database: Path, wal: bytes, folder: Path) -> Path:
    """The store as a machine finds it that wrote no more than ``wal`` of the log."""
    target = folder / "uploader.db"
    target.write_bytes(database.read_bytes())
    target.with_name("uploader.db-wal").write_bytes(wal)
    target.with_name("uploader.db-shm").unlink(missing_ok=True)
    return target


def rows_of(database: Path) -> Rows:
    """Every row, of a store that SQLite itself calls whole."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = ("jobs", "files", "events", "alembic_version")
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
