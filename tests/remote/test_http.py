"""Sessions: whose credentials go where, what is not followed, what is never said."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from http.client import BadStatusLine
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3.exceptions as transport

from tests.remote.conftest import Serve
from tests.remote.scripted import OF_STORAGE, Blocks, HandClock, Reply, everything_said
from uploader.core.addresses import trusted
from uploader.core.errors import JobRefused, RemoteError
from uploader.core.redact import ApiKey, SessionUri
from uploader.core.resumable import read_url
from uploader.core.verdict import Call, Verdict
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.http import Session, ask
from uploader.remote.sockets import SocketAdapter
from uploader.remote.storage import Storage
from uploader.runtime import StopToken

KEY = "fw_KEYCANARY"

MODEL = b'{"name": "accounts/a/models/m"}'


def fireworks(base: str, adapter: SocketAdapter) -> Fireworks:
    clock = HandClock()
    return Fireworks(base, lambda: ApiKey(KEY), clock, Gate(clock), adapter)


def test_a_default_line_in_netrc_changes_nothing(
    serve: Serve,
    adapter: SocketAdapter,
    storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".netrc").write_text("default login mallory password NETRCCANARY\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert requests.utils.get_netrc_auth("http://127.0.0.1/") == ("mallory", "NETRCCANARY")
    control, store = serve(Reply(200, body=MODEL)), serve(Reply(200, OF_STORAGE))
    fireworks(control.base, adapter).get("a", "m")
    storage.put(read_url(f"{store.base}/o"), Blocks(b"x"), 1)
    assert control.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in store.seen[0].headers


def test_the_key_never_reaches_storage(serve: Serve, adapter: SocketAdapter) -> None:
    control = serve(Reply(302, {"Location": "http://127.0.0.1:9/"}), Reply(200, body=MODEL))
    store = serve(*[Reply(status, OF_STORAGE) for status in (200, 308, 200, 404)])
    api, storage = fireworks(control.base, adapter), Storage(HandClock(), adapter, plain=True)
    with pytest.raises(RemoteError):
        api.get("a", "m")
    api.get("a", "m")
    session = SessionUri(f"{store.base}/o?upload_id=U")
    storage.put(read_url(f"{store.base}/o"), Blocks(b"x"), 1)
    storage.query(session, 1)
    storage.send(session, Blocks(b"x"), 0, 1, 1)
    storage.end(session)
    assert len(store.seen) == 4
    assert all("authorization" not in seen.headers for seen in store.seen)
    assert all("cookie" not in seen.headers for seen in store.seen)


def test_headers_are_plain(serve: Serve, adapter: SocketAdapter) -> None:
    server = serve(Reply(200, body=MODEL))
    fireworks(server.base, adapter).get("a", "m")
    assert set(server.seen[0].headers) == {
        "host",
        "user-agent",
        "accept-encoding",
        "authorization",
    }


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://api.fireworks.ai", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
        ("ftp://localhost", False),
        ("https://", False),
        ("http://[::1", False),
        ("/path", False),
        ("https://storage/o\0", False),
        ("", False),
    ],
)
def test_a_secret_goes_to_https_or_to_this_machine(url: str, good: bool) -> None:
    assert trusted(url, plain=True) is good


def test_a_session_speaks_to_nothing_else(adapter: SocketAdapter) -> None:
    session = Session(adapter, lambda request: request, plain=True)
    with pytest.raises(JobRefused) as caught:
        session.get("http://example.com/?upload_id=CANARY")
    assert caught.value.code == "insecure_url"
    assert "CANARY" not in everything_said(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9"])
@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "https_proxy"])
def test_what_is_on_this_machine_is_asked_without_a_proxy(
    serve: Serve, storage: Storage, monkeypatch: pytest.MonkeyPatch, host: str, variable: str
) -> None:
    proxy, server = serve(Reply(308)), serve(Reply(308))
    monkeypatch.setenv(variable, proxy.base)
    port = server.host.rpartition(":")[2]
    with contextlib.suppress(RemoteError):  # 127.9.9.9 refuses; what counts is who was asked
        storage.query(SessionUri(f"http://{host}:{port}/o?upload_id=U"), 1)
    assert not proxy.seen


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (302, "middle_box", "let this machine reach the service"),
        (403, "middle_box", "let this machine reach the service"),
        (407, "middle_box", "USER:PASSWORD"),
        (499, "middle_box", "let this machine reach the service"),
        (502, "unavailable", "by itself"),
        (503, "unavailable", "by itself"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_not_asked_for_ever(
    serve: Serve,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    hint: str,
) -> None:
    """Whoever forbids the storage host does so by this, and not by a page."""
    proxy = serve(Reply(status, body=b"CANARY"), tls=None)
    monkeypatch.setenv("https_proxy", proxy.base)
    with pytest.raises(RemoteError) as caught:
        storage.query(SessionUri("https://storage.example/o?upload_id=CANARY"), 1)
    assert (proxy.seen[0].method, proxy.seen[0].target) == ("CONNECT", "storage.example:443")
    assert f"the proxy on the way to storage.example answered {status}: " in caught.value.message
    assert (caught.value.code, caught.value.verdict) == (code, Verdict.TRANSIENT)
    assert hint in caught.value.hint
    assert "CANARY" not in everything_said(caught.value)


@pytest.mark.parametrize("secure", [False], indirect=True)
@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_server_that_says_what_is_said_of_a_proxy_is_not_taken_for_one(
    serve: Serve, storage: Storage, status: int
) -> None:
    server = serve(Reply(garbage=f"Tunnel connection failed: {status} x\r\n\r\n".encode()))
    with pytest.raises(RemoteError, match="gave an incomplete answer") as caught:
        storage.query(SessionUri(f"{server.base}/o?upload_id=U"), 1)
    assert (caught.value.code, caught.value.verdict) == ("unavailable", Verdict.TRANSIENT)
    assert "PROXY" not in caught.value.hint


@pytest.mark.parametrize("proxy", ["ftp://proxy:1", "http://[::1", "http://127.0.0.1:99999"])
def test_a_proxy_whose_address_is_not_one_is_named(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(RemoteError, match="or of the proxy on the way, is not one") as caught:
        storage.query(SessionUri("https://storage.example/o?upload_id=U"), 1)
    assert "HTTPS_PROXY" in caught.value.hint


def wrapped(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        url = "/o?upload_id=CANARY"
        raise requests.ConnectionError(
            transport.MaxRetryError(None, url, error)  # type: ignore[arg-type]
        )

    return fail


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "CANARY"), "refused the connection"),
        (ConnectionResetError(104, "CANARY"), "was reset"),
        (BrokenPipeError(32, "CANARY"), "was reset"),
        (TimeoutError("CANARY"), "timed out"),
        (transport.ReadTimeoutError(None, "CANARY", "CANARY"), "timed out"),  # type: ignore[arg-type]
        (transport.ConnectTimeoutError("CANARY"), "connecting to h.example timed out"),
        (socket.gaierror(-2, "CANARY"), "cannot be resolved"),
        (ssl.SSLCertVerificationError("CANARY"), "is not trusted"),
        (transport.SSLError(ssl.SSLCertVerificationError("CANARY")), "is not trusted"),
        (ssl.SSLError("CANARY"), "TLS with h.example failed"),
        (transport.ProxyError("CANARY", ConnectionRefusedError()), "the proxy on the way"),
        (OSError(101, "CANARY"), "no network"),
        (OSError(113, "CANARY"), "no network"),
        (requests.exceptions.InvalidSchema("CANARY"), "SOCKS proxy"),
        (OSError("CANARY"), "incomplete answer"),
        (transport.ProtocolError("CANARY", BadStatusLine("CANARY")), "incomplete answer"),
    ],
)
def test_every_cause_has_words_of_ours(error: Exception, words: str) -> None:
    with pytest.raises(RemoteError) as caught:
        ask(Call.QUERY, "https://h.example/o?upload_id=CANARY", wrapped(error))
    assert caught.value.verdict is Verdict.TRANSIENT
    assert caught.value.code == "unavailable"
    assert words in caught.value.message
    assert caught.value.hint
    assert "CANARY" not in everything_said(caught.value)


def test_a_cause_nobody_foresaw_is_transient_too() -> None:
    def fail() -> None:
        raise OSError("CANARY")

    with pytest.raises(RemoteError, match="the exchange with h failed") as caught:
        ask(Call.QUERY, "https://h/o", fail)
    assert "CANARY" not in everything_said(caught.value)


class Impatient(SocketAdapter):
    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        return super().send(*args, **{**kwargs, "timeout": (1, 0.2)})


GONE = Reply(404, body=b'{"code":5,"message":"CARRIED"}')


@pytest.mark.parametrize(
    ("reply", "may"),
    [
        *((None, False), (Reply(429), False), (GONE, False), (Reply(400), False)),
        *((Reply(reset=True), True), (Reply(stall=True), True), (Reply(504), True)),
    ],
    ids=["no connection", "429", "404", "400", "reset", "stalled", "504"],
)
def test_a_request_may_go_on_if_it_was_sent_and_not_answered(
    serve: Serve, stop: StopToken, reply: Reply | None, may: bool
) -> None:
    base = serve(reply).base if reply else "http://127.0.0.1:1"
    with pytest.raises(RemoteError) as caught:
        fireworks(base, Impatient(stop, send_timeout_s=0.2)).delete("a", "m")
    assert caught.value.may_go_on == may


FAILURES = {
    "refused": None,
    "reset": Reply(reset=True),
    "cut": Reply(read=0, garbage=b"HT"),
    "no http": Reply(garbage=b"CANARYECHO\r\n\r\n"),
    "half an answer": Reply(garbage=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
    "bad header": Reply(garbage=b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
    "stalled": Reply(stall=True),
    "echo": Reply(400, body=b"is CARRIED or ?X-Goog-Signature=CARRIED right"),
    "xml echo": Reply(403, body=b"<Error><Message>CARRIED</Message></Error>"),
    "outage": Reply(503, body=b"CARRIED"),
    "gone": GONE,
    "bad json": Reply(200, body=b"CARRIED"),
    "redirect": Reply(302, {"Location": "http://127.0.0.1:1/?SIGCANARY"}),
}
CARRIED = {
    "start": "SIGCANARY",
    "put": "SIGCANARY",
    "query": "SESSIONCANARY",
    "send": "SESSIONCANARY",
    "end": "SESSIONCANARY",
    "get": KEY,
    "urls": KEY,
}


def noting(said: list[str], call: Callable[[], object]) -> None:
    try:
        call()
    except RemoteError as error:
        said.append(everything_said(error))
        raise


@pytest.mark.parametrize("call", CARRIED)
@pytest.mark.parametrize("failure", FAILURES)
def test_no_error_and_no_log_line_holds_a_secret(
    serve: Serve, stop: StopToken, failure: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply = FAILURES[failure]
    if reply:
        reply = replace(reply, body=reply.body.replace(b"CARRIED", CARRIED[call].encode()))
    base = serve(reply).base if reply else "http://127.0.0.1:1"
    adapter = Impatient(stop, send_timeout_s=0.2)
    clock = HandClock()
    storage, api = Storage(clock, adapter, plain=True), fireworks(base, adapter)
    query = "X-Goog-SignedHeaders=host;x-goog-resumable&X-Goog-Signature=SIGCANARY"
    session = SessionUri(f"{base}/o?upload_id=SESSIONCANARY")
    calls: dict[str, Callable[[], object]] = {
        "start": lambda: storage.start(read_url(f"{base}/o?{query}"), 3),
        "query": lambda: storage.query(session, 3),
        "send": lambda: storage.send(session, Blocks(b"abc"), 0, 3, 3),
        "put": lambda: storage.put(read_url(f"{base}/o?{query}"), Blocks(b"abc"), 3),
        "end": lambda: storage.end(session),
        "get": lambda: api.get("a", "m"),
        "urls": lambda: api.upload_urls("a", "m", {"f": 1}, resumable=True),
    }
    harmless = failure in ("bad json", "gone", "bad header")
    expected = contextlib.suppress(RemoteError) if harmless else pytest.raises(RemoteError)
    said: list[str] = []
    with expected:
        noting(said, calls[call])
    assert "CANARY" not in "".join(said)
    assert "CANARY" not in caplog.text
    adapter.close()


def test_a_port_where_nobody_listens_refuses_and_does_not_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    session = Session(SocketAdapter(StopToken()), lambda request: request, plain=True)
    with contextlib.closing(session):
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(RemoteError, match="refused the connection"):
            ask(Call.GET, url, lambda: session.get(url, timeout=5))
