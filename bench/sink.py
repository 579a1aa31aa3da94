"""What every contender sends to: a process of its own that takes in bytes and keeps none.

    python -m bench.sink [--tls FOLDER] [--latency-ms 40] [--connection-mb-s 20] [--link-mb-s 40]

It speaks as much of three interfaces as the contenders use: the control plane of Fireworks
(docs/fireworks.md), sessions and plain signed PUTs (docs/gcs-resumable.md), and the JSON API of
Google Cloud Storage, for Google's own client and rclone. It checks no key and no signature: the
sandbox is there for that. A thread for each connection; it computes the CRC32C of what arrives,
since two of the contenders compare it. `GET /_sink/counts` says what it did so far.

`--latency-ms` delays each answer, `--connection-mb-s` caps what each connection carries and
`--link-mb-s` what all of them carry together (10^6 bytes). Opening a connection costs
no more than it does on loopback.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import google_crc32c

BLOCK_BYTES = 256 * 1024
_LONGEST_HEAD = 64 * 1024
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_MODEL = re.compile(r"/v1/accounts/sink/models/([^/:]+)(:\w+)?")


@dataclass
class Session:
    """A resumable upload: what has arrived of it, and whose interface it belongs to."""

    name: str
    of_json_api: bool
    offset: int = 0
    crc: int = 0


@dataclass
class Counts:
    """What all connections did; `stored_bytes` and `files` count whole files only."""

    requests: int = 0
    connections: int = 0
    files: int = 0
    stored_bytes: int = 0


@dataclass
class Sink:
    """The state that all connections share, and the network that they pretend."""

    latency_s: float = 0.0
    connection_bps: float = 0.0
    link_bps: float = 0.0
    link_free_s: float = 0.0
    url: str = ""
    counts: Counts = field(default_factory=Counts)
    sessions: dict[str, Session] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def new_session(self, name: str, *, of_json_api: bool) -> str:
        """The id of a new session."""
        number = f"s{next(self.numbers)}"
        self.sessions[number] = Session(name, of_json_api)
        return number

    def stored(self, size: int) -> None:
        """Count a whole file."""
        with self.lock:
            self.counts.files += 1
            self.counts.stored_bytes += size

    def carried_at_s(self, size: int) -> float:
        """When the link that all share has carried so many bytes more."""
        with self.lock:
            self.link_free_s = max(self.link_free_s, time.monotonic()) + size / self.link_bps
            return self.link_free_s


class Gone(Exception):
    """The client closed the connection."""


class Wire:
    """One connection: what arrives, paced as the sink's network wants it."""

    def __init__(self, sink: Sink, peer: socket.socket) -> None:
        self._peer = peer
        self._sink = sink
        self._bps = sink.connection_bps
        self._block = memoryview(bytearray(BLOCK_BYTES))
        self._ahead = b""

    def head(self) -> bytes:
        """The next request's head. Raises Gone."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            more = self._peer.recv(_LONGEST_HEAD)
            if not more:
                raise Gone
            self._ahead += more
        found, self._ahead = self._ahead[:end], self._ahead[end + 4 :]
        return found

    def body(self, length: int, take: Callable[[bytes], None]) -> None:
        """Hand ``length`` bytes to ``take``. Raises Gone."""
        began, left = time.monotonic(), length
        while left:
            if self._ahead:
                block, self._ahead = self._ahead[:left], self._ahead[left:]
            else:
                count = self._peer.recv_into(self._block, min(left, BLOCK_BYTES))
                block = bytes(self._block[:count])
            if not block:
                raise Gone
            take(block)
            left -= len(block)
            if self._sink.link_bps:
                due = self._sink.carried_at_s(len(block)) - time.monotonic()
                time.sleep(max(0.0, due))
            if self._bps:
                due = began + (length - left) / self._bps - time.monotonic()
                time.sleep(max(0.0, due))

    def chunks(self, take: Callable[[bytes], None]) -> None:
        """Hand a chunked body to ``take``. Raises Gone."""
        while size := int(self._line(), 16):
            self.body(size, take)
            self._line()
        self._line()

    def _line(self) -> bytes:
        while (end := self._ahead.find(b"\r\n")) < 0:
            more = self._peer.recv(BLOCK_BYTES)
            if not more:
                raise Gone
            self._ahead += more
        found, self._ahead = self._ahead[:end], self._ahead[end + 2 :]
        return found

    def send(self, data: bytes) -> None:
        """Send an answer, or a part of one."""
        self._peer.sendall(data)


@dataclass
class Request:
    """One request, its body still unread; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    wire: Wire

    def read(self, take: Callable[[bytes], None]) -> None:
        """Hand the whole body to ``take``. Raises Gone."""
        if self.headers.get("expect", "").lower() == "100-continue":
            self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self.wire.chunks(take)
        else:
            self.wire.body(int(self.headers.get("content-length", 0)), take)

    def whole(self) -> bytes:
        """The body, which is short."""
        parts: list[bytes] = []
        self.read(parts.append)
        return b"".join(parts)


