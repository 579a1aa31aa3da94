"""Nonsense is refused in words: no traceback, no hang, no answer below 400."""

from __future__ import annotations

import json
import re
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uploader.sandbox import control, sockets
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.seeding import seed_model
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import World

DEADLINE_S = 60.0
FUZZ = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def box(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Sandbox]:
    with Sandbox(data_dir=tmp_path) as box:
        yield box
    assert capfd.readouterr() == ("", "")


def answered(url: str, request: bytes) -> bytes:
    """What comes back for these bytes and the end of the stream."""
    split = urlsplit(url)
    with socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError, OSError):
            pass
        got = b""
        try:
            while block := connection.recv(65536):
                got += block
        except ConnectionResetError:
            pass
        return got


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) |.*Error code: (\d{3})", answer, re.DOTALL)
    assert found, answer[:200]
    return int(found[1] or found[2])


def head(box: Sandbox, first: str, *fields: str) -> bytes:
    host = urlsplit(box.base_url).netloc
    return "\r\n".join([first, f"Host: {host}", *fields, "", ""]).encode("latin-1")


GET = "GET /verifyApiKey HTTP/1.1"
POST = "POST /v1/accounts/sandbox/models HTTP/1.1"


@pytest.mark.parametrize(
    ("first", "fields"),
    [
        ("GET", []),
        ("GET /verifyApiKey", []),
        ("GET verifyApiKey HTTP/1.1", []),
        ("GET http://127.0.0.1/ HTTP/1.1", []),
        ("GET http://[x HTTP/1.1", []),
        ("GET /a b HTTP/1.1", []),
        ("GET /\xff HTTP/1.1", []),
        ("GET /%ff HTTP/1.1", []),
        ("GET /verifyApiKey?a=%ff HTTP/1.1", []),
        ("GET /verifyApiKey?a=1&a=2 HTTP/1.1", []),
        ("GET /verifyApiKey HTTP/9.9", []),
        ("GET /verifyApiKey HTTP/x", []),
        ("BREW /verifyApiKey HTTP/1.1", []),
        (POST, ["Content-Length: -1"]),
        (POST, ["Content-Length: +1"]),
        (POST, ["Content-Length: 1e3"]),
        (POST, ["Content-Length: 0x10"]),
        (POST, ["Content-Length: \xb2"]),
        (POST, ["Content-Length: 1, 1"]),
        (POST, ["Content-Length: " + "9" * 5000]),
        (POST, ["Content-Length: " + "9" * 19]),
        (POST, ["Content-Length: 1", "Content-Length: 2"]),
        (POST, ["Content-Length: 2", "Content-Length: 2"]),
        (POST, ["Content-Length: 2", "Transfer-Encoding: chunked"]),
        (POST, ["Content-Length : 2"]),
        (GET, ["no colon"]),
        (GET, ["a b: c"]),
        (GET, ["a: \x01"]),
        (GET, ["Authorization: Bearer a", "Authorization: Bearer b"]),
        (GET, ["Host: elsewhere"]),
        (GET, [f"x-{number}: y" for number in range(200)]),
        (GET, ["x: " + "y" * 70_000]),
        ("GET /" + "x" * 70_000 + " HTTP/1.1", []),
    ],
)
def test_a_head_that_is_nonsense_is_refused(box: Sandbox, first: str, fields: list[str]) -> None:
    assert 400 <= status(answered(box.base_url, head(box, first, *fields))) < 506


