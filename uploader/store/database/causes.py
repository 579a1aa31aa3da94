"""Why a store cannot be used: the message of every StoreError that a database or disk causes."""

from __future__ import annotations

from typing import NamedTuple

from uploader.core.coded import Coded
from uploader.core.errors import StoreError
from uploader.core.store_reasons import StoreCode


class Cause(NamedTuple):
    """One row: a code, what is wrong, and what to do, unless the code says that.

    The texts never contain a URL.
    """

    code: Coded
    what: str
    hint: str = ""

    def error(self, rule: str = "") -> StoreError:
        """The error to raise; it does not name the file or the address of the store.

        ``rule``: the name of what refuses a row.
        """
        what = f"{self.what} ({rule})" if rule else self.what
        return StoreError(f"the state store {what}", hint=self.hint, code=self.code)


LOCKED = Cause(
    StoreCode.LOCKED,
    "is locked by another process",
    "try again; see who has it open: one that was stopped (Ctrl-Z) keeps it until it goes on",
)
READ_ONLY = Cause(StoreCode.READ_ONLY, "cannot be written", "check its owner, mode and mount")
CORRUPT = Cause(StoreCode.CORRUPT, "is damaged or not a database")
REFUSED = Cause(StoreCode.ROW_REFUSED, "refuses a row")
FULL = Cause(
    StoreCode.DISK_FULL, "has no space left on its disk", "free some space there, then try again"
)
GONE = Cause(StoreCode.GONE, "is gone or cannot be opened")
IO = Cause(
    StoreCode.IO,
    "cannot be read or written",
    "check whether its disk is full, over a quota, or failing",
)
