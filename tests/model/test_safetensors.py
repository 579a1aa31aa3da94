from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.build import safetensors
from uploader.model.reading import Malformed
from uploader.model.safetensors import MAX_HEADER_BYTES, Tensor, read_header


def framed(header: Any, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def test_the_header_tells_every_tensor(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors({"a": 8, "b": 4}))
    header = read_header(file)
    assert header.tensors == {"a": Tensor("U8", (8,), 0, 8), "b": Tensor("U8", (4,), 8, 12)}
    assert header.file_bytes == file.stat().st_size == header.size_bytes + 12


@pytest.mark.parametrize(
    "body", [framed({}), framed(b'{"__metadata__": {}}   '), safetensors({"a": 0})]
)
def test_odd_but_whole_files(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    assert read_header(file).file_bytes == len(body)


BROKEN = [
    (b"", "cut short"),
    (b"\1\0\0", "cut short"),
    (safetensors({"a": 8}, missing=1), "cut short"),
    (safetensors({"a": 8}, missing=20), "ends within its header"),
    (safetensors({"a": 8}, surplus=3), "3 bytes behind"),
    ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "exceed 100 MB"),
    (b"version https://git-lfs", "exceed 100 MB"),
    (framed(b"{"), "is not JSON"),
    (framed([]), "is not a JSON object"),
    (framed(b"[" * 100_000), "is not JSON"),
    (framed({"a": 3}), "describes the tensor 'a'"),
    (framed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 0]}}), "tensor 'a'"),
    (framed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}}), "tensor 'a'"),
    (framed({"a": {"dtype": "U8", "shape": ["1"], "data_offsets": [0, 0]}}), "tensor 'a'"),
    (framed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}), "tensor 'a'"),
]


@pytest.mark.parametrize(("body", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_says_how(tmp_path: Path, body: bytes, message: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(Malformed, match=message):
        read_header(file)


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
        assert read_header(file).file_bytes == len(body)
