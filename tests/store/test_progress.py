from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as sa_event

from tests.store.conftest import BASE_URL, Hands, mark_stored, open_session
from uploader.core import repeats
from uploader.core.errors import LeaseLost
from uploader.core.events import EventKind
from uploader.core.job import Event, FileState, Mode, NewJob, PrefixCrc, Reason, Stage
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.core.resumable import GRANULE, read_url
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.held_files import FileProgress, StoredFile
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
PATH = "a.safetensors"
URI = SessionUri("https://storage/o?upload_id=1")
PUT_URL = read_url("https://storage/b/k")
SHA256 = "0a" * 32
REASON = Reason("net", "reset")


@pytest.fixture
def held(claimed: Callable[..., Held], told: list[Event]) -> Held:
    held = claimed()
    told.clear()
    return held


def _row(sessions: int = 1, offset: int = 20, *, advanced: bool = True) -> FileProgress:
    return FileProgress(
        PATH, sessions, PrefixCrc(offset, 2), PrefixCrc(offset + 5, 3), 40, advanced
    )


def test_open_session_commits_it_and_starts_at_zero(
    jobs: Jobs, held: Held, clock: Hands, told: list[Event]
) -> None:
    open_session(held, PATH, SessionUri("old"), "b/old")
    held.files.report_progress([_row()], None)
    clock.at = LATER
    file = open_session(held, PATH, URI, "b/k")
    assert file == jobs.files(held.job.id)[0]
    assert (file.session, file.session_at, file.object_path) == (URI, LATER, "b/k")
    assert (file.sessions, file.checkpoint, file.mark) == (2, PrefixCrc(), PrefixCrc())
    assert file.bytes_sent == 40
    assert jobs.job(held.job.id).start_accepted
    assert [event.kind for event in told] == ["session_opened"] * 2
    assert told[-1].path == PATH


def test_drop_session_starts_the_file_over_and_counts_why(held: Held, told: list[Event]) -> None:
    open_session(held, PATH, URI, "b/k")
    mark_stored(held, PATH, 9, bytes_sent=50, verified=True, generation=7, sha256=SHA256)
    held.files.drop_session(PATH, "the session is gone", bytes_sent=50, old=True)
    file = held.files.drop_session(PATH, "the object differs", bytes_sent=50, mismatch=True)
    assert (file.session, file.session_at, file.object_path) == (None, None, None)
    assert (file.stored, file.verified, file.crc32c) == (False, False, None)
    assert (file.generation, file.sha256) == (None, None)
    assert (file.checkpoint, file.mark, file.sessions) == (PrefixCrc(), PrefixCrc(), 1)
    assert (file.old_sessions_lost, file.mismatches) == (1, 1)
    assert [event.message for event in told[-2:]] == ["the session is gone", "the object differs"]


@pytest.mark.parametrize("verified", [True, False])
def test_stored_is_the_whole_file(
    jobs: Jobs, held: Held, told: list[Event], verified: bool
) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.mark_failed(PATH, REASON, LATER, bytes_sent=9)
    held.retry_at(LATER, REASON)
    last = 2**63 - 1
    facts: dict[str, Any] = {"verified": verified, "generation": last, "sha256": SHA256}
    mark_stored(held, PATH, 2**32 - 1, bytes_sent=50, **facts)
    file = jobs.files(held.job.id)[0]
    assert (file.generation, file.sha256) == (last, SHA256)
    assert (file.stored, file.verified, file.crc32c) == (True, verified, 2**32 - 1)
    assert (file.checkpoint, file.mark) == (PrefixCrc(100, 2**32 - 1), PrefixCrc(100, 2**32 - 1))
    assert (file.session, file.failures, file.not_before, file.attempts) == (None, 0, None, 1)
    job = jobs.job(held.job.id)
    assert (job.failures, job.reason, job.files_stored) == (0, None, 1)
    assert told[-1].kind == "stored"


def test_file_failed_counts(jobs: Jobs, held: Held, told: list[Event]) -> None:
    held.files.mark_failed(PATH, REASON, LATER, bytes_sent=9)
    held.files.mark_failed(PATH, REASON, LATER, bytes_sent=9)
    file = jobs.files(held.job.id)[0]
    assert (file.attempts, file.failures, file.bytes_sent) == (2, 2, 9)
    assert (file.not_before, file.last_error) == (LATER, "reset")
    assert told[-1].kind == "file_failed"
    assert jobs.job(held.job.id).failures == 0


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


def test_reidentify_and_add_event(jobs: Jobs, held: Held, told: list[Event]) -> None:
    held.files.reidentify(PATH, 100, "made:2")
    held.add_event(EventKind.SESSION_RESUMED, "at byte 5", PATH)
    file = jobs.files(held.job.id)[0]
    assert file.fingerprint == "made:2"
    assert [(event.kind, event.path) for event in told] == [
        ("reidentified", PATH),
        ("session_resumed", PATH),
    ]


