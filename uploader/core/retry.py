"""What an answer means and what follows: the retry table as data, and `decide`.

The adapters in `remote` say where an answer came from and what it said; `classify` finds the first
row that fits; `decide` turns an error into RetryAt, Block or Fail, depending on how many times in a
row its `Cause` has prevented progress. Pure: `now` and `jitter` are arguments. Each rule names the
section of the contract that it rests on.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from uploader.core.coded import Coded
from uploader.core.errors import JobError, RemoteError, StoreError, UploaderError, UsageError
from uploader.core.job import Reason, Status
from uploader.core.reasons import Code
from uploader.core.verdict import CONTROL, SESSION, SIGNED, STORAGE, Call, Verdict

#: After this many deaths of its workers a job still goes on at once.
_RESCUES_AT_ONCE = 4
#: No answer at all: a connection refused, reset, timed out.
NO_ANSWER = 0

# gRPC codes, by number and by name (docs/fireworks.md §1.3).
GRPC_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: which call, which status or code, what the text says → the verdict."""

    verdict: Verdict
    call: frozenset[Call]
    source: str
    statuses: frozenset[int]
    codes: frozenset[str] = frozenset()
    text: str = ""

    def fits(self, call: Call, status: int, code: str, text: str) -> bool:
        """Whether this row is about an answer: by its call, its status or code, and its text."""
        if call not in self.call:
            return False
        answered = status in self.statuses or code in self.codes
        return answered and re.search(self.text, text, re.IGNORECASE) is not None


_ACCOUNT = r"suspend|billing|payment|budget|spending"
_QUOTA = r"quota|maximum number|too many models|limit of \d+ models"
_EXPIRED = r"expired"
_S = frozenset
#: The server has a problem of its own, whatever it is: it passes.
_TROUBLE = frozenset(range(500, 600))
#: Timeout, Misdirected Request, Too Early, Client Closed Request: by their meaning, try again.
_AGAIN = frozenset({408, 421, 425, 499})

RULES: tuple[Rule, ...] = (
    # The account comes first: later rows would match such answers, too.
    Rule(
        Verdict.BLOCKED, CONTROL, "docs/fireworks.md §1.3, §7", _S({401}), _S({"UNAUTHENTICATED"})
    ),
    Rule(
        Verdict.BLOCKED,
        CONTROL,
        "docs/fireworks.md §1.3",
        _S({403}),
        _S({"PERMISSION_DENIED", "UNAUTHORIZED"}),
    ),
    Rule(Verdict.BLOCKED, CONTROL, "docs/fireworks.md §1.3", _S({402})),
    Rule(
        Verdict.BLOCKED,
        CONTROL,
        "docs/fireworks.md §1.3",
        _S({412}),
        _S({"FAILED_PRECONDITION"}),
        _ACCOUNT,
    ),
    Rule(
        Verdict.BLOCKED,
        _S({Call.CREATE}),
        "docs/fireworks.md §8",
        _S({429}),
        _S({"RESOURCE_EXHAUSTED"}),
        _QUOTA,
    ),
    # Rate limits and outages.
    Rule(Verdict.THROTTLED, CONTROL, "docs/fireworks.md §8", _S({429}), _S({"RESOURCE_EXHAUSTED"})),
    Rule(
        Verdict.TRANSIENT,
        CONTROL,
        "docs/fireworks.md §1.3, §8",
        _TROUBLE | _AGAIN | {NO_ANSWER},
        _S({"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"}),
    ),
    # What else each control-plane call may answer.
    Rule(
        Verdict.NOT_YET,
        _S({Call.VALIDATE}),
        "docs/fireworks.md §3",
        _S({412}),
        _S({"FAILED_PRECONDITION"}),
    ),
    Rule(
        Verdict.EXISTS,
        _S({Call.CREATE}),
        "docs/fireworks.md §0.7",
        _S({409}),
        _S({"ALREADY_EXISTS"}),
    ),
    Rule(
        Verdict.EXISTS,
        _S({Call.URLS}),
        "docs/fireworks.md §13.4",
        _S({405, 409}),
        _S({"ALREADY_EXISTS"}),
    ),
    Rule(
        Verdict.ABSENT,
        _S({Call.GET, Call.DELETE, Call.URLS, Call.VALIDATE}),
        "docs/fireworks.md §1.3",
        _S({404}),
        _S({"NOT_FOUND"}),
    ),
    # Storage. Expiry comes first: it is never a refusal.
    Rule(
        Verdict.URL_EXPIRED, SIGNED, "docs/fireworks.md §13.3", _S({400, 401, 403}), text=_EXPIRED
    ),
    Rule(
        Verdict.START_REFUSED,
        _S({Call.START}),
        "docs/fireworks.md §2.3",
        _S({400, 401, 403, 405, 501}),
    ),
    Rule(Verdict.URL_EXPIRED, _S({Call.PUT}), "docs/fireworks.md §13.3", _S({401, 403})),
    Rule(Verdict.SESSION_GONE, SESSION, "docs/gcs-resumable.md §1.1, §1.3", _S({404, 410, 499})),
    Rule(
        Verdict.TRANSIENT,
        STORAGE,
        "docs/gcs-resumable.md §1.4",
        _TROUBLE | _AGAIN | {NO_ANSWER, 429},
    ),
)


