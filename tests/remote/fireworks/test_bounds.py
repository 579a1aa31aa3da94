"""Lists, names, warnings and values without end: a few are read, and the cost is bounded."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import Mock

import pytest

from tests.remote.conftest import Serve
from tests.remote.fireworks.conftest import Connect, model, ok
from tests.remote.scripted import HandClock, Reply
from uploader.core.errors import RemoteError
from uploader.core.reasons import Code
from uploader.remote import fireworks
from uploader.remote.words import kept


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


def test_names_longer_than_any_of_ours_cost_no_more_than_those_that_could_be(
    serve: Serve, connect: Connect
) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    def found_and_calls(length: int) -> tuple[tuple[str, ...] | None, int]:
        names = [f"{number:04}".ljust(length, "x") for number in range(500)]
        api = connect(serve(model({"baseModelDetails": {"huggingfaceFiles": names}})))
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


def test_of_more_names_than_any_model_has_the_first_are_kept(
    serve: Serve, connect: Connect
) -> None:
    api = connect(serve(model({"baseModelDetails": {"huggingfaceFiles": ["n"] * 20_000}})))
    assert len(api.get("a", "m").huggingface_files or ()) == 10_001
