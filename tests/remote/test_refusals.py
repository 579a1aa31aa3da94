from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import requests

from tests.remote.conftest import Serve
from tests.remote.scripted import HandClock, Reply
from uploader.core.errors import RemoteError
from uploader.core.verdict import CONTROL, STORAGE, Call, Verdict
from uploader.remote.middle_box import is_middle_box
from uploader.remote.reach import server_time
from uploader.remote.refusals import json_object, refusal
from uploader.remote.sockets import SocketAdapter

NOW = HandClock().now()
HTML = b"<html><style>b{}</style><body><h1>Bad &amp; busy</h1></body></html>"
EXPIRED = (
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Too late.</Message></Error>"
)
NO_UPLOAD = b"<Error><Code>NoSuchUpload</Code></Error>"
SIGNATURE = b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>"


def answer(status: int, body: Any = b"", **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response.headers.update({name.replace("_", "-"): text for name, text in headers.items()})
    return response


def nested(code: object, message: str = "m") -> dict[str, Any]:
    return {"error": {"message": message, "param": None, "code": code, "type": "error"}}


SHAPES: list[tuple[Call, int, Any, Verdict, str]] = [
    (Call.GET, 404, {"code": 5, "details": [], "message": "m"}, Verdict.ABSENT, "model_gone"),
    (Call.GET, 404, nested("NOT_FOUND"), Verdict.ABSENT, "model_gone"),
    (Call.GET, 404, b"", Verdict.TRANSIENT, "middle_box"),
    (Call.URLS, 404, b"404 page not found", Verdict.TRANSIENT, "middle_box"),
    (Call.VALIDATE, 404, {"message": "no Route matched"}, Verdict.TRANSIENT, "middle_box"),
    (Call.DELETE, 404, {"status": 404, "error": "Not Found"}, Verdict.TRANSIENT, "middle_box"),
    (Call.GET, 403, nested("UNAUTHORIZED"), Verdict.BLOCKED, "key_rejected"),
    (Call.GET, 403, {"error": "The API key is invalid"}, Verdict.BLOCKED, "key_rejected"),
    (Call.GET, 403, {"code": 7, "message": "not yours"}, Verdict.BLOCKED, "permission"),
    (Call.GET, 401, {"message": "who are you"}, Verdict.BLOCKED, "key_rejected"),
    (Call.GET, 401, b"who are you", Verdict.TRANSIENT, "middle_box"),
    (Call.CREATE, 403, b"", Verdict.TRANSIENT, "middle_box"),
    (Call.GET, 402, {"message": "pay"}, Verdict.BLOCKED, "account_suspended"),
    (Call.GET, 402, b"Payment Required", Verdict.TRANSIENT, "middle_box"),
    (Call.CREATE, 421, b"", Verdict.TRANSIENT, "unavailable"),
    (Call.URLS, 425, b"Too Early", Verdict.TRANSIENT, "unavailable"),
    (Call.PUT, 421, b"", Verdict.TRANSIENT, "unavailable"),
    (Call.QUERY, 425, b"", Verdict.TRANSIENT, "unavailable"),
    (Call.URLS, 412, {"message": "account is suspended"}, Verdict.BLOCKED, "account_suspended"),
    (Call.VALIDATE, 400, {"code": 9, "message": "billing"}, Verdict.BLOCKED, "account_suspended"),
    (Call.CREATE, 429, {"code": 8, "message": "LoRA quota"}, Verdict.BLOCKED, "quota"),
    (Call.CREATE, 429, {"code": 8, "message": "slow"}, Verdict.THROTTLED, "throttled"),
    (Call.GET, 429, HTML, Verdict.THROTTLED, "throttled"),
    (Call.GET, 503, HTML, Verdict.TRANSIENT, "unavailable"),
    (Call.GET, 599, b"", Verdict.TRANSIENT, "unavailable"),
    (
        Call.GET,
        500,
        {"error": {"code": 500, "status": "INTERNAL"}},
        Verdict.TRANSIENT,
        "unavailable",
    ),
    (Call.CREATE, 409, {"code": "6", "message": "m"}, Verdict.EXISTS, "already_exists"),
    (Call.CREATE, 400, {"code": 6, "message": "m"}, Verdict.EXISTS, "already_exists"),
    (Call.URLS, 405, b"Method Not Allowed", Verdict.EXISTS, "already_exists"),
    (Call.CREATE, 400, {"code": 3, "message": "bad r"}, Verdict.FAILED, "refused"),
    (Call.CREATE, 302, b"", Verdict.FAILED, "refused"),
    (Call.VALIDATE, 400, {"code": 9, "message": "landing"}, Verdict.NOT_YET, "validating"),
    (Call.VALIDATE, 400, nested("FAILED_PRECONDITION"), Verdict.NOT_YET, "validating"),
    (Call.VALIDATE, 400, nested(9), Verdict.NOT_YET, "validating"),
    (Call.VALIDATE, 400, {"status": "FAILED_PRECONDITION"}, Verdict.NOT_YET, "validating"),
    (
        Call.VALIDATE,
        400,
        {"error": {"status": "failed_precondition"}},
        Verdict.NOT_YET,
        "validating",
    ),
    (Call.VALIDATE, 400, {"error": "FAILED_PRECONDITION: wait"}, Verdict.NOT_YET, "validating"),
    (Call.VALIDATE, 400, b"rpc error: FAILED_PRECONDITION", Verdict.NOT_YET, "validating"),
    (
        Call.VALIDATE,
        400,
        {"details": [{"reason": "FAILED_PRECONDITION"}]},
        Verdict.NOT_YET,
        "validating",
    ),
    (Call.VALIDATE, 412, b"", Verdict.NOT_YET, "validating"),
    (Call.VALIDATE, 400, {"code": 3, "message": "no config"}, Verdict.FAILED, "refused"),
    (Call.START, 400, EXPIRED, Verdict.URL_EXPIRED, "url_expired"),
    (Call.START, 403, SIGNATURE, Verdict.START_REFUSED, "start_refused"),
    (Call.START, 501, b"", Verdict.START_REFUSED, "start_refused"),
    (Call.PUT, 403, SIGNATURE, Verdict.URL_EXPIRED, "url_expired"),
    (Call.PUT, 400, SIGNATURE, Verdict.FAILED, "refused"),
    (Call.DATA, 404, NO_UPLOAD, Verdict.SESSION_GONE, "session_gone"),
    (Call.QUERY, 410, NO_UPLOAD, Verdict.SESSION_GONE, "session_gone"),
    (Call.DATA, 503, b"content-range is ahead", Verdict.TRANSIENT, "unavailable"),
    (Call.DATA, 412, b"<Error><Code>PreconditionFailed</Code></Error>", Verdict.FAILED, "refused"),
    *(
        (Call.DATA, status, b"no", Verdict.TRANSIENT, "middle_box")
        for status in (400, 401, 403, 412)
    ),
    (Call.GET, 418, [1, 2], Verdict.FAILED, "refused"),
    (Call.GET, 400, {"error": {"details": "x", "code": True}}, Verdict.FAILED, "refused"),
    (Call.GET, 400, b"[" * 60000, Verdict.FAILED, "refused"),
    (Call.GET, 400, b"\xff\xfe\x00", Verdict.FAILED, "refused"),
]


@pytest.mark.parametrize(("call", "status", "body", "verdict", "code"), SHAPES)
def test_every_shape_of_error_is_read(
    call: Call, status: int, body: Any, verdict: Verdict, code: str
) -> None:
    error = refusal(call, answer(status, body), NOW)
    assert (error.verdict, error.code, error.call) == (verdict, code, call)
    assert error.status == status
    assert "\n" not in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize(
    "name",
    [
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "UNAUTHORIZED",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
    ],
)
@pytest.mark.parametrize("call", [Call.CREATE, Call.URLS, Call.VALIDATE])
@pytest.mark.parametrize("in_json", [False, True])
def test_words_of_a_folder_that_an_answer_repeats_do_not_outweigh_its_status(
    call: Call, name: str, in_json: bool
) -> None:
    words = f"the architecture {name} is not supported"
    body = {"error": words} if in_json else words.encode()
    assert refusal(call, answer(400, body), NOW).verdict is Verdict.FAILED


@pytest.mark.parametrize("status", [99, 299, 499, 599, 999])
def test_a_status_that_nobody_knows_is_read(status: int) -> None:
    assert refusal(Call.GET, answer(status, b"FAILED_PRECONDITION"), NOW).status == status


@pytest.mark.parametrize("code", ["key_rejected", "quota", "throttled", "model_gone"])
def test_what_a_person_can_cure_has_a_hint(code: str) -> None:
    row = next(row for row in SHAPES if row[4] == code)
    assert refusal(row[0], answer(row[1], row[2]), NOW).hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("99999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 999_999_999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert refusal(Call.GET, answer(429, Retry_After=text), NOW).retry_after_s == seconds


def test_words_are_cut_to_one_line() -> None:
    error = refusal(Call.GET, answer(400, {"message": "a\n b\r\n" * 500}), NOW)
    assert error.message.startswith("get model was answered 400: a b a b")
    assert len(error.message) < 400


def test_pages_of_balancers_lose_their_tags() -> None:
    assert refusal(Call.GET, answer(502, HTML), NOW).message.endswith("502: Bad & busy")


def test_an_answer_without_words_gives_its_phrase() -> None:
    assert refusal(Call.GET, answer(502), NOW).message.endswith("502: Bad Gateway")
    assert refusal(Call.GET, answer(599), NOW).message.endswith("599: no words")


def test_what_the_request_carried_is_masked_where_the_server_echoes_it() -> None:
    response = answer(400, b"key CANARYKEY sig CANARYSIG of https://h/o?X-Goog-Signature=CANARYSIG")
    response.request = requests.Request(
        "PUT",
        "https://h/o?X-Goog-Signature=CANARYSIG",
        headers={"Authorization": "Bearer CANARYKEY"},
    ).prepare()
    assert "CANARY" not in refusal(Call.GET, response, NOW).message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_success_that_is_not_a_json_object_is_transient(body: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        json_object(Call.GET, answer(200, body))
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("wide", ["\N{GRINNING FACE}", "\\ud83d\\ude00", "\\uDBFF\\uDFFF"])
def test_no_long_answer_takes_four_times_its_bytes_for_one_character(wide: str) -> None:
    short, long = (f'{{"a": "{wide}{"a" * count}"}}'.encode() for count in (1000, 9_000_000))
    assert json_object(Call.GET, answer(200, short)).keys() == {"a"}
    with pytest.raises(RemoteError, match="four times as long") as caught:
        json_object(Call.GET, answer(200, long))
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


def test_a_long_answer_may_be_of_any_language() -> None:
    body = f'{{"a": "é猫\\u0026{"a" * 9_000_000}"}}'.encode()
    assert json_object(Call.GET, answer(200, body))["a"].startswith("é猫&a")


@pytest.mark.parametrize(
    ("kind", "verdict"), [("json", Verdict.TRANSIENT), ("text", Verdict.FAILED)]
)
def test_a_refusal_cut_in_mid_json_is_asked_again(kind: str, verdict: Verdict) -> None:
    response = answer(400, b'{"code": 9, "mess', Content_Type=f"application/{kind}")
    assert refusal(Call.VALIDATE, response, NOW).verdict is verdict


# -- something on the way ------------------------------------------------------------------

PAGE = b"<!DOCTYPE html><html><body>Blocked by your network</body></html>"


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 407, 410, 451, 511])
@pytest.mark.parametrize("call", sorted(STORAGE))
@pytest.mark.parametrize("headers", [{}, {"Content_Type": "text/html"}, {"Server": "squid"}])
def test_a_page_that_is_not_of_the_storage_service_ends_nothing(
    call: Call, status: int, headers: dict[str, str]
) -> None:
    error = refusal(call, answer(status, PAGE, **headers), NOW)
    assert (error.verdict, error.code) == (Verdict.TRANSIENT, "middle_box")
    assert "by a proxy or firewall on the way" in error.message
    assert "Blocked by your network" in error.message


@pytest.mark.parametrize("status", [403, 511])
@pytest.mark.parametrize("call", sorted(CONTROL))
def test_a_page_of_a_box_on_the_way_says_nothing_about_the_key(call: Call, status: int) -> None:
    error = refusal(call, answer(status, PAGE), NOW)
    assert (error.verdict, error.code) == (Verdict.TRANSIENT, "middle_box")


RESUMED = (Call.DATA, Call.QUERY)
#: The calls that are made once another call has shown that the base URL is right.
LATER = sorted(CONTROL - {Call.CREATE, Call.VERIFY})


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 308, 400, 401, 404, 405, 407, 511])
@pytest.mark.parametrize("call", LATER)
def test_a_page_says_nothing_about_a_model_that_was_created(call: Call, status: int) -> None:
    error = refusal(call, answer(status, PAGE), NOW)
    assert (error.verdict, error.code) == (Verdict.TRANSIENT, "middle_box")