def test_progress_writes_pairs_and_ends_a_run_of_failures(
    jobs: Jobs, held: Held, clock: Hands, told: list[Event]
) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.mark_failed(PATH, REASON, None, bytes_sent=9)
    held.retry_at(NOW, REASON)
    told.clear()
    held.files.report_progress([_row(advanced=False)], 3.5)
    assert jobs.files(held.job.id)[0].failures == 1
    assert jobs.job(held.job.id).reason == REASON
    clock.at = LATER
    held.files.report_progress([_row(offset=30)], 4.5)
    file, job = jobs.files(held.job.id)[0], jobs.job(held.job.id)
    assert (file.checkpoint, file.mark, file.bytes_sent) == (PrefixCrc(30, 2), PrefixCrc(35, 3), 40)
    assert (file.failures, job.failures, job.reason) == (0, 0, None)
    assert (job.rate_bps, job.updated_at, told) == (4.5, LATER, [])


def test_late_progress_of_an_earlier_session_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    open_session(held, PATH, URI, "b/k")
    held.retry_at(NOW, REASON)
    held.files.report_progress([_row(sessions=1)], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()
    assert jobs.job(held.job.id).reason == REASON, "late is not progress"


def test_of_two_reports_the_one_with_more_bytes_sent_counts(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress(
        [FileProgress(PATH, 1, PrefixCrc(30, 3), PrefixCrc(35, 4), 41)], None
    )
    held.files.report_progress([_row(offset=20)], None)
    file = jobs.files(held.job.id)[0]
    assert (file.checkpoint, file.bytes_sent) == (PrefixCrc(30, 3), 41)


def test_late_progress_of_a_dropped_session_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.drop_session(PATH, "gone", bytes_sent=50)
    held.files.report_progress([_row()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()


def test_a_gap_and_the_most_that_was_confirmed_are_of_one_session(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress([replace(_row(), gap=True, reached=30)], None)
    (file, _) = jobs.files(held.job.id)
    assert (file.gap, file.reached, file.checkpoint.offset) == (True, 30, 20)
    file = open_session(held, PATH, URI, "b/k")
    assert (file.gap, file.reached) == (False, 0)
    held.files.report_progress([replace(_row(sessions=2), gap=True, reached=30)], None)
    file = held.files.drop_session(PATH, "gone", bytes_sent=40)
    assert (file.gap, file.reached) == (False, 0)


def test_late_progress_of_a_stored_file_is_skipped(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    mark_stored(held, PATH, 9, bytes_sent=50, verified=True)
    held.files.report_progress([_row()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc(100, 9)


def test_a_plain_put_reports_bytes_sent_only(jobs: Jobs, held: Held) -> None:
    held.fall_back_to_put()
    held.files.report_progress([FileProgress(PATH, 0, PrefixCrc(), PrefixCrc(), 60)], 1.0)
    job = jobs.job(held.job.id)
    assert (job.bytes_sent, job.bytes_confirmed, job.bytes_marked) == (60, 0, 0)


def test_a_url_for_a_plain_put_makes_its_file_go_by_it(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress([_row()], None)
    held.files.drop_session(PATH, "gone", bytes_sent=40)
    (file, _) = held.files.keep_urls({PATH: PUT_URL}, NOW)
    assert file.url == PUT_URL
    assert (file.mode, file.session, file.object_path) == (Mode.PUT, None, None)
    assert (file.checkpoint, file.mark, file.sessions, file.bytes_sent) == (
        PrefixCrc(),
        PrefixCrc(),
        1,
        40,
    )
    assert [each.mode for each in jobs.files(held.job.id)] == [Mode.PUT, Mode.SESSION]
    assert not jobs.job(held.job.id).plain_put


def test_a_file_that_starts_over_goes_the_way_its_new_url_says(held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    file = held.files.drop_session(PATH, "moved", bytes_sent=40, url=PUT_URL)
    assert (file.mode, file.url, file.session) == (Mode.PUT, PUT_URL, None)


def test_where_a_plain_put_stored_its_object_is_known(held: Held) -> None:
    held.files.keep_urls({PATH: PUT_URL}, NOW)
    stored = StoredFile(PATH, 9, 50, verified=True, object_path=PUT_URL.object_path)
    (file,) = held.files.mark_all_stored([stored])
    assert (file.mode, file.url, file.place) == (Mode.PUT, None, "storage/b/k")


def test_a_file_with_a_session_needs_no_url_and_keeps_its_mode(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    (file, _) = held.files.keep_urls({PATH: PUT_URL}, NOW)
    assert (file.mode, file.session, file.url) == (Mode.SESSION, URI, None)
    assert jobs.job(held.job.id).urls_until == NOW


def test_a_url_is_erased_when_its_file_has_a_session_or_is_stored(jobs: Jobs, held: Held) -> None:
    held.files.keep_urls({PATH: PUT_URL, "config.json": PUT_URL}, NOW)
    open_session(held, PATH, URI, "b/k")
    mark_stored(held, "config.json", 1, bytes_sent=9, verified=True)
    assert [file.url for file in jobs.files(held.job.id)] == [None, None]


def test_urls_that_were_refused_are_not_fresh_to_the_next_worker_either(
    jobs: Jobs, held: Held
) -> None:
    held.files.keep_urls({PATH: PUT_URL}, NOW)
    held.files.expire_urls()
    assert jobs.job(held.job.id).urls_until is None


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
    held.files.report_progress([_row()], None)
    assert jobs.files(held.job.id)[0].checkpoint == PrefixCrc()


def test_progress_of_many_files_is_one_transaction(jobs: Jobs, held: Held) -> None:
    for path in (PATH, "config.json"):
        open_session(held, path, URI, None)
    small = FileProgress("config.json", 1, PrefixCrc(1, 1), PrefixCrc(2, 2), 2)
    held.files.report_progress([_row(), small], None)
    assert [file.checkpoint.offset for file in jobs.files(held.job.id)] == [20, 1]


def test_a_file_the_job_does_not_have_is_a_lost_lease(
    held: Held, dump: Callable[[], object]
) -> None:
    before = dump()
    with pytest.raises(LeaseLost):
        open_session(held, "nobody", URI, None)
    assert dump() == before


def test_what_is_being_validated_loses_no_file(jobs: Jobs, held: Held, told: list[Event]) -> None:
    held.enter_upload(created=True)
    for path in (PATH, "config.json"):
        open_session(held, path, URI, "b/k")
        mark_stored(held, path, 9, bytes_sent=50, verified=True)
    held.enter_validate()
    told.clear()
    with pytest.raises(ValueError, match="stored"):
        held.files.drop_session(PATH, "late", bytes_sent=50)
    assert told == []
    assert all(file.stored for file in jobs.files(held.job.id)), "docs/invariants.md §4"


#: One of each verb about a file that says where the file stands then.
VERBS: dict[str, Callable[[Held], FileState]] = {
    "open_session": lambda held: open_session(held, PATH, URI, "b/k"),
    "drop_session": lambda held: held.files.drop_session(PATH, "gone", bytes_sent=50),
    "mark_stored": lambda held: mark_stored(held, PATH, 9, bytes_sent=50, verified=True),
    "mark_failed": lambda held: held.files.mark_failed(PATH, REASON, LATER, bytes_sent=50),
    "reidentify": lambda held: held.files.reidentify(PATH, 100, "made:2"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_about_a_file_returns_the_row_it_wrote(jobs: Jobs, held: Held, verb: str) -> None:
    before = jobs.files(held.job.id)[0]
    assert before != VERBS[verb](held) == jobs.files(held.job.id)[0]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_about_a_file_runs_as_many_statements_however_many_files_there_are(
    engine: Engine, claimed: Callable[..., Held], verb: str
) -> None:
    counted = []
    for model, files in (("few", 2), ("many", 500)):
        held = claimed(model, sizes={PATH: 100, **{f"{n:03}.bin": 1 for n in range(files)}})
        with statements(engine) as seen:
            VERBS[verb](held)
        counted.append(len(seen))
    assert counted[0] == counted[1] <= 7


def test_a_rescan_writes_the_files_that_it_keeps_in_a_fixed_number_of_statements(
    engine: Engine, jobs: Jobs, claimed: Callable[..., Held], new: Callable[..., NewJob]
) -> None:
    """It holds no lease, so a file's row is written once, when it is made."""
    counted = []
    for model, count in (("few", 2), ("many", 500)):
        sizes = {f"{n:03}.bin": n % 7 for n in range(count)}
        held = claimed(model, sizes=sizes)
        held.enter_upload(created=True)
        kept = held.files.mark_all_stored(
            [StoredFile(path, n, 0, verified=True) for n, path in enumerate(sizes)]
        )
        held.fail(REASON)
        held.release()
        job = jobs.sealed(held.job)
        with statements(engine) as seen:
            jobs.restart(job, new(model, sizes=sizes), LATER, kept=kept[1:])
        files = jobs.files(held.job.id)
        assert [file.path for file in files if not file.stored] == ["000.bin"]
        assert files[1:] == kept[1:]
        assert [each for each in seen if "UPDATE files" in each] == []
        jobs.apply(held.job.id, Verb.PAUSE, LATER)  # so that the next claim takes the next job
        counted.append(len([each for each in seen if "INTO events" not in each]))
    assert counted[0] == counted[1]


@contextlib.contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    seen: list[str] = []

    def note(*of: Any) -> None:
        seen.append(of[2])

    sa_event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa_event.remove(engine, "before_cursor_execute", note)
