"""Invariant 5: a worker's write that matches no row means stop, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from uploader.core.errors import LeaseLost
from uploader.core.job import Event, Job, Lease, PrefixCrc, Reason, Stage, Status
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims
from uploader.store.fence import Fenced
from uploader.store.files import FileProgress

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
REASON = Reason("net", "reset")
PATH = "config.json"

Write = Callable[[Claims, Lease], Any]

TRANSITIONS: dict[str, Write] = {
    "adopt_account": lambda claims, lease: claims.adopt_account(lease, "beta", LATER),
    "to_upload": lambda claims, lease: claims.to_upload(lease, LATER, created=True),
    "to_validate": lambda claims, lease: claims.to_validate(lease, LATER),
    "finish": lambda claims, lease: claims.finish(lease, LATER, ["w"]),
    "retry_at": lambda claims, lease: claims.retry_at(lease, LATER, REASON, LATER),
    "wait_until": lambda claims, lease: claims.wait_until(lease, LATER, LATER),
    "poll_again": lambda claims, lease: claims.poll_again(lease, LATER, 1.0, "m", LATER),
    "block": lambda claims, lease: claims.block(lease, REASON, LATER),
    "fail": lambda claims, lease: claims.fail(lease, REASON, LATER),
    "fall_back_to_put": lambda claims, lease: claims.fall_back_to_put(lease, LATER),
}
FACTS: dict[str, Write] = {
    "release": lambda claims, lease: claims.release(lease, LATER),
    "open_session": lambda claims, lease: claims.open_session(
        lease, PATH, SessionUri("u"), "b/k", LATER
    ),
    "start_put": lambda claims, lease: claims.start_put(lease, PATH, LATER),
    "drop_session": lambda claims, lease: claims.drop_session(
        lease, PATH, "why", LATER, bytes_sent=50
    ),
    "file_stored": lambda claims, lease: claims.file_stored(
        lease, PATH, 1, LATER, bytes_sent=50, verified=True
    ),
    "file_failed": lambda claims, lease: claims.file_failed(
        lease, PATH, REASON, None, LATER, bytes_sent=9
    ),
    "reidentify": lambda claims, lease: claims.reidentify(lease, PATH, 2, 3, LATER),
    "deleted": lambda claims, lease: claims.deleted(lease, LATER),
    "note": lambda claims, lease: claims.note(lease, "kind", "message", LATER),
    "progress": lambda claims, lease: claims.progress(
        lease, [FileProgress(PATH, 0, PrefixCrc(), PrefixCrc(), 1)], 1.0, LATER
    ),
}
CLOSED: dict[str, Write] = {
    "sessions_ended": lambda claims, lease: claims.sessions_ended(lease, LATER),
    "closed": lambda claims, lease: claims.closed(lease, LATER),
}
ALL = TRANSITIONS | FACTS | CLOSED
#: These are fenced by the owner, or by the row's own condition.
UNFENCED = {
    "claim",
    "claim_cancelled",
    "renew",
    "held",
    "reap",
    "heal",
    "clear_future_waits",
    "open_count",
}


def test_every_verb_is_in_these_tables() -> None:
    verbs = {name for name in dir(Claims) if not name.startswith("_")} - set(dir(Fenced))
    assert verbs == set(ALL) | UNFENCED


@pytest.mark.parametrize("verb", ALL)
def test_a_stale_token_changes_nothing(
    claims: Claims,
    claimed: Callable[..., Job],
    put: Callable[..., None],
    dump: Callable[[], Any],
    told: list[Event],
    verb: str,
) -> None:
    stale = claimed().lease
    assert stale
    claims.release(stale, NOW)
    # The successor's job stands exactly where the verb would be legal.
    claims.claim("successor", "https://api.fireworks.ai", tuple(Stage), NOW, 60)
    put(stale.job_id, status=Status.CANCELLED if verb in CLOSED else Status.ACTIVE)
    told.clear()
    before = dump()
    with pytest.raises(LeaseLost):
        ALL[verb](claims, stale)
    assert dump() == before
    assert told == []


@pytest.mark.parametrize("verb", ALL)
def test_a_transition_needs_the_status_it_starts_from(
    claims: Claims,
    claimed: Callable[..., Job],
    put: Callable[..., None],
    dump: Callable[[], Any],
    verb: str,
) -> None:
    stage = {"to_validate": Stage.UPLOAD, "finish": Stage.VALIDATE}.get(verb, Stage.CREATE)
    for status in reversed(Status):
        lease = claimed(f"m-{status}").lease
        assert lease
        if verb == "to_validate":
            for path in ("a.safetensors", PATH):
                claims.file_stored(lease, path, 1, NOW, bytes_sent=50, verified=True)
        put(lease.job_id, status=status, stage=stage)
        before = dump()
        if status in _legal(verb):
            ALL[verb](claims, lease)
            assert dump() != before, status
        else:
            with pytest.raises(LeaseLost):
                ALL[verb](claims, lease)
            assert dump() == before, status


def _legal(verb: str) -> set[Status]:
    if verb in FACTS:
        return set(Status)
    if verb in CLOSED:
        return {Status.CANCELLED}
    if verb == "wait_until":
        return {Status.ACTIVE, Status.CANCELLED}
    return {Status.ACTIVE}