@pytest.mark.parametrize(
    ("body", "headers", "wait_s"),
    [
        (PAGE, {}, 120.0),
        (PAGE, {"X_Request_Id": "r"}, 3600.0),
        (b'{"code": 8, "message": "slow down"}', {}, 3600.0),
    ],
)
def test_a_page_keeps_all_jobs_waiting_for_two_minutes_at_most(
    body: bytes, headers: dict[str, str], wait_s: float
) -> None:
    error = refusal(Call.GET, answer(429, body, Retry_After="3600", **headers), NOW)
    assert (error.verdict, error.retry_after_s) == (Verdict.THROTTLED, wait_s)


@pytest.mark.parametrize("status", [302, 303, 307, 407, 511])
@pytest.mark.parametrize("call", sorted({*STORAGE, *LATER}))
def test_neither_service_redirects_or_asks_for_a_password_of_a_proxy(
    call: Call, status: int
) -> None:
    assert is_middle_box(call, answer(status))


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("call", sorted({*STORAGE, *CONTROL}))
def test_a_success_in_html_comes_from_a_box_on_the_way(call: Call, status: int) -> None:
    assert is_middle_box(call, answer(status, PAGE, Content_Type="text/html"))


@pytest.mark.parametrize("call", RESUMED)
@pytest.mark.parametrize(
    ("location", "box"),
    [
        ("https://storage.example/s?upload_id=U", False),
        ("/s?upload_id=U", False),
        ("https://portal.example/login", True),
        ("/login", True),
        ("http://[", True),
    ],
)
def test_a_308_that_leads_elsewhere_is_a_redirect_and_no_offset(
    call: Call, location: str, *, box: bool
) -> None:
    found = answer(308, Location=location)
    found.url = "https://storage.example/s?upload_id=U"
    assert is_middle_box(call, found) is box
    found.headers["Range"] = "bytes=0-99"
    assert not is_middle_box(call, found)


