from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from uploader.core.errors import LeaseLost
from uploader.core.job import Event, Job, Lease, Mode, PrefixCrc, Reason
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.files import FileProgress
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
PATH = "a.safetensors"
URI = SessionUri("https://storage/o?upload_id=1")
REASON = Reason("net", "reset")


@pytest.fixture
def lease(claimed: Callable[..., Job], told: list[Event]) -> Lease:
    job = claimed()
    assert job.lease
    told.clear()
    return job.lease


def _row(sessions: int = 1, offset: int = 20, *, advanced: bool = True) -> FileProgress:
    return FileProgress(
        PATH, sessions, PrefixCrc(offset, 2), PrefixCrc(offset + 5, 3), 40, advanced
    )


def test_open_session_commits_it_and_starts_at_zero(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.open_session(lease, PATH, SessionUri("old"), "b/old", NOW)
    claims.progress(lease, [_row()], None, NOW)
    file = claims.open_session(lease, PATH, URI, "b/k", LATER)
    assert file == jobs.files(lease.job_id)[0]
    assert (file.session, file.session_at, file.object_path) == (URI, LATER, "b/k")
    assert (file.sessions, file.checkpoint, file.mark) == (2, PrefixCrc(), PrefixCrc())
    assert file.bytes_sent == 40
    assert jobs.job(lease.job_id).start_accepted
    assert [event.kind for event in told] == ["session_opened"] * 2
    assert told[-1].path == PATH


def test_drop_session_starts_the_file_over_and_counts_why(
    claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.file_stored(lease, PATH, 9, NOW, bytes_sent=50, verified=True)
    claims.drop_session(lease, PATH, "the session is gone", NOW, bytes_sent=50, old=True)
    file = claims.drop_session(lease, PATH, "the object differs", NOW, bytes_sent=50, mismatch=True)
    assert (file.session, file.session_at, file.object_path) == (None, None, None)
    assert (file.stored, file.verified, file.crc32c) == (False, False, None)
    assert (file.checkpoint, file.mark, file.sessions) == (PrefixCrc(), PrefixCrc(), 1)
    assert (file.old_sessions_lost, file.mismatches) == (1, 1)
    assert [event.message for event in told[-2:]] == ["the session is gone", "the object differs"]


@pytest.mark.parametrize("verified", [True, False])
def test_stored_is_the_whole_file(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event], verified: bool
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.file_failed(lease, PATH, REASON, LATER, NOW, bytes_sent=9)
    claims.retry_at(lease, LATER, REASON, NOW)
    claims.file_stored(lease, PATH, 2**32 - 1, NOW, bytes_sent=50, verified=verified)
    file = jobs.files(lease.job_id)[0]
    assert (file.stored, file.verified, file.crc32c) == (True, verified, 2**32 - 1)
    assert (file.checkpoint, file.mark) == (PrefixCrc(100, 2**32 - 1), PrefixCrc(100, 2**32 - 1))
    assert (file.session, file.failures, file.not_before, file.attempts) == (None, 0, None, 1)
    job = jobs.job(lease.job_id)
    assert (job.failures, job.reason, job.files_stored) == (0, None, 1)
    assert told[-1].kind == "stored"


def test_file_failed_counts(jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]) -> None:
    claims.file_failed(lease, PATH, REASON, LATER, NOW, bytes_sent=9)
    claims.file_failed(lease, PATH, REASON, LATER, NOW, bytes_sent=9)
    file = jobs.files(lease.job_id)[0]
    assert (file.attempts, file.failures, file.bytes_sent) == (2, 2, 9)
    assert (file.not_before, file.last_error) == (LATER, "reset")
    assert told[-1].kind == "retrying"
    assert jobs.job(lease.job_id).failures == 0


def test_reidentify_and_note(jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]) -> None:
    claims.reidentify(lease, PATH, 77, 88, NOW)
    claims.note(lease, "session_old", "six days old", NOW, PATH)
    file = jobs.files(lease.job_id)[0]
    assert (file.mtime_ns, file.inode) == (77, 88)
    assert [(event.kind, event.path) for event in told] == [
        ("reidentified", PATH),
        ("session_old", PATH),
    ]


