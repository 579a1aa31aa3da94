"""How a file goes, by a session or by a plain PUT, and the URL it is given for that."""

from __future__ import annotations

from tests.store.conftest import NOW, mark_stored, open_session
from tests.store.files.conftest import PATH, PUT_URL, URI, row_of
from uploader.core.job import Mode, PrefixCrc
from uploader.store.held import Held
from uploader.store.held_files import FileProgress, StoredFile
from uploader.store.jobs import Jobs


def test_a_plain_put_reports_bytes_sent_only(jobs: Jobs, held: Held) -> None:
    held.fall_back_to_put()
    held.files.report_progress([FileProgress(PATH, 0, PrefixCrc(), PrefixCrc(), 60)], 1.0)
    job = jobs.job(held.job.id)
    assert (job.bytes_sent, job.bytes_confirmed, job.bytes_marked) == (60, 0, 0)


def test_a_url_for_a_plain_put_makes_its_file_go_by_it(jobs: Jobs, held: Held) -> None:
    open_session(held, PATH, URI, "b/k")
    held.files.report_progress([row_of()], None)
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
