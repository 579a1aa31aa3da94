from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.core.errors import JobRefused
from uploader.core.resumable import (
    GRANULE,
    Agreement,
    Confirmed,
    Finished,
    ProtocolError,
    Reading,
    Unclear,
    UrlKind,
    compare,
    content_range,
    decode_crc32c,
    encode_crc32c,
    gets_further,
    half_a_put,
    interpret,
    next_put,
    read_url,
    stored_facts,
)

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


@pytest.mark.parametrize(
    ("before", "offset", "size", "further"),
    [
        (0, 0, 9 * GRANULE, False),
        (0, 1, 9 * GRANULE, False),
        (0, GRANULE - 1, 9 * GRANULE, False),
        (0, GRANULE, 9 * GRANULE, True),
        (GRANULE, 2 * GRANULE - 1, 9 * GRANULE, False),
        (GRANULE + 5, 2 * GRANULE, 9 * GRANULE, True),
        (2 * GRANULE, GRANULE, 9 * GRANULE, False),
        (0, 9 * GRANULE, 9 * GRANULE, True),
        (GRANULE, GRANULE + 6, GRANULE + 7, False),
        (GRANULE, GRANULE + 7, GRANULE + 7, True),
        (GRANULE + 7, GRANULE + 7, GRANULE + 7, False),
        (0, 7, 7, True),
        (0, 0, 0, False),
    ],
)
def test_whole_granules_are_progress_and_the_end_of_a_file(
    before: int, offset: int, size: int, *, further: bool
) -> None:
    assert gets_further(before, offset, size) is further


@pytest.mark.parametrize(
    ("put_bytes", "half"),
    [
        (0, None),
        (8 * 1024 * 1024, None),
        (8 * 1024 * 1024 + 1, 8 * 1024 * 1024),
        (24 * 1024 * 1024 + 7, 12 * 1024 * 1024),
        (17 * 1024 * 1024 + 1, 17 * 512 * 1024),
    ],
)
def test_half_a_put_is_whole_granules_and_never_less_than_eight_mebibytes(
    put_bytes: int, half: int | None
) -> None:
    assert half_a_put(put_bytes) == half
    assert half is None or half % GRANULE == 0


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


# --- answers ----------------------------------------------------------------------------------

CRC = encode_crc32c(0x12345678)
ANSWERS: dict[str, tuple[int, dict[str, str], bool, Reading | None]] = {
    "200": (200, {}, False, Finished()),
    "201": (201, {}, False, Finished()),
    "200 to a query": (200, {"x-goog-stored-content-length": "100"}, True, Finished(100)),
    "308": (308, {"range": "bytes=0-41"}, False, Confirmed(42)),
    "308 to a query": (308, {"range": "bytes=0-41"}, True, Confirmed(42)),
    "308 in capitals": (308, {"range": "Bytes=0-41"}, True, Confirmed(42)),
    "a Range that a proxy repeats": (308, {"range": "bytes=0-9, bytes=0-9"}, True, Confirmed(10)),
    "two Ranges that differ": (308, {"range": "bytes=0-9, bytes=0-99"}, False, Unclear()),
    "308 with space": (308, {"range": " bytes=0-0 "}, False, Confirmed(1)),
    "all stored, finish lost (gcs#8868)": (308, {"range": "bytes=0-99"}, False, Confirmed(100)),
    "no Range after data (cpp#7877)": (308, {}, False, Unclear()),
    "no Range after a query": (308, {}, True, Confirmed(0)),
    "odd Range after data": (308, {"range": "bytes=5-9"}, False, Unclear()),
    "two Ranges after data": (308, {"range": "bytes=0-41,50-60"}, False, Unclear()),
    "odd unit after data": (308, {"range": "kilobytes=0-41"}, False, Unclear()),
    "no number after data": (308, {"range": "bytes=0-"}, False, Unclear()),
    "no such number after data": (308, {"range": f"bytes=0-{10**19}"}, False, Unclear()),
    "empty Range after data": (308, {"range": ""}, False, Unclear()),
    "404": (404, {}, True, None),
    "503 that speaks of content-range": (503, {}, False, None),
    "redirect": (307, {"range": "bytes=0-1"}, False, None),
}


