"""What each call asks, with which key, and how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.remote.conftest import Serve
from tests.remote.fireworks.conftest import BARE, Connect, ok
from tests.remote.scripted import HandClock, Reply
from uploader.core.errors import RemoteError
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey
from uploader.core.remote_model import VALIDATE_S, RemoteModel
from uploader.core.verdict import Call, Verdict
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.sockets import SocketAdapter

THIS = {"name": "accounts/a/models/m"}


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
    is_empty = line.startswith("DELETE")
    server = serve(ok({} if is_empty else {"name": f"a/models/{'m?x' if '%3F' in line else 'm'}"}))
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


def test_a_bare_ok_is_not_taken_for_silence_about_it(serve: Serve, connect: Connect) -> None:
    with pytest.raises(RemoteError) as caught:
        connect(serve(Reply(200, {}, b"OK"))).owner()
    assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


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
    server = serve(ok(THIS), ok(THIS))
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
                "UPLOADING",
                "",
                "",
                "HF_BASE_MODEL",
                ("a", "b"),
                "ENCRYPTION_STATE_PLAINTEXT",
                created_at=datetime(2026, 8, 30, 3, 48, 42, 645723, UTC),
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
    serve: Serve, connect: Connect, body: dict[str, Any], model: RemoteModel
) -> None:
    assert connect(serve(ok({**THIS, **body}))).get("a", "m") == model


def test_a_model_is_kept_whole_to_be_compared_and_is_not_printed(
    serve: Serve, connect: Connect
) -> None:
    body = {**THIS, "public": True, "peftDetails": {"r": 8}, "x": ["y"]}
    model = connect(serve(ok(body))).get("a", "m")
    assert model.shown == body
    assert "peftDetails" not in repr(model)


@pytest.mark.parametrize("body", [{}, {"name": "accounts/a/models/other"}, {"name": 3}, {"ok": 1}])
def test_what_is_not_about_the_model_is_not_read_as_one(
    serve: Serve, connect: Connect, body: dict[str, Any]
) -> None:
    api = connect(serve(ok(body), ok(body)))
    asked: tuple[Callable[[], object], ...] = (
        lambda: api.get("a", "m"),
        lambda: api.create("a", {"modelId": "m"}),
    )
    for ask in asked:
        with pytest.raises(RemoteError) as caught:
            ask()
        assert (caught.value.verdict, caught.value.code) == (Verdict.TRANSIENT, "malformed")


def test_a_model_is_deleted_once_it_is_not_there(serve: Serve, connect: Connect) -> None:
    gone = Reply(404, {}, b'{"code": 5, "message": "no", "details": []}')
    api = connect(serve(ok({}), ok(THIS), ok({}), gone))
    with pytest.raises(RemoteError, match="still there") as caught:
        api.delete_surely("a", "m")
    assert caught.value.may_go_on
    api.delete_surely("a", "m")
