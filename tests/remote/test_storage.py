"""The traps of docs/gcs-resumable.md §2.1, T1 to T18, each against a scripted server."""

from __future__ import annotations

import contextlib
import inspect
import socket
import ssl
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from google.resumable_media.requests import ResumableUpload

from tests.remote.conftest import Serve
from tests.remote.scripted import DEADLINE_S, Blocks, HandClock, Reply, Seen, Server
from uploader.core.errors import JobRefused, RemoteError, SourceUnsettled
from uploader.core.redact import SessionUri
from uploader.core.resumable import (
    GRANULE,
    Confirmed,
    Finished,
    ProtocolError,
    Unclear,
    UploadUrl,
    encode_crc32c,
    read_url,
)
from uploader.core.verdict import Verdict
from uploader.remote.http import CONNECT_S
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.trust import context
from uploader.runtime import StopToken

SIZE = 3 * GRANULE
CONTENT = bytes(range(256)) * (SIZE // 256)


def session(server: Server) -> SessionUri:
    return SessionUri(f"{server.base}/bucket/object?upload_id=SECRET")


def start_url(server: Server, headers: str = "content-type;host;x-goog-resumable") -> UploadUrl:
    query = f"X-Goog-SignedHeaders={headers}&X-Goog-Expires=3600&X-Goog-Signature=SECRET"
    return read_url(f"{server.base}/bucket/a%20b?{query}")


def partial(held: int) -> Reply:
    return Reply(308, {"Range": f"bytes=0-{held - 1}"} if held else {})


def only(server: Server) -> Seen:
    assert len(server.seen) == 1
    return server.seen[0]


def small_buffers(adapter: SocketAdapter) -> None:
    """So that a slow reader is felt at once instead of after a megabyte in the kernel."""
    options = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)]
    adapter.poolmanager.connection_pool_kw["socket_options"] = options


# --- the library


@pytest.mark.parametrize(
    "name",
    [
        "_headers",
        "_resumable_url",
        "_stream",
        "_retry_strategy",
        "_prepare_initiate_request",
        "_process_initiate_response",
        "_prepare_request",
        "_process_resumable_response",
    ],
)
def test_every_private_attribute_used_exists(name: str) -> None:
    assert hasattr(ResumableUpload("https://h", GRANULE), name)


@pytest.mark.parametrize(
    ("method", "uses"),
    [
        ("initiate", ("_prepare_initiate_request", "_process_initiate_response")),
        ("transmit_next_chunk", ("_prepare_request", "_process_resumable_response")),
    ],
)
def test_the_library_calls_what_is_replaced(method: str, uses: tuple[str, ...]) -> None:
    source = inspect.getsource(getattr(ResumableUpload, method))
    assert all(source.count(f"self.{name}(") == 1 for name in uses)
    assert "self._retry_strategy" in source


# --- starting


def test_a_start_sends_exactly_the_signed_headers_and_nothing_else(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(201, {"Location": "http://127.0.0.1:1/o?upload_id=U"}))
    url = start_url(server, "content-type;host;x-goog-content-length-range;x-goog-resumable")
    assert storage.start(url, SIZE).reveal() == "http://127.0.0.1:1/o?upload_id=U"
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
    server = serve(Reply(status, {"Location": location} if location else {}))
    with pytest.raises(RemoteError) as caught:
        storage.start(start_url(server), SIZE)
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


def test_a_session_that_is_longer_than_any_is_not_kept(serve: Serve, storage: Storage) -> None:
    server = serve()
    longest = f"{server.base}/b/o?upload_id=".ljust(8 * 1024, "i")
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


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", Verdict.START_REFUSED),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", Verdict.URL_EXPIRED),
        (405, b"", Verdict.START_REFUSED),
        (503, b"", Verdict.TRANSIENT),
        (404, b"", Verdict.FAILED),
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


# --- T1-T18


def test_t01_a_finished_session_answers_a_query_with_its_facts(
    serve: Serve, storage: Storage
) -> None:
    facts = {"x-goog-stored-content-length": "7", "x-goog-hash": "md5=AAAA\ncrc32c=AAAABw=="}
    server = serve(Reply(200, facts))
    assert storage.query(session(server), 7) == Finished(7, 7)
    assert only(server).headers["content-range"] == "bytes */7"
    assert only(server).headers["content-length"] == "0"


def test_t02_an_empty_success_finishes_and_no_checksum_is_asked_of_the_library(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(200))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Finished()


def test_t03_resuming_mid_file_compares_nothing_but_tells_the_stored_hash(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(200, {"x-goog-hash": f"crc32c={encode_crc32c(99)}"}))
    body = Blocks(CONTENT[GRANULE:])
    assert storage.send(session(server), body, GRANULE, SIZE, SIZE) == Finished(None, 99)
    assert only(server).headers["content-range"] == f"bytes {GRANULE}-{SIZE - 1}/{SIZE}"
    assert only(server).body == CONTENT[GRANULE:]


