from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from tests.store.conftest import Hands, mark_stored, open_session
from uploader.core.errors import UsageError
from uploader.core.events import EventKind
from uploader.core.job import Event, Mode, Reason, Stage, Status
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import files

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
REASON = Reason("net", "no route to https://x/?X-Goog-Signature=abc", "wait")


@pytest.fixture
def held(claimed: Callable[..., Held], told: list[Event]) -> Held:
    held = claimed()
    told.clear()
    return held


def _store_all(held: Held) -> None:
    for path in ("a.safetensors", "config.json"):
        mark_stored(held, path, 1, bytes_sent=50, verified=True)


def _kinds(told: list[Event]) -> list[str]:
    return [event.kind for event in told]


@pytest.mark.parametrize(("created", "kind"), [(True, "created"), (False, "adopted")])
def test_to_upload_remembers_whose_model_it_is(
    jobs: Jobs, held: Held, told: list[Event], created: bool, kind: str
) -> None:
    held.retry_at(LATER, REASON)
    held.enter_upload(created=created)
    job = jobs.job(held.job.id)
    assert (job.stage, job.created_remotely, job.reason) == (Stage.UPLOAD, created, None)
    assert (job.failures, job.not_before, job.attempts) == (0, None, 1)
    assert _kinds(told) == ["retrying", kind]


def test_countless_warnings_are_kept_as_a_few_lines(jobs: Jobs, held: Held) -> None:
    held.enter_upload(created=True)
    open_session(held, "config.json", SessionUri("u"), "b/k")
    _store_all(held)
    held.enter_validate()
    held.finish(["w" * 5000] * 200_000)
    warnings = jobs.job(held.job.id).warnings
    assert (len(warnings), warnings[-1]) == (100, "and 199,901 more")
    assert sum(map(len, warnings)) < 100_000


def test_the_pipeline_to_ready(jobs: Jobs, held: Held, clock: Hands, told: list[Event]) -> None:
    held.enter_upload(created=True)
    open_session(held, "config.json", SessionUri("u"), "b/k")
    _store_all(held)
    held.enter_validate()
    held.poll_again(LATER, 1.5, "still landing")
    clock.at = LATER
    held.finish(["small  vocabulary", "see https://x/?sig=abc"])
    job = jobs.job(held.job.id)
    assert (job.stage, job.status, job.ready_at) == (Stage.READY, Status.DONE, LATER)
    assert (job.warnings, job.reason, job.rate_bps, job.not_before) == (
        ("small vocabulary", "see https://x/?***"),
        None,
        None,
        None,
    )
    assert job.lease == held.lease
    assert _kinds(told)[-3:] == ["validating", "not_ready_yet", "ready"]


def test_finish_erases_every_session(
    engine: Engine, jobs: Jobs, held: Held, put: Callable[..., None]
) -> None:
    _store_all(held)
    with engine.begin() as connection:
        connection.execute(update(files).values(session_uri="u", upload_url="https://h/u"))
    put(held.job.id, stage=Stage.VALIDATE)
    held.finish()
    assert [file.session for file in jobs.files(held.job.id)] == [None, None]


def test_a_stage_is_never_skipped_or_repeated(
    held: Held, put: Callable[..., None], dump: Callable[[], object]
) -> None:
    _store_all(held)
    moves: dict[Stage, Callable[[], object]] = {
        Stage.UPLOAD: lambda: held.enter_upload(created=True),
        Stage.VALIDATE: held.enter_validate,
        Stage.READY: held.finish,
    }
    order = list(Stage)
    for here in order:
        put(held.job.id, stage=here)
        for target, move in moves.items():
            if order.index(target) != order.index(here) + 1:
                before = dump()
                with pytest.raises(ValueError, match=f"from {here} to {target}"):
                    move()
                assert dump() == before


def test_validate_only_when_every_file_is_stored(held: Held, dump: Callable[[], object]) -> None:
    held.enter_upload(created=True)
    mark_stored(held, "config.json", 1, bytes_sent=50, verified=True)
    before = dump()
    with pytest.raises(ValueError, match="not stored"):
        held.enter_validate()
    assert dump() == before


def test_an_attempt_counts_and_keeps_the_lease(jobs: Jobs, held: Held, told: list[Event]) -> None:
    held.retry_at(LATER, REASON)
    held.retry_at(LATER, REASON)
    job = jobs.job(held.job.id)
    assert (job.attempts, job.failures, job.not_before, job.lease) == (2, 2, LATER, held.lease)
    assert job.reason == Reason("net", "no route to https://x/?***", "wait")
    assert told[0].message == "no route to https://x/?***"


