"""Parsers of what a server says."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from unittest.mock import patch

import requests

from tests.fuzz.parser import JSON, MARKUP, NOW, URL, Parser, text
from uploader.core.addresses import base_url, doubts, trusted
from uploader.core.errors import UploaderError
from uploader.core.redact import ApiKey, SessionUri, foreign_line, redact
from uploader.core.resumable import UploadUrl, interpret, read_url, stored_facts
from uploader.core.retry import Backoff
from uploader.core.verdict import Call
from uploader.remote import sockets
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.refusals import refusal
from uploader.remote.storage import Storage
from uploader.remote.words import plain_words
from uploader.runtime import StopToken, SystemClock


def answers() -> dict[str, Parser]:
    return {
        "words": Parser(
            lambda raw: [plain_words(text(raw)), foreign_line(text(raw), 300)], MARKUP
        ),
        "an error": Parser(
            lambda raw: [refusal(call, _answer(status, raw), NOW) for call, status in _REFUSED],
            (*JSON, *MARKUP, '"code":', '"message":', '"details":', '"reason":', '"status":'),
            (b'{"error":{"code":9,"message":"m","details":[{"reason":"X"}]}}',
             b"<Error><Code>A</Code><Message>b</Message></Error>"),
        ),
        "a Retry-After": Parser(
            lambda raw: refusal(Call.GET, _answer(429, b"", **{"Retry-After": text(raw)}), NOW),
            ("1", ".", "Mon", ",", " ", "Jan", "2026", ":", "00", "GMT", "+9999", "-", "(", ")"),
            (b"Mon, 23 Nov 2026 12:00:00 GMT", b"120"),
        ),
        "a Range": Parser(
            lambda raw: [_interpreted(text(raw), query=query) for query in (False, True)],
            ("bytes", "=", "-", "0", "9" * 20, " ", ",", "\u0663", "é"),
            (b"bytes=0-262143",),
        ),
        "what was stored": Parser(
            lambda raw: [
                stored_facts({"x-goog-hash": text(raw)}, raw),
                stored_facts({"x-goog-stored-content-length": text(raw)}, raw),
                stored_facts({"content-type": "application/json"}, raw),
            ],
            (*JSON, "crc32c=", "md5=", "AAAA", "==", '"size":', '"crc32c":'),
            (b"crc32c=yZRlqg==,md5=x", b'{"size":"12","crc32c":"yZRlqg=="}'),
        ),
        "an upload URL": Parser(lambda raw: _url(text(raw)), URL, (_SIGNED,)),
        "an exchange": Parser(
            _exchange,
            (*JSON, *_HEAD, *MARKUP),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
             b"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-7\r\nContent-Length: 0\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
             b'HTTP/1.1 200 OK\r\n\r\n{"filenameToSignedUrls":{"a":"https://h"}}',
             b'HTTP/1.1 200 OK\r\n\r\n{"name":"a/models/m","baseModelDetails":{}}'),
            long=False,
        ),
    }  # fmt: skip


_REFUSED = ((Call.GET, 400), (Call.DATA, 403), (Call.URLS, 409), (Call.VALIDATE, 503))
_SIGNED = (
    b"https://h/b/o?X-Goog-SignedHeaders=host%3Bx-goog-resumable&X-Goog-Expires=60"
    b"&X-Goog-Signature=a"
)
_HEAD = ("HTTP/1.1 ", "HTTP/1.0 ", "100 Continue\r\n", "200 OK\r\n", "308 x\r\n", "503 x\r\n",
         "Content-Length: ", "Transfer-Encoding: chunked\r\n", "Content-Encoding: gzip\r\n",
         "Location: https://h\r\n", "Range: bytes=0-1\r\n", "Set-Cookie: a=b\r\n", "\r\n", ": ",
         "Retry-After: ", "x-fireworks-account-id: a\r\n", "ffffffff\r\n", "0\r\n")  # fmt: skip


def _answer(status: int, body: bytes, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    response.headers.update({"Content-Type": "application/json", **headers})
    return response


def _interpreted(word: str, *, query: bool) -> object:
    return interpret(308, {"range": word}, b"", size_bytes=1 << 20, query=query)


def _url(word: str) -> object:
    trusted(word, plain=True)
    redact(word)
    with contextlib.suppress(ValueError):  # what it says that it raises
        doubts(base_url(word))
    url: UploadUrl = read_url(word)
    return url.headers(5)


def _exchange(raw: bytes) -> None:
    """Every call of both clients is given ``raw`` from the wire."""
    calls: list[Callable[[Fireworks, Storage], object]] = [
        lambda api, _: api.account(),
        lambda api, _: api.get("a", "m"),
        lambda api, _: api.upload_urls("a", "m", {"a": 1}, resumable=True),
        lambda api, _: api.validate("a", "m"),
        lambda _, storage: storage.query(SessionUri("http://127.0.0.1/s"), 9),
        lambda _, storage: storage.start(read_url("http://127.0.0.1/b/o"), 9),
        lambda _, storage: storage.end(SessionUri("http://127.0.0.1/s")),
    ]
    for call in calls:
        with clients(raw) as (api, storage), contextlib.suppress(UploaderError):
            call(api, storage)


@contextlib.contextmanager
def clients(raw: bytes) -> Iterator[tuple[Fireworks, Storage]]:
    ends: list[socket.socket] = []

    def connected(self: object) -> socket.socket:
        del self
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        ends.append(theirs)
        theirs.sendall(raw[: 64 * 1024])
        theirs.shutdown(socket.SHUT_WR)
        return ours

    clock = SystemClock()
    adapter = sockets.SocketAdapter(StopToken())
    api = Fireworks(
        "http://127.0.0.1:9", lambda: ApiKey("fw_key"), clock, Gate(clock, Backoff()), adapter
    )
    storage = Storage(clock, adapter, plain=True)
    with patch.object(sockets._Watched, "_connected", connected):
        try:
            yield api, storage
        finally:
            adapter.close()
            for end in ends:
                end.close()
