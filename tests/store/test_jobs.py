from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.store.conftest import mark_stored, open_session
from uploader.core.errors import NotFound, UsageError, VerbRefused
from uploader.core.job import Event, PrefixCrc, Reason, Status
from uploader.core.lifecycle import TRANSITIONS, Verb, already
from uploader.core.redact import SessionUri
from uploader.store.held import Held
from uploader.store.held_files import FileProgress
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
USER_VERBS = {
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.CANCEL: "cancelled",
    Verb.RETRY: "retried",
}
REASON = Reason("urls_refused", "no", "delete it")


@pytest.mark.parametrize("verb", [*USER_VERBS])
@pytest.mark.parametrize("status", [*Status])
def test_a_user_verb_does_exactly_what_the_table_says(
    jobs: Jobs,
    claimed: Callable[..., Held],
    put: Callable[..., None],
    dump: Callable[[], Any],
    status: Status,
    verb: Verb,
) -> None:
    held = claimed()
    put(held.job.id, status=status)
    expected = TRANSITIONS[status].get(verb)
    before = dump()
    if expected is None:
        with pytest.raises(VerbRefused) as raised:
            jobs.apply(held.job.id, verb, LATER)
        assert raised.value.hint
        assert dump() == before
    elif already(status, verb):
        assert jobs.apply(held.job.id, verb, LATER) == jobs.job(held.job.id)
        assert dump() == before
    else:
        after = jobs.apply(held.job.id, verb, LATER)
        assert (after.status, after.stage, after.lease) == (expected, held.job.stage, held.lease)
        assert after.updated_at == LATER
        assert jobs.events()[-1].kind == USER_VERBS[verb]


def test_a_worker_verb_is_not_for_users(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    with pytest.raises(KeyError):
        jobs.apply(enqueue(), Verb.FINISH, NOW)


def test_retry_forgives_what_was_counted_and_keeps_offsets(
    jobs: Jobs, claimed: Callable[..., Held], put: Callable[..., None]
) -> None:
    held = claimed()
    held.files.drop_session("config.json", "lost", bytes_sent=0, old=True, mismatch=True)
    held.files.mark_failed("config.json", REASON, LATER, bytes_sent=9)
    open_session(held, "config.json", SessionUri("https://s/?upload_id=x"), "o")
    seven = PrefixCrc(7, 77)
    held.files.report_progress([FileProgress("config.json", 1, seven, seven, 9)], 1.0)
    held.retry_at(LATER, REASON)
    held.fail(REASON)
    put(held.job.id, polling_s=30.0)

    retried = jobs.apply(held.job.id, Verb.RETRY, LATER)

    assert (retried.status, retried.reason, retried.not_before) == (Status.ACTIVE, None, None)
    assert (retried.failures, retried.attempts, retried.polling_s) == (0, 1, 0.0)
    file = jobs.files(held.job.id)[1]
    assert (file.failures, file.not_before, file.mismatches, file.old_sessions_lost) == (
        0,
        None,
        0,
        0,
    )
    assert (file.checkpoint, file.attempts, file.bytes_sent) == (seven, 1, 9)


def test_only_a_model_this_job_created_is_deleted(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None], dump: Callable[[], Any]
) -> None:
    job_id = enqueue()
    before = dump()
    with pytest.raises(UsageError, match="did not create"):
        jobs.apply(job_id, Verb.CANCEL, NOW, delete_remote=True)
    assert dump() == before
    put(job_id, created_remotely=True)
    assert jobs.apply(job_id, Verb.CANCEL, NOW, delete_remote=True).delete_on_cancel
    assert jobs.apply(job_id, Verb.CANCEL, NOW).delete_on_cancel
    assert jobs.apply(job_id, Verb.CANCEL, NOW, delete_remote=True).delete_on_cancel


def test_a_model_whose_job_was_cancelled_before_is_not_deleted(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None], dump: Callable[[], Any]
) -> None:
    job_id = enqueue()
    put(job_id, created_remotely=True, model_exists=True)
    jobs.apply(job_id, Verb.CANCEL, NOW)
    before = dump()
    with pytest.raises(VerbRefused, match="cancelled before"):
        jobs.apply(job_id, Verb.CANCEL, LATER, delete_remote=True)
    assert dump() == before


