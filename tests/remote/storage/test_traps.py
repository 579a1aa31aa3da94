"""The traps of docs/gcs-resumable.md §2.1, T1 to T18, each against a scripted server."""

from __future__ import annotations

import contextlib
import ssl
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.remote.conftest import Serve
from tests.remote.scripted import DEADLINE_S, OF_STORAGE, Blocks, HandClock, Reply
from tests.remote.storage.exchanges import (
    CONTENT,
    SIZE,
    only,
    partial,
    session,
    small_buffers,
    stored,
)
from uploader.core.errors import RemoteError, SourceUnsettled
from uploader.core.resumable import (
    GRANULE,
    Confirmed,
    Finished,
    ProtocolError,
    Unclear,
    encode_crc32c,
    read_url,
)
from uploader.core.verdict import Verdict
from uploader.remote.http import CONNECT_S
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.remote.trust import context
from uploader.runtime import StopToken


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
    server = serve(stored())
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
    server = serve(partial(GRANULE), stored())
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
    server = serve(stored(201), stored(201))
    assert storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE) == Finished()
    assert storage.query(session(server), SIZE) == Finished()


def test_t07_all_persisted_but_not_finished_is_finished_by_a_query(
    serve: Serve, storage: Storage
) -> None:
    server = serve(partial(SIZE), stored())
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
    server = serve(Reply(503), partial(GRANULE), stored())
    with pytest.raises(RemoteError):
        storage.send(session(server), Blocks(CONTENT), 0, SIZE, SIZE)
    assert server.lost.acquire(timeout=DEADLINE_S)
    assert storage.query(session(server), SIZE) == Confirmed(GRANULE)
    rest = Blocks(CONTENT[GRANULE:])
    assert storage.send(session(server), rest, GRANULE, SIZE, SIZE) == Finished()
    assert server.connections == 2


def test_a_connection_is_kept_while_all_is_well(serve: Serve, storage: Storage) -> None:
    server = serve(partial(0), partial(SIZE), stored())
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
    server = serve(Reply(status, OF_STORAGE), Reply(status, OF_STORAGE))
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
    elsewhere = serve(stored())
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
    server = serve(Reply(200, OF_STORAGE, close=True, read=0), stored())
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
    slow = Reply(200, OF_STORAGE, rate_bps=32 * 1024)  # 4 s in all, 2 s allowed
    server = serve(slow, window=4096)
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
    server = serve(stored(), tls=tls)
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
    server = serve(stored())
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
    server = serve(Reply(410, OF_STORAGE, read=GRANULE, close=True))
    body = Blocks(CONTENT * 100)
    with pytest.raises(RemoteError) as caught:
        storage.send(session(server), body, 0, len(body), len(body))
    if sys.platform == "linux":  # elsewhere the reset may overtake the answer
        assert caught.value.verdict is Verdict.SESSION_GONE
    assert body.reads < len(body) / body.block