def test_t04_a_short_308_is_an_answer(serve: Serve, storage: Storage) -> None:
    server = serve(partial(GRANULE), Reply(200))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Confirmed(GRANULE)
    rest = Blocks(CONTENT[GRANULE:])
    assert storage.send(session(server), rest, GRANULE, SIZE, SIZE) == Finished()


def test_t05_a_308_without_range_means_ask_after_data_and_zero_after_a_query(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(308), Reply(308))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Unclear()
    assert storage.query(session(server), SIZE) == Confirmed(0)


def test_t06_201_finishes(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(201), Reply(201))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Finished()
    assert storage.query(session(server), SIZE) == Finished()


def test_t07_all_persisted_but_not_finished_is_finished_by_a_query(
    serve: Serve, storage: Storage
) -> None:
    server = serve(partial(SIZE), Reply(200))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Confirmed(SIZE)
    assert storage.query(session(server), SIZE) == Finished()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_t08_one_failure_is_exactly_one_request(
    serve: Serve, storage: Storage, status: int
) -> None:
    server = serve(Reply(status, {"Retry-After": "3"}))
    with pytest.raises(RemoteError) as caught:
        storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)
    assert caught.value.verdict is Verdict.TRANSIENT
    assert caught.value.retry_after_s == 3
    only(server)


def test_t08_one_reset_is_exactly_one_request(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(read=100, reset=True))
    with pytest.raises(RemoteError) as caught:
        storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)
    assert caught.value.verdict is Verdict.TRANSIENT
    only(server)


def test_t09_after_any_error_the_old_connection_is_ended_and_the_session_goes_on(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(503), partial(GRANULE), Reply(200))
    with pytest.raises(RemoteError):
        storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)
    assert server.lost.acquire(timeout=DEADLINE_S)
    assert storage.query(session(server), SIZE) == Confirmed(GRANULE)
    rest = Blocks(CONTENT[GRANULE:])
    assert storage.send(session(server), rest, GRANULE, SIZE, SIZE) == Finished()
    assert server.connections == 2


def test_a_connection_is_kept_while_all_is_well(serve: Serve, storage: Storage) -> None:
    server = serve(partial(0), partial(SIZE), Reply(200))
    storage.query(session(server), SIZE)
    storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)
    storage.query(session(server), SIZE)
    assert server.connections == 1


def test_closing_ends_the_connection_though_someone_still_holds_its_pool(
    serve: Serve, storage: Storage, adapter: SocketAdapter
) -> None:
    server = serve(partial(0))
    storage.query(session(server), SIZE)
    pools = adapter.poolmanager.pools
    held = [pools[key] for key in pools.keys()]  # noqa: SIM118 - it refuses iteration
    storage.close()
    assert server.lost.acquire(timeout=DEADLINE_S)
    assert len(held) == 1


@pytest.mark.parametrize("status", [404, 410, 499])
def test_t10_a_dead_session_is_gone(serve: Serve, storage: Storage, status: int) -> None:
    server = serve(Reply(status), Reply(status))
    calls: list[Callable[[], object]] = [
        lambda: storage.query(session(server), SIZE),
        lambda: storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE),
    ]
    for call in calls:
        with pytest.raises(RemoteError) as caught:
            call()
        assert (caught.value.verdict, caught.value.code) == (Verdict.SESSION_GONE, "session_gone")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_t11_no_redirect_is_followed(serve: Serve, storage: Storage, status: int) -> None:
    elsewhere = serve(Reply(200))
    moved = Reply(status, {"Location": f"{elsewhere.base}/x", "Range": "bytes=0-9"})
    server = serve(moved, moved)
    if status == 308:
        assert storage.query(session(server), SIZE) == Confirmed(10)
        assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Confirmed(10)
    else:
        with pytest.raises(RemoteError) as caught:
            storage.query(session(server), SIZE)
        assert caught.value.code == "middle_box"
    assert not elsewhere.seen


def test_t12_a_body_never_stands_in_memory_as_a_whole(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(200, close=True, read=0), Reply(200))
    body = Blocks(b"")
    body.content = CONTENT * 40
    tracemalloc.start()
    try:
        storage.put(read_url(f"{server.base}/o"), Blocks(b""), 0)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        storage.put(read_url(f"{server.base}/o"), body, len(body))
        taken = tracemalloc.get_traced_memory()[1] - before - len(body)  # what the server keeps
    finally:
        tracemalloc.stop()
    assert taken < len(body) / 2
    assert body.reads > len(body) / body.block


@pytest.mark.timed
@pytest.mark.parametrize(("block", "arrives"), [(16 * 1024, True), (128 * 1024, False)])
def test_t13_the_timeout_covers_a_block_and_not_the_whole_body(
    serve: Serve, stop: StopToken, block: int, arrives: bool
) -> None:
    server = serve(Reply(200, rate_bps=32 * 1024), window=4096)  # 4 s in all, 2 s allowed
    adapter = SocketAdapter(stop, send_timeout_s=2)
    small_buffers(adapter)
    body = Blocks(bytes(128 * 1024), block)
    with contextlib.nullcontext() if arrives else pytest.raises(RemoteError, match="timed out"):
        Storage(HandClock(), adapter, plain=True).send(
            session(server), body, 0, len(body), len(body)
        )
    adapter.close()


