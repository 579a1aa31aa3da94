"""A server's words may be anything: they are read in linear time, and nothing secret stays."""

from __future__ import annotations

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.linear import assert_linear
from tests.remote.test_refusals import NOW, answer
from uploader.core.verdict import Call, Verdict
from uploader.remote.refusals import refusal
from uploader.remote.words import json_value, kept, plain_words, request_id, secrets_of

#: A key in no form that a pattern knows.
ECHOED = "Zq8XkLm2Vw9RtYp4HsJd7NfB3GcT6a1E"

UNITS = ["<", ">", "<Code>", "</Code>", "<Code></Code>", "<style>", "<script", "</style>", "&",
         "&#", "&#9", "&lt;", "[", "{", '{"a":', '"', "\\", "\\u0041", "A", "A_", "_", " ", "\n",
         "?", "%", "\0", "é", "9", "-", "<![CDATA[", "<!--", "upload_id=", "Bearer "]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_every_kind_of_words_is_read_in_linear_time(unit: str) -> None:
    assert_linear(plain_words, unit)
    assert_linear(json_value, unit)
    assert_linear(kept, unit)
    assert_linear(lambda text: refusal(Call.GET, answer(400, text.encode()), NOW), unit)
    assert_linear(lambda text: refusal(Call.GET, answer(400, {"message": text}), NOW), unit)
    assert_linear(lambda text: refusal(Call.GET, answer(429, Retry_After=text), NOW), unit)
    assert_linear(lambda text: request_id(answer(400, x_request_id=text)), unit)


@given(st.text() | st.text(alphabet="<>/&#;CodeMsag9xX \n\"'[]{}:,"))
def test_any_words_are_read_without_an_error(text: str) -> None:
    for status in (200, 400, 403, 429, 500):
        error = refusal(Call.DATA, answer(status, text.encode("utf-8", "replace")), NOW)
        assert len(error.message) < 600
        assert error.message.isprintable() or not text.isprintable()


def test_a_number_of_many_digits_in_an_entity_is_not_an_error() -> None:
    assert plain_words("see &#" + "9" * 60_000 + ";").startswith("see ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<Error><Code>A</Code><Message>b &amp; c</Message></Error>", "A: b & c"),
        ("<Error><Message>b</Message><Code>A</Code><Details>b</Details></Error>", "b: A"),
        ("<Code>A<Message>b</Message>", "b"),
        ("<html><script>x<y>z</script><p>Busy</p><style>p{}</style> now</html>", "Busy"),
        ("1 < 2 and so on", "1 < 2 and so on"),
        ("plain", "plain"),
    ],
)
def test_markup_gives_its_words(text: str, words: str) -> None:
    assert plain_words(text).split()[: len(words.split())] == words.split()


def _error_info(reason: str, **body: object) -> dict[str, object]:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return body | {"details": [{"@type": kind, "reason": reason, "domain": "fireworks.ai"}]}


@pytest.mark.parametrize(
    ("call", "status", "body", "verdict"),
    [
        (Call.GET, 400, _error_info("API_KEY_INVALID", code=3), Verdict.BLOCKED),
        (Call.GET, 400, {"error": _error_info("API_KEY_INVALID", code=400)}, Verdict.BLOCKED),
        (Call.GET, 403, _error_info("RATE_LIMIT_EXCEEDED", code=7), Verdict.BLOCKED),
        (Call.GET, 400, _error_info("RATE_LIMIT_EXCEEDED", code=3), Verdict.THROTTLED),
        (Call.VALIDATE, 400, _error_info("FAILED_PRECONDITION", code=3), Verdict.NOT_YET),
        (Call.VALIDATE, 400, _error_info("SOMETHING_NEW", code=9), Verdict.NOT_YET),
        (Call.VALIDATE, 400, {"code": 9, "details": "x"}, Verdict.NOT_YET),
        (Call.VALIDATE, 400, {"code": 9, "details": [7, {"reason": 7}]}, Verdict.NOT_YET),
    ],
)
def test_the_reason_of_an_error_info_counts_before_the_code(
    call: Call, status: int, body: object, verdict: Verdict
) -> None:
    assert refusal(call, answer(status, body), NOW).verdict is verdict


