"""Why a store cannot be used: the words of every StoreError that a database or disk causes."""

from __future__ import annotations

from typing import NamedTuple

from uploader.core.errors import StoreError


class Cause(NamedTuple):
    """One row: a stable code, what is wrong, what to do. None ever names a URL."""

    code: str
    what: str
    hint: str

    def error(self) -> StoreError:
        return StoreError(f"the state store {self.what}", hint=self.hint, code=self.code)


LOCKED = Cause("locked", "is locked by another process", "try again; see who has it open")
READ_ONLY = Cause("read_only", "cannot be written", "check its owner, mode and mount")
CORRUPT = Cause("corrupt", "is damaged or not a database", "restore a backup, or move it away")
FULL = Cause("disk_full", "has no room to grow", "free space on its disk, then try again")
GONE = Cause("gone", "is gone or cannot be opened", "check the state folder, restart the service")
IO = Cause("io", "cannot be read or written", "check its disk: it is full, or answers with errors")