def classify(call: Call, status: int, code: str, text: str) -> Verdict:
    """The verdict of the first row that fits; an answer no row knows fails the job.

    ``status`` is the HTTP status, or NO_ANSWER; ``code`` a gRPC name if the body has one.
    """
    fitting = (rule.verdict for rule in RULES if rule.fits(call, status, code, text))
    return next(fitting, Verdict.FAILED)


#: Retry-After is honoured up to one hour.
MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter: a random part of ``initial_s`` · 2ⁿ, never more than ``max_s``."""

    initial_s: float = 1.0
    max_s: float = 60.0

    def delay_s(self, failures: int, jitter: float, retry_after_s: float | None) -> float:
        """Seconds to wait after the ``failures``-th failure in a row (1 is the first).

        ``jitter`` in [0, 1). The server's Retry-After is a floor, spread by the same jitter, so
        that many jobs that were asked to wait do not come back together; it counts for one hour at
        most.
        """
        doublings = max(-32, min(failures - 1, 32))
        ceiling = min(self.max_s, self.initial_s * 2.0**doublings)
        return jitter * ceiling + max(0.0, min(MAX_RETRY_AFTER_S, retry_after_s or 0.0))


def pause_after_rescues(rescues: int, job_id: int) -> timedelta:
    """How long a job is left alone after ``rescues`` of its workers died soon after they took it.

    Not at all after the first four: machines are switched off. Then a quarter of a minute or more,
    twice as long each time, up to an hour or two; by how much more differs from job to job. Of
    those that one worker had, one alone may be what ends it, and the others are to have a worker
    without it meanwhile (docs/invariants.md §10).
    """
    more = min(rescues - _RESCUES_AT_ONCE, 32)
    if more <= 0:
        return timedelta(0)
    drawn = hashlib.sha256(f"{job_id} {rescues}".encode()).digest()
    spread = int.from_bytes(drawn[:4]) / 2**32
    return timedelta(seconds=min(3600.0, 7.5 * 2.0**more) * (1 + spread))


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again, not before ``at``."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Block:
    """The account needs a human; the job goes on by itself once that is fixed."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """This job needs a human."""

    reason: Reason


Decision = RetryAt | Block | Fail

#: A refusal, a bug, an odd answer: if a few tries do not help, many do not help either.
SHORT_LIMIT = 5
#: What time may fix, but hours will not: with the default backoff some 15 minutes.
_LONG_LIMIT = 20


class Cause(Enum):
    """Why something is tried again, and how many times in a row without confirmed progress.

    The ``tries``-th failure in a row is the last. None: there is no bound, for the reason given.
    """

    tries: int | None
    why: str

    def __init__(self, tries: int | None, why: str) -> None:
        self.tries = tries
        self.why = why

    NO_ANSWER = None, "a network outage may last for days, and asking costs nothing"
    TROUBLE = None, "an outage ends when it ends; `engine/endings.py` bounds what is sent meanwhile"
    RATE_LIMIT = None, "the service itself says that it will answer later"
    LANDING = None, "`validation.deadline` bounds it"
    SESSION_GONE = None, "the file's row bounds it: so many sessions lost without a new high mark"
    MISMATCH = None, "the file's row bounds it: so many damaged arrivals"
    FOLDER_AWAY = None, "a folder may stay unmounted for days, and nothing is sent meanwhile"
    FOLDER_GONE = (
        _LONG_LIMIT,
        "a folder that is gone from a place that is there was moved or deleted by somebody",
    )
    DAMAGED = (
        _LONG_LIMIT,
        "a bad block stays bad, and each try of a plain PUT costs all bytes before it",
    )
    NO_THREAD = None, "other programs end, and trying costs nothing"
    STORE = None, "the worker bounds it: a store that stays out of order ends the process"
    REFUSED = SHORT_LIMIT, "a fresh URL whose signature is refused will always be refused"
    ODD = SHORT_LIMIT, "a bug, or an answer that no rule explains: more tries explain nothing"
    EXPIRED = (
        SHORT_LIMIT,
        "a fresh URL that has already expired means a wrong clock, which time does not fix",
    )
    MALFORMED = (
        _LONG_LIMIT,
        "a proxy may answer in its place for a while; a service that has changed never stops",
    )
    MIDDLE_BOX = (
        _LONG_LIMIT,
        "a proxy may refuse for a while; a firewall's rule never passes by itself",
    )
    SENT_IN_VAIN = _LONG_LIMIT, "each try may cost all bytes of a PUT"
    UNFINISHED = (
        _LONG_LIMIT,
        "an object that does not appear within a quarter of an hour never will",
    )
    UNSETTLED = _LONG_LIMIT, "a file that keeps being written to is not the one that was enqueued"


_BY_CODE: dict[Coded, Cause] = {
    Code.MALFORMED: Cause.MALFORMED,
    Code.MIDDLE_BOX: Cause.MIDDLE_BOX,
    Code.MISMATCH: Cause.MISMATCH,
    Code.KEPT_NOTHING: Cause.SENT_IN_VAIN,
    Code.CUT_SHORT: Cause.SENT_IN_VAIN,
    Code.UNFINISHED: Cause.UNFINISHED,
    Code.NO_THREAD: Cause.NO_THREAD,
    Code.SOURCE_UNREADABLE: Cause.FOLDER_AWAY,
    Code.SOURCE_DAMAGED: Cause.DAMAGED,
    Code.SOURCE_GONE: Cause.FOLDER_GONE,
    Code.SOURCE_UNSETTLED: Cause.UNSETTLED,
}
_BY_VERDICT = {
    Verdict.THROTTLED: Cause.RATE_LIMIT,
    Verdict.NOT_YET: Cause.LANDING,
    Verdict.URL_EXPIRED: Cause.EXPIRED,
    Verdict.START_REFUSED: Cause.REFUSED,
    Verdict.SESSION_GONE: Cause.SESSION_GONE,
}


def cause_of(error: Exception) -> Cause | None:
    """Why ``error`` is worth another try; None if it is not."""
    if isinstance(error, RemoteError):
        if error.verdict is not Verdict.TRANSIENT:
            return _BY_VERDICT.get(error.verdict)
        passing = Cause.NO_ANSWER if error.status is None else Cause.TROUBLE
        return _BY_CODE.get(error.code, passing)
    if isinstance(error, JobError):
        return _BY_CODE.get(error.code, Cause.ODD) if error.transient else None
    if isinstance(error, UsageError):  # another try finds the same
        return None
    if isinstance(error, StoreError):  # only this job's rows, or the store as a whole
        passing = Cause.ODD if error.is_about_rows else Cause.STORE
        return None if error.code.leads_to is Status.FAILED else passing
    return Cause.ODD


def decide(
    error: Exception, failures: int, now: datetime, jitter: float, backoff: Backoff
) -> Decision:
    """What to do about ``error``, the ``failures``-th of its cause without confirmed progress."""
    reason = reason_of(error)
    if _needs_human(error):
        return Block(reason)
    cause = cause_of(error)
    if cause is None or (cause.tries is not None and failures >= cause.tries):
        return Fail(reason)
    wish = error.retry_after_s if isinstance(error, RemoteError) else None
    return RetryAt(now + timedelta(seconds=backoff.delay_s(failures, jitter, wish)), reason)


def is_final(error: Exception) -> bool:
    """Would no later try help, not even once a human has seen to the account?"""
    return cause_of(error) is None and not _needs_human(error)


def _needs_human(error: Exception) -> bool:
    return isinstance(error, RemoteError) and error.verdict is Verdict.BLOCKED


def reason_of(error: Exception) -> Reason:
    """The error as a job's reason; an unexpected one shows its type, never its text."""
    if isinstance(error, UploaderError):
        return Reason(error.code, error.message, error.hint)
    return Reason(Code.BUG, f"unexpected {type(error).__name__}", Code.BUG.hint)
