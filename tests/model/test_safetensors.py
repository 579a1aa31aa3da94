"""The header of a safetensors file: each tensor, and what is wrong with a broken one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.build import safetensors
from tests.model.weights import dense, framed, tensor
from uploader.model.reading import Malformed
from uploader.model.safetensors import MAX_HEADER_BYTES, WrongSize, read_header
from uploader.model.tensors import Tensor


def test_the_header_tells_every_tensor(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    both = {"a": tensor([2, 4], 0, 16, "BF16"), "b": tensor([4], 16, 20)}
    file.write_bytes(framed(both, b"\0" * 20))
    header = read_header(file)
    assert header.tensors == {"a": Tensor("BF16", (2, 4)), "b": Tensor("U8", (4,))}
    assert header.tensors_bytes == 20


def test_equal_shapes_are_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors({"a": 8, "b": 8}))
    tensors = read_header(file).tensors
    assert tensors["a"] is tensors["b"]


@pytest.mark.parametrize(
    "body", [framed({}), framed(b'{"__metadata__": {}}   '), safetensors({"a": 0})]
)
def test_odd_but_whole_files(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    assert read_header(file).tensors_bytes == 0


LIBRARY = "the safetensors library refuses"
CUT_SHORT = [
    (b"", "is cut short: 0 bytes are too few for a header"),
    (b"\1\0\0", "is cut short: 3 bytes"),
    (safetensors({"a": 8}, missing=1), "is cut short: 7 of 8 bytes"),
    (safetensors({"a": 8}, missing=20), "ends within its header"),
    (safetensors({"a": 8}, surplus=3), "3 bytes after"),
    (framed({"a": tensor([1], 0, 1), "b": tensor([1], 1, 2)}, b"1"), "1 of 2 bytes"),
]
BROKEN = [
    ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "exceed 100 MB"),
    (b"version https://git-lfs", "exceed 100 MB"),
    *(
        (framed(header, body), LIBRARY)
        for header, body in (
            (b"{", b""),
            (b"\xff", b""),
            ([], b""),
            (b"[" * 100_000, b""),
            ({"a": 3}, b""),
            ({"a": tensor([1], 1, 0)}, b""),
            ({"a": tensor([1], -1, 0)}, b"1"),
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1e999]}}', b"1"),
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": "09"}}', b"1"),
            ({"a": tensor(["1"], 0, 1)}, b"1"),
            ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, b""),
            ({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"1"),
            ({"a": tensor([1], 0, 1, "U9")}, b"1"),
            ({"a": tensor([2], 0, 1)}, b"1"),  # dtype times shape is not the span
            ({"a": tensor([1 << 40, 1 << 40], 0, 1)}, b"1"),
            ({"a": tensor([1], 1, 2)}, b"12"),  # a hole
            ({"a": tensor([2], 0, 2), "b": tensor([2], 1, 3)}, b"123"),  # an overlap
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}} x', b"1"),
        )
    ),
]


@pytest.mark.parametrize(("body", "message"), CUT_SHORT, ids=range(len(CUT_SHORT)))
def test_a_file_of_the_wrong_size_says_what_it_lacks(
    tmp_path: Path, body: bytes, message: str
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(WrongSize, match=message):
        read_header(file)


@pytest.mark.parametrize(("body", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_says_how(tmp_path: Path, body: bytes, message: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(Malformed, match=message) as refused:
        read_header(file)
    assert not isinstance(refused.value, WrongSize)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="cannot be read: No such file"):
        read_header(tmp_path / "gone.safetensors")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_bytes_it_is_read_or_malformed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = safetensors({"a": 8, "b": 4})
    start = data.draw(st.integers(0, len(whole)))
    body = whole[:start] + data.draw(st.binary(max_size=8)) + whole[start:]
    file = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    file.write_bytes(body)
    with contextlib.suppress(Malformed):
        assert read_header(file).tensors_bytes < len(body)


@pytest.mark.parametrize(
    ("count", "shape"), [(245_000, "1"), (180_000, "1,1,1,1,1,1,1,1")], ids=["flat", "deep"]
)
def test_a_header_of_more_tensors_than_any_model_has_is_read(
    tmp_path: Path, count: int, shape: str
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(dense(count, shape))
    assert len(read_header(file).tensors) == count
