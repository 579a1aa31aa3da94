from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.core.errors import (
    Corrupted,
    JobError,
    JobRefused,
    NoThread,
    RemoteError,
    SourceAway,
    SourceChanged,
    SourceDamaged,
    SourceMissing,
    SourceUnreadable,
    SourceUnsettled,
    StoreError,
    UploaderError,
    UsageError,
)
from uploader.core.hooks import again_after_s
from uploader.core.job import Reason
from uploader.core.reasons import Code
from uploader.core.resumable import ProtocolError
from uploader.core.retry import (
    GRPC_NAMES,
    NO_ANSWER,
    RULES,
    Backoff,
    Block,
    Cause,
    Fail,
    RetryAt,
    Rule,
    cause_of,
    classify,
    decide,
    reason_of,
)
from uploader.core.verdict import CONTROL, SESSION, SIGNED, STORAGE, Call, Verdict

NOW = datetime(2026, 11, 22, tzinfo=UTC)
V, W = Verdict, Call

# where, status, code, text → verdict
ANSWERS: list[tuple[Call, int, str, str, Verdict]] = [
    (W.CREATE, 401, "", "", V.BLOCKED),
    (W.GET, 400, "UNAUTHENTICATED", "", V.BLOCKED),
    (W.VERIFY, 403, "UNAUTHORIZED", "The API key you provided is invalid.", V.BLOCKED),
    (W.URLS, 403, "", "", V.BLOCKED),
    (W.URLS, 400, "PERMISSION_DENIED", "", V.BLOCKED),
    (W.VALIDATE, 402, "", "", V.BLOCKED),
    (W.VALIDATE, 412, "", "account is SUSPENDED", V.BLOCKED),
    (W.VALIDATE, 400, "FAILED_PRECONDITION", "billing is off", V.BLOCKED),
    (W.CREATE, 412, "", "no payment method", V.BLOCKED),
    (W.URLS, 412, "", "over budget", V.BLOCKED),
    (W.VERIFY, 412, "", "spending limit", V.BLOCKED),
    (W.CREATE, 429, "", "LoRA quota reached", V.BLOCKED),
    (W.CREATE, 429, "RESOURCE_EXHAUSTED", "limit of 100 models", V.BLOCKED),
    (W.CREATE, 429, "", "maximum number reached", V.BLOCKED),
    (W.CREATE, 429, "", "too many models", V.BLOCKED),
    (W.CREATE, 429, "", "limit of many models", V.THROTTLED),
    (W.CREATE, 400, "RESOURCE_EXHAUSTED", "quota", V.BLOCKED),
    (W.CREATE, 429, "", "slow down", V.THROTTLED),
    (W.VALIDATE, 429, "", "quota", V.THROTTLED),
    (W.GET, 400, "RESOURCE_EXHAUSTED", "", V.THROTTLED),
    (W.GET, 503, "RESOURCE_EXHAUSTED", "", V.THROTTLED),
    (W.VALIDATE, 503, "FAILED_PRECONDITION", "", V.TRANSIENT),
    *((call, NO_ANSWER, "", "", V.TRANSIENT) for call in Call),
    *((call, status, "", "", V.TRANSIENT) for call in Call for status in (408, 500, 503, 504)),
    *((call, 599, "", "", V.TRANSIENT) for call in Call),
    *(
        (W.GET, 400, name, "", V.TRANSIENT)
        for name in ("INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED")
    ),
    (W.GET, 499, "", "", V.TRANSIENT),
    *((call, 599, "", "", V.TRANSIENT) for call in sorted(STORAGE)),
    (W.DATA, 600, "", "", V.FAILED),
    *((W.START, status, "", "expired", V.URL_EXPIRED) for status in (400, 401, 403)),
    (W.CREATE, 409, "ABORTED", "", V.TRANSIENT),
    (W.URLS, 400, "UNAVAILABLE", "", V.TRANSIENT),
    (W.VALIDATE, 412, "", "files are still landing", V.NOT_YET),
    (W.VALIDATE, 400, "FAILED_PRECONDITION", "", V.NOT_YET),
    (W.CREATE, 412, "FAILED_PRECONDITION", "", V.FAILED),
    (W.CREATE, 409, "", "", V.EXISTS),
    (W.CREATE, 400, "ALREADY_EXISTS", "", V.EXISTS),
    (W.URLS, 409, "", "", V.EXISTS),
    (W.URLS, 405, "", "", V.EXISTS),
    (W.URLS, 400, "ALREADY_EXISTS", "", V.EXISTS),
    (W.GET, 409, "", "", V.FAILED),
    (W.GET, 404, "", "", V.ABSENT),
    (W.DELETE, 404, "NOT_FOUND", "", V.ABSENT),
    (W.URLS, 404, "", "", V.ABSENT),
    (W.VALIDATE, 404, "NOT_FOUND", "", V.ABSENT),
    (W.GET, 400, "NOT_FOUND", "", V.ABSENT),
    (W.CREATE, 404, "NOT_FOUND", "", V.FAILED),
    (W.CREATE, 400, "INVALID_ARGUMENT", "unexpected file", V.FAILED),
    (W.VALIDATE, 400, "", "config.json not found", V.FAILED),
    (W.START, 400, "", "<Code>ExpiredToken</Code>", V.URL_EXPIRED),
    (W.PUT, 400, "", "Request has expired", V.URL_EXPIRED),
    (W.PUT, 403, "", "SignatureDoesNotMatch", V.URL_EXPIRED),
    (W.PUT, 401, "", "", V.URL_EXPIRED),
    (W.PUT, 400, "", "MalformedSecurityHeader", V.FAILED),
    *((W.START, status, "", "refused", V.START_REFUSED) for status in (400, 401, 403, 405, 501)),
    *((call, s, "", "", V.SESSION_GONE) for call in sorted(SESSION) for s in (404, 410, 499)),
    # Nobody asked to end a start or a PUT: a proxy's word for "the client has gone" passes.
    *((call, 499, "", "", V.TRANSIENT) for call in sorted(SIGNED)),
    *((call, 429, "", "", V.TRANSIENT) for call in sorted(STORAGE)),
    *((call, 412, "", "", V.FAILED) for call in sorted(STORAGE)),
    *((call, 404, "", "", V.FAILED) for call in sorted(SIGNED)),
    (W.DATA, 400, "", "CrcMismatch", V.FAILED),
    (W.DATA, 403, "", "expired", V.FAILED),
]


