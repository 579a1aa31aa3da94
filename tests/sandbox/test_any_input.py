"""No bytes, JSON, query, range or signature is too much: each is answered, none ends a thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.raw import answered, status
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import World

FUZZ = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


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