def test_progress_writes_pairs_and_ends_a_run_of_failures(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.file_failed(lease, PATH, REASON, None, NOW, bytes_sent=9)
    claims.retry_at(lease, NOW, REASON, NOW)
    told.clear()
    claims.progress(lease, [_row(advanced=False)], 3.5, NOW)
    assert jobs.files(lease.job_id)[0].failures == 1
    assert jobs.job(lease.job_id).reason == REASON
    claims.progress(lease, [_row(offset=30)], 4.5, LATER)
    file, job = jobs.files(lease.job_id)[0], jobs.job(lease.job_id)
    assert (file.checkpoint, file.mark, file.bytes_sent) == (PrefixCrc(30, 2), PrefixCrc(35, 3), 40)
    assert (file.failures, job.failures, job.reason) == (0, 0, None)
    assert (job.rate_bps, job.updated_at, told) == (4.5, LATER, [])


def test_late_progress_of_an_earlier_session_is_skipped(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.retry_at(lease, NOW, REASON, NOW)
    claims.progress(lease, [_row(sessions=1)], None, NOW)
    assert jobs.files(lease.job_id)[0].checkpoint == PrefixCrc()
    assert jobs.job(lease.job_id).reason == REASON, "late is no progress"


def test_of_two_reports_the_one_with_more_bytes_sent_counts(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.progress(
        lease, [FileProgress(PATH, 1, PrefixCrc(30, 3), PrefixCrc(35, 4), 41)], None, NOW
    )
    claims.progress(lease, [_row(offset=20)], None, NOW)
    file = jobs.files(lease.job_id)[0]
    assert (file.checkpoint, file.bytes_sent) == (PrefixCrc(30, 3), 41)


def test_late_progress_of_a_dropped_session_is_skipped(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.drop_session(lease, PATH, "gone", NOW, bytes_sent=50)
    claims.progress(lease, [_row()], None, NOW)
    assert jobs.files(lease.job_id)[0].checkpoint == PrefixCrc()


def test_late_progress_of_a_stored_file_is_skipped(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.file_stored(lease, PATH, 9, NOW, bytes_sent=50, verified=True)
    claims.progress(lease, [_row()], None, NOW)
    assert jobs.files(lease.job_id)[0].checkpoint == PrefixCrc(100, 9)


def test_a_plain_put_reports_bytes_sent_only(jobs: Jobs, claims: Claims, lease: Lease) -> None:
    claims.fall_back_to_put(lease, NOW)
    claims.progress(lease, [FileProgress(PATH, 0, PrefixCrc(), PrefixCrc(), 60)], 1.0, NOW)
    job = jobs.job(lease.job_id)
    assert (job.bytes_sent, job.bytes_confirmed, job.bytes_marked) == (60, 0, 0)


def test_start_put_turns_one_file_to_plain_put(jobs: Jobs, claims: Claims, lease: Lease) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.progress(lease, [_row()], None, NOW)
    file = claims.start_put(lease, PATH, NOW)
    assert (file.mode, file.session, file.object_path) == (Mode.PUT, None, None)
    assert (file.checkpoint, file.mark, file.sessions, file.bytes_sent) == (
        PrefixCrc(),
        PrefixCrc(),
        1,
        40,
    )
    assert [each.mode for each in jobs.files(lease.job_id)] == [Mode.PUT, Mode.SESSION]
    assert not jobs.job(lease.job_id).plain_put


def test_late_progress_of_a_session_never_gives_a_put_an_offset(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    claims.open_session(lease, PATH, URI, "b/k", NOW)
    claims.start_put(lease, PATH, NOW)
    claims.progress(lease, [_row()], None, NOW)
    assert jobs.files(lease.job_id)[0].checkpoint == PrefixCrc()


def test_progress_of_many_files_is_one_transaction(
    jobs: Jobs, claims: Claims, lease: Lease
) -> None:
    for path in (PATH, "config.json"):
        claims.open_session(lease, path, URI, None, NOW)
    small = FileProgress("config.json", 1, PrefixCrc(1, 1), PrefixCrc(2, 2), 2)
    claims.progress(lease, [_row(), small], None, NOW)
    assert [file.checkpoint.offset for file in jobs.files(lease.job_id)] == [20, 1]


def test_a_file_the_job_does_not_have_is_a_lost_lease(
    claims: Claims, lease: Lease, dump: Callable[[], object]
) -> None:
    before = dump()
    with pytest.raises(LeaseLost):
        claims.open_session(lease, "nobody", URI, None, LATER)
    assert dump() == before


def test_what_is_being_validated_loses_no_file(
    jobs: Jobs, claims: Claims, lease: Lease, told: list[Event]
) -> None:
    claims.to_upload(lease, NOW, created=True)
    for path in (PATH, "config.json"):
        claims.open_session(lease, path, URI, "b/k", NOW)
        claims.file_stored(lease, path, 9, NOW, bytes_sent=50, verified=True)
    claims.to_validate(lease, NOW)
    told.clear()
    with pytest.raises(ValueError, match="stored"):
        claims.drop_session(lease, PATH, "late", LATER, bytes_sent=50)
    assert told == []
    assert all(file.stored for file in jobs.files(lease.job_id)), "invariant 4"