@pytest.mark.parametrize(
    "fields",
    [["a:" + "\rb:" * 20_000] * 9, ["x: " + "y" * 60_000] * 90, ["x: y\r\n " + "z" * 60_000] * 9],
    ids=["lines within lines", "long lines", "folded lines"],
)
def test_no_head_takes_more_memory_than_some_times_its_bytes(
    box: Sandbox, fields: list[str]
) -> None:
    """The parser of e-mail makes objects of whatever a bare CR ends, before a key is asked for."""
    request = head(box, GET, *fields)
    answered(box.base_url, head(box, GET))  # what is only made once
    tracemalloc.start()
    try:
        assert status(answered(box.base_url, request)) == 431
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_body_that_no_call_has_is_refused_unread(box: Sandbox) -> None:
    request = head(box, POST, f"Content-Length: {1 << 30}") + bytes(1 << 20)
    assert status(answered(box.base_url, request)) == 413


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"{'modelId': 1}",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"modelId": ' + b"9" * 10_000 + b"}",
        b'{"modelId": "\xff"}',
        b"null",
        b"7",
    ],
)
@pytest.mark.parametrize("path", ["/v1/accounts/sandbox/models", "/_sandbox/config"])
def test_a_body_that_is_not_strict_json_is_refused(box: Sandbox, body: bytes, path: str) -> None:
    token = box.control_token if path.startswith("/_") else box.api_key
    first = f"POST {path} HTTP/1.1"
    key = f"Authorization: Bearer {token}"
    request = head(box, first, key, f"Content-Length: {len(body)}") + body
    assert status(answered(box.base_url, request)) in (400, 404)


def test_bytes_beyond_the_signed_size_are_not_written(tmp_path: Path) -> None:
    world = World(data_dir=tmp_path)
    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(world))
        upload_id = world.new_session(world.object_at("sandbox/m/f"), (10, 10))
        uri = f"{world.storage_url}/fireworks-artifacts-sandbox/sandbox/m/f?upload_id={upload_id}"
        span = {"Content-Range": f"bytes 0-{(1 << 20) - 1}/*"}
        assert http.put(uri, data=bytes(1 << 20), headers=span).status_code == 400
    assert world.object_at("sandbox/m/f").body_bytes_read == 0


_WORDS = """GET PUT POST / /v1/accounts/sandbox/models HTTP/1.1 : Host: Content-Length: 0 -1
    Content-Range: bytes */ %00 %ff ? upload_id= X-Goog-Signature= & = { } Transfer-Encoding:"""
WORDS = st.sampled_from([*_WORDS.split(), " ", "\r\n", "\0", "\xff"])


