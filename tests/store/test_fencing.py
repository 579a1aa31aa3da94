"""docs/invariants.md §5: a worker's write that matches no row means stop, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.store.conftest import BASE_URL, NOW, Hands, mark_stored, open_session
from uploader.core.errors import LeaseLost
from uploader.core.events import EventKind
from uploader.core.job import Event, PrefixCrc, Reason, Stage, Status
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.resumable import read_url
from uploader.core.verdict import Call
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.held_calls import HeldCalls
from uploader.store.held_files import FileProgress, HeldFiles
from uploader.store.leftovers import Leftover

LATER = NOW + timedelta(seconds=5)
REASON = Reason("net", "reset")
PATH = "config.json"
URL = read_url("https://storage.example/b/k")
LEFTOVER = Leftover(1, 1, PATH, SessionUri("u"))
ROW = FileProgress(PATH, 0, PrefixCrc(), PrefixCrc(), 1)

Write = Callable[[Held], Any]

TRANSITIONS: dict[str, Write] = {
    "take_name": lambda held: held.take_name("acme"),
    "adopt_account": lambda held: held.adopt_account("beta"),
    "enter_upload": lambda held: held.enter_upload(created=True),
    "enter_validate": lambda held: held.enter_validate(),
    "call_validate": lambda held: held.call_validate(),
    "finish": lambda held: held.finish(["w"]),
    "retry_at": lambda held: held.retry_at(LATER, REASON),
    "wait_until": lambda held: held.wait_until(LATER),
    "poll_again": lambda held: held.poll_again(LATER, 1.0, "m"),
    "wait_for_disk": lambda held: held.wait_for_disk(Reason(Code.SOURCE_SILENT, "", "")),
    "block": lambda held: held.block(REASON),
    "fail": lambda held: held.fail(REASON),
    "fall_back_to_put": lambda held: held.fall_back_to_put(),
    "recreate": lambda held: held.recreate("why"),
}
FACTS: dict[str, Write] = {
    "release": lambda held: held.release(),
    "mark_deleted": lambda held: held.mark_deleted("why"),
    "add_event": lambda held: held.add_event(EventKind.LEFT_OPEN, "message"),
    "end_leftovers": lambda held: held.end_leftovers([], [(LEFTOVER, "why")]),
}
CALLS: dict[str, Write] = {
    "begin": lambda held: held.calls.begin(Call.DELETE),
    "heard": lambda held: held.calls.heard(Call.DELETE, NOW),
}
FILES: dict[str, Write] = {
    "open_sessions": lambda held: open_session(held, PATH, SessionUri("u"), "b/k"),
    "keep_urls": lambda held: held.files.keep_urls({PATH: URL}, LATER),
    "expire_urls": lambda held: held.files.expire_urls(),
    "drop_session": lambda held: held.files.drop_session(PATH, "why", bytes_sent=50),
    "mark_all_stored": lambda held: mark_stored(held, PATH, 1, bytes_sent=50, verified=True),
    "mark_failed": lambda held: held.files.mark_failed(PATH, REASON, None, bytes_sent=50),
    "reidentify": lambda held: held.files.reidentify(PATH, 100, "made:2"),
    "report_progress": lambda held: held.files.report_progress([ROW], 1.0),
}
CLOSED: dict[str, Write] = {
    "leave_sessions": lambda held: held.leave_sessions(),
    "end_model": lambda held: held.end_model(),
    "clean_up_after": lambda held: held.clean_up_after(LATER, REASON),
    "close": lambda held: held.close(),
}
ALL = TRANSITIONS | FACTS | CALLS | FILES | CLOSED
#: These are fenced by the owner, by the tokens given, or by the row's own condition; `put_aside`
#: writes no row.
UNFENCED = {
    "claim",
    "claim_cancelled",
    "renew",
    "leases_of",
    "release",
    "reap",
    "heal",
    "clear_future_waits",
    "clear_false_waits",
    "any_open",
    "any_blocked",
    "next_due",
    "put_aside",
}


def _verbs(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")} - {"lease"}


def test_every_verb_is_in_these_tables() -> None:
    assert _verbs(Held) == set(TRANSITIONS | FACTS | CLOSED)
    assert _verbs(HeldCalls) == set(CALLS)
    assert _verbs(HeldFiles) == set(FILES)
    assert _verbs(Claims) == UNFENCED


@pytest.fixture
def stale(claims: Claims, claimed: Callable[..., Held]) -> Held:
    """Another worker has the job by now."""
    held = claimed()
    held.release()
    assert claims.claim("successor", BASE_URL, tuple(Stage), 60)
    return held


@pytest.mark.parametrize("verb", ALL)
def test_a_stale_token_changes_nothing(
    stale: Held,
    clock: Hands,
    put: Callable[..., None],
    dump: Callable[[], Any],
    told: list[Event],
    verb: str,
) -> None:
    # The job stands exactly where the verb would be legal.
    put(stale.job.id, status=Status.CANCELLED if verb in CLOSED else Status.ACTIVE)
    told.clear()
    before, clock.at = dump(), LATER
    with pytest.raises(LeaseLost):
        ALL[verb](stale)
    assert dump() == before
    assert told == []


@pytest.mark.parametrize("verb", ALL)
def test_a_transition_needs_the_status_it_starts_from(
    claimed: Callable[..., Held],
    clock: Hands,
    put: Callable[..., None],
    dump: Callable[[], Any],
    verb: str,
) -> None:
    stage = {"enter_validate": Stage.UPLOAD, "finish": Stage.VALIDATE}.get(verb, Stage.CREATE)
    for status in reversed(Status):
        clock.at = NOW
        held = claimed(f"m-{status}")
        if verb in ("enter_validate", "call_validate", "finish"):
            for path in ("a.safetensors", PATH):
                mark_stored(held, path, 1, bytes_sent=50, verified=True)
        put(held.job.id, status=status, stage=stage)
        before, clock.at = dump(), LATER
        if status in _legal(verb):
            ALL[verb](held)
            assert dump() != before, status
        else:
            with pytest.raises(LeaseLost):
                ALL[verb](held)
            assert dump() == before, status


def _legal(verb: str) -> set[Status]:
    if verb in FACTS | FILES or verb == "heard":
        return set(Status)
    if verb in CLOSED:
        return {Status.CANCELLED}
    if verb == "wait_until":
        return {Status.ACTIVE, Status.CANCELLED}
    return {Status.ACTIVE}
