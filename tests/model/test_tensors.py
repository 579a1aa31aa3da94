from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.model.tensors import Names, Tensor, Tensors

NAMES = st.lists(st.text(), unique=True, max_size=30)
KINDS = st.sampled_from([Tensor("BF16", (2, 3)), Tensor("F32", (4,)), Tensor("U8", ())])


@given(names=NAMES, others=NAMES)
def test_packed_names_answer_as_a_list_does(names: list[str], others: list[str]) -> None:
    packed = Names(names)
    assert list(packed) == names
    assert len(packed) == len(names)
    assert [name in packed for name in others] == [name in names for name in others]
    assert packed.beyond(Names(others)) == [name for name in names if name not in others]


@given(wanted=st.dictionaries(st.text(), KINDS, max_size=30), name=st.text())
def test_packed_tensors_answer_as_a_dictionary_does(wanted: dict[str, Tensor], name: str) -> None:
    tensors = Tensors(wanted.items())
    assert tensors == wanted
    assert list(tensors.items()) == list(wanted.items())
    assert [*tensors.values()] == [*wanted.values()]
    assert tensors.get(name) == wanted.get(name)
    assert (name in tensors) == (name in wanted)
    assert {*tensors.kinds} == {*wanted.values()}
    assert sum(count for _, count in tensors.counts()) == len(wanted)


def test_a_name_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Tensors([])["a"]


def test_ten_thousand_names_take_less_than_a_fifth_of_a_dictionary() -> None:
    names = [f"model.layers.{n // 100}.mlp.experts.{n % 100}.down_proj" for n in range(10_000)]
    wanted = dict.fromkeys(names, Tensor("BF16", (2, 3)))
    packed = Tensors(wanted.items())
    taken = sum(map(sys.getsizeof, (packed.names.hashes, packed.names._packed, packed._kinds)))
    assert taken * 5 < sys.getsizeof(wanted) + sum(map(sys.getsizeof, names))
