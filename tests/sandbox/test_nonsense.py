"""Nonsense is refused in words: no traceback, no hang, no answer below 400."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import requests

from tests.sandbox.raw import DEADLINE_S, answered, head, status
from uploader.sandbox import control
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sandbox.seeding import seed_model
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import World

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
