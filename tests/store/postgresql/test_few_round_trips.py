"""However many jobs one write is about: each statement may cost 20 ms, and all others wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, func, select, update

from tests.store.conftest import BASE_URL, NOW
from uploader.core.events import EventKind
from uploader.core.job import NewJob, Status
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs
from uploader.store.outbox import Outbox
from uploader.store.outbox_tables import deliveries
from uploader.store.tables import jobs as jobs_table

MANY, FEW = 60, 20
HOOK = {"hook": (EventKind.HEALED,)}


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def test_all_blocked_jobs_are_tried_again_and_told_of_in_few_round_trips(
    engine: Engine, new: Callable[..., NewJob]
) -> None:
    jobs, outbox = Jobs(engine), Outbox(engine)
    for number in range(MANY):
        jobs.enqueue(new(f"m{number}"), NOW)
    outbox.fill(HOOK, NOW)
    with engine.begin() as connection:
        connection.execute(update(jobs_table).values(status=Status.BLOCKED))
    with counted(engine) as statements:
        Claims(engine, lambda: NOW).heal(BASE_URL)
    assert len(statements) < FEW
    healed = [one for one in jobs.events() if one.kind == EventKind.HEALED]
    assert [one.job_id for one in healed] == [*range(1, MANY + 1)]
    with counted(engine) as statements:
        assert outbox.fill(HOOK, NOW) == MANY
    inserts = [one for one in statements if one.startswith("INSERT INTO deliveries")]
    assert len(inserts) == 1
    with engine.connect() as connection:
        told = select(func.count()).select_from(deliveries)
        assert connection.scalar(told) == MANY
