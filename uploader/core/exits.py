"""The exit codes of every command and what they mean, defined nowhere else.

`docs/exit-codes.md` is generated from here. Codes are only ever added.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Self

from uploader.core.job import Reason, Status
from uploader.core.reasons import Code

#: A source or a stored object is not what was promised: these have an exit code of their own.
DAMAGED = frozenset({
    Code.SOURCE_CHANGED, Code.SOURCE_MISSING, Code.SOURCE_GONE, Code.SOURCE_DAMAGED,
    Code.CORRUPTED,
})  # fmt: skip


class Exit(IntEnum):
    """One exit code: what it means, and who has to act."""

    meaning: str
    turn: str

    def __new__(cls, code: int, meaning: str, turn: str) -> Self:
        """A member: its number, what it means, and who has to act."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.turn = turn
        return member

    OK = 0, "done, or accepted", "nobody's"
    BUG = 1, "a bug in uploader", "the developers: please report it"
    USAGE = 2, "usage or configuration", "whoever wrote the command line or the configuration"
    NOT_FOUND = 4, "no such job or path", "whoever wrote the command line"
    VERB_REFUSED = 5, "the job's state refuses the verb", "whoever wrote the command line"
    PREFLIGHT = 6, "preflight refused the folder", "whoever made the folder"
    FAILED = 7, "the job failed, or the service refused", "whoever looks after this job"
    BLOCKED = 8, "blocked: key, permission, quota", "whoever looks after the account"
    MIXED = 9, "several jobs with different results", "see each job's own result"
    TIMED_OUT = 10, "`wait` timed out; the jobs go on", "nobody: wait again"
    STORE = (
        11,
        "the state store is locked, out of reach, read-only, newer or corrupt",
        "whoever looks after the store",
    )
    INTEGRITY = 12, "a source changed, or the stored bytes differ", "whoever looks after this job"
    INTERRUPTED = 130, "interrupted by Ctrl-C (SIGINT)", "whoever interrupted it"
    PIPE_CLOSED = 141, "the reader of the output has gone, as `head` does", "nobody's"
    TERMINATED = 143, "terminated by SIGTERM", "whoever terminated it"


def exit_of(status: Status, reason: Reason | None) -> Exit:
    """How a command that waited for a job ends."""
    if status is Status.DONE:
        return Exit.OK
    if status is Status.BLOCKED:
        return Exit.BLOCKED
    if reason is not None and reason.code in DAMAGED:
        return Exit.INTEGRITY
    return Exit.FAILED


def combined(exits: Iterable[Exit]) -> Exit:
    """One code for several jobs: theirs if they agree, else mixed; OK if there are none."""
    found = set(exits)
    return Exit.MIXED if len(found) > 1 else next(iter(found), Exit.OK)
