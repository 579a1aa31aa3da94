"""One spelling for one place, and no way for a secret to leave in clear."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.addresses import (
    base_url,
    doubts,
    host_of,
    is_loopback,
    is_plain,
    parts_of,
    trusted,
)

HOME = "https://api.fireworks.ai"


@pytest.mark.parametrize(
    "text",
    [
        HOME,
        f" {HOME}/ ",
        f"{HOME}/v1",
        f"{HOME}/v1/",
        f"{HOME}/v1/v1",
        f"{HOME}/inference",
        f"{HOME}/inference/",
        f"{HOME}/inference/v1",
        f"{HOME}//inference//v1//",
        "HTTPS://API.Fireworks.AI/v1",
        f"{HOME}:443",
        f"{HOME}:443/inference",
    ],
)
def test_one_place_has_one_spelling(text: str) -> None:
    assert base_url(text) == HOME


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://corp.example/fw/v1", "https://corp.example/fw"),
        ("https://corp.example/FW/v1beta", "https://corp.example/FW/v1beta"),
        ("http://localhost:8080/v1", "http://localhost:8080"),
        ("http://[::1]:80/v1", "http://[::1]"),
        ("https://host:8443", "https://host:8443"),
    ],
)
def test_what_belongs_to_the_place_stays(text: str, place: str) -> None:
    assert base_url(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.fireworks.ai",
        "http://api.fireworks.ai",
        "https://u:p@h",
        "https://@h",
        "https://h?x=1",
        "https://h?",
        "https://h#f",
        "https://h:0",
        "https://h:99999",
        "https://[h",
        "https://h/a b",
        "https://h/\0",
        "https:\\\\h",
        "https:///v1",
        "ftp://h",
        f"https://h/{'p' * 9000}",
    ],
)
def test_what_is_not_a_plain_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        base_url(text)


@given(
    st.text(max_size=30)
    | st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                [
                    "https:",
                    "http:",
                    "//",
                    "/",
                    "v1",
                    "inference",
                    "h",
                    "localhost",
                    ":443",
                    "@",
                    "?",
                ]
            )
        ),
    )
)
def test_a_place_is_its_own_spelling_and_a_safe_one(text: str) -> None:
    with contextlib.suppress(ValueError):
        place = base_url(text)
        assert base_url(place) == place
        assert trusted(place, plain=True)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("", False)],
)
def test_this_machine_is_distinguished_from_others(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.parametrize(
    ("url", "with_plain", "without"),
    [
        ("https://h/o", True, True),
        ("http://localhost/o", True, False),
        ("http://[::1]:9/o", True, False),
        ("http://h/o", False, False),
        ("https://user@h/o", False, False),
        ("https://user:secret@h/o", False, False),
        ("http://127.0.0.1@evil.example/o", False, False),
        ("https://", False, False),
        ("//h/o", False, False),
    ],
)
def test_http_is_for_this_machine_and_only_under_a_plain_base_url(
    url: str, with_plain: bool, without: bool
) -> None:
    assert (trusted(url, plain=True), trusted(url, plain=False)) == (with_plain, without)


def test_a_base_url_in_clear_is_plain() -> None:
    assert is_plain(base_url("http://localhost:1/v1"))
    assert not is_plain(base_url("https://localhost:1/v1"))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.firew0rks.ai",
        "https://api.fireworks.ai.evil.example",
        "https://api-fireworks.ai",
        "https://api.fireworks.a\u0456",
        "https://xn--api.example",
        "https://api.fireworks.al",
    ],
)
def test_a_name_that_only_looks_alike_is_reported(url: str) -> None:
    assert "gets the API key" in doubts(url)


@pytest.mark.parametrize(
    "url", [HOME, "http://127.0.0.1:8080", "https://gateway.corp.example", "https://localhost"]
)
def test_other_names_are_nobodys_business(url: str) -> None:
    assert doubts(url) == ""


def test_who_names_localhost_is_told_which_of_its_addresses_is_meant() -> None:
    assert "never ::1" in doubts("http://localhost:8080")


@pytest.mark.parametrize(
    "url",
    [
        "http://[", "https://[::1", "https://h:9999999", "https://h:-1", "https://h:port",
        "https://h:0", "https://\u2100h", "https://h/\ud800", "https://h/\0", "https://h/a\tb",
        "https://h/o?upload_id=\udfff", "\x1fhttps://h/o", "https://h/\x7f",
        "https://a..b", "https://.a", "https://a..", f"https://{'a' * 64}.example",
        f"https://{'a.' * 126}ab", "https://\xfc..b", f"https://{'é' * 60}.example",
    ],
)  # fmt: skip
def test_what_is_not_an_address_is_none_and_gets_no_secret(url: str) -> None:
    assert parts_of(url) is None
    assert host_of(url) == ""
    assert not trusted(url, plain=True)


@given(st.text() | st.from_regex(r"https?://[\[\]a-z:@0-9.%]{0,30}"))
def test_no_part_of_an_address_raises_anything(url: str) -> None:
    parts = parts_of(url)
    assert parts is None or (parts.port or 1) > 0
    assert host_of(url) == ((parts.hostname or "") if parts else "")
