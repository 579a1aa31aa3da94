"""What an upload URL is: its kind, its object, its signed headers, its end, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.errors import JobRefused
from uploader.core.resumable import UrlKind, answers, read_url

HOST = "https://storage.googleapis.com"
SIGNED = "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Signature=ab&X-Goog-Expires=3600"
PAIR = "content-type;host;x-goog-content-length-range"
DOCUMENTED = ("content-type", "x-goog-content-length-range")

URLS = [
    ("session", f"{HOST}/b/o?upload_id=A", UrlKind.SESSION, ()),
    ("JSON session", f"{HOST}/b/o?uploadType=resumable&upload_id=A", UrlKind.SESSION, ()),
    (
        "start",
        f"{HOST}/b/o?{SIGNED}&X-Goog-SignedHeaders=host;x-goog-resumable",
        UrlKind.START,
        ("host", "x-goog-resumable"),
    ),
    (
        "start, encoded and in another case",
        f"{HOST}/b/o?{SIGNED}&x-goog-signedheaders=Host%3BX-Goog-Resumable",
        UrlKind.START,
        ("host", "x-goog-resumable"),
    ),
    (
        "signed with an upload_id",
        f"{HOST}/b/o?{SIGNED}&upload_id=A&X-Goog-SignedHeaders=host",
        UrlKind.PUT,
        ("host",),
    ),
    (
        "put",
        f"{HOST}/b/o?{SIGNED}&X-Goog-SignedHeaders={PAIR}",
        UrlKind.PUT,
        tuple(PAIR.split(";")),
    ),
    ("no headers named", f"{HOST}/b/o?{SIGNED}", UrlKind.PUT, DOCUMENTED),
    ("S3", "https://b.s3.amazonaws.com/o?X-Amz-Signature=ab", UrlKind.PUT, DOCUMENTED),
    ("Azure", "https://b.blob.core.windows.net/c/o?sig=ab", UrlKind.PUT, DOCUMENTED),
    ("without TLS", "http://127.0.0.1:2/b/o?upload_id=A", UrlKind.SESSION, ()),
    ("bare", f"{HOST}/b/o", UrlKind.PUT, DOCUMENTED),
]


@pytest.mark.parametrize("twice", ["name=X&name=a", "name=X&NAME=a", "name=&name=a", "Upload_Id=2"])
def test_an_address_with_two_values_of_one_parameter_is_refused(twice: str) -> None:
    """A server that takes the other one has two files at one place."""
    with pytest.raises(JobRefused, match="two values of"):
        read_url(f"{HOST}/upload/storage/v1/b/bucket/o?upload_id=1&{twice}")


@pytest.mark.parametrize("field", ["a", "%", "a=1"])
def test_an_address_of_countless_fields_is_refused_before_they_are_read(field: str) -> None:
    """Each takes time, again whenever the row of its file is read."""
    some, many = (f"{HOST}/b/o?upload_id=1" + f"&{field}" * count for count in (90, 100))
    assert read_url(some).kind is UrlKind.SESSION
    with pytest.raises(JobRefused, match="too many fields"):
        read_url(many)


def test_what_is_said_twice_in_the_same_words_or_is_not_read_here_is_no_matter() -> None:
    assert read_url(f"{HOST}/b/o?upload_id=1&upload_id=1&x=1&x=2").kind is UrlKind.SESSION


@pytest.mark.parametrize(
    ("url", "kind", "signed"), [row[1:] for row in URLS], ids=[r[0] for r in URLS]
)
def test_the_three_kinds_of_url(url: str, kind: UrlKind, signed: tuple[str, ...]) -> None:
    found = read_url(url)
    assert (found.kind, found.signed_headers) == (kind, signed)
    assert found.url.reveal() == url
    assert "Signature=ab" not in repr(found)


def test_the_object_is_named_without_its_query() -> None:
    first, second = read_url(f"{HOST}/b/a%20b?upload_id=1"), read_url(f"{HOST}/b/a b?upload_id=2")
    assert first.object_path == second.object_path == "storage.googleapis.com/b/a b"
    assert read_url(f"{HOST}/b/a%00b").object_path == "storage.googleapis.com/b/a%00b"
    assert read_url("http://127.0.0.1:2/b/a?upload_id=1").object_path == "127.0.0.1:2/b/a"


JSON_API = f"{HOST}/upload/storage/v1/b/B/o?uploadType=resumable"


def test_a_session_of_the_json_api_names_its_object_in_the_query() -> None:
    paths = [
        read_url(f"{JSON_API}&name={name}&upload_id=1").object_path for name in ("a%2Fb", "c%00")
    ]
    assert paths == [f"storage.googleapis.com/B/{name}" for name in ("a/b", "c%00")]
    other_session = read_url(f"{JSON_API}&upload_id=2&name=a%2Fb")
    assert (other_session.kind, other_session.object_path) == (UrlKind.SESSION, paths[0])


@pytest.mark.parametrize(
    "url",
    [
        "https://STORAGE.GoogleAPIs.com/b/x/a.bin",
        "https://storage.googleapis.com:443/b/x/a.bin",
        "https://storage.googleapis.com:0443/b/x/a.bin",
        "https://storage.googleapis.com./b/x/a.bin",
        "https://storage.googleapis.com:/b/x/a.bin",
        "https://storage.googleapis.com/b/./x/y/../a.bin",
        "https://storage.googleapis.com/../b/x/a.bin",
        "https://storage.googleapis.com/b/x/%61.bin",
        "https://storage.googleapis.com/b/x/y/%2e%2E/a.bin",
        "https://storage.mtls.googleapis.com/b/x/a.bin",
        "https://storage.us-central1.rep.googleapis.com/b/x/a.bin",
        "https://storage.cloud.google.com/b/x/a.bin",
        "https://b.storage.googleapis.com/x/a.bin",
        "https://b.commondatastorage.googleapis.com/x/a.bin",
        "https://www.googleapis.com/upload/storage/v1/b/b/o?name=x/a.bin&upload_id=1",
        "https://storage.googleapis.com/resumable/upload/storage/v1/b/%62/o?name=x%2Fa.bin",
    ],
)
def test_an_object_has_one_place_however_its_address_is_spelled(url: str) -> None:
    assert read_url(url).object_path == "storage.googleapis.com/b/x/a.bin"


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.googleapis.com/b/x/A.bin",
        "https://storage.googleapis.com/b//x/a.bin",
        "https://storage.googleapis.com:444/b/x/a.bin",
        "http://storage.googleapis.com:443/b/x/a.bin",
        "https://c.storage.googleapis.com/b/x/a.bin",
        "https://storage.googleapis.com/b/x/a.bin/",
        "https://storage.googleapis.com.example/b/x/a.bin",
        "https://xstorage.googleapis.com/b/x/a.bin",
    ],
)
def test_other_objects_have_other_places(url: str) -> None:
    assert read_url(url).object_path != "storage.googleapis.com/b/x/a.bin"


GATEWAY = "https://gateway.example"


@pytest.mark.parametrize(
    ("start", "session", "its"),
    [
        (f"{HOST}/b/x/a%20b", f"{HOST}/b/x/a b?{SIGNED}&upload_id=1", True),
        (f"{HOST}/b/a", f"https://b.storage.googleapis.com/a?{SIGNED}&upload_id=1", True),
        (f"{GATEWAY}/b/a", f"{GATEWAY}/b/a?{SIGNED}&session=1", True),
        (f"{HOST}/b/x/a", f"{HOST}/b/x/b?upload_id=1", False),
        (f"{HOST}/b/x/a", f"{HOST}/b/y/a?upload_id=1", False),
        (f"{HOST}/b/x/a", f"{HOST}/c/x/a?upload_id=1", False),
        (f"{HOST}/B/a/b", f"{JSON_API}&name=a%2Fc&upload_id=1", False),
        (f"{HOST}/b/x/a", f"{HOST}/b/x/b?{SIGNED}&upload_id=1", False),
        (f"{HOST}/b/x/a", f"{HOST}/b/x/a?X-Goog-Signature=ac&upload_id=1", False),
        (f"{GATEWAY}/b/a", f"{GATEWAY}/b/c?upload_id=1", False),
        (f"{HOST}/b/a", f"{HOST}/b/a?upload_id=1", None),
        (f"{HOST}/B/a/b", f"{JSON_API}&name=a%2Fb&upload_id=1", None),
        (f"{GATEWAY}/b/a", f"{GATEWAY}/b/a?session=1", None),
        (f"{HOST}/B/a", f"{JSON_API}&upload_id=1", None),
        (f"{HOST}/b/a", f"{GATEWAY}/b/c?upload_id=1", None),
        (f"{HOST}/b/a", f"{GATEWAY}/b/a?X-Goog-Signature=ac&upload_id=1", None),
        (f"{GATEWAY}/b/a", f"{GATEWAY}/sessions?upload_id=1", None),
        (f"{GATEWAY}/b/a", f"{GATEWAY}/b/a/session/1", None),
        (GATEWAY, f"{GATEWAY}/b/a?upload_id=1", None),
    ],
)
def test_whether_a_session_may_be_the_answer_to_a_start(
    start: str, session: str, its: bool | None
) -> None:
    url = read_url(f"{start}?{SIGNED}&X-Goog-SignedHeaders=host;x-goog-resumable")
    assert answers(url, read_url(session)) is its


def test_no_spelling_of_a_path_leads_to_nothing() -> None:
    paths = [
        read_url(f"http://h{path}").object_path for path in ("", "/", "/..", "/../..", "/a/..")
    ]
    assert paths == ["h", "h/", "h", "h", "h"]


def test_a_name_in_the_query_of_any_other_url_is_not_an_objects() -> None:
    assert read_url(f"{HOST}/b/a?name=c&upload_id=1").object_path == "storage.googleapis.com/b/a"


@pytest.mark.parametrize(
    ("expires", "life_s"),
    [
        ("3600", 3600.0),
        ("5", 5.0),
        ("9" * 9, 999_999_999.0),
        ("9" * 10, None),
        ("", None),
        ("soon", None),
        ("-1", None),
    ],
)
def test_how_long_a_url_lives(expires: str, life_s: float | None) -> None:
    assert read_url(f"{HOST}/b/o?X-Goog-Expires={expires}").life_s == life_s


@pytest.mark.parametrize(
    "url",
    [
        "", "b/o", "gs://b/o", "file:///etc/passwd", "https://", "https://:443/b/o", "https://[x",
        f"{HOST}/b/\ud800", f"{HOST}/b/o?upload_id=\udfff", f"{HOST}/b/o\n",
    ],
)  # fmt: skip
def test_what_is_not_an_upload_url(url: str) -> None:
    with pytest.raises(JobRefused) as caught:
        read_url(url)
    assert caught.value.code == "url_unusable"


@given(st.one_of(st.text(), st.text().map("https://h/".__add__), st.text().map("https://".__add__)))
def test_any_url_is_read_or_refused(url: str) -> None:
    with contextlib.suppress(JobRefused):
        assert read_url(url).kind in UrlKind


def headers_of(signed: str, size_bytes: int = 7) -> dict[str, str]:
    return read_url(f"{HOST}/b/o?X-Goog-SignedHeaders={signed}").headers(size_bytes)


def test_of_signed_headers_that_nobody_knows_one_short_printable_line_is_kept() -> None:
    with pytest.raises(JobRefused, match="needs headers whose values") as refused:
        headers_of("host;x-%1B[2J%07-fw_CANARY0123456789;" + "y" * 900)
    assert refused.value.message.isprintable()
    assert "CANARY" not in refused.value.message
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("signed", "headers"),
    [
        ("host", {}),
        (PAIR, {"x-goog-content-length-range": "7,7"}),
        ("host;x-goog-resumable", {"x-goog-resumable": "start"}),
        ("content-length;host", {}),
    ],
)
def test_exactly_the_signed_headers_are_sent(signed: str, headers: dict[str, str]) -> None:
    assert headers_of(signed) == {"content-type": "application/octet-stream", **headers}


def test_a_signed_header_nobody_knows_is_refused() -> None:
    with pytest.raises(JobRefused, match="x-goog-meta-owner") as caught:
        headers_of("host;x-goog-meta-owner")
    assert caught.value.code == "url_unusable"
    assert caught.value.hint


def test_an_address_that_no_server_takes_is_refused() -> None:
    longest = "https://s/" + "k" * (8 * 1024 - 10)
    assert read_url(longest).url.reveal() == longest
    with pytest.raises(JobRefused, match="not a URL"):
        read_url(f"{longest}k")
