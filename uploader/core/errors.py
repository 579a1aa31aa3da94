"""Every error a user or a server can cause, and the exit code it ends in (docs/exit-codes.md).

UploaderError
├── UsageError            2   a flag, a setting, an illegal id, a conflicting job
├── NotFound              4   no such job or path
├── VerbRefused           5   a verb that the job's state refuses
├── PreflightRefused      6   the folder cannot become a model
├── Differs              12   files, or the model, are not as they were uploaded
├── WaitTimedOut         10   the jobs that were waited for have not ended in time
├── StoreError           11   the job table is locked, out of reach, read-only, newer or corrupt
│   └── UnreadableRow    11   only one job's rows have values that nobody writes
├── LeaseLost             1   this worker no longer owns the job: write nothing more
├── Stopped               -   a stop token was set: not a failure, control flow
├── SourceUnsettled       -   an open source changed: prove it again before going on
├── JobError                  ends in the job's reason
│   ├── SourceChanged    12   a local file is not what the manifest promised
│   ├── SourceMissing    12   a local file is gone
│   ├── SourceUnreadable  -   a file cannot be read: may pass
│   │   ├── SourceAway    -   nor can any other: the folder is unmounted or gone
│   │   └── SourceDamaged 12   a part of it cannot be read: the disk has a bad block
│   ├── NoThread          -   this process may not start another thread: may pass
│   │   └── ProgramEnds   -   nor ever again: this program is ending
│   ├── Corrupted        12   the stored object differs from the source
│   └── JobRefused        7   this job cannot go on as it is
└── RemoteError           7,8 an answer of one of the two services, or none, with its verdict
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from uploader.core.coded import Coded
from uploader.core.exits import Exit
from uploader.core.finding import Finding
from uploader.core.reasons import Code
from uploader.core.store_reasons import StoreCode
from uploader.core.verdict import Call, Verdict

_ANY_STORE = "the state store"


class UploaderError(Exception):
    """One line that says what happened, one line what to do; neither ever holds a secret.

    ``code`` is the class's own unless given, ``hint`` the code's own unless given.
    """

    exit_code: Exit = Exit.BUG
    code: Coded = Code.BUG

    def __init__(self, message: str, *, hint: str = "", code: Coded | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.hint = hint or self.code.hint


class UsageError(UploaderError):
    """The command line, the configuration or the environment is wrong."""

    exit_code = Exit.USAGE
    code = Code.USAGE


class NotFound(UploaderError):
    """No such job, or no such path."""

    exit_code = Exit.NOT_FOUND
    code = Code.NOT_FOUND


class VerbRefused(UploaderError):
    """The job's state refuses the verb; nothing was changed."""

    exit_code = Exit.VERB_REFUSED
    code = Code.VERB_REFUSED


class PreflightRefused(UploaderError):
    """The folder cannot become a model, as its ``findings`` say; nothing was sent."""

    exit_code = Exit.PREFLIGHT
    code = Code.PREFLIGHT

    def __init__(self, message: str, *, hint: str = "", findings: Sequence[Finding] = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)


class Differs(UploaderError):
    """Files, or the model on the service, are not as they were uploaded; nothing was changed."""

    exit_code = Exit.INTEGRITY
    code = Code.DIFFERS


class WaitTimedOut(UploaderError):
    """The jobs that were waited for have not ended in time; they go on."""

    exit_code = Exit.TIMED_OUT
    code = Code.TIMED_OUT


class StoreError(UploaderError):
    """The state store cannot be used as it is."""

    exit_code = Exit.STORE
    code: Coded = StoreCode.STORE

    @property
    def is_about_rows(self) -> bool:
        """Whether the store is in order, and only some rows are not: other jobs go on."""
        return self.code in (StoreCode.ROW_REFUSED, Code.UNREADABLE_ROW)

    def locate(self, place: str, setting: str) -> None:
        """Say which store it is, unless that is said already; ``setting`` is where it is set."""
        if place in self.message:
            return
        named = f"the state store {place}"
        if _ANY_STORE in self.message:
            self.message = self.message.replace(_ANY_STORE, named, 1)
        else:
            self.message = f"{self.message} ({named})"
        self.hint = "; ".join(filter(None, [self.hint, f"its place is set by {setting}"]))
        self.args = (self.message,)


