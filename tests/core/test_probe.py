"""How an answer compares with what is assumed, and what of it is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from uploader.core import probe_model, probe_reading
from uploader.core.probe import Item, Line, Match, shape, state_word, without_names
from uploader.core.resumable import Finished, read_url
from uploader.remote.words import kept


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, b'{"code": 9, "message": "acme", "details": []}', "400 {code: 9}"),
        (409, b'{"code":6,"status":"ALREADY_EXISTS"}', "409 {code: 6, status: ALREADY_EXISTS}"),
        (403, b'{"error": {"code": "UNAUTHORIZED"}}', "403 {error: {code: UNAUTHORIZED}}"),
        (400, b'{"error": "acme", "code": "acme-corp"}', "400 {code: …, error: …}"),
        (400, b'{"code": 123456789012, "status": true}', "400 {code: …, status: …}"),
        (400, b"FAILED_PRECONDITION: acme", "400 text FAILED_PRECONDITION"),
        (400, b"<Error><Code>ExpiredToken</Code></Error>", "400 text ExpiredToken"),
        (403, b"<Error><Code>acme</Code></Error>", "403 text"),
        (404, b"", "404 no body"),
        (502, b"[" * 100_000, "502 text"),
        (502, b"\xff\x00", "502 text"),
    ],
)  # fmt: skip
def test_an_answer_is_told_by_its_shape(status: int, body: bytes, told: str) -> None:
    assert shape(status, body) == told
    assert shape(200, b"{}") == "200 {}"


@pytest.mark.parametrize("item", Item)
def test_every_item_knows_answers_that_confirm_and_some_that_contradict_or_are_new(
    item: Item,
) -> None:
    assert re.compile(item.expected)
    assert re.compile(item.coped)
    assert Line(item, "no answer: unavailable").match is not Match.CONFIRMED
    assert item.assumes
    assert item.label == item.name.lower()


def test_an_answer_confirms_is_new_or_contradicts() -> None:
    words = ("3600 s", "900 s", "for ever")
    assert [Line(Item.URL_LIFE, what).match for what in words] == [*Match]


def test_what_a_service_says_is_told_without_names() -> None:
    words = "no model accounts/acme/models/m-1 of ACME, see https://acme.example/x, key fw_abcdefgh"
    told = without_names(kept(words), "acme", "m-1")
    assert told == "no model MODEL of NAME, see URL key ***"
    assert Line(Item.READY, "READY", "of acmes acme").seen("acme") == "READY (of acmes NAME)"
    assert (state_word("READY"), state_word("acme")) == ("READY", "…")


BUCKET = "https://storage.googleapis.com/fireworks-artifacts-acme/acme/m-1/model.safetensors"
STARTS = f"{BUCKET}?X-Goog-Date=20261122T120100Z&X-Goog-Expires=60&X-Goog-Signature=s"
STARTS += "&X-Goog-SignedHeaders=host%3Bx-goog-resumable%3Bx-goog-meta-acme"
JSON_API = "https://storage.googleapis.com/upload/storage/v1/b/secret/o?upload_id=x&name=acme"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (STARTS,
         ["names", "a signed start", "host;…;x-goog-resumable", "60 s", "60 s ahead",
          "BUCKET/ACCOUNT/MODEL/FILE"]),
        (JSON_API, ["names", "a session of the JSON API", "none", "not given", "not given",
                    "…/ACCOUNT"]),
        (BUCKET.replace("model.", "other."), [
            "names", "a plain signed PUT", "content-type;x-goog-content-length-range", "not given",
            "not given", "BUCKET/ACCOUNT/MODEL/…"]),
    ],
)  # fmt: skip
def test_a_url_is_told_by_its_kind(url: str, told: list[str]) -> None:
    body = b'{"filenameToSignedUrls": {"model.safetensors": "x"}}'
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = {probe_model.WEIGHTS: read_url(url)}
    lines = [*probe_reading.urls(found, body, now, "acme", "m-1")]
    assert [line.what for line in lines] == told


def test_facts_are_compared_with_what_was_sent() -> None:
    def told(found: Finished) -> str:
        return probe_reading.facts(found, 5, 7, md5=False)

    assert told(Finished(5, 7, 9)) == "length, CRC32C, generation"
    assert told(Finished()) == "nothing"
    assert told(Finished(4, 8)) == "another length and CRC32C"


def test_the_model_is_small_and_whole() -> None:
    files = probe_model.files()
    assert sum(map(len, files.values())) < 16_384
    weights = files[probe_model.WEIGHTS]
    assert len(weights) > int.from_bytes(weights[:8], "little") + 8