def test_the_control_plane_itself_is_believed() -> None:
    error = refusal(Call.GET, answer(403, PAGE, x_request_id="r-1"), NOW)
    assert error.verdict is Verdict.BLOCKED


@pytest.mark.parametrize(("status", "wait_s"), [(429, 7.0), (503, 7.0)])
@pytest.mark.parametrize("call", sorted(STORAGE))
def test_a_wish_of_a_box_on_the_way_is_honoured_like_the_services(
    call: Call, status: int, wait_s: float
) -> None:
    error = refusal(call, answer(status, PAGE, Retry_After="7"), NOW)
    assert (error.verdict, error.code) == (Verdict.TRANSIENT, "unavailable")
    assert error.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("date", "known"),
    [
        ("Sun, 22 Nov 2026 12:00:00 GMT", True),
        ("Sun, 22 Nov 2026 12:00:00 -0000", True),
        ("Sun, 22 Nov 2026 12:00:00", True),
        ("Sun, 22 Nov 2026 12:00:00 +9999", False),
        ("Sun, 22 Nov 99999 12:00:00 GMT", False),
        ("now", False),
    ],
)
def test_a_servers_time_can_be_compared_or_there_is_none(
    serve: Serve, adapter: SocketAdapter, date: str, known: bool
) -> None:
    found = server_time(serve(Reply(200, {"Date": date})).base, adapter)
    assert (found is not None) is known
    assert found is None or abs(found - NOW) < timedelta(days=36_500)
