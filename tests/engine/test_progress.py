"""What a transfer has sent is counted once, and what the server holds of it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import FileState, PrefixCrc
from uploader.engine.body import Body
from uploader.engine.last_words import LastWord
from uploader.engine.progress import Meter, Progress
from uploader.model.links import NOTHING
from uploader.runtime import StopToken
from uploader.sources.reader import open_source
from uploader.store.held_files import FileProgress
from uploader.store.tables import files

SIZE = 10 * GRANULE
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_late_write_of_the_worker_takes_nothing_from_the_next_try(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's thread has taken what the first try sent, and has not written it yet."""
    take, taken = Progress.take, []

    def taken_by_another(progress: Progress, now: datetime) -> FileProgress | None:
        row = take(progress, now)
        if row is None or lab.file().attempts:
            return row
        taken.append(row)
        return None

    monkeypatch.setattr(Progress, "take", taken_by_another)
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 3 * GRANULE}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert taken
    assert lab.job().bytes_sent >= SIZE


def test_what_a_kill_kept_out_of_the_row_was_sent_all_the_same(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().bytes_sent >= 4 * GRANULE)
    with lab.engine.begin() as connection:  # the row of a second before
        connection.execute(update(files).values(bytes_sent=0))
    lab.run()
    lab.assert_ready()
    assert lab.job().bytes_sent >= SIZE


# -- the rate ------------------------------------------------------------------------------------


class Sending:
    """A transfer that the meter sees."""

    def __init__(self, mark: int = 0) -> None:
        pair = PrefixCrc(mark, 1)
        self.progress = Progress(FileState(1, "a", SIZE, "x", mark=pair, sessions=1), 0.0)

    def send(self, *granules: int) -> None:
        for end in granules:
            self.progress.read(PrefixCrc(end * GRANULE, 1), GRANULE)


def test_a_rate_counts_what_left_in_the_window() -> None:
    meter, one, two = Meter(), Sending(), Sending()
    assert meter.rate([one, two], 0.0) is None
    one.send(1, 2)
    two.send(1)
    assert meter.rate([one, two], 1.0) == 3 * GRANULE
    meter.end(two)
    one.send(3)
    assert meter.rate([one], 2.0) == 2 * GRANULE
    assert meter.rate([one], 30.0) == 0


@pytest.mark.parametrize("confirmed", [None, 1])
def test_bytes_that_are_sent_again_are_not_progress(confirmed: int | None) -> None:
    """Within a transfer, after a confirmation that fell short, and in the next one."""
    meter, one = Meter(), Sending(0 if confirmed else 4 * GRANULE)
    meter.rate([one], 0.0)
    if confirmed:
        one.send(1, 2, 3, 4)
        assert meter.rate([one], 10.0) == 4 * GRANULE / 10
        one.progress.confirmed(PrefixCrc(confirmed * GRANULE, 1), 10.0)
        meter = Meter()
        meter.rate([one], 10.0)
    one.send(2, 3, 4)
    assert meter.rate([one], 12.0 if confirmed else 2.0) == 0
    one.send(5)
    assert meter.rate([one], 14.0 if confirmed else 4.0) == GRANULE / 4


def test_a_rate_that_ends_is_news_though_no_byte_moves() -> None:
    meter = Meter()
    assert [meter.changed(rate) for rate in (5.0, 5.0, 0.0, 0.0, None)] == [
        *(True, False, True, False, True)
    ]


# -- the answer ----------------------------------------------------------------------------------


def test_an_answer_is_awaited_from_the_last_byte_on() -> None:
    """Over real sockets: tests/acceptance/test_truth.py."""
    one, since = Sending(), datetime(2026, 11, 22, tzinfo=UTC)
    one.send(1)
    assert one.progress.take(NOW)
    one.progress.awaiting(since)
    row = one.progress.take(NOW)
    assert row
    assert row.awaiting_since == since
    one.progress.awaiting(None)
    row = one.progress.take(NOW)
    assert row
    assert row.awaiting_since is None
    one.progress.awaiting(None)
    assert one.progress.take(NOW) is None


def test_a_block_that_the_socket_does_not_take_is_waited_for_after_a_while() -> None:
    one = Sending()
    one.send(1)
    one.progress.handed(NOW)
    row = one.progress.take(NOW + timedelta(seconds=9))
    assert row
    assert row.awaiting_since is None
    row = one.progress.take(NOW + timedelta(seconds=10))
    assert row
    assert row.awaiting_since == NOW
    assert one.progress.take(NOW + timedelta(seconds=99)) is None
    one.progress.handed(None)
    row = one.progress.take(NOW + timedelta(seconds=99))
    assert row
    assert row.awaiting_since is None