@pytest.mark.timed
def test_t13_a_stalled_reader_times_out_as_transient(serve: Serve, stop: StopToken) -> None:
    server = serve(Reply(read=4096, stall=True), window=4096)
    adapter = SocketAdapter(stop, send_timeout_s=0.3)
    small_buffers(adapter)
    began = time.monotonic()
    with pytest.raises(RemoteError, match="timed out") as caught:
        Storage(HandClock(), adapter, plain=True).send(
            session(server), Blocks(CONTENT), 0, SIZE, SIZE
        )
    assert caught.value.verdict is Verdict.TRANSIENT
    assert time.monotonic() - began < CONNECT_S / 2  # urllib3 would have taken CONNECT_S


@pytest.mark.parametrize("secure", [False], ids=["untrusted"], indirect=True)
def test_t15_only_the_given_authorities_are_trusted(
    serve: Serve, storage: Storage, tls: ssl.SSLContext, certificate: Path, stop: StopToken
) -> None:
    server = serve(Reply(200), tls=tls)
    with pytest.raises(RemoteError) as caught:
        storage.query(session(server), SIZE)
    assert "not trusted" in caught.value.message
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint
    trusting = Storage(HandClock(), SocketAdapter(stop, lambda: context(certificate)), plain=True)
    assert trusting.query(session(server), SIZE) == Finished()


def test_t16_another_form_of_range_is_asked_again_never_guessed(
    serve: Serve, storage: Storage
) -> None:
    odd = Reply(308, {"Range": "bytes 0-9"})
    server = serve(odd, odd)
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Unclear()
    with pytest.raises(ProtocolError):
        storage.query(session(server), SIZE)


def test_a_claim_beyond_the_file_passes_as_a_protocol_error(serve: Serve, storage: Storage) -> None:
    server = serve(partial(SIZE + 1))
    with pytest.raises(ProtocolError):
        storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)


def test_t17_a_body_that_gives_up_ends_the_connection_and_passes_unchanged(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(200))
    body = Blocks(CONTENT)
    body.fails_at = (GRANULE, SourceUnsettled("moved"))
    with pytest.raises(SourceUnsettled) as caught:
        storage.send(session(server), body, 0, SIZE, SIZE)
    assert caught.value is body.fails_at[1]
    assert server.lost.acquire(timeout=DEADLINE_S)
    # What is still queued is dropped with the connection.
    assert CONTENT[:GRANULE].startswith(bytes(only(server).body))


def test_t18_an_early_refusal_is_seen_before_the_body_is_through(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(410, read=GRANULE, close=True))
    body = Blocks(CONTENT * 100)
    with pytest.raises(RemoteError) as caught:
        storage.send(session(server), body, 0, len(body), len(body))
    if sys.platform == "linux":  # elsewhere the reset may overtake the answer
        assert caught.value.verdict is Verdict.SESSION_GONE
    assert body.reads < len(body) / body.block


# --- the plain PUT and the end of a session


def test_a_plain_put_sends_the_signed_headers_and_its_length(
    serve: Serve, storage: Storage
) -> None:
    server = serve(Reply(200, {"x-goog-hash": f"crc32c={encode_crc32c(5)}"}))
    url = read_url(f"{server.base}/o?X-Goog-SignedHeaders=host;content-type&X-Goog-Signature=S")
    assert storage.put(url, Blocks(CONTENT), SIZE) == Finished(None, 5)
    seen = only(server)
    assert seen.body == CONTENT
    assert seen.headers["content-length"] == str(SIZE)
    assert "transfer-encoding" not in seen.headers
    assert "x-goog-content-length-range" not in seen.headers


def test_an_empty_file_is_put_with_length_zero(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(200))
    storage.put(read_url(f"{server.base}/o"), Blocks(b""), 0)
    assert only(server).headers["content-length"] == "0"
    assert only(server).headers["x-goog-content-length-range"] == "0,0"


def test_a_refused_put_says_why(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(403))
    with pytest.raises(RemoteError) as caught:
        storage.put(read_url(f"{server.base}/o"), Blocks(CONTENT), SIZE)
    assert caught.value.verdict is Verdict.URL_EXPIRED


@pytest.mark.parametrize("status", [499, 404, 410, 200, 204])
def test_ending_a_session_that_is_gone_already_is_fine(
    serve: Serve, storage: Storage, status: int
) -> None:
    server = serve(Reply(status))
    storage.end(session(server))
    assert (only(server).method, only(server).headers["content-length"]) == ("DELETE", "0")


def test_a_session_that_cannot_be_ended_says_so(serve: Serve, storage: Storage) -> None:
    server = serve(Reply(503))
    with pytest.raises(RemoteError) as caught:
        storage.end(session(server))
    assert caught.value.verdict is Verdict.TRANSIENT
