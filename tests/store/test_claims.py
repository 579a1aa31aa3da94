from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from tests.store.conftest import BASE_URL, NOW, Hands, open_session
from uploader.core.job import Event, Reason, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

LATER = NOW + timedelta(seconds=5)
REASON = Reason("cleaning_up", "503")
ALL = tuple(Stage)


def _claim(claims: Claims, owner: str = "worker") -> Held | None:
    return claims.claim(owner, BASE_URL, ALL, 60)


def test_a_claim_leases_one_job_to_one_worker(
    claims: Claims, enqueue: Callable[..., int], told: list[Event]
) -> None:
    job_id = enqueue()
    told.clear()
    held = _claim(claims)
    assert held
    assert held.job.lease == held.lease
    assert (held.job.id, held.lease.job_id, held.lease.owner) == (job_id, job_id, "worker")
    assert _claim(claims) is None
    assert told == []


def test_what_cannot_be_claimed(
    claims: Claims, enqueue: Callable[..., int], clock: Hands, put: Callable[..., None]
) -> None:
    job_id = enqueue()
    for status in Status:
        put(job_id, status=status)
        if status is not Status.ACTIVE:
            assert _claim(claims) is None
    put(job_id, status=Status.ACTIVE, not_before=LATER)
    assert _claim(claims) is None
    clock.at = LATER
    assert claims.claim("w", "https://elsewhere", ALL, 60) is None
    assert claims.claim("w", BASE_URL, [Stage.UPLOAD], 60) is None
    assert claims.claim("w", BASE_URL, [], 60) is None
    assert _claim(claims) is not None


def test_order_is_priority_then_never_delayed_then_age(
    claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    late, early, storable, urgent = (enqueue(name) for name in ("a", "b", "c", "d"))
    put(late, not_before=NOW)
    put(early, not_before=NOW - timedelta(seconds=9))
    put(urgent, priority=1, not_before=NOW)
    order = [held.job.id for _ in range(4) if (held := _claim(claims))]
    assert order == [urgent, storable, early, late]


@pytest.mark.long
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
        while held := _claim(claims, owner):
            taken.append((held.job.id, held.lease.token))

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id for job_id, _ in taken}) == len(taken) == 400
    assert len({token for _, token in taken}) == 400


def test_leases_of_shows_what_users_made_of_leased_jobs(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Held]
) -> None:
    held = claimed()
    assert claims.leases_of("worker") == {held.lease: Status.ACTIVE}
    jobs.apply(held.job.id, Verb.PAUSE, NOW)
    assert claims.leases_of("worker") == {held.lease: Status.PAUSED}
    assert claims.leases_of("other") == {}


def test_release_gives_the_job_back(claims: Claims, claimed: Callable[..., Held]) -> None:
    held = claimed()
    held.files.report_progress([], 5.0)
    held.release()
    again = _claim(claims)
    assert again
    assert again.lease.token != held.lease.token
    assert again.job.rate_bps is None


def test_leases_are_given_back_by_their_tokens_and_no_other(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Held]
) -> None:
    left, passed_on, kept = claimed("a"), claimed("b"), claimed("c")
    passed_on.release()
    taker = _claim(claims, "taker")
    assert taker
    claims.release([left.lease, passed_on.lease])
    assert [job.lease for job in jobs.jobs()] == [None, taker.lease, kept.lease]


def test_renew_says_which_leases_are_still_held(
    claims: Claims, enqueue: Callable[..., int]
) -> None:
    for name in ("a", "b", "c"):
        enqueue(name)
    one, two, _ = (_claim(claims, owner) for owner in ("me", "me", "you"))
    assert one
    assert two
    assert claims.renew("me", 60) == {one.lease, two.lease}
    one.release()
    _claim(claims, "you")
    assert claims.renew("me", 60) == {two.lease}
    assert claims.renew("nobody", 60) == set()


def test_heal_tries_every_blocked_job_and_no_other(
    jobs: Jobs, claims: Claims, claimed: Callable[..., Held], enqueue: Callable[..., int]
) -> None:
    blocked = claimed("a")
    blocked.block(Reason("key", "refused"))
    paused = enqueue("b")
    jobs.apply(paused, Verb.PAUSE, NOW)
    claims.heal("https://another.example")
    assert jobs.job(blocked.job.id).status is Status.BLOCKED
    claims.heal(BASE_URL)
    healed = jobs.job(blocked.job.id)
    assert (healed.status, healed.reason, healed.lease) == (Status.ACTIVE, None, blocked.lease)
    assert jobs.job(paused).status is Status.PAUSED
    assert jobs.events()[-1].kind == "healed"
    claims.heal(BASE_URL)
    assert [event.kind for event in jobs.events()].count("healed") == 1


