"""A session holds more than is known to have been sent, or no longer what it has confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_belief import reason_code
from uploader.core.errors import RemoteError
from uploader.core.job import PrefixCrc, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.resumable import Confirmed, Finished
from uploader.core.verdict import Call, Verdict
from uploader.remote import storage
from uploader.store.tables import files

SIZE = 30 * GRANULE + 7
CLAIMED = 4 * GRANULE

Put = Callable[[Any, int, int], Any]


def cut() -> RemoteError:
    return RemoteError(Verdict.TRANSIENT, Call.DATA, "cut", code=Code.UNAVAILABLE)


def stored(stop: int) -> Confirmed | Finished:
    """The answer to a PUT that was kept, from a storage that gives no checksums."""
    return Finished(SIZE) if stop == SIZE else Confirmed(stop)


def storage_that(monkeypatch: pytest.MonkeyPatch, put: Put, held: Callable[[], int]) -> None:
    """Answers a PUT as ``put`` says (by its body, start and end), and a query with ``held``."""

    def send(_: Any, __: Any, body: Any, start: int, stop: int, _size: int) -> Any:
        return put(body, start, stop)

    monkeypatch.setattr(storage.Storage, "send", send)
    monkeypatch.setattr(storage.Storage, "query", lambda *_: Confirmed(held()))


# -- more than was sent --------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_gap_stays_one_whoever_goes_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Of each session a block is sent; the server claims four, and gives no checksum."""
    puts: list[int] = []

    def put(body: Any, start: int, stop: int) -> Any:
        puts.append(start)
        if start == 0:
            body.read()
            raise cut()
        if puts.count(CLAIMED) < workers:
            lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
            raise cut()
        list(body)
        return stored(stop)

    storage_that(monkeypatch, put, lambda: CLAIMED)
    lab.enqueue(lab.model(a_bin=SIZE))
    for _ in range(workers - 1):
        lab.run()
        lab.jobs.apply(1, Verb.RESUME, lab.clock.now())
    lab.run()
    assert puts.count(CLAIMED) >= workers
    assert not lab.file().stored
    assert (lab.job().status, reason_code(lab)) == (Status.FAILED, "corrupted")


def first_is_cut(body: Any, start: int, stop: int) -> Any:
    """A PUT whose first block is lost; whatever comes later is stored."""
    if start == 0:
        body.read()
        raise cut()
    list(body)
    return stored(stop)


def test_a_mark_of_bytes_after_a_gap_that_no_row_knows_proves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is killed before it writes its row for the first time after the gap."""
    claimed = [CLAIMED]

    storage_that(monkeypatch, first_is_cut, lambda: claimed[0])
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().mark.offset >= 8 * GRANULE)
    marked = lab.marks.of(lab.file()).read() or PrefixCrc()
    with lab.engine.begin() as connection:
        nothing = {"offset": 0, "offset_crc32c": 0, "mark_bytes": 0, "mark_crc32c": 0}
        connection.execute(update(files).values(gap=False, **nothing))
    claimed[0] = 6 * GRANULE
    lab.bytes_per_s = None
    lab.run()
    assert marked.offset < CLAIMED
    assert not lab.file().verified
    assert lab.file().mismatches > 0


def test_a_session_with_a_gap_is_shown_at_the_byte_that_it_sends(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_that(monkeypatch, first_is_cut, lambda: CLAIMED)
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().mark.offset == CLAIMED + 2 * GRANULE)
    file = lab.file()
    assert file.gap
    assert file.in_doubt
    assert lab.job().bytes_marked == file.mark.offset > file.checkpoint.offset


# -- less than was confirmed ---------------------------------------------------------------


@pytest.mark.parametrize("says_so", [False, True])
def test_what_a_storage_takes_back_is_progress_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, *, says_so: bool
) -> None:
    """It confirms the first PUT of each try, and after the second it has nothing."""
    puts: list[int] = []

    def put(body: Any, start: int, stop: int) -> Any:
        puts.append(start)
        list(body)
        if start == 0:
            return Confirmed(stop)
        if says_so:
            return Confirmed(0)
        raise cut()

    storage_that(monkeypatch, put, lambda: 0)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().status is not Status.ACTIVE or len(puts) > 100)
    assert (lab.job().status, reason_code(lab)) == (
        Status.FAILED,
        "kept_nothing" if says_so else "cut_short",
    )
    assert puts.count(0) == 20


def test_what_another_session_confirms_is_progress_although_a_lost_one_had_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that cuts each PUT loses a session near its end, and has to carry all of it again."""
    held, lost = [0], [0]

    def put(body: Any, start: int, stop: int) -> Any:
        body.read()
        held[0] = start + min(GRANULE, stop - start)
        if held[0] == 28 * GRANULE and not lost[0]:
            held[0], lost[0] = 0, 1
            raise RemoteError(Verdict.SESSION_GONE, Call.DATA, "gone", code=Code.SESSION_GONE)
        if held[0] == SIZE:
            return Finished(SIZE)
        raise cut()

    storage_that(monkeypatch, put, lambda: held[0])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().status is not Status.ACTIVE or lab.file().stored)
    assert lab.file().stored
    assert (lab.file().sessions, lab.file().sessions_lost) == (2, 1)
