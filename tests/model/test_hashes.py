"""Sorted arrays of hashes say what sets of them would say."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.model import hashes
from uploader.model.hashes import Hashes, disjoint, holds, only_in, place, repeated, shared

ENDS = (-(1 << 63), -1, 0, (1 << 63) - 1)
#: Few of them, so that they meet, and some at the edges of the parts.
HASHES = st.sets(
    st.sampled_from([end // part for end in ENDS for part in (1, 2, 3, 8)]), max_size=8
).map(lambda found: array("q", sorted(found)))
MANY = st.lists(HASHES, max_size=4)


@pytest.fixture(params=[0, 200_000], ids=["in parts", "at once"], autouse=True, scope="module")
def few(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "_FEW", request.param)
        yield


@given(HASHES, HASHES, st.sampled_from(ENDS))
def test_one_against_another(one: Hashes, other: Hashes, wanted: int) -> None:
    assert list(only_in(one, other)) == sorted({*one} - {*other})
    assert holds(one, wanted) == (wanted in one)
    assert place(one, wanted) == (one.index(wanted) if wanted in one else None)


@given(HASHES, MANY)
def test_one_against_many(one: Hashes, many: list[Hashes]) -> None:
    known = {found for other in many for found in other}
    assert list(shared(one, many)) == sorted({*one} & known)
    assert disjoint([one], many) == {*one}.isdisjoint(known)


@given(MANY)
def test_what_many_have_in_common(many: list[Hashes]) -> None:
    counts = Counter(one for found in many for one in found)
    assert list(repeated(many)) == sorted(one for one, count in counts.items() if count > 1)
