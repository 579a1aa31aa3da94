from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from uploader.core.errors import UsageError
from uploader.core.job import Event, Job, Lease, Mode, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
REASON = Reason("net", "no route to https://x/?X-Goog-Signature=abc", "wait")


@pytest.fixture
def lease(claimed: Callable[..., Job], told: list[Event]) -> Lease:
    job = claimed()
    assert job.lease
    told.clear()
    return job.lease


def _store_all(claims: Claims, lease: Lease) -> None:
    for path in ("a.safetensors", "config.json"):
        claims.file_stored(lease, path, 1, NOW, bytes_sent=50, verified=True)


def _kinds(told: list[Event]) -> list[str]:
    return [event.kind for event in told]


@pytest.mark.parametrize(("created", "kind"), [(True, "created"), (False, "adopted")])
def test_to_upload_remembers_whose_model_it_is(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event], created: bool, kind: str
) -> None:
    claims.retry_at(lease, LATER, REASON, NOW)
    claims.to_upload(lease, LATER, created=created)
    job = jobs.job(lease.job_id)
    assert (job.stage, job.created_remotely, job.reason) == (Stage.UPLOAD, created, None)
    assert (job.failures, job.not_before, job.attempts) == (0, None, 1)
    assert _kinds(told) == ["retrying", kind]


def test_the_pipeline_to_ready(jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]) -> None:
    claims.to_upload(lease, NOW, created=True)
    claims.open_session(lease, "config.json", SessionUri("u"), "b/k", NOW)
    _store_all(claims, lease)
    claims.to_validate(lease, NOW)
    claims.poll_again(lease, LATER, 1.5, "still landing", NOW)
    claims.finish(lease, LATER, ["small  vocabulary", "see https://x/?sig=abc"])
    job = jobs.job(lease.job_id)
    assert (job.stage, job.status, job.ready_at) == (Stage.READY, Status.DONE, LATER)
    assert (job.warnings, job.reason, job.rate_bps, job.not_before) == (
        ("small vocabulary", "see https://x/?***"),
        None,
        None,
        None,
    )
    assert job.lease == lease
    assert _kinds(told)[-3:] == ["validating", "validating", "ready"]


def test_finish_erases_every_session(
    jobs: Jobs, claims: Claims, lease: Lease, put: Callable[..., None]
) -> None:
    claims.open_session(lease, "config.json", SessionUri("u"), "b/k", NOW)
    put(lease.job_id, stage=Stage.VALIDATE)
    claims.finish(lease, NOW)
    assert [file.session for file in jobs.files(lease.job_id)] == [None, None]


def test_a_stage_is_never_skipped_or_repeated(
    claims: Claims, lease: Lease, put: Callable[..., None], dump: Callable[[], object]
) -> None:
    _store_all(claims, lease)
    moves: dict[Stage, Callable[[], None]] = {
        Stage.UPLOAD: lambda: claims.to_upload(lease, LATER, created=True),
        Stage.VALIDATE: lambda: claims.to_validate(lease, LATER),
        Stage.READY: lambda: claims.finish(lease, LATER),
    }
    order = list(Stage)
    for here in order:
        put(lease.job_id, stage=here)
        for target, move in moves.items():
            if order.index(target) != order.index(here) + 1:
                before = dump()
                with pytest.raises(ValueError, match=f"from {here} to {target}"):
                    move()
                assert dump() == before


def test_validate_only_when_every_file_is_stored(
    claims: Claims, lease: Lease, dump: Callable[[], object]
) -> None:
    claims.to_upload(lease, NOW, created=True)
    claims.file_stored(lease, "config.json", 1, NOW, bytes_sent=50, verified=True)
    before = dump()
    with pytest.raises(ValueError, match="not stored"):
        claims.to_validate(lease, LATER)
    assert dump() == before


