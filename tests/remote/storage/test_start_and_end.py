"""A session is started with exactly what its URL signs, is kept if it is usable, and is ended."""

from __future__ import annotations

import pytest

from tests.remote.conftest import Serve
from tests.remote.scripted import OF_STORAGE, Reply
from tests.remote.storage.exchanges import SIZE, only, session, start_url
from uploader.core.errors import JobRefused, RemoteError
from uploader.core.verdict import Verdict
from uploader.remote.storage import Storage


def test_a_start_sends_exactly_the_signed_headers_and_nothing_else(
    serve: Serve, storage: Storage
) -> None:
    server = serve()
    ours = f"{server.base}/bucket/a%20b?upload_id=U"
    server.replies.append(Reply(201, {"Location": ours}))
    url = start_url(server, "content-type;host;x-goog-content-length-range;x-goog-resumable")
    assert storage.start(url, SIZE).reveal() == ours
    seen = only(server)
    assert seen.method == "POST"
    assert not seen.body
    assert seen.target.startswith("/bucket/a%20b?X-Goog-SignedHeaders=")
    user_agent = seen.headers.pop("user-agent")
    assert user_agent.startswith("uploader/")
    assert seen.headers == {
        "host": server.host,
        "accept-encoding": "identity",
        "content-length": "0",
        "content-type": "application/octet-stream",
        "x-goog-content-length-range": f"{SIZE},{SIZE}",
        "x-goog-resumable": "start",
    }


@pytest.mark.parametrize("location", ["", "/relative", "http://example.com/o", "ftp://h/o", "junk"])
@pytest.mark.parametrize("status", [200, 201])
def test_a_start_without_a_usable_session_is_transient(
    serve: Serve, storage: Storage, status: int, location: str
) -> None:
    server = serve(Reply(status, {"Location": location} if location else OF_STORAGE))
    with pytest.raises(RemoteError) as caught:
        storage.start(start_url(server), SIZE)
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


def test_a_session_that_is_longer_than_any_is_not_kept(serve: Serve, storage: Storage) -> None:
    server = serve()
    longest = f"{server.base}/bucket/a%20b?upload_id=".ljust(8 * 1024, "i")
    server.replies += [Reply(201, {"Location": uri}) for uri in (longest, f"{longest}i")]
    assert storage.start(start_url(server), SIZE).reveal() == longest
    with pytest.raises(RemoteError, match="names no usable session"):
        storage.start(start_url(server), SIZE)


@pytest.mark.parametrize("odd", ["\t", "\x7f", "\x85"])
def test_a_session_with_a_control_character_is_not_kept(
    serve: Serve, storage: Storage, odd: str
) -> None:
    server = serve()
    server.replies.append(Reply(201, {"Location": f"{server.base}/b/o?upload_id=a{odd}b"}))
    with pytest.raises(RemoteError, match="names no usable session"):
        storage.start(start_url(server), SIZE)


@pytest.mark.parametrize("place", ["a%20c?upload_id=U", "a%20b?X-Goog-Signature=1&upload_id=U"])
def test_a_start_is_not_answered_with_the_session_of_another_one(
    serve: Serve, storage: Storage, place: str
) -> None:
    server = serve()
    server.replies.append(Reply(201, {"Location": f"{server.base}/bucket/{place}"}))
    with pytest.raises(RemoteError, match="names the session of another start") as caught:
        storage.start(start_url(server), SIZE)
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")
    only(server)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", Verdict.START_REFUSED),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", Verdict.URL_EXPIRED),
        (405, b"", Verdict.START_REFUSED),
        (503, b"", Verdict.TRANSIENT),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", Verdict.FAILED),
    ],
)
def test_a_refused_start_says_why_after_one_request(
    serve: Serve, storage: Storage, status: int, body: bytes, verdict: Verdict
) -> None:
    server = serve(Reply(status, body=body))
    with pytest.raises(RemoteError) as caught:
        storage.start(start_url(server), SIZE)
    assert caught.value.verdict is verdict
    only(server)


def test_a_url_whose_signature_covers_unknown_headers_is_not_tried(
    serve: Serve, storage: Storage
) -> None:
    server = serve()
    with pytest.raises(JobRefused):
        storage.start(start_url(server, "host;x-goog-resumable;x-secret-sauce"), SIZE)
    assert not server.seen


@pytest.mark.parametrize("status", [499, 404, 410, 200, 204])
def test_ending_a_session_that_is_gone_already_is_fine(
    serve: Serve, storage: Storage, status: int
) -> None:
    server = serve(Reply(status, OF_STORAGE))
    storage.end(session(server))
    assert (only(server).method, only(server).headers["content-length"]) == ("DELETE", "0")


def test_a_session_that_cannot_be_ended_says_so(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(503))
    with pytest.raises(RemoteError) as caught:
        storage.end(session(server))
    assert caught.value.verdict is Verdict.TRANSIENT
