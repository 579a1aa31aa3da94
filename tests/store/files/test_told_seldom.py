"""What fails the same way again and again is counted each time, and told seldom."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.store.conftest import BASE_URL, NOW, Hands, open_session
from tests.store.files.conftest import LATER, PATH, REASON, URI
from uploader.core import repeats
from uploader.core.events import EventKind
from uploader.core.job import Event, Reason, Stage
from uploader.core.lifecycle import Verb
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.jobs import Jobs


@pytest.fixture
def terse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits take time: the large numbers are in tests/core/test_repeats.py."""
    monkeypatch.setattr(repeats, "FIRST", 5)


@pytest.mark.usefixtures("terse")
def test_what_fails_the_same_way_for_ever_is_counted_and_seldom_told(
    jobs: Jobs, held: Held, clock: Hands, told: list[Event]
) -> None:
    tries = 40
    for number in range(tries):
        reason = Reason("net", f"no answer to request {number}")
        held.files.mark_failed(PATH, reason, LATER, bytes_sent=9)
        held.add_event(EventKind.SESSION_RESUMED, f"at byte {number}", PATH)
        clock.at += timedelta(seconds=12)
    minutes = tries // 5
    failed = [event for event in told if event.kind == "file_failed"]
    assert repeats.FIRST < len(failed) <= repeats.FIRST + minutes + 1
    assert len(told) == 2 * len(failed)
    assert failed[0].message == "no answer to request 0"
    assert failed[-1].message.endswith(" more like it)")
    file = jobs.files(held.job.id)[0]
    assert (file.attempts, file.last_error) == (tries, f"no answer to request {tries - 1}")
    held.fail(REASON)
    last, resumed, end = told[-3:]
    assert last.message.startswith(f"no answer to request {tries - 1}")
    assert (resumed.kind, end.kind) == ("session_resumed", "failed")
    left_out = sum(others(event.message) for event in (*failed, last))
    assert left_out + len(failed) + 1 == tries


@pytest.mark.usefixtures("terse")
def test_a_job_that_is_given_back_after_each_try_is_told_as_seldom(
    claims: Claims, enqueue: Callable[..., int], clock: Hands, told: list[Event]
) -> None:
    enqueue()
    tries = 40
    for number in range(tries):
        held = claims.claim("worker", BASE_URL, tuple(Stage), 60)
        assert held is not None
        held.add_event(EventKind.SESSION_RESUMED, f"at byte {number}", PATH)
        held.files.mark_failed(PATH, Reason("net", f"no answer to {number}"), None, bytes_sent=9)
        held.release()
        clock.at += timedelta(seconds=3)
    for kind in (EventKind.FILE_FAILED, EventKind.SESSION_RESUMED):
        messages = [event.message for event in told if event.kind == kind]
        assert len(messages) <= repeats.FIRST + 2 * (1 + 3 * tries // 60)
        assert [others(message) for message in messages[: repeats.FIRST]] == [0] * repeats.FIRST
        assert tries - 20 <= len(messages) + sum(map(others, messages)) <= tries


def others(message: str) -> int:
    found = re.search(r"and ([\d,]+) more like it", message)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.usefixtures("terse")
def test_another_reason_is_told_and_so_is_each_file_that_does_as_it_should(
    held: Held, told: list[Event]
) -> None:
    for _ in range(repeats.FIRST + 5):
        held.files.mark_failed(PATH, REASON, LATER, bytes_sent=9)
    assert len(told) == repeats.FIRST
    held.files.mark_failed(PATH, Reason("tls", "not trusted"), LATER, bytes_sent=9)
    assert told[-1].message == "not trusted"
    open_session(held, PATH, URI, "b/k")
    assert told[-1].kind == "session_opened"
    held.release()
    assert told[-1].message == "reset (and 4 more like it)"


@pytest.mark.usefixtures("terse")
def test_what_was_left_out_of_a_cancelled_job_is_told_before_its_end(
    jobs: Jobs, claims: Claims, held: Held, told: list[Event]
) -> None:
    open_session(held, PATH, URI, "b/k")
    jobs.apply(held.job.id, Verb.CANCEL, NOW)
    held.release()
    closing = claims.claim_cancelled("worker", BASE_URL, 60)
    assert closing is not None
    told.clear()
    for _ in range(repeats.FIRST + 5):
        closing.add_event(EventKind.LEFT_OPEN, "the session is not ended", PATH)
    closing.close()
    closing.release()
    assert [event.kind for event in told] == ["left_open"] * (repeats.FIRST + 1) + ["closed"]
    assert others(told[-2].message) == 4