def test_an_attempt_counts_and_keeps_the_lease(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.retry_at(lease, LATER, REASON, NOW)
    claims.retry_at(lease, LATER, REASON, NOW)
    job = jobs.job(lease.job_id)
    assert (job.attempts, job.failures, job.not_before, job.lease) == (2, 2, LATER, lease)
    assert job.reason == Reason("net", "no route to https://x/?***", "wait")
    assert told[0].message == "no route to https://x/?***"


def test_waiting_is_no_attempt_and_no_event(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.wait_until(lease, LATER, NOW)
    job = jobs.job(lease.job_id)
    assert (job.attempts, job.failures, job.not_before) == (0, 0, LATER)
    assert told == []


def test_polling_tells_only_news(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    for polling_s, message in ((1.0, "landing"), (2.0, "landing"), (3.0, "nearly")):
        claims.poll_again(lease, LATER, polling_s, message, NOW)
    job = jobs.job(lease.job_id)
    assert (job.polling_s, job.attempts, job.not_before) == (3.0, 0, LATER)
    assert job.reason == Reason("validating", "nearly")
    assert [event.message for event in told] == ["landing", "nearly"]


@pytest.mark.parametrize(
    ("write", "status"), [(Claims.block, Status.BLOCKED), (Claims.fail, Status.FAILED)]
)
def test_standing_still_keeps_the_lease_and_the_offsets(
    jobs: Jobs,
    claims: Claims,
    lease: Lease,
    write: Callable[[Claims, Lease, Reason, datetime], None],
    status: Status,
) -> None:
    claims.file_stored(lease, "config.json", 1, NOW, bytes_sent=50, verified=True)
    write(claims, lease, Reason("code", "what", "do"), LATER)
    job = jobs.job(lease.job_id)
    assert (job.status, job.reason) == (status, Reason("code", "what", "do"))
    assert (job.lease, job.bytes_confirmed) == (lease, 10)
    assert jobs.events()[-1].kind == status


def test_a_file_of_a_blocked_job_still_ends_and_the_reason_stays(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.block(lease, REASON, NOW)
    claims.file_stored(lease, "config.json", 1, LATER, bytes_sent=50, verified=False)
    job = jobs.job(lease.job_id)
    assert (job.files_stored, job.status) == (1, Status.BLOCKED)
    assert job.reason is not None


def test_fall_back_spares_what_is_stored(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.open_session(lease, "a.safetensors", SessionUri("u"), "b/k", NOW)
    claims.file_stored(lease, "config.json", 1, NOW, bytes_sent=50, verified=True)
    claims.fall_back_to_put(lease, NOW)
    left, stored = jobs.files(lease.job_id)
    assert (left.mode, left.session, left.object_path) == (Mode.PUT, None, None)
    assert (stored.mode, stored.stored) == (Mode.SESSION, True)
    assert jobs.job(lease.job_id).plain_put
    assert _kinds(told)[-1] == "fell_back"


def test_adopting_an_account_taken_by_an_open_job_conflicts(
    jobs: Jobs,
    claims: Claims,
    put: Callable[..., None],
    enqueue: Callable[..., int],
    claimed: Callable[..., Job],
    dump: Callable[[], object],
) -> None:
    job = claimed(account="-")
    assert job.lease
    put(enqueue("n"), model_id="m")
    before = dump()
    with pytest.raises(UsageError) as raised:
        claims.adopt_account(job.lease, "acme", NOW)
    assert raised.value.code == "conflict"
    assert dump() == before
    claims.adopt_account(job.lease, "beta", NOW)
    assert jobs.job(job.id).model == "accounts/beta/models/m"


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("<html>\n" * 1000, ("<html> " * 1000)[:1000]),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("  two\r\n lines ", "two lines"),
    ],
)
def test_a_message_is_kept_as_one_short_line(
    jobs: Jobs, claims: Claims, lease: Lease, message: str, kept: str
) -> None:
    claims.note(lease, "server", message, NOW)
    assert jobs.events()[-1].message == kept


def test_messages_never_hold_a_secret(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    secret = "https://s/o?upload_id=hunter2"
    claims.retry_at(lease, NOW, Reason("net", secret, secret), NOW)
    claims.poll_again(lease, NOW, 1.0, secret, NOW)
    claims.note(lease, "said", secret, NOW, "config.json")
    claims.file_failed(lease, "config.json", Reason("net", secret), None, NOW, bytes_sent=9)
    claims.open_session(lease, "config.json", SessionUri(secret), "b/k", NOW)
    claims.drop_session(lease, "config.json", secret, NOW, bytes_sent=50)
    claims.fail(lease, Reason("net", secret, secret), NOW)
    shown = repr((told, jobs.events(), jobs.jobs(), jobs.files(lease.job_id)))
    assert "hunter2" not in shown