def test_find_takes_ids_and_unique_model_ids(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    first, second = enqueue("one"), enqueue("two")
    assert jobs.find(str(first)).id == first
    assert jobs.find("two").id == second


def test_find_names_the_jobs_that_share_a_model_id(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    first, second = enqueue(), enqueue(account="beta")
    with pytest.raises(UsageError, match=f"{first}, {second}"):
        jobs.find("m")


def test_find_takes_the_resource_name(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    first, second = enqueue(), enqueue(account="beta")
    assert jobs.find(jobs.job(first).model).id == first
    assert jobs.find("accounts/beta/models/m").id == second
    with pytest.raises(UsageError, match="several jobs"):
        jobs.find("accounts/-/models/m")
    with pytest.raises(NotFound):
        jobs.find("accounts/gamma/models/m")


def test_find_means_the_job_that_has_not_ended(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    first = enqueue()
    jobs.apply(first, Verb.CANCEL, LATER)
    second = enqueue()
    assert jobs.find("m").id == second
    jobs.apply(second, Verb.CANCEL, LATER)
    with pytest.raises(NotFound, match=rf"{first} \(cancelled\), {second} \(cancelled\)"):
        jobs.find("m")


@pytest.mark.parametrize("ref", ["7", "nobody", "9" * 40, "²", ""])
def test_find_of_nothing(jobs: Jobs, ref: str) -> None:
    with pytest.raises(NotFound) as raised:
        jobs.find(ref)
    assert raised.value.exit_code == 4
    assert raised.value.hint


def test_sums_over_files(
    jobs: Jobs, claimed: Callable[..., Held], enqueue: Callable[..., int]
) -> None:
    held = claimed(sizes={"a": 100, "b": 50, "c": 10})
    open_session(held, "a", SessionUri("u"), None)
    held.files.report_progress(
        [FileProgress("a", 1, PrefixCrc(20, 1), PrefixCrc(30, 2), 33, advanced=True)], 7.0
    )
    mark_stored(held, "b", 5, bytes_sent=50, verified=True)
    empty = enqueue("n", sizes={})
    first, second = jobs.jobs()
    assert (first.files_total, first.files_stored, first.bytes_total) == (3, 1, 160)
    assert (first.bytes_confirmed, first.bytes_marked, first.bytes_sent) == (70, 80, 83)
    assert first.eta_s == 80 / 7
    assert (second.id, second.files_total, second.bytes_total) == (empty, 0, 0)


def test_events_in_order_from_anywhere(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    one, two = enqueue("one"), enqueue("two")
    jobs.apply(one, Verb.PAUSE, NOW)
    every = jobs.events()
    assert [(event.job_id, event.kind) for event in every] == [
        (one, "enqueued"),
        (two, "enqueued"),
        (one, "paused"),
    ]
    assert jobs.events(one) == [every[0], every[2]]
    assert jobs.events(since=every[0].seq, limit=1) == [every[1]]


def test_events_are_reported_after_their_commit_and_only_then(
    claimed: Callable[..., Held], told: list[Event]
) -> None:
    held = claimed()
    told.clear()
    with pytest.raises(ValueError, match="cannot go"):
        held.enter_validate()
    assert told == []


@pytest.mark.parametrize("status", [*Status])
def test_remove_takes_only_what_is_over(
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    dump: Callable[[], Any],
    status: Status,
) -> None:
    job_id = enqueue()
    put(job_id, status=status)
    if status in (Status.DONE, Status.CANCELLED, Status.FAILED):
        jobs.remove(job_id, NOW)
        assert not any(dump().values())
    else:
        with pytest.raises(VerbRefused) as raised:
            jobs.remove(job_id, NOW)
        assert raised.value.hint


@pytest.mark.parametrize(
    "columns", [{"lease_owner": "w", "lease_token": "t"}, {"delete_on_cancel": True}]
)
def test_remove_waits_for_the_worker(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None], columns: dict[str, Any]
) -> None:
    job_id = enqueue()
    put(job_id, status=Status.CANCELLED, **columns)
    with pytest.raises(VerbRefused, match="a worker still"):
        jobs.remove(job_id, NOW)


def test_remove_of_nothing(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        jobs.remove(1, NOW)


@pytest.mark.parametrize("ref", ["a\0b", "accounts/a\0/models/b", "\udcff", "\x1b", ""])
def test_a_name_that_no_job_can_have_is_not_found(jobs: Jobs, ref: str) -> None:
    with pytest.raises(NotFound):
        jobs.find(ref)
