from __future__ import annotations

import google_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.core.crc32c import crc_before

BYTES = st.binary(max_size=3000)


@given(BYTES, BYTES)
@example(b"", b"")
@example(b"\0", b"\0" * 2000)
@example(b"a" * 100, b"")
def test_the_beginning_follows_from_the_whole_and_its_end(head: bytes, tail: bytes) -> None:
    whole = google_crc32c.value(head + tail)
    assert crc_before(whole, google_crc32c.value(tail), len(tail)) == google_crc32c.value(head)


@given(BYTES, st.integers(1, 1 << 24))
def test_long_ends_too(head: bytes, zeros: int) -> None:
    tail = bytes(zeros)
    whole = google_crc32c.extend(google_crc32c.value(head), tail)
    assert crc_before(whole, google_crc32c.value(tail), zeros) == google_crc32c.value(head)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**43))
def test_it_is_always_a_crc_whatever_the_length(whole: int, tail: int, length: int) -> None:
    """Going back twice is going back once by both lengths; no length takes long."""
    assert 0 <= crc_before(whole, tail, length) < 2**32
    once = crc_before(whole, 0, 2 * length)
    assert crc_before(crc_before(whole, 0, length), 0, length) == once