def test_what_a_service_says_with_another_number_each_time_is_told_once(
    jobs: Jobs, held: Held, told: list[Event]
) -> None:
    for number in range(3):
        held.retry_at(
            LATER, Reason("net", f"answered 50{number}: back at 12:0{number}, id {number}f")
        )
    assert _kinds(told) == ["retrying"]
    assert "answered 502" in jobs.job(held.job.id).reason.message  # type: ignore[union-attr]
    held.retry_at(LATER, Reason("net", "the connection was lost"))
    assert _kinds(told) == ["retrying", "retrying"]


def test_waiting_is_neither_an_attempt_nor_an_event(
    jobs: Jobs, held: Held, told: list[Event]
) -> None:
    held.wait_until(LATER)
    job = jobs.job(held.job.id)
    assert (job.attempts, job.failures, job.not_before) == (0, 0, LATER)
    assert told == []


def test_polling_tells_only_news(jobs: Jobs, held: Held, told: list[Event]) -> None:
    for polling_s, message in ((1.0, "landing"), (2.0, "landing"), (3.0, "nearly")):
        held.poll_again(LATER, polling_s, message)
    job = jobs.job(held.job.id)
    assert (job.polling_s, job.attempts, job.not_before) == (3.0, 0, LATER)
    assert job.reason == Reason(Code.VALIDATING, "nearly", Code.VALIDATING.hint)
    assert [event.message for event in told] == ["landing", "nearly"]


@pytest.mark.parametrize(
    ("write", "status"), [(Held.block, Status.BLOCKED), (Held.fail, Status.FAILED)]
)
def test_standing_still_keeps_the_lease_and_the_offsets(
    jobs: Jobs,
    held: Held,
    write: Callable[[Held, Reason], None],
    status: Status,
) -> None:
    mark_stored(held, "config.json", 1, bytes_sent=50, verified=True)
    write(held, Reason("code", "what", "do"))
    job = jobs.job(held.job.id)
    assert (job.status, job.reason) == (status, Reason("code", "what", "do"))
    assert (job.lease, job.bytes_confirmed) == (held.lease, 10)
    assert jobs.events()[-1].kind == status


def test_a_file_of_a_blocked_job_still_ends_and_the_reason_stays(jobs: Jobs, held: Held) -> None:
    held.block(REASON)
    mark_stored(held, "config.json", 1, bytes_sent=50, verified=False)
    job = jobs.job(held.job.id)
    assert (job.files_stored, job.status) == (1, Status.BLOCKED)
    assert job.reason is not None


def test_fall_back_spares_what_is_stored(jobs: Jobs, held: Held, told: list[Event]) -> None:
    open_session(held, "a.safetensors", SessionUri("u"), "b/k")
    mark_stored(held, "config.json", 1, bytes_sent=50, verified=True)
    held.fall_back_to_put()
    left, stored = jobs.files(held.job.id)
    assert (left.mode, left.session, left.object_path) == (Mode.PUT, None, None)
    assert (stored.mode, stored.stored) == (Mode.SESSION, True)
    assert jobs.job(held.job.id).plain_put
    assert _kinds(told)[-1] == "fell_back"


def test_adopting_an_account_taken_by_an_open_job_conflicts(
    jobs: Jobs,
    put: Callable[..., None],
    enqueue: Callable[..., int],
    claimed: Callable[..., Held],
    dump: Callable[[], object],
) -> None:
    held = claimed(account="-")
    put(enqueue("n"), model_id="m")
    before = dump()
    with pytest.raises(UsageError) as raised:
        held.adopt_account("acme")
    assert raised.value.code == "conflict"
    assert dump() == before
    held.adopt_account("beta")
    assert jobs.job(held.job.id).model == "accounts/beta/models/m"


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("<html>\n" * 1000, ("<html> " * 1000)[:1000]),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("  two\r\n lines ", "two lines"),
    ],
)
def test_a_message_is_kept_as_one_short_line(
    jobs: Jobs, held: Held, message: str, kept: str
) -> None:
    held.add_event(EventKind.LEFT_OPEN, message)
    assert jobs.events()[-1].message == kept


def test_messages_never_hold_a_secret(jobs: Jobs, held: Held, told: list[Event]) -> None:
    secret = "https://s/o?upload_id=hunter2"
    held.retry_at(NOW, Reason("net", secret, secret))
    held.poll_again(NOW, 1.0, secret)
    held.add_event(EventKind.LEFT_OPEN, secret, "config.json")
    held.files.mark_failed("config.json", Reason("net", secret), None, bytes_sent=9)
    open_session(held, "config.json", SessionUri(secret), "b/k")
    held.files.drop_session("config.json", secret, bytes_sent=50)
    held.fail(Reason("net", secret, secret))
    shown = repr((told, jobs.events(), jobs.jobs(), jobs.files(held.job.id)))
    assert "hunter2" not in shown
