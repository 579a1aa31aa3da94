from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from uploader.core.job import Event, Job, Reason, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
BASE_URL = "https://api.fireworks.ai"
ALL = tuple(Stage)


def _claim(claims: Claims, now: datetime = NOW, owner: str = "worker") -> Job | None:
    return claims.claim(owner, BASE_URL, ALL, now, 60)


def test_a_claim_leases_one_job_to_one_worker(
    claims: Claims, enqueue: Callable[..., int], told: list[Event]
) -> None:
    job_id = enqueue()
    told.clear()
    job = _claim(claims)
    assert job
    assert job.lease
    assert (job.id, job.lease.job_id, job.lease.owner) == (job_id, job_id, "worker")
    assert _claim(claims) is None
    assert told == []


def test_what_cannot_be_claimed(
    claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue()
    for status in Status:
        put(job_id, status=status)
        if status is not Status.ACTIVE:
            assert _claim(claims) is None
    put(job_id, status=Status.ACTIVE, not_before=LATER)
    assert _claim(claims) is None
    assert claims.claim("w", "https://elsewhere", ALL, LATER, 60) is None
    assert claims.claim("w", BASE_URL, [Stage.UPLOAD], LATER, 60) is None
    assert claims.claim("w", BASE_URL, [], LATER, 60) is None
    assert _claim(claims, LATER) is not None


def test_order_is_priority_then_never_delayed_then_age(
    claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    late, early, storable, urgent = (enqueue(name) for name in ("a", "b", "c", "d"))
    put(late, not_before=NOW)
    put(early, not_before=NOW - timedelta(seconds=9))
    put(urgent, priority=1, not_before=NOW)
    order = [job.id for _ in range(4) if (job := _claim(claims))]
    assert order == [urgent, storable, early, late]


def test_eight_threads_share_four_hundred_jobs_without_a_double(
    engine: Engine, claims: Claims
) -> None:
    row: dict[str, Any] = {
        "base_url": BASE_URL,
        "account": "acme",
        "path": "/m",
        "kind": "base",
        "create_body": {},
        "options": {},
        "preflight": [],
        "warnings": [],
        "stage": "create",
        "status": "active",
        "created_at": NOW,
        "updated_at": NOW,
    }
    with engine.begin() as connection:
        connection.execute(insert(jobs_table), [row | {"model_id": f"m{n}"} for n in range(400)])
    taken: list[tuple[int, str]] = []

    def work(owner: str) -> None:
        while job := _claim(claims, owner=owner):
            assert job.lease
            taken.append((job.id, job.lease.token))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id for job_id, _ in taken}) == len(taken) == 400
    assert len({token for _, token in taken}) == 400


def test_held_shows_what_users_made_of_leased_jobs(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Job]
) -> None:
    job = claimed()
    assert job.lease
    assert claims.held("worker") == {job.lease: Status.ACTIVE}
    jobs.apply(job.id, Verb.PAUSE, NOW)
    assert claims.held("worker") == {job.lease: Status.PAUSED}
    assert claims.held("other") == {}


def test_release_gives_the_job_back(claims: Claims, claimed: Callable[..., Job]) -> None:
    job = claimed()
    assert job.lease
    claims.progress(job.lease, [], 5.0, NOW)
    claims.release(job.lease, NOW)
    again = _claim(claims)
    assert again
    assert again.lease
    assert again.lease.token != job.lease.token
    assert again.rate_bps is None


def test_renew_says_which_leases_are_still_held(
    claims: Claims, enqueue: Callable[..., int]
) -> None:
    for name in ("a", "b", "c"):
        enqueue(name)
    one, two, _ = (_claim(claims, owner=owner) for owner in ("me", "me", "you"))
    assert one
    assert one.lease
    assert two
    assert two.lease
    assert claims.renew("me", LATER, 60) == {one.lease, two.lease}
    claims.release(one.lease, LATER)
    _claim(claims, owner="you")
    assert claims.renew("me", LATER, 60) == {two.lease}
    assert claims.renew("nobody", LATER, 60) == set()