@pytest.mark.parametrize("header", ["x-request-id", "x-fireworks-request-id", "cf-ray"])
def test_a_refusal_names_the_request_for_support(header: str) -> None:
    response = answer(403, {"message": "no"})
    response.headers[header] = "8f3a-77"
    assert refusal(Call.GET, response, NOW).message.endswith("403: no (request 8f3a-77)")


@pytest.mark.parametrize(("status", "code"), [(400, 9), (503, 14), (429, 8)])
def test_what_is_asked_again_is_not_news_each_time(status: int, code: int) -> None:
    response = answer(status, {"code": code, "message": "landing"}, x_request_id="8f3a-77")
    assert "8f3a" not in refusal(Call.VALIDATE, response, NOW).message


def test_a_session_without_a_query_is_known_by_the_end_of_its_path() -> None:
    response = answer(400, b"no such upload CANARY-0123456789")
    response.request = requests.Request("PUT", "https://h/upload/CANARY-0123456789").prepare()
    assert "CANARY" not in refusal(Call.DATA, response, NOW).message
    assert "CANARY" not in kept("at https%3A%2F%2Fh%2Fupload%2FCANARY-0123456789", response)


@pytest.mark.parametrize("end", ["", "/", "//", "?", "/?", "?a=1", "/?upload_id=", "#x"])
def test_whatever_else_is_in_its_address_that_end_is_known(end: str) -> None:
    response = answer(400, b"")
    response.request = requests.Request(
        "PUT", f"https://h/upload/CANARY%2F0123456789{end}"
    ).prepare()
    for spelled in ("CANARY%2F0123456789", "CANARY/0123456789", "canary%252f0123456789"):
        assert "canary" not in kept(f"no such upload: {spelled}", response).lower()
    assert "canary" not in kept(f"at {response.request.url}", response).lower()
    assert "upload" in kept("upload not found", response)


def test_a_word_of_an_api_is_no_sessions_id() -> None:
    response = answer(400, b"")
    response.request = requests.Request("PUT", "https://h/upload/storage/v1/b/x/o?name=y").prepare()
    assert kept("no object of that name", response) == "no object of that name"


def test_the_parts_of_a_path_with_a_signature_stay_readable() -> None:
    response = answer(400, b"model.safetensors is too long")
    url = "https://h/b/model.safetensors?X-Goog-Signature=CANARY0123"
    response.request = requests.Request("PUT", url).prepare()
    assert "model.safetensors" in refusal(Call.PUT, response, NOW).message
    assert secrets_of(response.request) == (url, "X-Goog-Signature=CANARY0123", "CANARY0123")


def test_the_storage_services_id_of_a_request_is_a_sessions_id_and_not_repeated() -> None:
    response = answer(403, {"message": "no"}, X_GUploader_UploadID="CANARY-0123456789")
    assert "CANARY" not in refusal(Call.DATA, response, NOW).message


@pytest.mark.parametrize("at", [4096, 8192, 64 * 1024])
def test_no_cut_on_the_way_lets_the_rest_of_a_key_through(at: int) -> None:
    key = "fw_CANARY0123456789"
    echoed = key.encode().hex()
    body = b"bad" + b" " * (at - 3 - len(echoed) + 1) + echoed.encode()
    response = answer(400, body)
    bearer = {"Authorization": f"Bearer {key}"}
    response.request = requests.Request("GET", "https://h/v1", headers=bearer).prepare()
    assert echoed[:12] not in refusal(Call.GET, response, NOW).message


@pytest.mark.parametrize("spelled", [ECHOED, ECHOED.encode().hex()], ids=["as it is", "hex"])
def test_a_cut_of_what_gets_shorter_afterwards_lets_no_part_of_a_key_through(spelled: str) -> None:
    """Without its tags, nobody would see that it was cut."""
    tags = (64 * 1024 - len(spelled) // 2) // 3
    response = answer(409, f"{'<b>' * tags}{spelled} the end".encode())
    response.request = requests.Request(
        "GET", "https://api.fireworks.ai/v1/x", headers={"Authorization": f"Bearer {ECHOED}"}
    ).prepare()
    assert spelled[:8] not in refusal(Call.CREATE, response, NOW).message