@pytest.mark.parametrize(
    ("call", "status", "code", "text", "verdict"),
    ANSWERS,
    ids=[f"{number}-{row[0]}-{row[1]}" for number, row in enumerate(ANSWERS)],
)
def test_what_an_answer_means(
    call: Call, status: int, code: str, text: str, verdict: Verdict
) -> None:
    assert classify(call, status, code, text) is verdict


def first_rule(call: Call, status: int, code: str, text: str) -> Rule | None:
    return next((rule for rule in RULES if rule.fits(call, status, code, text)), None)


def test_every_row_decides_at_least_one_of_the_answers_above() -> None:
    hit = [first_rule(*answer[:4]) for answer in ANSWERS]
    assert [rule for rule in RULES if rule not in hit] == []


def test_the_table_speaks_of_known_codes_and_names_its_sources() -> None:
    named = {code for rule in RULES for code in rule.codes}
    # the service's own word (docs/fireworks.md §1.3)
    assert named - set(GRPC_NAMES) == {"UNAUTHORIZED"}
    for rule in RULES:
        assert rule.source.startswith(("docs/fireworks.md ", "docs/gcs-resumable.md "))
        assert rule.call <= CONTROL | STORAGE
        assert rule.statuses


GRPC_BY_NUMBER = """
    OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS
    PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED
    INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED
"""


def test_a_grpc_number_is_the_place_of_its_name() -> None:
    assert list(GRPC_NAMES) == GRPC_BY_NUMBER.split()


def test_every_request_belongs_to_one_service() -> None:
    assert set(Call) == CONTROL | STORAGE
    assert not CONTROL & STORAGE


@given(st.sampled_from(Call), st.integers(), st.text(), st.text())
def test_any_answer_has_a_verdict(call: Call, status: int, code: str, text: str) -> None:
    assert classify(call, status, code, text) in Verdict


