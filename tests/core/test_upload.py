"""What the upload of a job does next, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.linear import assert_in_proportion, cpu_s
from uploader.core.job import FileState, Status
from uploader.core.redact import SessionUri, SignedUrl
from uploader.core.resumable import UploadUrl, UrlKind
from uploader.core.upload import (
    AskUrls,
    Backlog,
    Gate,
    GiveUp,
    Later,
    Open,
    OpenSession,
    Room,
    Send,
    Shut,
    Sleep,
    Step,
    Stored,
    next_step,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SOON, LATER = NOW + timedelta(seconds=10), NOW + timedelta(seconds=60)
ERROR = ValueError("no")


def url(kind: UrlKind) -> UploadUrl:
    return UploadUrl(SignedUrl("https://s"), kind, "s/o", (), None)


def file(path: str, **facts: Any) -> FileState:
    return FileState(1, path, 10, "x", **facts)


NEW = file("new")
START, PUT = file("start", url=url(UrlKind.START)), file("put", url=url(UrlKind.PUT))
LIVE = file("live", session=SessionUri("https://s"))
DONE = file("done", stored=True)
CUT = replace(LIVE, path="cut", not_before=SOON)
REFUSED = replace(START, path="refused", not_before=LATER)
IDLE = Room()
BUSY = Room(running=True)
ASKING = Room(running=True, ask=False)
FULL = Room(send=False, open=False)
AGAIN = Later(LATER, ERROR, 1)
NO_URLS = Shut(ERROR)
BLOCKED, FAILED = Shut(ERROR, Status.BLOCKED), Shut(ERROR, Status.FAILED)


@pytest.mark.parametrize(
    ("files", "gate", "room", "fresh", "step"),
    [
        # Everything is done, or nearly.
        ([], Open(), IDLE, False, Stored()),
        ([DONE], Open(), IDLE, False, Stored()),
        ([DONE], FAILED, IDLE, False, Stored()),
        ([DONE], Open(), BUSY, False, Sleep(None)),
        # The map of URLs is asked for only if a file cannot do without.
        ([NEW], Open(), IDLE, False, AskUrls()),
        ([NEW], Open(), IDLE, True, AskUrls()),
        ([NEW], Open(), ASKING, False, Sleep(None)),
        ([NEW], Open(), FULL, False, AskUrls()),
        ([START], Open(), IDLE, False, AskUrls()),
        ([PUT], Open(), IDLE, False, AskUrls()),
        ([LIVE, NEW], Open(), Room(running=True, send=False), False, AskUrls()),
        # Sending comes before opening, and a session needs no URL.
        ([START, LIVE], Open(), IDLE, True, Send("live")),
        ([START, LIVE], Open(), IDLE, False, Send("live")),
        ([START, LIVE], Open(), Room(running=True, send=False), True, OpenSession("start")),
        ([START], Open(), IDLE, True, OpenSession("start")),
        ([START], Open(), Room(running=True, open=False), True, Sleep(None)),
        ([PUT], Open(), IDLE, True, Send("put")),
        ([PUT], Open(), Room(running=True, send=False), True, Sleep(None)),
        ([NEW, PUT], Open(), IDLE, True, Send("put")),
        # A URL in hand is good, whatever became of asking for another.
        ([START], AGAIN, IDLE, True, OpenSession("start")),
        ([START], NO_URLS, IDLE, True, OpenSession("start")),
        ([PUT], BLOCKED, IDLE, True, Send("put")),
        # Asking again waits for its time, and for whatever runs.
        ([NEW], AGAIN, BUSY, False, Sleep(LATER)),
        ([NEW], Later(NOW, ERROR, 1), BUSY, False, AskUrls()),
        ([NEW], AGAIN, IDLE, False, GiveUp(AGAIN)),
        ([NEW, LIVE], AGAIN, IDLE, False, Send("live")),
        ([NEW, CUT], AGAIN, IDLE, False, Sleep(SOON)),
        ([NEW, REFUSED], AGAIN, IDLE, True, GiveUp(AGAIN)),
        # Without URLs, and even blocked, live sessions are finished.
        ([NEW], NO_URLS, IDLE, False, GiveUp(NO_URLS)),
        ([NEW, LIVE], NO_URLS, IDLE, False, Send("live")),
        ([NEW, LIVE], BLOCKED, IDLE, False, Send("live")),
        ([NEW, CUT], NO_URLS, IDLE, False, Sleep(SOON)),
        ([NEW, CUT], BLOCKED, IDLE, False, GiveUp(BLOCKED)),
        ([NEW], NO_URLS, BUSY, False, Sleep(None)),
        # A failed job starts nothing.
        ([LIVE], FAILED, IDLE, True, GiveUp(FAILED)),
        ([LIVE], FAILED, BUSY, True, Sleep(None)),
        ([CUT], FAILED, IDLE, True, GiveUp(FAILED)),
        # Waits, and other jobs that have all the room.
        ([CUT], Open(), IDLE, False, Sleep(SOON)),
        ([REFUSED, CUT], Open(), IDLE, True, Sleep(SOON)),
        ([REFUSED], Open(), BUSY, True, Sleep(LATER)),
        ([replace(CUT, not_before=NOW)], Open(), IDLE, False, Send("cut")),
        ([LIVE], Open(), FULL, False, Sleep(None)),
        ([START], Open(), FULL, True, Sleep(None)),
        ([LIVE, CUT], NO_URLS, FULL, False, Sleep(None)),
    ],
)
def test_what_comes_next(
    files: Sequence[FileState], gate: Gate, room: Room, fresh: bool, step: Step
) -> None:
    assert next_step(Backlog(files), gate, room, NOW, urls_fresh=fresh) == step


def step(files: Backlog, now: datetime = NOW, *, fresh: bool = True) -> Step:
    return next_step(files, Open(), IDLE, now, urls_fresh=fresh)


def test_files_have_their_turn_in_the_order_in_which_they_came() -> None:
    files = Backlog([replace(LIVE, path=path) for path in "abc"])
    files.begin("a")
    files.end("a")
    turns = []
    while isinstance(found := step(files), Send):
        turns.append(found.path)
        files.put(replace(files.begin(found.path), stored=True))
        files.end(found.path)
    assert turns == ["b", "c", "a"]
    assert found == Stored()


def test_a_file_under_way_is_not_started_again_whatever_its_row_becomes() -> None:
    files = Backlog([START])
    files.begin("start")
    files.put(replace(START, session=SessionUri("https://s")))
    assert step(files) == Sleep(None)
    files.end("start")
    assert step(files) == Send("start")


def test_a_wait_that_was_overtaken_wakes_nobody() -> None:
    files = Backlog([CUT])
    files.put(replace(CUT, not_before=LATER))
    assert step(files, SOON) == Sleep(LATER)
    assert step(files, LATER) == Send("cut")


def test_a_clock_that_was_set_back_makes_nobody_wait() -> None:
    files = Backlog([CUT])
    assert step(files, NOW) == Sleep(SOON)
    assert step(files, NOW - timedelta(seconds=30)) == Sleep(SOON)
    assert step(files, NOW - timedelta(days=1)) == Send("cut")


def test_a_lost_session_is_opened_again_by_the_url_that_its_row_has_let_go_of() -> None:
    files = Backlog([START])
    files.put(replace(START, session=SessionUri("https://s"), url=None))
    files.put(replace(START, url=None))
    assert step(files) == OpenSession("start")
    assert step(files, fresh=False) == AskUrls()


def test_a_session_that_came_as_a_url_is_not_used_twice() -> None:
    files = Backlog([replace(START, url=url(UrlKind.SESSION))])
    assert step(files) == OpenSession("start")
    files.put(replace(START, url=None))
    assert step(files) == AskUrls()


def test_urls_that_are_forgotten_are_asked_for_again() -> None:
    files = Backlog([START, PUT])
    files.forget_urls()
    assert step(files) == AskUrls()
    assert [file.url for file in files] == [None, None]


def test_an_event_costs_the_same_however_many_files_there_are() -> None:
    def live(files: Backlog, count: int) -> None:
        for _ in range(count):
            opening = step(files)
            assert isinstance(opening, OpenSession)
            files.put(replace(files.begin(opening.path), session=SessionUri("https://s")))
            files.end(opening.path)
            sending = step(files)
            assert isinstance(sending, Send)
            files.put(replace(files.begin(sending.path), not_before=SOON))
            files.end(sending.path)
        while isinstance(found := step(files, SOON), Send):
            files.put(replace(files.begin(found.path), stored=True))
            files.end(found.path)
        assert found == Stored()

    def cost_s(count: int) -> float:
        files = Backlog(replace(START, path=f"{number:06}") for number in range(count))
        return cpu_s(lambda: live(files, count))

    assert_in_proportion(cost_s, 2000, "all events of an upload")