class UnreadableRow(StoreError):
    """The rows of one job have values that no version writes; other jobs are not concerned."""

    code = Code.UNREADABLE_ROW

    def __init__(self, job_id: int, why: str) -> None:
        self.job_id = job_id
        self.why = why
        super().__init__(
            f"the rows of job {job_id} cannot be read: {why}",
            hint=self.code.hint.replace("JOB", str(job_id)),
        )


class LeaseLost(UploaderError):
    """A fenced write matched no row: another worker, or a user, owns the job now."""

    code = Code.LEASE_LOST


class Stopped(UploaderError):
    """The stop token of this job or of the whole worker was set."""

    code = Code.STOPPED

    def __init__(self) -> None:
        super().__init__("stopped")


class JobError(UploaderError):
    """Ends a job's attempt. ``transient`` ones are tried again, the others fail the job."""

    exit_code = Exit.FAILED
    transient: ClassVar[bool] = False


class NoThread(JobError):
    """This process may not start another thread now; it may once others have ended."""

    code = Code.NO_THREAD
    transient = True


class ProgramEnds(NoThread):
    """Python is ending, and starts no thread any more; another process may go on."""


class SourceChanged(JobError):
    """A source is not what the manifest promised and cannot be proven (docs/invariants.md §6)."""

    exit_code = Exit.INTEGRITY
    code = Code.SOURCE_CHANGED


class SourceMissing(JobError):
    """A source file is gone while its folder is still there."""

    exit_code = Exit.INTEGRITY
    code = Code.SOURCE_MISSING


class SourceUnreadable(JobError):
    """A file cannot be read, because of its permissions or the disk: a condition that may pass."""

    code = Code.SOURCE_UNREADABLE
    transient = True


class SourceAway(SourceUnreadable):
    """The folder as a whole is not there, or cannot be read; ``code`` says which."""

    code = Code.SOURCE_UNREADABLE


class SourceDamaged(SourceUnreadable):
    """A part of an open file cannot be read, although its folder can: a disk has a bad block."""

    exit_code = Exit.INTEGRITY
    code = Code.SOURCE_DAMAGED


class SourceUnsettled(JobError):
    """An open source was written to: it has to be opened and proven again."""

    code = Code.SOURCE_UNSETTLED
    transient = True


class Corrupted(JobError):
    """The service repeatedly stored bytes that differ from the source."""

    exit_code = Exit.INTEGRITY
    code = Code.CORRUPTED


class JobRefused(JobError):
    """This job cannot go on as it is; ``code`` says why."""

    def __init__(self, message: str, *, code: Code, hint: str = "") -> None:
        super().__init__(message, hint=hint, code=code)


class RemoteError(UploaderError):
    """An answer, or the lack of one, of Fireworks or of the storage behind it.

    ``verdict`` is what the retry table (`core/retry.py`) makes of it, ``retry_after_s``
    the number of seconds that the server asked for; ``stalled``: for too long nothing moved;
    ``unsent``: there was no connection over which to ask.
    Exit code 8 if the account needs a human, else 7.
    """

    stalled = False
    unsent = False

    exit_code = Exit.FAILED

    def __init__(  # noqa: PLR0913 - the facts of one answer
        self,
        verdict: Verdict,
        call: Call,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        hint: str = "",
        code: Code,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        if verdict is Verdict.BLOCKED:
            self.exit_code = Exit.BLOCKED
        self.verdict = verdict
        self.call = call
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def may_go_on(self) -> bool:
        """May the request be carried out yet?"""
        return self.verdict is Verdict.TRANSIENT and not self.unsent