# --- backoff ----------------------------------------------------------------------------------

JITTER = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**9), JITTER)
def test_a_delay_is_part_of_a_doubling_ceiling(failures: int, jitter: float) -> None:
    backoff = Backoff(initial_s=1.0, max_s=60.0)
    delay_s = backoff.delay_s(failures, jitter, None)
    assert 0.0 <= delay_s <= min(60.0, 2.0 ** min(failures - 1, 7))
    assert backoff.delay_s(failures, 0.0, None) == 0.0


@pytest.mark.parametrize(("failures", "ceiling_s"), [(1, 1), (2, 2), (6, 32), (7, 60), (99, 60)])
def test_the_ceiling_doubles_up_to_the_most(failures: int, ceiling_s: int) -> None:
    assert Backoff().delay_s(failures, 0.5, None) == ceiling_s / 2
    assert Backoff(3.0, 180.0).delay_s(failures, 0.5, None) == 3 * ceiling_s / 2


@given(st.integers(1, 99), JITTER, st.floats(0, 3600))
def test_the_servers_wish_is_a_floor(failures: int, jitter: float, wish_s: float) -> None:
    delay_s = Backoff().delay_s(failures, jitter, wish_s)
    assert wish_s <= delay_s <= wish_s + 60.0


@pytest.mark.parametrize("failures", [-(10**400), -(2**31), 0, 2**31, 2**63, 10**400])
def test_a_delay_is_within_its_bounds_for_any_number_of_failures(failures: int) -> None:
    assert 0 <= Backoff(1.0, 60.0).delay_s(failures, 0.5, None) <= 60
    assert 0 < again_after_s(failures, None, 0.5) <= 3600


def test_the_longest_wish_that_is_followed_is_an_hour() -> None:
    assert Backoff().delay_s(1, 0.0, 3600.0) == 3600.0
    assert Backoff().delay_s(1, 0.0, 3601.0) == 3600.0


# --- decide -----------------------------------------------------------------------------------


def remote(
    verdict: Verdict,
    retry_after_s: float | None = None,
    call: Call = W.DATA,
    code: Code = Code.REFUSED,
    status: int | None = 500,
) -> RemoteError:
    return RemoteError(
        verdict, call, "words", code=code, status=status, retry_after_s=retry_after_s
    )


DECISIONS: list[tuple[Exception, type]] = [
    (remote(V.TRANSIENT), RetryAt),
    (remote(V.TRANSIENT, call=W.PUT), RetryAt),
    (remote(V.THROTTLED), RetryAt),
    (remote(V.NOT_YET), RetryAt),
    (remote(V.SESSION_GONE), RetryAt),
    (remote(V.TRANSIENT, code=Code.UNAVAILABLE, status=None), RetryAt),
    (remote(V.TRANSIENT, code=Code.MISMATCH), RetryAt),
    (remote(V.BLOCKED), Block),
    (remote(V.EXISTS), Fail),
    (remote(V.ABSENT), Fail),
    (remote(V.FAILED), Fail),
    (SourceUnreadable("words"), RetryAt),
    (SourceAway("words"), RetryAt),
    (StoreError("words"), RetryAt),
    (NoThread("words"), RetryAt),
    (SourceChanged("words"), Fail),
    (SourceMissing("words"), Fail),
    (Corrupted("words"), Fail),
    (JobRefused("words", code=Code.MODEL_GONE), Fail),
]


@pytest.mark.parametrize(
    ("error", "kind"),
    DECISIONS,
    ids=[f"{n}-{type(e).__name__}" for n, (e, _) in enumerate(DECISIONS)],
)
@pytest.mark.parametrize("failures", [1, 100_000])
def test_what_follows_from_an_error(error: Exception, kind: type, failures: int) -> None:
    decision = decide(error, failures, NOW, 0.5, Backoff())
    assert type(decision) is kind
    assert decision.reason == reason_of(error)
    assert decision.reason.message == "words"


@pytest.mark.parametrize("verdict", [V.TRANSIENT, V.THROTTLED, V.NOT_YET])
def test_a_job_waits_as_long_as_the_server_wishes(verdict: Verdict) -> None:
    decision = decide(remote(verdict, 7.0), 1, NOW, 0.25, Backoff())
    assert decision == RetryAt(NOW + timedelta(seconds=7.25), reason_of(remote(verdict)))