@FUZZ
@given(st.one_of(st.binary(max_size=300), st.lists(WORDS, max_size=30).map("".join)))
def test_no_bytes_at_all_are_too_much_for_a_port(box: Sandbox, request: bytes | str) -> None:
    raw = request.encode("latin-1") if isinstance(request, str) else request
    for url in (box.base_url, box.storage_url):
        answer = answered(url, raw)
        assert not answer or 400 <= status(answer) < 506


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
VALID: dict[str, Any] = {
    "modelId": "m",
    "cluster": "",
    "model": {
        "kind": "HF_BASE_MODEL",
        "displayName": "x",
        "public": False,
        "contextLength": 1,
        "conversationConfig": {"style": "jinja"},
        "deprecationDate": {"year": 2030},
        "baseModelDetails": {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": ["f"]},
        "peftDetails": {"baseModel": "accounts/a/models/m", "r": 8, "targetModules": ["q"]},
        "teftDetails": {},
    },
    "filenameToSize": {"f": 1},
    "enableResumableUpload": True,
    "readMask": "*",
    "precision": "FP8",
    "state": "READY",
    "on": "put",
    "do": "status",
    "status": 503,
    "match": "f",
    "retry_after": 1,
    "clock_skew_s": 1.0,
    "warnings": ["w"],
    "api_key": "fw_sandbox_x",
}


def paths_of(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from paths_of(value, (*path, name))


def changed(document: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    return {**document, path[0]: changed(document[path[0]], path[1:], value)}


CALLS = [
    ("POST", "/v1/accounts/sandbox/models", {"modelId", "cluster", "model"}),
    ("PATCH", "/v1/accounts/sandbox/models/old", {"model"}),
    ("POST", "/v1/accounts/sandbox/models/old:prepare", {"precision", "readMask"}),
    (
        "POST",
        "/v1/accounts/sandbox/models/old:getUploadEndpoint",
        {"filenameToSize", "enableResumableUpload", "readMask"},
    ),
    ("POST", "/_sandbox/models", {"modelId", "model", "state"}),
    ("POST", "/_sandbox/faults", {"on", "do", "status", "match", "retry_after"}),
    ("POST", "/_sandbox/config", {"clock_skew_s", "warnings", "api_key"}),
]


@pytest.mark.parametrize("call", CALLS)
def test_no_json_is_too_much_for_a_call(call: tuple[str, str, set[str]], tmp_path: Path) -> None:
    method, path, names = call
    document: Any = {name: VALID[name] for name in sorted(names)}
    if method == "PATCH":
        document = VALID["model"]
    where = sorted(paths_of(document))

    @FUZZ
    @given(st.sampled_from(where), JSON)
    def fuzz(place: tuple[str, ...], value: Any) -> None:
        world = World(data_dir=tmp_path)
        world.config.landing_polls = 0
        token = world.doors.control_token if path.startswith("/_") else world.config.api_key
        headers = {"Authorization": f"Bearer {token}"}
        with requests.Session() as http:
            http.mount("http://", InProcessAdapter(world))
            base = f"{world.base_url}{path}"
            body = json.dumps(changed(document, place, value))
            body = f"[{body}]" if path.endswith("/faults") else body
            seed = {"Authorization": f"Bearer {world.doors.control_token}"}
            old = {"modelId": "old", "state": "READY" if "prepare" in path else "UPLOADING"}
            assert http.post(f"{world.base_url}/_sandbox/models", json=old, headers=seed).ok
            answer = http.request(method, base, data=body, headers=headers)
            assert answer.status_code in (200, 400, 404, 409)
            assert answer.json() is not None
            assert http.get(f"{world.base_url}/_sandbox/report", headers=seed).ok

    fuzz()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@FUZZ
@given(
    st.sampled_from(["filter", "orderBy", "pageToken", "pageSize", "readMask"]),
    st.one_of(
        TEXT,
        st.lists(
            st.sampled_from(["state", "=", "READY", "AND", ".", "-", "1", "desc", "name", ",", "*"])
        ).map(" ".join),
    ),
)
def test_no_query_is_too_much_for_a_list(tmp_path: Path, name: str, value: str) -> None:
    world = World(data_dir=tmp_path)
    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(world))
        headers = {"Authorization": f"Bearer {world.config.api_key}"}
        for path in ("/models", "", "/models/old"):
            url = f"{world.base_url}/v1/accounts/sandbox{path}?{name}={quote(value)}"
            assert http.get(url, headers=headers).status_code in (200, 400, 404)


RANGES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.lists(st.sampled_from(["bytes ", "0", "-", "/", "*", "9" * 25, "262143", "262144"])).map(
        "".join
    ),
)


@FUZZ
@given(RANGES, RANGES, st.binary(max_size=20), st.sampled_from(["PUT", "POST", "DELETE", "GET"]))
def test_no_range_is_too_much_for_a_session(
    tmp_path: Path, content_range: str, hashes: str, body: bytes, method: str
) -> None:
    world = World(data_dir=tmp_path)
    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(world))
        upload_id = world.new_session(world.object_at("sandbox/m/f"), (20, 20))
        uri = f"{world.storage_url}/fireworks-artifacts-sandbox/sandbox/m/f?upload_id={upload_id}"
        headers = {"Content-Range": content_range.strip(), "x-goog-hash": hashes.strip()}
        answer = http.request(method, uri, data=body, headers=headers, allow_redirects=False)
        assert answer.status_code in (200, 308, 400, 404, 405, 410, 411, 499, 503)