def test_heal_tries_every_blocked_job_and_no_other(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Job], enqueue: Callable[..., int]
) -> None:
    blocked = claimed("a")
    assert blocked.lease
    claims.block(blocked.lease, Reason("key", "refused"), NOW)
    paused = enqueue("b")
    jobs.apply(paused, Verb.PAUSE, NOW)
    assert claims.heal(LATER) == 1
    healed = jobs.job(blocked.id)
    assert (healed.status, healed.reason, healed.lease) == (Status.ACTIVE, None, blocked.lease)
    assert jobs.job(paused).status is Status.PAUSED
    assert jobs.events()[-1].kind == "healed"
    assert claims.heal(LATER) == 0


@pytest.mark.parametrize("left_open", ["session", "model"])
def test_a_cancelled_job_is_claimed_until_nothing_is_left_open(
    jobs: Jobs,
    claims: Claims,
    claimed: Callable[..., Job],
    put: Callable[..., None],
    left_open: str,
) -> None:
    job = claimed()
    assert job.lease
    put(job.id, created_remotely=True)
    if left_open == "session":
        claims.open_session(job.lease, "config.json", SessionUri("u"), None, NOW)
    jobs.apply(job.id, Verb.CANCEL, NOW, delete_remote=left_open == "model")
    assert claims.claim_cancelled("w", BASE_URL, NOW, 60) is None, "its worker has not stopped"
    claims.release(job.lease, NOW)
    assert claims.claim_cancelled("w", "https://elsewhere", NOW, 60) is None
    assert claims.open_count(BASE_URL) == 1

    again = claims.claim_cancelled("w", BASE_URL, NOW, 60)
    assert again
    assert again.lease
    assert again.delete_remote == (left_open == "model")
    claims.wait_until(again.lease, LATER, NOW)
    claims.release(again.lease, NOW)
    assert claims.claim_cancelled("w", BASE_URL, NOW, 60) is None

    last = claims.claim_cancelled("w", BASE_URL, LATER, 60)
    assert last
    assert last.lease
    claims.closed(last.lease, LATER)
    claims.release(last.lease, LATER)
    assert claims.claim_cancelled("w", BASE_URL, LATER, 60) is None
    assert claims.open_count(BASE_URL) == 0
    assert all(file.session is None for file in jobs.files(job.id))


def test_open_count_counts_what_a_worker_can_do(
    claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue()
    enqueue("n", base_url="https://elsewhere")
    counts = {}
    for status in Status:
        put(job_id, status=status, not_before=LATER)
        counts[status] = claims.open_count(BASE_URL)
    assert counts == {status: int(status is Status.ACTIVE) for status in Status}


def test_a_clock_set_back_by_years_strands_no_job(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Job]
) -> None:
    """A machine that starts with a wrong date writes waits that end when it should long be done."""
    job, wrong = claimed(), NOW + timedelta(days=3650)
    assert job.lease
    claims.file_failed(job.lease, "config.json", Reason("net", "reset"), wrong, wrong, bytes_sent=9)
    claims.file_failed(job.lease, "a.safetensors", Reason("net", "reset"), LATER, NOW, bytes_sent=9)
    claims.retry_at(job.lease, wrong, Reason("net", "reset"), wrong)
    claims.release(job.lease, wrong)
    again = _claim(claims)
    assert again
    waits = {file.path: file.not_before for file in jobs.files(job.id)}
    assert waits == {"config.json": None, "a.safetensors": LATER}, "an honest wait stays"


def test_the_longest_honest_wait_is_kept(claims: Claims, claimed: Callable[..., Job]) -> None:
    job = claimed()
    assert job.lease
    claims.wait_until(job.lease, NOW + timedelta(days=2), NOW)
    claims.release(job.lease, NOW)
    assert _claim(claims, NOW) is None
