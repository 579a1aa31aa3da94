"""Each verb about a file: the row it writes, and how many statements that takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as sa_event

from tests.store.conftest import Hands, mark_stored, open_session
from tests.store.files.conftest import LATER, PATH, REASON, SHA256, URI, row_of
from uploader.core.errors import LeaseLost
from uploader.core.events import EventKind
from uploader.core.job import Event, FileState, NewJob, PrefixCrc
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.store.held import Held
from uploader.store.held_files import StoredFile
from uploader.store.jobs import Jobs


def test_open_session_commits_it_and_starts_at_zero(
    jobs: Jobs, held: Held, clock: Hands, told: list[Event]
) -> None:
    open_session(held, PATH, SessionUri("old"), "b/old")
    held.files.report_progress([row_of()], None)
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


def test_reidentify_and_add_event(jobs: Jobs, held: Held, told: list[Event]) -> None:
    held.files.reidentify(PATH, 100, "made:2")
    held.add_event(EventKind.SESSION_RESUMED, "at byte 5", PATH)
    file = jobs.files(held.job.id)[0]
    assert file.fingerprint == "made:2"
    assert [(event.kind, event.path) for event in told] == [
        ("reidentified", PATH),
        ("session_resumed", PATH),
    ]


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