@pytest.mark.parametrize(("status", "headers", "query", "reading"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_says(
    status: int, headers: dict[str, str], query: bool, reading: Reading | None
) -> None:
    assert interpret(status, headers, b"", size_bytes=100, query=query) == reading


@pytest.mark.parametrize(
    ("text", "query"),
    [("bytes=0-100", False), ("bytes=0-100", True), ("bytes=1-2", True), ("", True)],
)
def test_an_answer_no_rule_explains(text: str, query: bool) -> None:
    with pytest.raises(ProtocolError) as caught:
        interpret(308, {"range": text}, b"", size_bytes=100, query=query)
    assert caught.value.code == "protocol"


@pytest.mark.parametrize("offset", [10**9 + 1, 10**10 + 1, 10**12, 2**63 - 1])
def test_a_file_may_be_larger_than_any_disk(offset: int) -> None:
    headers = {"range": f"bytes=0-{offset - 1}"}
    assert interpret(308, headers, b"", size_bytes=offset, query=True) == Confirmed(offset)
    assert stored_facts({"x-goog-stored-content-length": f"{offset}"}, b"") == Finished(offset)


HEADER = st.sampled_from(["range", "x-goog-hash", "content-type", "x-goog-stored-content-length"])
VALUE = st.one_of(
    st.text(),
    st.integers().map("bytes=0-{}".format),
    st.text().map("crc32c={}".format),
    st.just("application/json"),
)
BODY = st.one_of(
    st.binary(),
    st.dictionaries(
        st.sampled_from(["size", "crc32c", "x"]),
        st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
    ).map(lambda facts: json.dumps(facts).encode()),
)


@given(
    st.one_of(st.sampled_from([200, 201, 308]), st.integers()),
    st.dictionaries(HEADER, VALUE),
    BODY,
    st.integers(0, 2**45),
    st.booleans(),
)
@example(200, {"content-type": "application/json"}, b"[" * 100_000, 1, False)
@example(200, {"content-type": "application/json"}, b"\xff", 1, False)
@example(200, {"content-type": "application/json"}, b'{"size": ' + b"9" * 5000 + b"}", 1, False)
@example(308, {"range": "bytes=0-" + "9" * 5000}, b"", 1, False)
def test_any_answer_is_read_or_is_a_protocol_error(
    status: int, headers: dict[str, str], body: bytes, size_bytes: int, query: bool
) -> None:
    with contextlib.suppress(ProtocolError):
        reading = interpret(status, headers, body, size_bytes=size_bytes, query=query)
        if isinstance(reading, Confirmed):
            assert 0 <= reading.offset <= size_bytes
        if status not in (200, 201, 308):
            assert reading is None


JSON = {"content-type": "application/json; charset=UTF-8"}
FACTS: list[tuple[dict[str, str], bytes, Finished]] = [
    ({"x-goog-hash": f"crc32c={CRC}"}, b"", Finished(None, 0x12345678)),
    ({"x-goog-hash": f"crc32c={CRC},md5=abc=="}, b"", Finished(None, 0x12345678)),
    ({"x-goog-hash": f"md5=abc==, crc32c={CRC}"}, b"", Finished(None, 0x12345678)),
    ({"x-goog-hash": f"crc32c={CRC} ,md5=abc=="}, b"", Finished(None, 0x12345678)),
    ({"x-goog-hash": f"crc32c={CRC} md5"}, b"", Finished()),
    ({"x-goog-hash": f"x-crc32c={CRC}"}, b"", Finished()),
    ({"x-goog-hash": "md5=abc=="}, b"", Finished()),
    ({"x-goog-hash": "crc32c=AAAA"}, b"", Finished()),
    ({"x-goog-stored-content-length": "7"}, b"", Finished(7)),
    *(
        ({"x-goog-stored-content-length": odd}, b"", Finished())
        for odd in ("seven", "", "7 bytes", f"{10**19}")
    ),
    (JSON, b'{"size": "7", "crc32c": "%s"}' % CRC.encode(), Finished(7, 0x12345678)),
    (JSON, b'{"size": 7}', Finished(7)),
    (JSON, b'{"size": [7], "crc32c": 7}', Finished()),
    (JSON, b"[]", Finished()),
    (JSON, b'{"size": 7, "a": [%s]}' % b",".join([b"[" * 99 + b"]" * 99] * 11), Finished()),
    (JSON, b"[7]", Finished()),
    (JSON, b"7", Finished()),
    ({**JSON, "x-goog-hash": f"crc32c={CRC}"}, b'{"size": 7}', Finished(7, 0x12345678)),
    (JSON, b"<html>", Finished()),
    ({}, b'{"size": "7"}', Finished()),
    ({**JSON, "x-goog-stored-content-length": "8"}, b'{"size": "7"}', Finished(8)),
]


GENERATIONS: list[tuple[dict[str, str], bytes, int | None]] = [
    ({"x-goog-generation": "1730000000123456"}, b"", 1730000000123456),
    (JSON, b'{"generation": "7"}', 7),
    (JSON, b'{"generation": 7}', 7),
    ({"x-goog-generation": str(2**63 - 1)}, b"", 2**63 - 1),
    ({"x-goog-generation": str(2**63)}, b"", None),
    ({"x-goog-generation": "-1"}, b"", None),
    ({"x-goog-generation": "x"}, b"", None),
    ({}, b'{"generation": "7"}', None),
]


@pytest.mark.parametrize(
    ("headers", "body", "generation"), GENERATIONS, ids=range(len(GENERATIONS))
)
def test_the_generation_of_a_finished_object_which_describes_no_bytes(
    headers: dict[str, str], body: bytes, generation: int | None
) -> None:
    facts = stored_facts(headers, body)
    assert facts.generation == generation
    assert facts == Finished()


@pytest.mark.parametrize(("headers", "body", "facts"), FACTS, ids=range(len(FACTS)))
def test_facts_of_a_finished_object(headers: dict[str, str], body: bytes, facts: Finished) -> None:
    assert stored_facts(headers, body) == facts


@given(st.integers(0, 2**32 - 1))
def test_a_crc_is_printed_and_read_back(crc: int) -> None:
    assert decode_crc32c(encode_crc32c(crc)) == crc


@pytest.mark.parametrize("printed", ["01234w==", "56789Q==", "+/+/+A=="])
def test_a_hash_header_may_have_any_digit(printed: str) -> None:
    crc = stored_facts({"x-goog-hash": f"crc32c={printed}"}, b"").crc32c
    assert crc is not None
    assert encode_crc32c(crc) == printed


def test_a_crc_as_gcs_prints_it() -> None:
    assert encode_crc32c(0xE3069283) == "4waSgw=="  # of b"123456789"


@pytest.mark.parametrize("text", ["", "4waSgw", "AAAA", "AAAAAAA=", "4wa!Sgw==", "ä"])
def test_what_is_not_a_crc(text: str) -> None:
    assert decode_crc32c(text) is None


@given(st.text())
def test_any_text_is_a_crc_or_none(text: str) -> None:
    crc = decode_crc32c(text)
    assert crc is None or 0 <= crc < 2**32


@pytest.mark.parametrize(
    ("finished", "agreement"),
    [
        (Finished(7, 1), Agreement.VERIFIED),
        (Finished(None, 1), Agreement.VERIFIED),
        (Finished(7, None), Agreement.UNVERIFIED),
        (Finished(), Agreement.UNVERIFIED),
        (Finished(8, 1), Agreement.MISMATCH),
        (Finished(8, None), Agreement.MISMATCH),
        (Finished(7, 2), Agreement.MISMATCH),
        (Finished(None, 0), Agreement.MISMATCH),
        (Finished(0, 1), Agreement.MISMATCH),
    ],
)
def test_a_stored_object_against_ours(finished: Finished, agreement: Agreement) -> None:
    assert compare(finished, 7, 1, sent_bytes=7) is agreement
    believed = agreement is Agreement.VERIFIED
    assert compare(finished, 7, 1, sent_bytes=6) is (agreement if believed else Agreement.MISMATCH)


# --- what is sent next ------------------------------------------------------------------------

SIZES = st.integers(0, 2**45)
GRANULES = st.integers(1, 2**20).map(GRANULE.__mul__)


def test_the_granule_is_the_protocols() -> None:
    assert GRANULE == 262_144


@given(SIZES, st.integers(0, 2**27).map(GRANULE.__mul__), GRANULES)
def test_a_put_is_whole_granules_or_ends_the_file(size: int, offset: int, most: int) -> None:
    offset = min(offset, size)
    start, stop = next_put(offset, size, most)
    assert start == offset <= stop <= size
    assert stop - start <= most
    assert stop == size or (stop - start) % GRANULE == 0
    assert stop > start or offset == size


@pytest.mark.parametrize("size", [0, 1, GRANULE - 1, GRANULE, 5 * GRANULE + 3])
@pytest.mark.parametrize("most", [GRANULE, 4 * GRANULE])
def test_puts_cover_the_file_once(size: int, most: int) -> None:
    offset, covered = 0, 0
    while offset < size:
        start, offset = next_put(offset, size, most)
        covered += offset - start
    assert (offset, covered) == (size, size)
    assert next_put(size, size, most) == (size, size)


@given(SIZES, SIZES, SIZES)
def test_a_content_range_is_inclusive_on_the_wire(first: int, second: int, third: int) -> None:
    start, stop, size = sorted((first, second, third))
    header = content_range(start, stop, size)
    if start == stop:
        assert header == f"bytes */{size}"
    else:
        assert header == f"bytes {start}-{stop - 1}/{size}"


def test_an_address_that_no_server_takes_is_refused() -> None:
    longest = "https://s/" + "k" * (8 * 1024 - 10)
    assert read_url(longest).url.reveal() == longest
    with pytest.raises(JobRefused, match="not a URL"):
        read_url(f"{longest}k")
