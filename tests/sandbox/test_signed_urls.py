"""Signed URLs: kinds, required headers, expiry, and what may not be sent to storage."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import google_crc32c
import pytest

GRANULE = 256 * 1024

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make, Remote


def test_a_resumable_url_signs_what_the_start_must_send(remote: Remote) -> None:
    query = parse_qs(urlsplit(remote.url(10)).query)
    names = "content-type;host;x-goog-content-length-range;x-goog-resumable"
    assert query["X-Goog-SignedHeaders"] == [names]
    assert query["X-Goog-Algorithm"] == ["GOOG4-RSA-SHA256"]
    assert query["X-Goog-Expires"] == ["3600"]
    assert {"X-Goog-Date", "X-Goog-Credential", "X-Goog-Signature"} <= query.keys()


def test_a_start_answers_201_and_the_session_uri(remote: Remote) -> None:
    url = remote.url(10)
    answer = remote.start(url, 10)
    assert (answer.status_code, answer.content) == (201, b"")
    signed, _, upload_id = answer.headers["Location"].rpartition("&upload_id=")
    assert signed == url
    assert re.fullmatch(r"[\w-]{43}", upload_id)


def test_a_start_has_no_body_or_the_two_bytes_of_google_s_library(remote: Remote) -> None:
    assert remote.start(remote.url(10), 10, data=b"{}").status_code == 201
    assert remote.world.report()["refused"] == []
    for body in (b"x", b"[]", b"{ }", b'{"a": 1}'):
        assert remote.start(remote.url(10), 10, data=body).status_code == 400
    assert {*remote.world.report()["refused"]} == {"the start of a session has no body, or `{}`"}


@pytest.mark.parametrize(
    ("name", "value", "status", "code"),
    [
        ("x-goog-resumable", None, 400, "MalformedSecurityHeader"),
        ("Content-Type", None, 400, "MalformedSecurityHeader"),
        ("x-goog-content-length-range", None, 400, "MalformedSecurityHeader"),
        ("Content-Type", "text/plain", 403, "SignatureDoesNotMatch"),
        ("x-goog-content-length-range", "10, 10", 403, "SignatureDoesNotMatch"),
        ("x-goog-content-length-range", "0,99", 403, "SignatureDoesNotMatch"),
    ],
)
def test_signed_headers_are_required_byte_for_byte(
    make: Make, name: str, value: str | None, status: int, code: str
) -> None:
    remote = make()
    url = remote.url(10)
    headers = {**remote.signed(10, start=True), name: value}
    answer = remote.http.post(url, headers=headers)
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True)
    assert len(remote.world.report()["refused"]) == 1


@pytest.mark.parametrize("edit", [("X-Goog-Expires=3600", "X-Goog-Expires=9600"), ("/m/", "/n/")])
def test_a_url_that_was_tampered_with_is_refused(remote: Remote, edit: tuple[str, str]) -> None:
    assert remote.start(remote.url(10).replace(*edit), 10).status_code == 403


def test_the_method_is_signed(remote: Remote) -> None:
    assert remote.http.put(remote.url(10), headers=remote.signed(10, start=True)).status_code == 403
    assert remote.start(remote.url(10, resumable=False), 10).status_code == 403


def test_a_url_expires_but_its_session_does_not(make: Make) -> None:
    now = [1_000_000.0]
    remote = make(now=lambda: now[0], url_life_s=600)
    url = remote.url(1)
    uri = remote.start(url, 1).headers["Location"]
    now[0] += 601
    answer = remote.start(url, 1)
    assert (answer.status_code, "ExpiredToken" in answer.text) == (400, True)
    assert remote.put(uri, b"x").status_code == 200


def test_a_plain_put_stores_the_object(remote: Remote, content: bytes, tmp_path: Path) -> None:
    url, size = remote.url(len(content), resumable=False), len(content)
    assert "x-goog-resumable" not in url
    answer = remote.http.put(url, data=content, headers=remote.signed(size))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-goog-stored-content-length"] == str(size)
    assert (tmp_path / "sandbox/m/f").read_bytes() == content


def test_a_put_url_signs_what_was_seen_live(remote: Remote) -> None:
    query = parse_qs(urlsplit(remote.url(10, resumable=False)).query)
    assert query["X-Goog-SignedHeaders"] == ["content-type;host;x-goog-content-length-range"]


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def test_a_hash_that_is_right_is_taken(remote: Remote, content: bytes) -> None:
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    hashes = {"x-goog-hash": f"crc32c={crc32c(content)},md5={md5}"}
    span = {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
    uri = remote.session(len(content))
    assert remote.http.put(uri, data=content, headers={**span, **hashes}).status_code == 200
    url = remote.url(len(content), resumable=False)
    signed = {**remote.signed(len(content)), **hashes}
    assert remote.http.put(url, data=content, headers=signed).status_code == 200


@pytest.mark.parametrize(
    ("hashes", "code"),
    [("crc32c=AAAAAA==", "BadDigest"), ("md5=AAAA", "BadDigest"), ("sha1=AA", "InvalidDigest")],
)
def test_a_wrong_hash_is_refused_and_nothing_is_stored(
    remote: Remote, content: bytes, hashes: str, code: str
) -> None:
    size, wrong = len(content), {"x-goog-hash": hashes}
    url = remote.url(size, resumable=False)
    answer = remote.http.put(url, data=content, headers={**remote.signed(size), **wrong})
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (400, True)
    uri = remote.session(size)
    first = {"Content-Range": f"bytes 0-{GRANULE - 1}/{size}", **wrong}
    assert remote.http.put(uri, data=content[:GRANULE], headers=first).status_code == 308
    last = {"Content-Range": f"bytes {GRANULE}-{size - 1}/{size}", **wrong}
    answer = remote.http.put(uri, data=content[GRANULE:], headers=last)
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (400, True)
    assert remote.query(uri).status_code == 410
    assert remote.seen()["size"] is None


def test_a_wrong_hash_with_the_finishing_query_is_refused(remote: Remote) -> None:
    headers = {"Content-Range": "bytes */0", "x-goog-hash": "crc32c=BBBBBB=="}
    assert remote.http.put(remote.session(0), headers=headers).status_code == 400


def test_a_plain_put_keeps_to_the_signed_size(remote: Remote, content: bytes) -> None:
    url = remote.url(len(content), resumable=False)
    answer = remote.http.put(url, data=content[:-1], headers=remote.signed(len(content)))
    assert (answer.status_code, "EntityTooSmall" in answer.text) == (400, True)
    assert remote.seen()["size"] is None


def test_a_plain_put_has_no_ranges(remote: Remote) -> None:
    headers = {**remote.signed(1), "Content-Range": "bytes 0-0/1"}
    answer = remote.http.put(remote.url(1, resumable=False), data=b"x", headers=headers)
    assert answer.status_code == 400


def test_a_session_keeps_to_the_signed_size(remote: Remote, content: bytes) -> None:
    answer = remote.put(remote.session(len(content) - 1), content)
    assert (answer.status_code, "EntityTooLarge" in answer.text) == (400, True)


def test_the_endpoint_may_start_the_session_itself(make: Make, content: bytes) -> None:
    remote = make(url_kind="session")
    url = remote.url(len(content))
    assert list(parse_qs(urlsplit(url).query)) == ["upload_id"]
    assert remote.put(url, content).status_code == 200


def test_the_endpoint_may_know_only_plain_puts(make: Make) -> None:
    remote = make(url_kind="put")
    assert remote.http.put(remote.url(1), data=b"x", headers=remote.signed(1)).status_code == 200


def test_a_start_may_be_refused_while_plain_puts_work(make: Make) -> None:
    remote = make(url_kind="refused")
    url = remote.url(1)
    assert "x-goog-resumable" in url
    answer = remote.start(url, 1)
    assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    plain = remote.url(1, resumable=False)
    assert remote.http.put(plain, data=b"x", headers=remote.signed(1)).status_code == 200


def test_a_refreshed_url_may_point_elsewhere(remote: Remote, tmp_path: Path) -> None:
    first = urlsplit(remote.url(1)).path
    remote.world.config.change({"object_prefix": "moved"})
    url = remote.url(1)
    assert urlsplit(url).path != first
    remote.put(remote.start(url, 1).headers["Location"], b"x")
    assert (tmp_path / "moved/sandbox/m/f").read_bytes() == b"x"


@pytest.mark.parametrize("leak", ["Authorization", "x-anything"])
def test_a_credential_sent_to_storage_is_counted(remote: Remote, leak: str) -> None:
    uri = remote.session(1)
    headers = {"Content-Range": "bytes */1", leak: remote.world.config.api_key}
    assert remote.http.put(uri, headers=headers).status_code == 400
    assert remote.world.report()["leaked_keys"] == 1


def test_anonymous_requests_and_foreign_buckets(remote: Remote) -> None:
    url = remote.url(1)
    assert remote.http.put(urlsplit(url)._replace(query="").geturl()).status_code == 403
    assert remote.http.put(f"{remote.world.storage_url}/other/x").status_code == 404
