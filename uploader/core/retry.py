"""What an answer means and what follows: the retry table as data, and `decide`.

The adapters in `remote` say where an answer came from and what it said; `classify` finds the
first row that fits; `decide` turns an error into RetryAt, Block or Fail. Pure: `now` and
`jitter` are arguments. Sources: fw = contract/fireworks.md, gcs = contract/gcs-resumable.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from uploader.core.errors import JobError, RemoteError, StoreError, UploaderError
from uploader.core.job import Reason
from uploader.core.reasons import Code
from uploader.core.verdict import CONTROL, SESSION, SIGNED, STORAGE, Call, Verdict

#: No answer at all: a connection refused, reset, timed out.
NO_ANSWER = 0

# gRPC codes, by number and by name (fw §1.3).
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
    """One row: where, which status and/or code, what its text says → the verdict."""

    verdict: Verdict
    call: frozenset[Call]
    source: str
    statuses: frozenset[int]
    codes: frozenset[str] = frozenset()
    text: str = ""

    def fits(self, call: Call, status: int, code: str, text: str) -> bool:
        if call not in self.call:
            return False
        answered = status in self.statuses or code in self.codes
        return answered and re.search(self.text, text, re.IGNORECASE) is not None


_ACCOUNT = r"suspend|billing|payment|budget|spending"
_QUOTA = r"quota|maximum number|too many models|limit of \d+ models"
_EXPIRED = r"expired"
_S = frozenset
#: A server in trouble, of whatever kind: it passes.
_TROUBLE = frozenset(range(500, 600))

RULES: tuple[Rule, ...] = (
    # The account, before anything that looks like it.
    Rule(Verdict.BLOCKED, CONTROL, "fw §1.3, §7", _S({401}), _S({"UNAUTHENTICATED"})),
    Rule(Verdict.BLOCKED, CONTROL, "fw §1.3", _S({403}), _S({"PERMISSION_DENIED", "UNAUTHORIZED"})),
    Rule(Verdict.BLOCKED, CONTROL, "fw §1.3", _S({402})),
    Rule(Verdict.BLOCKED, CONTROL, "fw §1.3", _S({412}), _S({"FAILED_PRECONDITION"}), _ACCOUNT),
    Rule(
        Verdict.BLOCKED, _S({Call.CREATE}), "fw §8", _S({429}), _S({"RESOURCE_EXHAUSTED"}), _QUOTA
    ),
    # Rates and outages.
    Rule(Verdict.THROTTLED, CONTROL, "fw §8", _S({429}), _S({"RESOURCE_EXHAUSTED"})),
    Rule(
        Verdict.TRANSIENT,
        CONTROL,
        "fw §1.3, §8",
        _TROUBLE | {NO_ANSWER, 408, 499},
        _S({"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"}),
    ),
    # What each control-plane call may also say.
    Rule(Verdict.NOT_YET, _S({Call.VALIDATE}), "fw §3", _S({412}), _S({"FAILED_PRECONDITION"})),
    Rule(Verdict.EXISTS, _S({Call.CREATE}), "fw §0.7", _S({409}), _S({"ALREADY_EXISTS"})),
    Rule(Verdict.EXISTS, _S({Call.URLS}), "fw §13.4", _S({405, 409}), _S({"ALREADY_EXISTS"})),
    Rule(
        Verdict.ABSENT,
        _S({Call.GET, Call.DELETE, Call.URLS, Call.VALIDATE}),
        "fw §1.3",
        _S({404}),
        _S({"NOT_FOUND"}),
    ),
    # Storage. Expiry comes first: it is never a refusal.
    Rule(Verdict.URL_EXPIRED, SIGNED, "fw §13.3", _S({400, 401, 403}), text=_EXPIRED),
    Rule(Verdict.START_REFUSED, _S({Call.START}), "fw §2.3", _S({400, 401, 403, 405, 501})),
    Rule(Verdict.URL_EXPIRED, _S({Call.PUT}), "fw §13.3", _S({401, 403})),
    Rule(Verdict.SESSION_GONE, SESSION, "gcs §1.1, §1.3", _S({404, 410, 499})),
    Rule(Verdict.TRANSIENT, STORAGE, "gcs §1.4", _TROUBLE | {NO_ANSWER, 408, 429, 499}),
)


def classify(call: Call, status: int, code: str, text: str) -> Verdict:
    """The verdict of the first row that fits; an answer no row knows fails the job.

    ``status`` is the HTTP status, or NO_ANSWER; ``code`` a gRPC name where the body has one.
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

        ``jitter`` in [0, 1). The server's Retry-After is a floor, spread by the same jitter,
        so that many jobs told to wait do not come back together; an hour is the most it gets.
        """
        ceiling = min(self.max_s, self.initial_s * 2.0 ** min(failures - 1, 32))
        return jitter * ceiling + max(0.0, min(MAX_RETRY_AFTER_S, retry_after_s or 0.0))


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again, not before ``at``."""

    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Block:
    """The account needs a human; the job heals once it is cured."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """This job needs a human."""

    reason: Reason


Decision = RetryAt | Block | Fail

#: After so many in a row, what should pass but may not is set aside instead of tried for ever.
MAX_IN_A_ROW = 5

_PASSING = frozenset(
    {
        Verdict.TRANSIENT,
        Verdict.THROTTLED,
        Verdict.NOT_YET,
        Verdict.URL_EXPIRED,
        Verdict.SESSION_GONE,
    }
)


def decide(
    error: Exception, failures: int, now: datetime, jitter: float, backoff: Backoff
) -> Decision:
    """What follows from ``error``, the ``failures``-th in a row without confirmed progress."""
    reason = reason_of(error)
    if isinstance(error, RemoteError) and error.verdict is Verdict.BLOCKED:
        return Block(reason)
    if not _passes(error, failures):
        return Fail(reason)
    wish = error.retry_after_s if isinstance(error, RemoteError) else None
    return RetryAt(now + timedelta(seconds=backoff.delay_s(failures, jitter, wish)), reason)


def _passes(error: Exception, failures: int) -> bool:
    if doubtful(error):
        return failures < MAX_IN_A_ROW
    if isinstance(error, RemoteError):
        return error.verdict in _PASSING
    return error.transient if isinstance(error, JobError) else True


def doubtful(error: Exception) -> bool:
    """What should pass but may not: a bug, an odd answer, a fresh URL that is refused."""
    if isinstance(error, RemoteError):
        # A plain PUT has no other word for a signature that will never do (fw §13.3).
        expired = error.verdict is Verdict.URL_EXPIRED and error.call is Call.PUT
        return expired or error.verdict is Verdict.START_REFUSED
    return not isinstance(error, JobError | StoreError)


def reason_of(error: Exception) -> Reason:
    """The error as a job's reason; an unexpected one shows its type, never its text."""
    if isinstance(error, UploaderError):
        return Reason(error.code, error.message, error.hint)
    return Reason(Code.BUG, f"unexpected {type(error).__name__}", Code.BUG.hint)
