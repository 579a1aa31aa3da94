"""The control plane: what is asked, how answers are read, and the gate before it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from tests.remote.conftest import Serve
from tests.remote.scripted import HandClock, Reply, Server
from uploader.core.errors import JobRefused, RemoteError, UploaderError
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey
from uploader.core.remote_model import VALIDATE_S, RemoteModel
from uploader.core.resumable import UrlKind
from uploader.core.retry import Backoff
from uploader.core.verdict import Call, Verdict
from uploader.remote import fireworks
from uploader.remote.fireworks import Fireworks, pair
from uploader.remote.gate import Gate
from uploader.remote.sockets import SocketAdapter
from uploader.remote.words import kept

BARE = RemoteModel("", "", "", "", None, "")


def ok(body: object = None, **headers: str) -> Reply:
    return Reply(200, headers, json.dumps({} if body is None else body).encode())


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def gate(clock: HandClock) -> Gate:
    return Gate(clock, Backoff(initial_s=2, max_s=60))


@pytest.fixture
def connect(adapter: SocketAdapter, clock: HandClock, gate: Gate) -> Callable[[Server], Fireworks]:
    return lambda server: Fireworks(server.base, lambda: ApiKey("fw_key"), clock, gate, adapter)


Connect = Callable[[Server], Fireworks]


# --- calls


def page(*names: str, then: str = "") -> Reply:
    return ok(
        {
            "models": [{"name": f"accounts/a/models/{name}"} for name in names],
            **({"nextPageToken": then} if then else {}),
        }
    )


@pytest.mark.parametrize(
    ("pages", "count", "complete", "asked"),
    [
        ([page("a", then="1"), page("b")], 2, True, 2),
        ([page(*"abcde")], 4, False, 1),
        ([page("a", then="same")] * 9, 4, False, 4),
        ([page(then="same")] * 9, 0, False, 5),
    ],
    ids=["two pages", "a page too long", "pages without an end", "empty pages without an end"],
)
def test_a_list_of_models_is_bounded_in_all(
    serve: Serve,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pages: list[Reply],
    count: int,
    complete: bool,
    asked: int,
) -> None:
    monkeypatch.setattr("uploader.remote.fireworks.MAX_MODELS", 4)
    monkeypatch.setattr("uploader.remote.fireworks._MAX_PAGES", 5)
    server = serve(*pages)
    listed = connect(server).models("a")
    assert (len(listed.models), listed.complete, len(server.seen)) == (count, complete, asked)


@pytest.mark.parametrize("token", ["t" * 2001, "\ud800", "a\0"])
def test_a_page_token_that_no_address_holds_is_not_asked_for(
    serve: Serve, connect: Connect, token: str
) -> None:
    server = serve(page("a", then=token))
    with pytest.raises(RemoteError, match="a page token that no address holds") as caught:
        connect(server).models("a")
    assert (caught.value.code, len(server.seen)) == (Code.MALFORMED, 1)


def test_a_list_of_slow_pages_ends_in_time(
    serve: Serve, connect: Connect, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(*[page("a", then="1")] * 9)
    api = connect(server)
    asked = api._page_of_models

    def slowly(account: str, token: str) -> Any:
        clock.boot += 100
        return asked(account, token)

    monkeypatch.setattr(api, "_page_of_models", slowly)
    listed = api.models("a")
    assert (len(listed.models), listed.complete) == (3, False)


@pytest.mark.parametrize(
    ("call", "line", "body"),
    [
        (
            lambda api: api.create("a", {"modelId": "m"}),
            "POST /v1/accounts/a/models",
            {"modelId": "m"},
        ),
        (lambda api: api.get("a", "m"), "GET /v1/accounts/a/models/m", None),
        (lambda api: api.delete("a", "m"), "DELETE /v1/accounts/a/models/m", None),
        (lambda api: api.validate("a", "m"), "GET /v1/accounts/a/models/m:validateUpload", None),
        (lambda api: api.get("a/b", "m?x"), "GET /v1/accounts/a%2Fb/models/m%3Fx", None),
    ],
)
def test_each_call_is_its_route(
    serve: Serve, connect: Connect, call: Callable[[Fireworks], object], line: str, body: object
) -> None:
    server = serve(ok())
    call(connect(server))
    seen = server.seen[0]
    assert f"{seen.method} {seen.target}" == line
    assert (json.loads(seen.body) if seen.body else None) == body
    assert seen.headers["authorization"] == "Bearer fw_key"


def test_validate_is_a_get_without_any_body_and_waits_long(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[Any] = []
    send = SocketAdapter.send

    def spy(self: SocketAdapter, *args: Any, **kwargs: Any) -> Any:
        timeouts.append(kwargs["timeout"])
        return send(self, *args, **kwargs)

    monkeypatch.setattr(SocketAdapter, "send", spy)
    server = serve(ok({"warnings": ["one\ntwo", 3]}), ok({"warnings": None}), ok())
    api = connect(server)
    assert api.validate("a", "m") == ("one two", "3")
    assert api.validate("a", "m") == api.validate("a", "m") == ()
    assert not {"content-length", "transfer-encoding", "content-type"} & set(server.seen[0].headers)
    assert [timeout[1] for timeout in timeouts] == [VALIDATE_S] * 3


@pytest.mark.parametrize("word", ["w", "w" * 15, {"deep": ["w"]}])
def test_of_countless_warnings_a_few_are_read_and_the_rest_is_counted(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, word: object
) -> None:
    read = Mock(wraps=kept)
    monkeypatch.setattr(fireworks, "kept", read)
    api = connect(serve(ok({"warnings": [word] * 40_000}), ok({"warnings": ["w" * 9000]})))
    warnings = api.validate("a", "m")
    assert (len(warnings), warnings[-1]) == (100, "and 39,901 more")
    assert read.call_count == 99
    assert max(map(len, (*warnings, *api.validate("a", "m")))) == 300


def test_the_account_stands_in_a_header(serve: Serve, connect: Connect) -> None:
    odd = Reply(200, {"X-Fireworks-Account-Id": "ac\0me"})
    server = serve(Reply(200, {"X-Fireworks-Account-Id": " acme "}, b"whatever"), Reply(200), odd)
    api = connect(server)
    assert api.account() == "acme"
    assert server.seen[0].target == "/verifyApiKey"
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            api.account()
        assert (caught.value.verdict, caught.value.code) == (Verdict.BLOCKED, "no_account")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_service_without_that_route_does_not_say_whose_the_key_is(
    serve: Serve, connect: Connect, status: int
) -> None:
    says = Reply(200, {"X-Fireworks-Account-Id": "acme"})
    api = connect(serve(Reply(status), Reply(200), says))
    assert [api.owner(), api.owner(), api.owner()] == [None, None, "acme"]


@pytest.mark.parametrize(
    ("status", "code"), [(400, 3), (401, 16), (403, 7), (404, 7), (429, 8), (500, 13), (503, 14)]
)
def test_any_other_answer_is_not_taken_for_silence_about_it(
    serve: Serve, connect: Connect, status: int, code: int
) -> None:
    body = json.dumps({"code": code, "message": "", "details": []}).encode()
    with pytest.raises(RemoteError) as caught:
        connect(serve(Reply(status, {}, body))).owner()
    assert caught.value.status == status


def test_a_changed_key_is_used_at_the_next_call(
    serve: Serve, adapter: SocketAdapter, clock: HandClock, gate: Gate
) -> None:
    keys = iter(["one", "two"])
    server = serve(ok(), ok())
    api = Fireworks(server.base, lambda: ApiKey(next(keys)), clock, gate, adapter)
    api.get("a", "m")
    api.get("a", "m")
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer one", "Bearer two"]


def test_a_missing_key_passes_as_it_was_raised(
    serve: Serve, adapter: SocketAdapter, clock: HandClock, gate: Gate
) -> None:
    missing = RemoteError(Verdict.BLOCKED, Call.VERIFY, "none", code=Code.NO_KEY)

    def none() -> ApiKey:
        raise missing

    server = serve()
    with pytest.raises(RemoteError) as caught:
        Fireworks(server.base, none, clock, gate, adapter).get("a", "m")
    assert caught.value is missing
    assert not server.seen


# --- reading a model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({}, BARE),
        (
            {
                "state": "UPLOADING",
                "kind": "HF_BASE_MODEL",
                "status": {"code": "OK", "message": ""},
                "baseModelDetails": {"huggingfaceFiles": ["a", "b"], "parameterCount": "1"},
                "encryptionState": "ENCRYPTION_STATE_PLAINTEXT",
                "createTime": "2026-08-30T03:48:42.645723285Z",
            },
            RemoteModel(
                "UPLOADING", "", "", "HF_BASE_MODEL", ("a", "b"), "ENCRYPTION_STATE_PLAINTEXT"
            ),
        ),
        (
            {"baseModelDetails": {"defaultPrecision": "FP8_MM"}, "supportsLora": False},
            RemoteModel("", "", "", "", None, "", "FP8_MM", supports_lora=False),
        ),
        ({"baseModelDetails": {"defaultPrecision": 8}, "supportsLora": "no"}, BARE),
        (
            {
                "state": "FAILED",
                "status": {"code": 9, "message": "bad\nconfig"},
                "peftDetails": {"baseModel": "accounts/fireworks/models/q", "r": 8},
                "baseModelDetails": None,
            },
            RemoteModel(
                "FAILED",
                "FAILED_PRECONDITION",
                "bad config",
                "",
                None,
                "",
            ),
        ),
        ({"state": 3, "status": "x", "kind": None, "peftDetails": [], "baseModelDetails": 1}, BARE),
        ({"baseModelDetails": {"huggingfaceFiles": []}, "peftDetails": {"baseModel": ""}}, BARE),
    ],
)
def test_a_model_is_read_leniently(
    serve: Serve, connect: Connect, body: object, model: RemoteModel
) -> None:
    assert connect(serve(ok(body))).get("a", "m") == model


def test_a_model_is_kept_whole_to_be_compared_and_is_not_printed(
    serve: Serve, connect: Connect
) -> None:
    body = {"public": True, "peftDetails": {"r": 8}, "x": ["y"]}
    model = connect(serve(ok(body))).get("a", "m")
    assert model.shown == body
    assert "peftDetails" not in repr(model)


# --- upload URLs

SESSION = "https://s/o?upload_id=1"


def urls(*keys: str) -> dict[str, str]:
    return {key: f"https://s/{key}" for key in keys}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ({"a": "a", "b": "b"}, ["a", "b"]),
        ({"a": "models/m/a"}, ["models/m/a"]),
        ({"a": "a", "b": "models/m/b"}, ["a", "models/m/b"]),
        ({"a": "m/a", "sub/a": "m/sub/a"}, ["m/sub/a", "m/a"]),
        ({"a": "a", "sub/a": "sub/a"}, ["sub/a", "a"]),
        ({}, []),
    ],
)
def test_names_and_urls_pair_up(names: dict[str, str], keys: list[str]) -> None:
    expected = {name: f"https://s/{key}" for name, key in names.items()}
    assert pair(list(names), urls(*keys)) == expected


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "b"], ["a"]),
        (["a"], ["a", "b"]),
        (["a"], []),
        (["a"], ["ba"]),
        (["a"], ["x/a", "y/a"]),
        (["a", "b/a"], ["m/b/a"]),
    ],
)
def test_what_does_not_pair_up_is_refused(names: list[str], keys: list[str]) -> None:
    with pytest.raises(RemoteError) as caught:
        pair(names, urls(*keys))
    assert (caught.value.verdict, caught.value.code) == (Verdict.FAILED, "urls_mismatch")


def test_the_whole_map_is_asked_for_and_the_kinds_are_read(serve: Serve, connect: Connect) -> None:
    found = {"filenameToSignedUrls": {"a": SESSION, "b": "https://s/b"}}
    server = serve(ok({**found, "filenameToUnsignedUris": {}}))
    read = connect(server).upload_urls("a", "m", {"a": 1, "b": 2**40}, resumable=True)
    assert {name: url.kind for name, url in read.items()} == {
        "a": UrlKind.SESSION,
        "b": UrlKind.PUT,
    }
    seen = server.seen[0]
    assert f"{seen.method} {seen.target}" == "POST /v1/accounts/a/models/m:getUploadEndpoint"
    assert json.loads(seen.body) == {
        "filenameToSize": {"a": 1, "b": 2**40},
        "enableResumableUpload": True,
    }


JSON_API = "https://s/upload/storage/v1/b/c/o?upload_id="


@pytest.mark.parametrize(
    ("first", "second", "separate"),
    [
        ("https://s/c/a", "https://s/c/b", True),
        ("https://s/c/a", "https://s/c/a", False),
        ("https://s/c/a?X-Goog-Signature=1", "https://s/c/a?X-Goog-Signature=2", False),
        ("https://s/c/a?upload_id=1", "https://s/c/a?upload_id=2", False),
        ("https://s/c/a", "https://s/c/%61", False),
        (f"{JSON_API}1&name=a", f"{JSON_API}2&name=b", True),
        (f"{JSON_API}1&name=a", f"{JSON_API}2&name=a", False),
        (f"{JSON_API}1", f"{JSON_API}2", True),  # which of the objects these are is not said
        (f"{JSON_API}1", f"{JSON_API}1", False),
        (f"{JSON_API}1&a=1", f"{JSON_API}1&a=2", False),
        (f"{JSON_API}1&name=a/", f"{JSON_API}2&name=a/", False),
        ("https://s/c/?X-Goog-Signature=1", "https://s/c/?X-Goog-Signature=2", False),
        ("https://s/c/?upload_id=1", "https://s/c/?upload_id=2", False),
        ("https://s/c/a", "https://S:443/./c\\a", False),
        ("https://[::1]/a", "https://[0:0::1]/a", False),
    ],
)
def test_two_files_never_go_to_one_place(
    serve: Serve, connect: Connect, first: str, second: str, separate: bool
) -> None:
    api = connect(serve(ok({"filenameToSignedUrls": {"a": first, "b": second}})))
    if separate:
        assert api.upload_urls("a", "m", {"a": 1, "b": 1}, resumable=True).keys() == {"a", "b"}
        return
    with pytest.raises(RemoteError) as caught:
        api.upload_urls("a", "m", {"a": 1, "b": 1}, resumable=True)
    assert (caught.value.verdict, caught.value.code) == (Verdict.FAILED, "urls_mismatch")
    assert "one place for a and b" in caught.value.message
    assert "upload_id" not in caught.value.message


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ({"filenameToUnsignedUris": {"a": "gs://b/a"}}, JobRefused, "byoc_unsupported"),
        ({"filenameToSignedUrls": {"a": "http://s/o"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "gs://s/o"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "http://["}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "https://s/\ud800"}}, JobRefused, "insecure_url"),
        ({"filenameToSignedUrls": {"a": "https://s/o?a=\t"}}, JobRefused, "insecure_url"),
        (
            {"filenameToSignedUrls": {"a": "https://b\u00fccher.example/o"}},
            JobRefused,
            "url_unusable",
        ),
        ({"filenameToSignedUrls": {"a": 1}}, RemoteError, "malformed"),
        ({"filenameToSignedUrls": ["https://s"]}, RemoteError, "malformed"),
        ({}, RemoteError, "malformed"),
        ([], RemoteError, "malformed"),
    ],
)
def test_urls_that_cannot_be_used_are_refused(
    serve: Serve, connect: Connect, body: object, kind: type[UploaderError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        connect(serve(ok(body))).upload_urls("a", "m", {"a": 1}, resumable=False)
    assert caught.value.code == code


# --- the gate


def test_after_a_429_no_call_leaves_until_the_wish_has_passed(
    serve: Serve, connect: Connect, clock: HandClock
) -> None:
    server = serve(Reply(429, {"Retry-After": "30"}), ok())
    first, second = connect(server), connect(server)
    with pytest.raises(RemoteError) as caught:
        first.get("a", "m")
    assert (caught.value.verdict, caught.value.retry_after_s) == (Verdict.THROTTLED, 30)
    clock.boot += 29
    for call in (first.account, lambda: second.validate("a", "m")):
        with pytest.raises(RemoteError) as caught:
            call()
        assert caught.value.verdict is Verdict.THROTTLED
        assert caught.value.retry_after_s == pytest.approx(2)  # 30 + 0.5 · 2 - 29
    assert len(server.seen) == 1
    clock.boot += 2
    assert second.get("a", "m") == BARE
    assert len(server.seen) == 2


def test_without_a_wish_the_gate_backs_off_further_each_time(gate: Gate, clock: HandClock) -> None:
    waits = []
    for _ in range(4):
        gate.close(None)
        with pytest.raises(RemoteError) as caught:
            gate.check(Call.GET)
        waits.append(caught.value.retry_after_s)
        clock.boot += caught.value.retry_after_s or 0
        gate.check(Call.GET)
    assert waits == pytest.approx([1, 2, 4, 8])
    gate.passed()
    gate.close(None)
    with pytest.raises(RemoteError) as caught:
        gate.check(Call.GET)
    assert caught.value.retry_after_s == pytest.approx(1)


def test_answers_that_cross_each_other_count_once_and_the_longest_wish_wins(
    gate: Gate, clock: HandClock
) -> None:
    for wish in (10, 50, 20):
        gate.close(wish)
    clock.boot += 50
    with pytest.raises(RemoteError) as caught:
        gate.check(Call.GET)
    assert caught.value.retry_after_s == pytest.approx(1)


def test_another_error_leaves_the_gate_open(serve: Serve, connect: Connect) -> None:
    server = serve(Reply(503, {"Retry-After": "30"}), Reply(404), ok())
    api = connect(server)
    for verdict in (Verdict.TRANSIENT, Verdict.ABSENT):
        with pytest.raises(RemoteError) as caught:
            api.get("a", "m")
        assert caught.value.verdict is verdict
    api.get("a", "m")
    assert len(server.seen) == 3


ECHO = "Zq3CanarySecret0123abc"


@pytest.fixture
def echoed(adapter: SocketAdapter, clock: HandClock, gate: Gate) -> Connect:
    return lambda server: Fireworks(server.base, lambda: ApiKey(ECHO), clock, gate, adapter)


def test_what_is_kept_of_a_success_never_repeats_the_key(serve: Serve, echoed: Connect) -> None:
    words = f"so says {ECHO}, or {ECHO.upper()}"
    model = {
        "state": words,
        "kind": words,
        "status": {"code": "OK", "message": words},
        "baseModelDetails": {
            "defaultPrecision": words,
            "huggingfaceFiles": ["config.json", f"{ECHO.upper()}.bin"],
        },
        "peftDetails": {"baseModel": words},
        "encryptionState": words,
    }
    found = echoed(serve(ok(model))).get("a", "m")
    assert ECHO.lower() not in repr(found).lower()
    warnings = echoed(serve(ok({"warnings": [words, {"key": ECHO}]}))).validate("a", "m")
    assert ECHO.lower() not in repr(warnings).lower()


@pytest.mark.parametrize("spelled", [ECHO, ECHO.encode().hex()], ids=["as it is", "hex"])
def test_no_cut_of_a_files_name_lets_the_beginning_of_the_key_through(
    serve: Serve, echoed: Connect, spelled: str
) -> None:
    name = f"{'n' * (1000 - len(spelled) + 1)}{spelled}"
    found = echoed(serve(ok({"baseModelDetails": {"huggingfaceFiles": [name]}}))).get("a", "m")
    assert spelled[:8] not in repr(found)


def test_names_longer_than_any_of_ours_cost_no_more_than_those_that_could_be(
    serve: Serve, connect: Connect
) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    def found_and_calls(length: int) -> tuple[tuple[str, ...] | None, int]:
        names = [f"{number:04}".ljust(length, "x") for number in range(500)]
        api = connect(serve(ok({"baseModelDetails": {"huggingfaceFiles": names}})))
        before = calls
        sys.setprofile(count)
        try:
            found = api.get("a", "m").huggingface_files
        finally:
            sys.setprofile(None)
        return found, calls - before

    short, of_short = found_and_calls(1000)
    long, of_long = found_and_calls(1001)
    assert len({*(short or ())}) == 500
    assert long == ("(a name of more than 1000 characters)",) * 500
    assert of_long < 2 * of_short


@pytest.mark.parametrize("name", [ECHO, f"x.{ECHO}"])
def test_an_account_that_is_the_key_is_not_believed(
    serve: Serve, echoed: Connect, name: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        echoed(serve(ok(x_fireworks_account_id=name))).account()
    assert caught.value.code is Code.NO_ACCOUNT
    assert ECHO not in str(caught.value)


def test_a_map_of_many_urls_is_paired_in_linear_time() -> None:
    names = [f"model-{number:05}-of-20000.safetensors" for number in range(20_000)]
    began_s = time.process_time()
    found = pair(names, {f"a/b/{name}": "u" for name in reversed(names)})
    assert time.process_time() - began_s < 5
    assert found == dict.fromkeys(names, "u")


@pytest.mark.parametrize(
    "unit",
    [
        *(b"{},", b"[],", b'"",', b"1.5,"),
        *(b"[" * 82 + b"]" * 82 + b",", b'{"":' * 33 + b"0" + b"}" * 33 + b","),
    ],
    ids=["dicts", "lists", "strings", "numbers", "nested lists", "nested dicts"],
)
def test_an_answer_of_countless_values_is_never_made_into_objects(
    serve: Serve, connect: Connect, unit: bytes
) -> None:
    body = b'{"state":[' + unit * (1_030_000 // len(unit)) + b"0]}"
    with pytest.raises(RemoteError) as caught:
        connect(serve(Reply(200, {}, body))).get("a", "m")
    assert caught.value.code is Code.MALFORMED
    assert "more values" in caught.value.message
