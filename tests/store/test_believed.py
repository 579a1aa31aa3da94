"""A job whose rows make no sense fails, and stops nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, update

from tests.store.conftest import BASE_URL, NOW
from uploader.core.errors import StoreError
from uploader.core.job import Stage, Status
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import events, files
from uploader.store.tables import jobs as table

SEAL = Seal(b"s" * 32)


def status_of(engine: Engine, job_id: int) -> tuple[str, str | None]:
    with engine.connect() as connection:
        query = table.select().where(table.c.id == job_id)
        row = connection.execute(query).one()
        return row.status, row.reason_code


@pytest.mark.parametrize(
    "nonsense",
    [{"create_body": []}, {"options": 5}, {"warnings": {}}, {"kind": "novel"}, {"preflight": "x"}],
)
def test_a_job_that_cannot_be_read_does_not_keep_the_others_waiting(
    engine: Engine,
    claims: Claims,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    nonsense: dict[str, Any],
) -> None:
    bad, good = enqueue("a"), enqueue("b")
    put(bad, **nonsense)
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    assert held.job.id == good
    assert status_of(engine, bad) == ("failed", "unreadable_row")
    with engine.connect() as connection:
        told = connection.execute(events.select().where(events.c.job_id == bad)).all()
    assert [event.kind for event in told] == ["enqueued", "failed"]
    assert claims.claim("w", BASE_URL, tuple(Stage), 60) is None


def test_a_cancelled_job_that_cannot_be_read_is_left_alone(
    engine: Engine, claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue()
    put(job_id, status=Status.CANCELLED, delete_on_cancel=True, options=5)
    assert claims.claim_cancelled("w", BASE_URL, 60) is None
    assert status_of(engine, job_id) == ("cancelled", None)
    assert not claims.any_open(BASE_URL)


def test_a_file_that_cannot_be_read_fails_a_job_of_a_table_with_a_secret(
    engine: Engine, new: Callable[..., Any]
) -> None:
    sealed, claims = Jobs(engine, seal=SEAL), Claims(engine, lambda: NOW, seal=SEAL)
    job_id, _ = sealed.enqueue(new(), NOW)
    with engine.begin() as connection:
        connection.execute(update(files).values(path=files.c.path.concat("/x")))
    assert claims.claim("w", BASE_URL, tuple(Stage), 60) is None
    assert status_of(engine, job_id) == ("failed", "unreadable_row")


def test_a_worker_reads_nothing_that_lost_its_seal_since_it_was_claimed(
    engine: Engine, new: Callable[..., Any]
) -> None:
    wary = Jobs(engine, seal=SEAL, wary=True)
    wary.enqueue(new(), NOW)
    held = Claims(engine, lambda: NOW, seal=SEAL).claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    with engine.begin() as connection:
        connection.execute(update(table).values(path="/etc"))
        connection.execute(update(files).values(size_bytes=11))
    attempts: list[Callable[[Held], object]] = [
        lambda held: held.enter_upload(created=True),
        lambda held: held.adopt_account("other"),
        lambda held: held.files.keep_urls({}, NOW),
        lambda held: held.files.drop_session("config.json", "why", bytes_sent=0),
        lambda held: wary.job(held.job.id),
        lambda held: wary.files(held.job.id),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match="no seal"):
            attempt(held)