@pytest.mark.parametrize("left_open", ["session", "model"])
def test_a_cancelled_job_is_claimed_until_nothing_is_left_open(
    jobs: Jobs,
    claims: Claims,
    claimed: Callable[..., Held],
    clock: Hands,
    put: Callable[..., None],
    left_open: str,
) -> None:
    held = claimed()
    put(held.job.id, created_remotely=True)
    if left_open == "session":
        open_session(held, "config.json", SessionUri("u"), None)
    jobs.apply(held.job.id, Verb.CANCEL, NOW, delete_remote=left_open == "model")
    assert claims.claim_cancelled("w", BASE_URL, 60) is None, "its worker has not stopped"
    held.release()
    assert claims.claim_cancelled("w", "https://elsewhere", 60) is None
    assert claims.any_open(BASE_URL)

    again = claims.claim_cancelled("w", BASE_URL, 60)
    assert again
    assert again.job.delete_on_cancel == (left_open == "model")
    again.clean_up_after(LATER, REASON)
    again.release()
    assert claims.claim_cancelled("w", BASE_URL, 60) is None
    assert not claims.any_open(BASE_URL)
    assert jobs.job(held.job.id).reason == REASON

    clock.at = LATER
    assert claims.any_open(BASE_URL)
    last = claims.claim_cancelled("w", BASE_URL, 60)
    assert last
    last.close()
    last.release()
    assert claims.claim_cancelled("w", BASE_URL, 60) is None
    assert not claims.any_open(BASE_URL)
    assert all(file.session is None for file in jobs.files(held.job.id))


def test_what_a_worker_can_do_keeps_it_from_being_idle(
    claims: Claims, enqueue: Callable[..., int], put: Callable[..., None]
) -> None:
    job_id = enqueue()
    enqueue("n", base_url="https://elsewhere")
    found = {}
    for status in Status:
        put(job_id, status=status, not_before=LATER)
        found[status] = claims.any_open(BASE_URL)
    assert found == {status: status is Status.ACTIVE for status in Status}


def test_a_clock_set_back_by_years_strands_no_job(
    jobs: Jobs, claims: Claims, clock: Hands, claimed: Callable[..., Held]
) -> None:
    """A machine that starts with a wrong date writes waits that end when it should long be done."""
    held, wrong = claimed(), NOW + timedelta(days=3650)
    held.files.mark_failed("a.safetensors", Reason("net", "reset"), LATER, bytes_sent=9)
    clock.at = wrong
    held.files.mark_failed("config.json", Reason("net", "reset"), wrong, bytes_sent=9)
    held.retry_at(wrong, Reason("net", "reset"))
    held.release()
    clock.at = NOW
    again = _claim(claims)
    assert again
    waits = {file.path: file.not_before for file in jobs.files(held.job.id)}
    assert waits == {"config.json": None, "a.safetensors": LATER}, "an honest wait stays"


def test_a_wait_of_a_clock_that_was_ahead_ends_once_a_worker_sees_the_right_time(
    jobs: Jobs, claims: Claims, clock: Hands, claimed: Callable[..., Held]
) -> None:
    held = claimed()
    clock.at = NOW + timedelta(hours=20)
    later = clock.at + timedelta(seconds=30)
    held.files.mark_failed("config.json", Reason("net", "reset"), later, bytes_sent=9)
    held.retry_at(later, Reason("net", "reset"))
    held.release()
    clock.at = NOW
    assert _claim(claims) is None
    assert claims.clear_false_waits()
    assert not claims.clear_false_waits()
    assert _claim(claims)
    assert [file.not_before for file in jobs.files(held.job.id)] == [None, None]


def test_a_clock_that_is_behind_changes_no_time_at_which_a_job_ended(
    jobs: Jobs, claims: Claims, clock: Hands, put: Callable[..., None], enqueue: Callable[..., int]
) -> None:
    """By it, a job that has ended is forgotten."""
    job_id = enqueue()
    put(job_id, status=Status.CANCELLED, not_before=LATER)
    before = jobs.job(job_id).updated_at
    clock.at = NOW - timedelta(days=200)
    for _ in range(2):
        claims.clear_false_waits()
    assert jobs.job(job_id).updated_at == before


def test_a_wait_of_a_clock_that_is_a_little_ahead_is_kept(
    claims: Claims, clock: Hands, claimed: Callable[..., Held]
) -> None:
    held = claimed()
    clock.at = NOW + timedelta(minutes=5)
    held.retry_at(clock.at + timedelta(seconds=30), Reason("net", "reset"))
    held.release()
    clock.at = NOW
    assert not claims.clear_false_waits()
    assert _claim(claims) is None


def test_the_longest_honest_wait_is_kept(claims: Claims, claimed: Callable[..., Held]) -> None:
    held = claimed()
    held.wait_until(NOW + timedelta(days=2))
    held.release()
    assert _claim(claims) is None
