"""The resumable session, answer by answer (docs/gcs-resumable.md §1)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c
import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make, Remote

GRANULE = 256 * 1024


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def test_one_put_stores_the_object_and_answers_an_empty_200(
    remote: Remote, content: bytes, tmp_path: Path
) -> None:
    answer = remote.put(remote.session(len(content)), content)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-goog-hash"] == f"crc32c={crc32c(content)}"
    assert answer.headers["x-goog-stored-content-length"] == str(len(content))
    assert answer.headers["x-goog-generation"] == "1"
    assert "ETag" in answer.headers
    assert (tmp_path / "sandbox/m/f").read_bytes() == content
    assert [path.name for path in (tmp_path / "sandbox/m").iterdir()] == ["f"]


def test_md5_on_request(make: Make, content: bytes) -> None:
    remote = make(md5=True)
    answer = remote.put(remote.session(len(content)), content)
    assert ",md5=" in answer.headers["x-goog-hash"]


def test_several_puts_are_acknowledged_granule_by_granule(
    remote: Remote, content: bytes, tmp_path: Path
) -> None:
    uri, size = remote.session(len(content)), len(content)
    assert remote.offset(uri) == 0
    first = remote.put(uri, content[:GRANULE], 0, size)
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{GRANULE - 1}")
    unknown_total = remote.put(uri, content[GRANULE : 2 * GRANULE], GRANULE, "*")
    assert unknown_total.headers["Range"] == f"bytes=0-{2 * GRANULE - 1}"
    assert remote.offset(uri) == 2 * GRANULE
    assert remote.put(uri, content[2 * GRANULE :], 2 * GRANULE, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content
    assert remote.seen() == {
        "size": size,
        "crc32c": crc32c(content),
        "persisted": size,
        "body_bytes_read": size,
        "bytes_below_confirmed": 0,
        "sessions_started": 1,
        "puts": 3,
        "queries": 2,
        "cuts": 0,
    }
    assert remote.world.report()["refused"] == []


def test_an_empty_session_has_no_range(remote: Remote) -> None:
    assert "Range" not in remote.query(remote.session(10)).headers


def test_a_put_without_content_range_is_the_whole_object(remote: Remote, content: bytes) -> None:
    answer = remote.http.put(remote.session(len(content)), data=content)
    assert answer.status_code == 200


def test_an_object_without_bytes_is_finished_by_a_query(remote: Remote, tmp_path: Path) -> None:
    answer = remote.query(remote.session(0), 0)
    assert answer.headers["x-goog-stored-content-length"] == "0"
    assert (tmp_path / "sandbox/m/f").read_bytes() == b""


def test_all_persisted_is_finished_by_a_query_and_only_by_the_right_total(
    remote: Remote, content: bytes
) -> None:
    uri, whole = remote.session(2 * GRANULE), content[: 2 * GRANULE]
    remote.put(uri, whole[:GRANULE], 0, 2 * GRANULE)
    remote.put(uri, whole[GRANULE:], GRANULE, "*")
    assert remote.query(uri).status_code == 308
    assert remote.query(uri, 3 * GRANULE).status_code == 308
    assert remote.query(uri, 2 * GRANULE).status_code == 200


def test_a_query_cannot_finish_less_than_was_signed(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    remote.put(uri, content[:GRANULE], 0, "*")
    assert remote.query(uri, GRANULE).status_code == 400


def test_a_finished_session_answers_with_the_object(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    stored = remote.put(uri, content)
    for answer in (remote.query(uri), remote.query(uri, len(content)), remote.put(uri, content)):
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["x-goog-hash"] == stored.headers["x-goog-hash"]
    assert remote.seen()["bytes_below_confirmed"] == len(content)


def test_bytes_ahead_of_the_offset_are_refused_in_words(remote: Remote, content: bytes) -> None:
    uri = remote.session(len(content))
    answer = remote.put(uri, content[GRANULE:], GRANULE, len(content))
    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "content-range" in answer.text
    assert remote.offset(uri) == 0


def test_bytes_below_the_offset_are_ignored_and_counted(
    remote: Remote, content: bytes, tmp_path: Path
) -> None:
    uri, size = remote.session(len(content)), len(content)
    remote.put(uri, content[:GRANULE], 0, size)
    assert remote.put(uri, bytes(GRANULE) + content[GRANULE:], 0, size).status_code == 200
    assert (tmp_path / "sandbox/m/f").read_bytes() == content
    assert remote.world.report()["bytes_below_confirmed"] == GRANULE


@pytest.mark.parametrize(
    ("content_range", "length"),
    [
        (f"bytes 0-{GRANULE - 2}/{GRANULE * 3}", GRANULE),
        (f"bytes 0-{GRANULE}/{GRANULE * 3}", GRANULE),
        ("bytes 0-99/50", 100),
        ("bytes 9-0/50", 10),
        ("bytes 0-9/*", 10),
        ("bytes 0-9/640000", 10),
        ("bytes 0-9/10", 10),
        ("bytes */640000", 10),
        ("bytes=0-9/640000", 10),
        ("0-9/640000", 10),
        ("bytes */-1", 0),
    ],
)
def test_wrong_arithmetic_is_refused(remote: Remote, content_range: str, length: int) -> None:
    uri = remote.session(640_000)
    answer = remote.http.put(uri, data=bytes(length), headers={"Content-Range": content_range})
    assert answer.status_code == 400
    assert len(remote.world.report()["refused"]) == 1
    assert remote.offset(uri) == 0


def test_the_total_cannot_change_within_a_session(make: Make, content: bytes) -> None:
    remote = make(url_kind="resumable")
    uri = remote.session(4 * GRANULE)
    remote.put(uri, content[:GRANULE], 0, 4 * GRANULE)
    assert remote.put(uri, content[:GRANULE], GRANULE, 5 * GRANULE).status_code == 400


def test_a_cancelled_session_answers_499(remote: Remote, content: bytes, tmp_path: Path) -> None:
    uri = remote.session(len(content))
    remote.put(uri, content[:GRANULE], 0, len(content))
    cancel = remote.http.delete(uri, headers={"Content-Length": "0"})
    assert cancel.status_code == 499
    assert remote.query(uri).status_code == 499
    assert remote.http.delete(uri, headers={"Content-Length": "0"}).status_code == 499
    assert list((tmp_path / "sandbox/m").iterdir()) == []


def test_a_finished_session_cannot_be_cancelled(remote: Remote) -> None:
    uri = remote.session(1)
    remote.put(uri, b"x")
    assert remote.http.delete(uri, headers={"Content-Length": "0"}).status_code == 404


def test_a_session_lives_for_a_week(make: Make) -> None:
    now = [1_000_000.0]
    remote = make(now=lambda: now[0])
    uri = remote.session(10)
    now[0] += 7 * 86400 - 1
    assert remote.query(uri).status_code == 308
    now[0] += 2
    assert remote.query(uri).status_code == 404


def test_unknown_sessions_and_foreign_objects_are_not_found(remote: Remote) -> None:
    uri = remote.session(10)
    assert remote.query(uri[:-4] + "0000").status_code == 404
    assert remote.query(uri.replace("/m/f?", "/m/g?")).status_code == 404


def test_a_new_session_starts_over_and_replaces_the_object(
    remote: Remote, content: bytes, tmp_path: Path
) -> None:
    remote.put(remote.session(len(content)), content)
    again = remote.put(remote.session(len(content)), bytes(len(content)))
    assert again.headers["x-goog-generation"] == "2"
    assert (tmp_path / "sandbox/m/f").read_bytes() == bytes(len(content))
    assert remote.seen()["sessions_started"] == 2


def test_verbs_that_a_session_does_not_have(remote: Remote) -> None:
    uri = remote.session(10)
    assert remote.http.get(uri).status_code == 405
    assert remote.http.post(uri).status_code == 405
