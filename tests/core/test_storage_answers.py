"""What an answer of storage says of an upload, of the finished object, and of its CRC32C."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.core.resumable import (
    Agreement,
    Confirmed,
    Finished,
    ProtocolError,
    Reading,
    Unclear,
    compare,
    decode_crc32c,
    encode_crc32c,
    interpret,
    stored_facts,
)

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
MD5_OF_NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()
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
    ({"etag": f'"{MD5_OF_NOTHING}"'}, b"", Finished(0)),
    ({"etag": MD5_OF_NOTHING}, b"", Finished(0)),
    ({"etag": f'"{MD5_OF_NOTHING}"'}, b"OK", Finished()),
    ({"etag": f'"{MD5_OF_NOTHING}"', "x-goog-stored-content-length": "7"}, b"", Finished(7)),
    ({"etag": '"0123456789abcdef0123456789abcdef"'}, b"", Finished()),
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