@dataclass
class Answer:
    """Status, headers and body; the length is added on the wire."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def as_json(document: Any, **headers: str) -> Answer:
    """An answer of JSON; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Answer(200, {"content-type": "application/json; charset=UTF-8", **named}, body)


def answer(sink: Sink, request: Request) -> Answer:
    """What any request gets. Raises Gone."""
    if request.path == "/_sink/counts":
        return as_json({**vars(sink.counts), "cpu_s": time.process_time()})
    if "upload_id" in request.query:
        return _session_put(sink, request)
    if request.path.startswith("/upload/storage/"):
        return _json_api_start(sink, request)
    if request.path.startswith("/bucket/"):
        return _signed(sink, request)
    if request.path.startswith("/storage/"):
        request.whole()
        found = request.path.endswith("/b/bucket")
        return as_json({"name": "bucket"}) if found else Answer(404, body=b"{}")
    return _control(sink, request)


def _control(sink: Sink, request: Request) -> Answer:
    body = request.whole()
    asked = json.loads(body) if body else {}
    if request.path == "/verifyApiKey":
        return as_json({}, x_fireworks_account_id="sink")
    if request.method == "POST" and request.path.endswith("/models"):
        sink.models[asked["modelId"]] = "UPLOADING"
        return as_json(_model(asked["modelId"], "UPLOADING"))
    matched = _MODEL.fullmatch(request.path)
    if not matched or matched[1] not in sink.models:
        return Answer(404, body=b'{"code": 5, "message": "not found", "details": []}')
    model_id, verb = matched[1], matched[2]
    if verb == ":getUploadEndpoint":
        return as_json({"filenameToSignedUrls": _urls(sink, model_id, asked)})
    if verb == ":validateUpload":
        sink.models[model_id] = "READY"
        return as_json({})
    return as_json(_model(model_id, sink.models[model_id]))


def _model(model_id: str, state: str) -> dict[str, Any]:
    name = f"accounts/sink/models/{model_id}"
    return {"name": name, "state": state, "kind": "HF_BASE_MODEL", "status": {"code": "OK"}}


def _urls(sink: Sink, model_id: str, asked: dict[str, Any]) -> dict[str, str]:
    signed = "content-type;host;x-goog-content-length-range"
    if asked.get("enableResumableUpload"):
        signed += ";x-goog-resumable"
    query = f"X-Goog-Expires=3600&X-Goog-SignedHeaders={quote(signed)}&X-Goog-Signature=00"
    return {
        name: f"{sink.url}/bucket/{model_id}/{quote(name)}?{query}"
        for name in asked["filenameToSize"]
    }


def _signed(sink: Sink, request: Request) -> Answer:
    if request.method == "POST":
        request.whole()
        number = sink.new_session(request.path, of_json_api=False)
        return Answer(201, {"location": f"{sink.url}{request.path}?upload_id={number}"})
    arriving = Session(request.path, of_json_api=False)
    _take(request, arriving)
    return _whole(sink, arriving)


