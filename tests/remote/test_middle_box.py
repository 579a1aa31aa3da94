"""What the storage service is believed to have said, and what anybody on the way may have said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.remote.test_refusals import NOW, PAGE, answer
from uploader.core.verdict import SESSION, STORAGE, Call, Verdict
from uploader.remote.middle_box import is_middle_box
from uploader.remote.refusals import refusal

OBJECT = {"kind": "storage#object", "name": "o", "size": "7", "generation": "1"}
XML = b"<?xml version='1.0'?><Error><Code>NoSuchUpload</Code><Message>No.</Message></Error>"
#: Any of these is on each answer of the service.
STAMPS = [{"x_guploader_uploadid": "U"}, {"Server": "UploadServer"}, {"x_goog_request_id": "r"}]
#: What a gateway may say to everything.
BARE: list[tuple[Any, dict[str, str]]] = [
    (b"", {}),
    (b"", {"Content_Type": "text/html; charset=UTF-8"}),
    (b"OK", {"Content_Type": "text/plain"}),
    (b"default backend", {"Server": "nginx"}),
    ({}, {"Content_Type": "application/json"}),
    ({"status": "ok"}, {"Content_Type": "application/json"}),
    ({"name": "gateway", "id": "1"}, {"Content_Type": "application/json"}),
    ({"kind": "Status", "code": 404, "message": "m"}, {"Content_Type": "application/json"}),
    ({"message": "no Route matched with those values"}, {"Content_Type": "application/json"}),
    ([1], {"Content_Type": "application/json"}),
    (b"{" * 60_000, {"Content_Type": "application/json"}),
]


@pytest.mark.parametrize("status", [200, 201, 404, 410])
@pytest.mark.parametrize("call", sorted(STORAGE))
@pytest.mark.parametrize(("body", "headers"), BARE)
def test_a_success_or_an_end_without_anything_of_the_storage_service_is_a_boxs(
    call: Call, status: int, body: Any, headers: dict[str, str]
) -> None:
    error = refusal(call, answer(status, body, **headers), NOW)
    assert (error.verdict, error.code) == (Verdict.TRANSIENT, "middle_box")


@pytest.mark.parametrize("status", [200, 201, 404, 410])
@pytest.mark.parametrize("call", sorted(STORAGE))
@pytest.mark.parametrize("body", [b"", PAGE, b"Not Found"])
@pytest.mark.parametrize("stamp", STAMPS)
def test_one_header_of_the_storage_service_is_enough(
    call: Call, status: int, body: bytes, stamp: dict[str, str]
) -> None:
    assert not is_middle_box(call, answer(status, body, **stamp))


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("call", sorted(STORAGE))
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {"x_goog_hash": "crc32c=AAAAAA=="}),
        (b"", {"x_goog_stored_content_length": "7"}),
        (b"", {"X_Goog_Generation": "1"}),
        (b"", {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}),
        (b"", {"ETag": "CJiF2eXh"}),
        (b"", {"ETag": '"-CKih16GjycICEAE="'}),
        (b"", {"ETag": '"d41d8cd98f00b204e9800998ecf8427e-12"'}),
        (b"", {"ETag": '"0x8DBF1B2C3D4E5F6"'}),
        (OBJECT, {"Content_Type": "application/json; charset=UTF-8"}),
        ({"size": "0"}, {"Content_Type": "application/json"}),
        ({"crc32c": "AAAAAA=="}, {"Content_Type": "application/json"}),
        ({"generation": "1"}, {"Content_Type": "application/json"}),
    ],
)
def test_a_success_that_describes_an_object_is_the_storage_services(
    call: Call, status: int, body: Any, headers: dict[str, str]
) -> None:
    assert not is_middle_box(call, answer(status, body, **headers))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"OK", {"ETag": 'W/"2-nOO9QiTIwXgNtWtBJezz8kv3SLc"'}),
        (b"OK\n", {"Content_Type": "text/plain", "ETag": '"3-60f1c2a7b4e80"'}),
        (b"", {"Server": "nginx", "ETag": '"65a502a0-0"'}),
        (b"", {"Server": "Apache", "ETag": '"0-60f1c2a7b4e80"'}),
        (b"", {"Server": "Caddy", "ETag": '"sbv2k10"'}),
        (b"", {"ETag": 'W/"d41d8cd98f00b204e9800998ecf8427e"'}),
        (b"", {"ETag": '"3456789012"'}),
        (PAGE, {"ETag": '"5f3e"'}),
        (PAGE, {"x_goog_iap_generated_response": "true"}),
    ],
)
def test_what_a_gateway_puts_on_answers_of_its_own_is_no_proof(
    body: bytes, headers: dict[str, str]
) -> None:
    assert is_middle_box(Call.DATA, answer(200, body, **headers))


@pytest.mark.parametrize("status", [200, 201])
def test_only_a_start_is_shown_by_a_location(status: int) -> None:
    headers = {"Location": "https://storage.example/o?upload_id=U"}
    assert not is_middle_box(Call.START, answer(status, **headers))
    assert is_middle_box(Call.DATA, answer(status, **headers))


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("call", sorted(SESSION))
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (XML, {}),
        (XML, {"Content_Type": "application/xml; charset=UTF-8"}),
        ({"error": {"code": 404, "message": "Not Found"}}, {"Content_Type": "application/json"}),
        ({"error": {"code": 410, "message": "Gone"}}, {}),
        (b"Not Found", {"x_goog_hash": "crc32c=AAAAAA=="}),
    ],
)
def test_a_refusal_in_a_shape_of_the_storage_service_ends_a_session(
    call: Call, status: int, body: Any, headers: dict[str, str]
) -> None:
    if isinstance(body, dict):
        body["error"]["code"] = status
    assert refusal(call, answer(status, body, **headers), NOW).verdict is Verdict.SESSION_GONE


@pytest.mark.parametrize("call", sorted(SESSION))
def test_nobody_but_the_storage_service_says_that_a_session_was_cancelled(call: Call) -> None:
    assert refusal(call, answer(499), NOW).verdict is Verdict.SESSION_GONE


@pytest.mark.parametrize("call", [Call.DATA, Call.QUERY])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"", {"Content_Type": "text/html; charset=UTF-8"}),  # as the service itself sends it
        (PAGE, {"x_guploader_uploadid": "U"}),
    ],
)
def test_a_308_needs_nothing_that_shows_who_gave_it(
    call: Call, body: bytes, headers: dict[str, str]
) -> None:
    assert not is_middle_box(call, answer(308, body, **headers))