def test_a_body_tells_when_it_has_nothing_more_to_send(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=GRANULE))
    heard: list[int] = []
    with open_source(lab.job().path, lab.file(), StopToken(), NOTHING) as source:
        body = Body(
            source,
            0,
            GRANULE,
            take=lambda count: count,
            stop=StopToken(),
            on_block=lambda _, block: heard.append(len(block)),
        )
        assert len(body.read()) == GRANULE
        assert heard == [GRANULE]
        assert body.read() == b""
    assert heard == [GRANULE, 0]


# -- the server's word at the end ---------------------------------------------------------------


def test_a_transfer_that_stops_asks_once_where_the_server_stands(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.file().bytes_sent >= 2 * GRANULE)
    entry = lab.world.report()["objects"]["sandbox/model/a.bin"]
    assert entry["queries"] == 1
    held = max(session.part.persisted for session in lab.world.sessions.values())
    assert 0 < held < SIZE
    assert lab.file().checkpoint.offset == held
    assert not lab.file().stored


def test_before_an_end_files_in_doubt_are_asked_about_though_they_are_not_being_sent(
    lab: Lab,
) -> None:
    lab.bytes_per_s = GRANULE
    cut = {"on": "put", "match": "a.bin", "do": "cut", "at_byte": 3 * GRANULE}
    lab.world.script.add([cut, {"on": "query", "match": "a.bin", "do": "status", "status": 503,
                                "retry_after": 600}])  # fmt: skip
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=4 * SIZE))
    lab.run_until(lambda: lab.file("a.bin").attempts == 2 and lab.file("b.bin").bytes_sent > SIZE)
    sessions = lab.world.sessions.values()
    held = {session.target.key.split("/")[-1]: session.part.persisted for session in sessions}
    offsets = {file.path: file.checkpoint.offset for file in lab.jobs.files(1)}
    assert offsets == held
    assert held["a.bin"] == 3 * GRANULE
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()


@pytest.mark.parametrize("touch", [os.utime, lambda path: path.chmod(0o400)])
def test_who_asks_before_an_end_proves_nothing_of_the_file(
    lab: Lab, touch: Callable[[Path], None]
) -> None:
    """What was sent of it is compared by whoever sends it next, who knows its SHA-256."""
    lab.bytes_per_s = GRANULE
    cut = {"on": "put", "match": "a.bin", "do": "cut", "at_byte": 3 * GRANULE}
    lab.world.script.add([cut, {"on": "query", "match": "a.bin", "do": "status", "status": 503,
                                "retry_after": 600}])  # fmt: skip
    folder = lab.model(a_bin=SIZE, b_bin=4 * SIZE)
    lab.enqueue(folder)
    before = lab.file("a.bin").fingerprint

    def cut_and_touched() -> bool:
        if lab.file("a.bin").attempts < 2 or lab.file("b.bin").bytes_sent <= SIZE:
            return False
        touch(folder / "a.bin")
        return True

    lab.run_until(cut_and_touched)
    assert lab.file("a.bin").checkpoint.offset == 3 * GRANULE
    assert lab.file("a.bin").fingerprint == before
    assert "reidentified" not in lab.kinds()
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
    assert "reidentified" in lab.kinds()


def test_of_many_files_in_doubt_a_few_are_asked_about_at_once_and_no_end_waits(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = [0], [0]
    run = LastWord.run

    def counted(self: LastWord) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        try:
            run(self)
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(LastWord, "run", counted)
    monkeypatch.setattr("uploader.engine.last_words.MOST_OPENERS", 2)
    names = [f"{letter}.bin" for letter in "abcdefghi"]
    for fault in (
        {"on": "put", "do": "cut", "at_byte": 3 * GRANULE},
        {"on": "query", "do": "status", "status": 503, "retry_after": 600},
        {"on": "query", "do": "latency", "seconds": 0.4, "times": 0},
    ):
        lab.world.script.add([{"match": ".bin", "times": 9, **fault}])
    lab.bytes_per_s = GRANULE
    folder = lab.model(still_pt=2 * SIZE)
    for name in names:
        (folder / name).write_bytes(bytes(5 * GRANULE))
    lab.enqueue(folder)
    lab.max_files = 10
    lab.run_until(lambda: all(lab.file(name).attempts == 2 for name in names))
    answered = [name for name in names if lab.file(name).checkpoint.offset]
    assert (most[0], len(answered)) == (2, 6)
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
