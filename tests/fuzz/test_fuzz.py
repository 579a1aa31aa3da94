"""Whatever a stranger writes: our own errors only, in time. For longer: `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.answers import clients
from tests.fuzz.fuzz import attempt, measure, search
from tests.fuzz.parser import Parser
from tests.fuzz.parsers import parsers

NAMES = (
    "words", "an error", "a Retry-After", "a Range", "what was stored", "an upload URL",
    "an exchange", "any line", "a fault script", "a model id", "a header", "a safetensors file",
    "pickled weights", "JSON", "an index", "fields of a model", "a folder", "an adapter",
    "TOML", "variables", "auth.ini", "rows",
)  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return parsers(tmp_path_factory.mktemp("fuzz"))


def test_every_parser_is_searched(known: dict[str, Parser]) -> None:
    assert {*known} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_words_raise_what_a_parser_does_not_say(known: dict[str, Parser], name: str) -> None:
    for example in known[name].seeds:
        attempt(known[name], example)
    assert search(known[name], 1, 60) >= 60


@pytest.mark.parametrize("name", ["a safetensors file", "a header", "auth.ini", "a fault script"])
def test_no_word_costs_more_than_its_length(known: dict[str, Parser], name: str) -> None:
    for word in known[name].words[::3]:
        measure(known[name], word)


def test_an_exchange_reaches_the_clients() -> None:
    """Else every input would fail alike, before it is read."""
    body = b'{"state":"READY","name":"accounts/a/models/m"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with clients(answer) as (api, _):
        assert api.get("a", "m").state == "READY"


def test_a_fault_would_be_found() -> None:
    def wrong(raw: bytes) -> None:
        if b"][" in raw:
            raise KeyError(raw)

    with pytest.raises(KeyError):
        search(Parser(wrong, ("[", "]")), 1, 500)


def test_a_cost_that_grows_with_the_square_would_be_found() -> None:
    def slow(raw: bytes) -> None:
        for start in range(0, len(raw), 1 << 9):
            raw[start:].count(b"?")

    with pytest.raises(AssertionError):
        measure(Parser(slow, ("a",)), "a")


def test_a_parser_that_fails_as_it_says_is_not_a_fault(tmp_path: Path) -> None:
    def refusing(raw: bytes) -> None:
        raise FileNotFoundError(tmp_path, raw)

    assert search(Parser(refusing, ("a",), ours=(OSError,)), 1, 10) > 0
