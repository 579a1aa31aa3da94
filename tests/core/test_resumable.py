"""What is sent next, in whole granules, and how much is progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.resumable import GRANULE, content_range, gets_further, half_a_put, next_put


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