def test_every_verdict_has_a_decision() -> None:
    decided = {
        error.verdict
        for error in (*(error for error, _ in DECISIONS), *(error for error, _ in BOUNDED))
        if isinstance(error, RemoteError)
    }
    assert decided == set(Verdict)


BOUNDED: list[tuple[Exception, int]] = [
    (KeyError("fw_canary00"), 5),
    (ProtocolError("odd"), 5),
    (UsageError("odd"), 1),
    (remote(V.START_REFUSED, call=W.START), 5),
    (remote(V.URL_EXPIRED, call=W.START), 5),
    (remote(V.URL_EXPIRED, call=W.PUT), 5),
    (remote(V.TRANSIENT, code=Code.MALFORMED), 20),
    (remote(V.TRANSIENT, code=Code.MIDDLE_BOX, status=403), 20),
    (remote(V.TRANSIENT, code=Code.KEPT_NOTHING), 20),
    (remote(V.TRANSIENT, code=Code.CUT_SHORT), 20),
    (remote(V.TRANSIENT, code=Code.UNFINISHED), 20),
    (SourceDamaged("odd"), 20),
    (SourceUnsettled("odd"), 20),
    (SourceAway("odd", code=Code.SOURCE_GONE), 20),
]


@pytest.mark.parametrize(
    ("error", "last"), BOUNDED, ids=[f"{n}-{reason_of(e).code}" for n, (e, _) in enumerate(BOUNDED)]
)
def test_what_should_pass_but_may_not_is_tried_so_often(error: Exception, last: int) -> None:
    kinds = [type(decide(error, failures, NOW, 0.5, Backoff())) for failures in range(1, last + 2)]
    assert kinds == [*[RetryAt] * (last - 1), Fail, Fail]


def test_every_cause_has_a_bound_or_a_reason_why_not_and_is_met_by_an_error() -> None:
    assert all(cause.why for cause in Cause)
    met = {cause_of(error) for error, _ in (*DECISIONS, *BOUNDED)}
    assert set(Cause) <= met


def test_two_causes_are_not_one_because_they_say_the_same_about_themselves() -> None:
    assert len(Cause) == len(Cause.__members__)


def test_a_bug_shows_its_type_and_never_its_text() -> None:
    reason = reason_of(KeyError("fw_canary00"))
    assert reason == Reason("bug", "unexpected KeyError", Code.BUG.hint)


def test_a_known_error_becomes_its_reason() -> None:
    reason = reason_of(UploaderError("what", hint="do", code=Code.QUOTA))
    assert (reason.code, reason.message, reason.hint) == ("quota", "what", "do")


@given(st.integers(1, 99), JITTER, st.one_of(st.none(), st.floats()))
@example(1, 0.0, math.inf)
@example(1, 0.0, 1e18)
@example(1, 0.0, -1.0)
def test_whatever_the_server_wishes_the_next_try_has_a_date(
    failures: int, jitter: float, wish_s: float | None
) -> None:
    decision = decide(remote(V.TRANSIENT, wish_s), failures, NOW, jitter, Backoff())
    assert isinstance(decision, RetryAt)
    assert NOW <= decision.at <= NOW + timedelta(hours=1, seconds=60)
    if wish_s is not None and 0 <= wish_s <= 3600:
        # A datetime keeps microseconds.
        assert decision.at >= NOW + timedelta(seconds=wish_s) - timedelta(microseconds=1)


def test_what_the_user_must_settle_first_fails_the_job_at_once() -> None:
    conflict = UsageError("another open job uploads the same model", code=Code.CONFLICT)
    assert isinstance(decide(conflict, 1, NOW, 0.5, Backoff()), Fail)


def test_a_passing_job_error_that_no_row_names_is_bounded_like_any_odd_one() -> None:
    class Passing(JobError):
        transient = True

    error = Passing("words", code=Code.BUG)
    assert isinstance(decide(error, 1, NOW, 0.5, Backoff()), RetryAt)
    assert isinstance(decide(error, Cause.ODD.tries or 0, NOW, 0.5, Backoff()), Fail)