def _json_api_start(sink: Sink, request: Request) -> Answer:
    if request.query.get("uploadType") == "resumable":
        described = json.loads(request.whole() or b"{}")
        name = request.query.get("name") or described.get("name", "")
        number = sink.new_session(name, of_json_api=True)
        where = f"{sink.url}{request.path}?uploadType=resumable&upload_id={number}"
        return Answer(200, {"location": where, "x-guploader-uploadid": number})
    content = request.whole()  # multipart/related: what describes the object, then its bytes
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    described, media = (part.partition(b"\r\n\r\n")[2] for part in _parts(content, boundary))
    name = json.loads(described).get("name") or request.query.get("name", "")
    arriving = Session(name, of_json_api=True, offset=len(media))
    arriving.crc = google_crc32c.value(media)
    return _whole(sink, arriving)


def _parts(content: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    _, first, second, _ = content.split(b"--" + boundary)
    return first, second.removesuffix(b"\r\n")


def _session_put(sink: Sink, request: Request) -> Answer:
    session = sink.sessions[request.query["upload_id"]]
    matched = _RANGE.fullmatch(request.headers.get("content-range", ""))
    if matched and matched[1] and int(matched[1]) != session.offset:
        raise Gone
    _take(request, session)
    if matched is None or matched[3] == str(session.offset):
        return _whole(sink, session)
    kept = {"range": f"bytes=0-{session.offset - 1}"} if session.offset else {}
    if "x-guploader-no-308" in request.headers:
        return Answer(200, {"x-http-status-code-override": "308", **kept})
    return Answer(308, kept)


def _take(request: Request, session: Session) -> None:
    def take(block: bytes) -> None:
        session.crc = google_crc32c.extend(session.crc, block)
        session.offset += len(block)

    request.read(take)


def _whole(sink: Sink, session: Session) -> Answer:
    sink.stored(session.offset)
    crc = base64.b64encode(session.crc.to_bytes(4, "big")).decode()
    if session.of_json_api:
        described = {"name": session.name, "bucket": "bucket", "size": str(session.offset)}
        stamps = dict.fromkeys(("timeCreated", "updated"), "2026-01-01T00:00:00.000Z")
        return as_json({"kind": "storage#object", **described, **stamps, "crc32c": crc})
    size = str(session.offset)
    return Answer(200, {"x-goog-hash": f"crc32c={crc}", "x-goog-stored-content-length": size})


def serve(sink: Sink, peer: socket.socket, context: ssl.SSLContext | None) -> None:
    """Answer one connection until the client closes it."""
    try:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(peer, server_side=True) if context else peer as stream:
            wire = Wire(sink, stream)
            while True:
                _exchange(sink, wire)
    except (Gone, OSError):
        return


def _exchange(sink: Sink, wire: Wire) -> None:
    first, *lines = wire.head().decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    query = dict(parse_qsl(parts.query))
    found = answer(sink, Request(method, unquote(parts.path), query, headers, wire))
    if not parts.path.startswith("/_sink/"):
        with sink.lock:
            sink.counts.requests += 1
        if sink.latency_s:
            time.sleep(sink.latency_s)
    lines = [f"HTTP/1.1 {found.status} X", "server: UploadServer"]
    lines += [f"{name}: {value}" for name, value in found.headers.items()]
    lines += [f"content-length: {len(found.body)}", "", ""]
    wire.send("\r\n".join(lines).encode() + found.body)


def _context(folder: Path) -> ssl.SSLContext:
    import trustme  # noqa: PLC0415  # only for TLS

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def main() -> None:
    """Serve until the process is ended; the first line of the output is the URL."""
    parser = argparse.ArgumentParser(prog="bench.sink", description="takes bytes, keeps none")
    parser.add_argument("--tls", type=Path, help="use TLS; ca.pem is written to this folder")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--connection-mb-s", type=float, default=0.0)
    parser.add_argument("--link-mb-s", type=float, default=0.0)
    options = parser.parse_args()
    latency_s, each, link = options.latency_ms / 1000, options.connection_mb_s, options.link_mb_s
    sink = Sink(latency_s, each * 1e6, link * 1e6)
    context = _context(options.tls) if options.tls else None
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if (
        sink.connection_bps or sink.link_bps
    ):  # else the kernel would take megabytes of a slow connection at once
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK_BYTES)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    scheme = "https" if context else "http"
    sink.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    print(sink.url, flush=True)
    while True:
        peer, _ = listener.accept()
        sink.counts.connections += 1
        threading.Thread(target=serve, args=(sink, peer, context), daemon=True).start()


if __name__ == "__main__":
    main()
