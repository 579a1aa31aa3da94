"""Whatever bytes a stranger sends, nothing in the web server ends by an error, and no log fills."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
from asyncio import selector_events
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.reader import until
from tests.service.conftest import Site, is_closed, opened
from uploader.service import logs

_METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE", b"FOO", b"PRI")
_PATHS = (b"/", b"/livez", b"/api/jobs", b"/api/preflight", b"/open/x", b"/proof/x", b"*", b"//")
_VERSIONS = (b"1.1", b"1.0", b"2.0", b"0.9")
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_FRAMES = (
    b"",
    _CHUNKED,
    _CHUNKED + b"Content-Length: 5\r\n",
    _CHUNKED + b"Expect: 100-continue\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 5\r\nExpect: 100-continue\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 5, 6\r\n",
    b"Content-Length: 1000001\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: close\r\n",
    b"\0: \xff\r\n",
)
_BODIES = (
    b"",
    b"zz\r\n",
    b"-1\r\n",
    b"5\r\nab",
    b"5\r\nabcde\r\n0\r\n\r\n",
    b"5\r\nabcdeXX",
    b"0\r\n\r\n",
    b"0\r\nX\0: y\r\n\r\n",
    b"f" * 17 + b"\r\n",
    b"1;" + b"a" * 70_000,
    b"{}abc",
    b"abcdeGET / HTTP/1.1\r\n\r\n",
    b"\xff" * 100,
)


def _requests() -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Head and body; TOKEN is put in the place of the token."""
    head = st.builds(
        lambda method, path, version, who, frame: (
            b"%b %b HTTP/%b\r\nHost: localhost\r\n%b%b\r\n" % (method, path, version, who, frame)
        ),
        st.sampled_from(_METHODS),
        st.sampled_from(_PATHS),
        st.sampled_from(_VERSIONS),
        st.sampled_from((b"", b"", b"Authorization: Bearer TOKEN\r\n")),
        st.sampled_from(_FRAMES),
    )
    nonsense = st.binary(max_size=200)
    return st.tuples(
        st.one_of(head, head, head, nonsense), st.one_of(st.sampled_from(_BODIES), nonsense)
    )


def _heads(method: bytes) -> tuple[bytes, bytes]:
    return b"%b / HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (method, _CHUNKED), b"zz\r\n"


def _send(site: Site, requests: list[tuple[bytes, bytes]], *, waits: bool, resets: bool) -> None:
    """All of it; if it ``waits``, each body is sent once its head may have been answered."""
    with opened(site) as one, contextlib.suppress(OSError):
        if resets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + b"\0" * 7)
        for head, body in requests:
            one.sendall(head.replace(b"TOKEN", site.token.encode()))
            if waits:
                one.settimeout(0.02)
                with contextlib.suppress(TimeoutError):
                    one.recv(65_536)
            one.settimeout(30)
            one.sendall(body)
        if not resets:
            one.shutdown(socket.SHUT_WR)
            while one.recv(65_536):
                pass


def test_no_nonsense_ends_in_an_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    @given(
        requests=st.lists(_requests(), min_size=1, max_size=3),
        waits=st.booleans(),
        resets=st.booleans(),
    )
    @example(requests=[_heads(b"HEAD")], waits=False, resets=False)
    @example(requests=[_heads(b"HEAD")], waits=True, resets=False)
    @example(
        requests=[(_heads(b"GET")[0], b"0\r\n\r\n"), _heads(b"HEAD")], waits=False, resets=False
    )
    @example(requests=[_heads(b"POST")], waits=True, resets=True)
    def try_it(*, requests: list[tuple[bytes, bytes]], waits: bool, resets: bool) -> None:
        _send(site, requests, waits=waits, resets=resets)
        assert site.ask("/livez", token=None).status == 200  # a turn of the loop later
        said = [f"{one.name}: {one.getMessage()}" for one in caplog.records]
        caplog.clear()
        assert said == []

    with caplog.at_level(logging.INFO):
        try_it()


def test_who_goes_while_it_is_answered_fills_no_log(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reset comes between the answer and the end of it."""
    transports: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transports.write
    with opened(site) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + b"\0" * 7)

        def and_it_goes(transport: Any, data: bytes) -> None:
            write(transport, data)
            one.close()

        monkeypatch.setattr(transports, "write", and_it_goes)
        one.sendall(b"nonsense\r\n\r\n")
        with caplog.at_level(logging.INFO):
            until(lambda: one.fileno() < 0)
            monkeypatch.undo()
            assert site.ask("/livez", token=None).status == 200
    assert caplog.records == []


@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"POST"])
def test_what_is_no_request_is_answered_so_and_nothing_follows(site: Site, method: bytes) -> None:
    head, body = _heads(method)
    answer = b""
    with opened(site) as one:
        one.sendall(head + body + head)
        while part := one.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.index(b"\r\n\r\n") + 4 == len(answer)


@pytest.mark.parametrize("nonsense", [b"nonsense\r\n\r\n", b"GET /" + b"a" * 100_000])
def test_what_is_no_request_is_answered_so_after_others(site: Site, nonsense: bytes) -> None:
    """Without an answer a client takes the connection for an old one, and asks again."""
    answer = b""
    with opened(site) as one, contextlib.suppress(ConnectionResetError):
        known = f"Authorization: Bearer {site.token}\r\n".encode()
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + known + b"\r\n")
        while b"\r\n\r\n" not in answer:
            answer += one.recv(65_536)
        one.sendall(nonsense)
        while part := one.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 400 ") == 1


def test_an_error_in_the_web_server_ends_the_connection_and_is_told_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ValueError("odd")

    logger, told = logging.getLogger("uploader"), io.StringIO()
    monkeypatch.setattr(logger, "handlers", logger.handlers)
    monkeypatch.setattr(logger, "propagate", logger.propagate)
    logs.log_to_stderr(to=logging.StreamHandler(told))
    with monkeypatch.context() as patched:
        patched.setattr(H11Protocol, "handle_events", broken)
        for _ in range(30):
            with opened(site) as one:
                one.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert is_closed(one)
    assert site.ask("/livez", token=None).status == 200
    said = told.getvalue()
    assert said.count("Traceback") == 1
    assert said.count("a connection ended in ValueError") == 1
