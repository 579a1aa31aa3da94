"""Reports of progress: those of an earlier session change nothing, and no figure falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.store.conftest import NOW, Hands, mark_stored, open_session
from tests.store.files.conftest import LATER, PATH, PUT_URL, REASON, URI, row_of
from uploader.core.job import Event, PrefixCrc
from uploader.core.resumable import GRANULE
from uploader.store.held import Held
from uploader.store.held_files import FileProgress
from uploader.store.jobs import Jobs


def test_progress_writes_pairs_and_ends_a_run_of_failures(
    jobs: Jobs, held: Held, clock: Hands, told: list[Event]
) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.mark_failed(PATH, REASON, None, bytes_sent=9)
    held.retry_at(NOW, REASON)
    told.clear()
    held.files.report_progress([row_of(advanced=False)], 3.5)
    assert jobs.files(held.job.id)[0].failures == 1
    assert jobs.job(held.job.id).reason == REASON
    clock.at = LATER
    held.files.report_progress([row_of(offset=30)], 4.5)
    file, job = jobs.files(held.job.id)[0], jobs.job(held.job.id)
    assert (file.checkpoint, file.mark, file.bytes_sent) == (PrefixCrc(30, 2), PrefixCrc(35, 3), 40)
    assert (file.failures, job.failures, job.reason) == (0, 0, None)
    assert (job.rate_bps, job.updated_at, told) == (4.5, LATER, [])


def test_late_progress_of_an_earlier_session_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    open_session(held, PATH, URI, "b/k")
    held.retry_at(NOW, REASON)
    held.files.report_progress([row_of(sessions=1)], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()
    assert jobs.job(held.job.id).reason == REASON, "late is not progress"


def test_of_two_reports_the_one_with_more_bytes_sent_counts(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress(
        [FileProgress(PATH, 1, PrefixCrc(30, 3), PrefixCrc(35, 4), 41)], None
    )
    held.files.report_progress([row_of(offset=20)], None)
    file = jobs.files(held.job.id)[0]
    assert (file.checkpoint, file.bytes_sent) == (PrefixCrc(30, 3), 41)


def test_late_progress_of_a_dropped_session_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.drop_session(PATH, "gone", bytes_sent=50)
    held.files.report_progress([row_of()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()


def test_a_gap_and_the_most_that_was_confirmed_are_of_one_session(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress([replace(row_of(), gap=True, reached=30)], None)
    (file, _) = jobs.files(held.job.id)
    assert (file.gap, file.reached, file.checkpoint.offset) == (True, 30, 20)
    file = open_session(held, PATH, URI, "b/k")
    assert (file.gap, file.reached) == (False, 0)
    held.files.report_progress([replace(row_of(sessions=2), gap=True, reached=30)], None)
    file = held.files.drop_session(PATH, "gone", bytes_sent=40)
    assert (file.gap, file.reached) == (False, 0)


def test_late_progress_of_a_stored_file_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    mark_stored(held, PATH, 9, bytes_sent=50, verified=True)
    held.files.report_progress([row_of()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc(100, 9)


@pytest.mark.parametrize(
    ("counted", "offsets"),
    [
        ((1, 2, 3, 1, 2), (2 * GRANULE, 2 * GRANULE, GRANULE, 3 * GRANULE, 0)),
        ((1, 1, 1, 2), (GRANULE, 9 * GRANULE, 9 * GRANULE + 9, 9 * GRANULE)),
        ((1, 2, 3, 4), (1, 2, 3, GRANULE - 1)),
    ],
    ids=["granules", "the last bytes", "a few bytes further each time"],
)
def test_lost_sessions_are_counted_until_one_gets_further(
    claimed: Callable[..., Held], counted: tuple[int, ...], offsets: tuple[int, ...]
) -> None:
    held, found, furthest, most = claimed(sizes={PATH: 9 * GRANULE + 9}), [], 0, 0
    for offset in offsets:
        session = open_session(held, PATH, URI, "b/k")
        pair = PrefixCrc(offset, 1)
        row = FileProgress(PATH, session.sessions, pair, pair, offset)
        held.files.report_progress([row], None)
        file = held.files.drop_session(PATH, "gone", bytes_sent=offset, lost=True)
        found.append(file.sessions_lost)
        furthest, most = file.furthest, max(most, offset)
    assert tuple(found) == counted
    assert furthest == (most if most >= GRANULE else 0)


def test_late_progress_of_a_session_never_gives_a_put_an_offset(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.drop_session(PATH, "gone", bytes_sent=0)
    held.files.keep_urls({PATH: PUT_URL}, NOW)
    held.files.report_progress([row_of()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()


def test_progress_of_many_files_is_one_transaction(jobs: Jobs, held: Held) -> None:
    for path in (PATH, "config.json"):
        open_session(held, path, URI, None)
    small = FileProgress("config.json", 1, PrefixCrc(1, 1), PrefixCrc(2, 2), 2)
    held.files.report_progress([row_of(), small], None)
    assert [file.checkpoint.offset for file in jobs.files(held.job.id)] == [20, 1]
