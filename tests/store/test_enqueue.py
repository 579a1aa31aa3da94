from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from uploader.core.errors import UsageError
from uploader.core.finding import Finding
from uploader.core.job import Event, NewJob, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_new_job_starts_active_at_create_with_its_files_and_one_event(
    jobs: Jobs, new: Callable[..., NewJob], told: list[Event]
) -> None:
    finding = Finding("big", "warning", None, "it is big", "").as_json()
    job_id, created = jobs.enqueue(new(priority=3, preflight=(finding,)), NOW)
    job = jobs.job(job_id)
    assert created
    assert (job.stage, job.status, job.priority) == (Stage.CREATE, Status.ACTIVE, 3)
    assert (job.model, job.path) == ("accounts/acme/models/m", "/models/m")
    assert (job.files_total, job.bytes_total, job.bytes_confirmed) == (2, 110, 0)
    assert job.create_body == {"kind": "HF_BASE_MODEL"}
    assert job.preflight == (finding,)
    assert (job.created_at, job.reason, job.lease) == (NOW, None, None)
    assert [file.path for file in jobs.files(job_id)] == ["a.safetensors", "config.json"]
    assert [event.kind for event in told] == ["enqueued"]
    assert jobs.events() == told


def test_the_same_again_is_the_same_job_and_writes_nothing(
    jobs: Jobs, new: Callable[..., NewJob], dump: Callable[[], Any]
) -> None:
    options = {"include": ("*.json",), "kind": None}
    job_id, _ = jobs.enqueue(new(options=options), NOW)
    before = dump()
    assert jobs.enqueue(new(options=options), NOW) == (job_id, False)
    assert dump() == before


@pytest.mark.parametrize("status", [*Status])
def test_the_same_is_recognised_in_every_status_but_cancelled(
    jobs: Jobs, new: Callable[..., NewJob], put: Callable[..., None], status: Status
) -> None:
    job_id, _ = jobs.enqueue(new(), NOW)
    put(job_id, status=status)
    again, created = jobs.enqueue(new(), NOW)
    assert created == (status is Status.CANCELLED)
    assert (again == job_id) != created


@pytest.mark.parametrize("sizes", [{"a": 2**60}, {"a": 2**52, "b": 2**52, "c": 1}])
def test_more_bytes_than_a_row_may_hold_are_refused(
    jobs: Jobs, new: Callable[..., NewJob], dump: Callable[[], Any], sizes: dict[str, int]
) -> None:
    before = dump()
    with pytest.raises(UsageError, match="more than a job may have") as raised:
        jobs.enqueue(new(sizes=sizes), NOW)
    assert (raised.value.exit_code, dump()) == (2, before)


def test_as_many_bytes_as_a_row_may_hold_can_be_read(
    jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    job_id, _ = jobs.enqueue(new(sizes={"a": 2**53}), NOW)
    assert jobs.job(job_id).bytes_total == jobs.files(job_id)[0].size_bytes == 2**53


def test_a_new_run_has_no_more_bytes_than_a_row_may_hold(
    jobs: Jobs, new: Callable[..., NewJob], put: Callable[..., None]
) -> None:
    job_id, _ = jobs.enqueue(new(), NOW)
    put(job_id, status=Status.FAILED)
    job = jobs.sealed(jobs.job(job_id))
    with pytest.raises(UsageError, match="more than a job may have"):
        jobs.restart(job, new(sizes={"a": 2**60}), NOW, replace=False)
    assert jobs.job(job_id).status is Status.FAILED


def test_another_inode_alone_is_the_same_job(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    one = new(sizes={"a": 1, "b": 2})
    job_id, _ = jobs.enqueue(one, NOW)
    assert jobs.enqueue(new(sizes={"b": 2, "a": 1}), NOW) == (job_id, False)


@pytest.mark.parametrize(
    "changed",
    [
        {"root": "/models/other"},
        {"sizes": {"a.safetensors": 101, "config.json": 10}},
        {"sizes": {"a.safetensors": 100}},
        {"fingerprint": "made:2"},
        {"options": {"kind": "lora"}},
    ],
)
def test_anything_different_conflicts_with_an_open_job_and_names_both(
    jobs: Jobs, new: Callable[..., NewJob], dump: Callable[[], Any], changed: dict[str, Any]
) -> None:
    job_id, _ = jobs.enqueue(new(), NOW)
    before = dump()
    with pytest.raises(UsageError) as raised:
        jobs.enqueue(new(**changed), NOW)
    assert (raised.value.code, raised.value.exit_code) == ("conflict", 2)
    assert f"job {job_id} (/models/m)" in raised.value.message
    assert changed.get("root", "/models/m") in raised.value.message
    assert dump() == before


def test_of_done_jobs_only_the_last_one_counts(
    jobs: Jobs, new: Callable[..., NewJob], put: Callable[..., None]
) -> None:
    first, _ = jobs.enqueue(new(), NOW)
    put(first, status=Status.DONE)
    put(jobs.enqueue(new("other"), NOW)[0], model_id="m", status=Status.DONE)
    assert jobs.enqueue(new(), NOW) == (2, False)
    put(2, path="/elsewhere")
    with pytest.raises(UsageError, match=r"job 2 .* has made accounts/acme/models/m READY"):
        jobs.enqueue(new(), NOW)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fingerprint": "made:2"}, "with other files"),
        ({"options": {"public": True}}, "with other options"),
        ({"account": "-", "fingerprint": "made:2"}, "with other files"),
    ],
)
def test_a_model_that_is_ready_is_refused_with_the_job_that_made_it(
    jobs: Jobs,
    new: Callable[..., NewJob],
    put: Callable[..., None],
    dump: Callable[[], Any],
    change: dict[str, Any],
    named: str,
) -> None:
    put(jobs.enqueue(new(), NOW)[0], status=Status.DONE)
    before = dump()
    for ask in (jobs.same_as, lambda wanted: jobs.enqueue(wanted, NOW)):
        with pytest.raises(UsageError, match=named) as refused:
            ask(new(**change))
        assert "job 1 (/models/m) has made accounts/acme/models/m READY" in refused.value.message
        assert "`uploader remove 1`" in refused.value.hint
        assert "`uploader model delete accounts/acme/models/m`" in refused.value.hint
    assert dump() == before