QUERIES = st.dictionaries(
    st.sampled_from(
        ["X-Goog-Signature", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders", "upload_id"]
    ),
    TEXT,
)


@FUZZ
@given(QUERIES, TEXT, st.sampled_from(["PUT", "POST", "DELETE", "GET"]))
def test_no_signature_is_too_much_for_storage(
    tmp_path: Path, query: dict[str, str], key: str, method: str
) -> None:
    world = World(data_dir=tmp_path)
    with requests.Session() as http:
        http.mount("http://", InProcessAdapter(world))
        query = {"X-Goog-SignedHeaders": "host"} | query
        text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        url = f"{world.storage_url}/fireworks-artifacts-sandbox/{quote(key)}?{text}"
        assert http.request(method, url).status_code in (400, 403, 404, 405)
    assert list(tmp_path.iterdir()) == []


def test_a_body_of_countless_values_is_refused_before_it_is_parsed(box: Sandbox) -> None:
    body = b"[" + b"[]," * 400_000 + b"[]]"
    authorized = {"Authorization": f"Bearer {box.api_key}"}
    address = f"{box.base_url}/v1/accounts/sandbox/models"
    with requests.Session() as http:
        http.trust_env = False
        answer = http.post(address, data=body, headers=authorized, timeout=DEADLINE_S)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "model",
    [
        {"baseModelDetails": {"huggingfaceFiles": 5}},
        {"baseModelDetails": {"huggingfaceFiles": "config.json"}},
        {"baseModelDetails": {"huggingfaceFiles": [5, "a"]}},
        {"baseModelDetails": 5},
        {"baseModelDetails": {"worldSize": []}},
        {"peftDetails": {"targetModules": 1}},
        {"kind": 5},
        {"kind": ["HF_BASE_MODEL"]},
        {"public": "yes"},
        {"contextLength": -1},
        {"description": {}},
    ],
)
def test_a_seeded_model_whose_values_are_of_other_types_is_refused(model: dict[str, Any]) -> None:
    world = World()
    with pytest.raises(ValueError, match=r"wrong type|not a list of names"):
        seed_model(world, {"modelId": "m", "model": model})
    assert not world.models


def test_a_seeded_model_may_lack_what_create_wants() -> None:
    seed_model(World(), {"modelId": "m", "model": {"baseModelDetails": None, "unknown": [1]}})


def test_the_body_of_a_stranger_is_not_read(box: Sandbox) -> None:
    address = f"{box.base_url}/v1/accounts/sandbox/models"
    with requests.Session() as http, patch.object(control, "read_json") as read:
        http.trust_env = False
        answer = http.post(address, data=b"{}", headers={"Authorization": "Bearer no"}, timeout=9)
    assert answer.status_code == 403
    read.assert_not_called()


def opened(url: str) -> socket.socket:
    split = urlsplit(url)
    return socket.create_connection((split.hostname, split.port), timeout=DEADLINE_S)


def is_closed(connection: socket.socket) -> bool:
    """Its other side has ended it; raises TimeoutError if that does not happen."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_silent_connections_keep_nobody_out(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        silent = [stack.enter_context(opened(box.base_url)) for _ in range(20)]
        assert all(is_closed(one) for one in silent[:12])
        for _ in range(10):
            assert status(answered(box.base_url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == 421


def test_half_a_body_keeps_nobody_out(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 3)
    host = urlsplit(box.base_url).netloc.encode()
    with ExitStack() as stack:
        for _ in range(3):
            busy = stack.enter_context(opened(box.base_url))
            busy.sendall(b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n\r\na" % host)
            assert busy.recv(12) == b"HTTP/1.1 404"
        for _ in range(3):
            assert status(answered(box.base_url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == 421


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: lo"])
def test_who_does_not_finish_a_head_is_cut_off(
    box: Sandbox, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "HEAD_S", 0.3)
    with opened(box.base_url) as one:
        one.sendall(begun)
        assert is_closed(one)


def test_who_is_being_answered_is_not_ended_for_others(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread waits for the body, so that it does not count as silent."""
    monkeypatch.setattr(sockets, "MAX_CONNECTIONS", 3)
    key = box.world.config.api_key.encode()
    host = urlsplit(box.base_url).netloc.encode()
    head = b"POST /v1/accounts/a/models HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
    with ExitStack() as stack:
        busy = stack.enter_context(opened(box.base_url))
        busy.sendall(head % (host, key) + b"Content-Length: 2\r\n\r\n{")
        server, deadline = box._servers[0], time.monotonic() + DEADLINE_S
        while not server._live or server._silent:  # until its head was read
            assert time.monotonic() < deadline
        silent = [stack.enter_context(opened(box.base_url)) for _ in range(6)]
        assert all(is_closed(one) for one in silent[:3])
        busy.sendall(b"}")
        assert busy.recv(12).startswith(b"HTTP/1.1 4")
