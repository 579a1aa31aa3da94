"""What the safetensors library takes, refuses and saves, and how little of a file it is given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.model.build import safetensors
from tests.model.test_safetensors import LIBRARY
from tests.model.weights import framed, tensor
from uploader.model.reading import Malformed, TooLong
from uploader.model.safetensors import WrongSize, read_header


def offsets(*shape: int, stop: int, dtype: str = "I32") -> dict[str, Any]:
    return tensor(list(shape), 0, stop, dtype)


#: The cases of the library's own test suite, as far as they are files.
SUITE_VALID = {
    "plain": framed({"test": offsets(2, 2, stop=16)}, b"\0" * 16),
    "no tensor": framed({}),
    "metadata only": framed({"__metadata__": {"framework": "pt"}}),
    "a scalar": framed({"test": offsets(stop=4)}, b"\0" * 4),
    "a tensor of no elements": framed({"test": offsets(2, 0, stop=0)}),
    "padded with white space": framed(
        b'{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}\r \t\n', b"\0" * 16
    ),
    "white space before": framed(b" {}"),
    "four bits": framed({"test": offsets(1, 2, stop=1, dtype="F4")}, b"\0"),
}
SUITE_REFUSED = {
    "tensors that share bytes": framed(
        {f"w{i}": offsets(2, 2, stop=16) for i in range(10)}, b"\0" * 16
    ),
    "bytes for another format behind": framed({"t": offsets(2, 2, stop=16)}, b"\0" * 16 + b"PK"),
    "bytes missing": framed({"t": offsets(2, 2, stop=16)}, b"\0" * 15),
    "header too large": b"<\0\0\0\0\xff\xff\xff" + b"{}",
    "header too small": b"",
    "header length beyond the file": b"<\0\0\0\0\0\0\0",
    "header no UTF-8": b"\1\0\0\0\0\0\0\0\xff",
    "header no JSON": b"\1\0\0\0\0\0\0\0{",
    "shape and span differ": framed({"t": offsets(2, 2, stop=4)}, b"\0" * 4),
    "a shape that overflows": framed({"t": offsets(2, 2**64 - 2, stop=16)}, b"\0" * 16),
    "a product that overflows": framed({"t": offsets(2, 2**63, stop=16)}, b"\0" * 16),
    "half a byte": framed({"t": offsets(1, 3, stop=1, dtype="F4")}, b"\0"),
}


@pytest.mark.parametrize("body", SUITE_VALID.values(), ids=SUITE_VALID)
def test_what_the_library_takes_is_taken(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    read_header(file)


@pytest.mark.parametrize("body", SUITE_REFUSED.values(), ids=SUITE_REFUSED)
def test_what_the_library_refuses_is_refused(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(Malformed):
        read_header(file)


ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(("bool", "uint8", "int16", "float16", "int32", "float32", "float64")),
        st.lists(st.integers(0, 4), max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(ARRAYS)
def test_what_the_library_saves_is_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, tuple[str, list[int]]]
) -> None:
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted.items()}
    file = tmp_path_factory.getbasetemp() / "saved.safetensors"
    save_file(arrays, file, {"format": "pt"})
    header = read_header(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        name: tuple(shape) for name, (_, shape) in wanted.items()
    }
    assert header.tensors_bytes == sum(array.nbytes for array in arrays.values())


def test_what_the_library_repeats_of_a_file_is_one_short_printable_line(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(framed({"a": tensor([], 0, 0, "\x1b[2J\n" + "X" * 1_000_000)}))
    with pytest.raises(Malformed, match=LIBRARY) as caught:
        read_header(file)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_shape_of_countless_dimensions_is_refused(tmp_path: Path) -> None:
    shape = ",".join("1" * 100)
    header = f'{{"x":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,4]}}}}'.encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(Malformed, match="100 dimensions"):
        read_header(path)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no file of ours alone")
@pytest.mark.parametrize("surplus", [0, 3])
def test_what_was_bounded_is_what_the_library_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surplus: int
) -> None:
    """The owner of a file may change it in between: its length, or what is in it."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"a": 8}, surplus=surplus))
    later = framed({name: tensor([1], n, n + 1) for n, name in enumerate("bcdefghi")}, bytes(8))
    real = safe_open

    def changed(*args: Any, **kwargs: Any) -> Any:
        with path.open("r+b") as file:
            file.write(later)
        return real(*args, **kwargs)

    monkeypatch.setattr("safetensors.safe_open", changed)
    if surplus:
        with pytest.raises(WrongSize, match="3 bytes after"):
            read_header(path)
    else:
        assert [*read_header(path).tensors] == ["a"]
    assert path.read_bytes() == later


def test_without_a_file_of_our_own_the_library_reads_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"a": 8}))

    def refused(*_: object) -> int:
        raise PermissionError

    for missing in (True, False):
        if missing:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        else:
            monkeypatch.setattr(os, "memfd_create", refused, raising=False)
        assert [*read_header(path).tensors] == ["a"]


@pytest.mark.parametrize("unit", ["[", "{", ",", '"'])
def test_a_header_of_countless_values_is_never_given_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    monkeypatch.delattr("safetensors.safe_open")
    file = tmp_path / "a.safetensors"
    file.write_bytes(framed(b"{" + unit.encode() * 3_000_000 + b"}"))
    with pytest.raises(TooLong, match="more values than that of any model"):
        read_header(file)