def test_a_ready_model_that_was_removed_is_enqueued_again(
    jobs: Jobs, new: Callable[..., NewJob], put: Callable[..., None]
) -> None:
    put(jobs.enqueue(new(), NOW)[0], status=Status.DONE)
    jobs.remove(1, NOW)
    assert jobs.same_as(new(fingerprint="made:2")) is None
    assert jobs.enqueue(new(fingerprint="made:2"), NOW)[1]


def test_other_accounts_and_base_urls_are_other_models(
    jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    ids = {
        jobs.enqueue(each, NOW)[0]
        for each in (new(), new(account="beta"), new(base_url="http://127.0.0.1:1"), new("n"))
    }
    assert len(ids) == 4


def test_a_job_that_learned_its_account_is_still_the_same(
    jobs: Jobs, claimed: Callable[..., Held], new: Callable[..., NewJob]
) -> None:
    held = claimed(account="-")
    held.adopt_account("acme")
    assert jobs.enqueue(new(account="-"), NOW) == (held.job.id, False)
    with pytest.raises(UsageError, match="other files"):
        jobs.enqueue(new(account="-", fingerprint="made:2"), NOW)


def test_a_conflict_says_what_leads_on(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    jobs.enqueue(new(), NOW)
    for other, advice in (
        (new(fingerprint="made:2"), "`uploader retry 1 --rescan` takes the folder"),
        (new(root="/elsewhere"), "`uploader cancel 1` gives that one up"),
    ):
        with pytest.raises(UsageError) as refused:
            jobs.enqueue(other, NOW)
        assert refused.value.hint.startswith(advice)


def test_a_conflict_with_a_job_that_has_made_its_model_says_how_to_give_up_both(
    jobs: Jobs, claimed: Callable[..., Held], new: Callable[..., NewJob]
) -> None:
    held = claimed(account="a")
    held.enter_upload(created=True)
    with pytest.raises(UsageError) as refused:
        jobs.enqueue(new(account="a", root="/elsewhere"), NOW)
    assert refused.value.hint.startswith(
        "`uploader cancel 1 --delete-remote` gives that one up, with its model"
    )


def test_a_cancelled_job_makes_room(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    first, _ = jobs.enqueue(new(), NOW)
    jobs.apply(first, Verb.CANCEL, NOW)
    assert jobs.enqueue(new(root="/elsewhere"), NOW)[1]


def test_the_database_itself_refuses_a_second_open_job(
    engine: Engine, enqueue: Callable[..., int]
) -> None:
    job_id = enqueue()
    with engine.begin() as connection:
        row = dict(
            connection.execute(select(jobs_table).where(jobs_table.c.id == job_id)).one()._mapping
        )
    del row["id"]
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(jobs_table).values(**row))
    with engine.begin() as connection:
        connection.execute(insert(jobs_table).values(**row | {"status": "done"}))


def test_ids_are_never_given_out_twice(jobs: Jobs, enqueue: Callable[..., int]) -> None:
    first = enqueue()
    jobs.apply(first, Verb.CANCEL, NOW)
    jobs.remove(first, NOW)
    assert enqueue() > first


def test_a_name_that_is_not_utf8_is_refused(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        jobs.enqueue(new(sizes={"a\udcff": 1}), NOW)
    assert jobs.jobs() == []


def test_a_create_body_keeps_whatever_a_user_wrote(
    jobs: Jobs, new: Callable[..., NewJob], put: Callable[..., None]
) -> None:
    job_id, _ = jobs.enqueue(new(), NOW)
    body = {"model": {"description": "nul \0, half a pair \ud800, é, 𝄞"}}
    put(job_id, create_body=body)
    assert jobs.job(job_id).create_body == body


def test_a_naive_time_is_refused(jobs: Jobs, new: Callable[..., NewJob]) -> None:
    with pytest.raises(Exception, match="without a zone"):
        jobs.enqueue(new(), datetime(2026, 11, 22))  # noqa: DTZ001 - the mistake under test


def test_who_made_the_fingerprints_says_whether_a_file_is_another(
    jobs: Jobs, new: Callable[..., NewJob]
) -> None:
    job_id, _ = jobs.enqueue(new(), NOW)
    asked: list[tuple[str, str]] = []

    def lenient(known: str, found: str) -> bool:
        asked.append((known, found))
        return True

    other = new(fingerprint="made:2")
    other = replace(other, manifest=replace(other.manifest, same=lenient))
    assert jobs.enqueue(other, NOW) == (job_id, False)
    assert asked == [("made:1", "made:2")] * 2
