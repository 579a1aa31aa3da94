"""The header of a .safetensors file: 8 bytes of length, then JSON; tensor bytes stay unread.

The format is Hugging Face's: little-endian u64 length, a JSON object of at most 100 MB whose
`data_offsets` are half-open and count from the end of the header, and nothing after them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uploader.model.reading import Malformed, parse_object

MAX_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """``start`` and ``stop`` are half-open, in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """Every tensor by name; ``size_bytes`` is where the first tensor's bytes begin."""

    size_bytes: int
    tensors: Mapping[str, Tensor]

    @property
    def file_bytes(self) -> int:
        """How long the file has to be."""
        return self.size_bytes + max((tensor.stop for tensor in self.tensors.values()), default=0)


def read_header(path: Path) -> Header:
    """The header of the file at ``path``.

    Raises Malformed where the file is cut short, longer than its tensors, or no safetensors
    file; OSError where it cannot be read.
    """
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        length = _header_length(file.read(_LENGTH_BYTES), size_bytes)
        header = _parse(file.read(length), _LENGTH_BYTES + length)
    if size_bytes < header.file_bytes:
        raise Malformed(f"is cut short: {size_bytes} of {header.file_bytes} bytes are there")
    if size_bytes > header.file_bytes:
        raise Malformed(f"holds {size_bytes - header.file_bytes} bytes behind its last tensor")
    return header


def _header_length(prefix: bytes, size_bytes: int) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _LENGTH_BYTES:
        raise Malformed(f"is cut short: {size_bytes} bytes hold no header")
    if length > MAX_HEADER_BYTES:
        raise Malformed("is no safetensors file: its header would exceed 100 MB")
    if _LENGTH_BYTES + length > size_bytes:
        raise Malformed("is cut short: it ends within its header")
    return length


def _parse(raw: bytes, size_bytes: int) -> Header:
    entries = parse_object(raw)
    entries.pop("__metadata__", None)
    return Header(size_bytes, {name: _tensor(name, entry) for name, entry in entries.items()})


def _tensor(name: str, entry: object) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]}:
            if 0 <= start <= stop and all(isinstance(length, int) for length in shape):
                return Tensor(dtype, tuple(shape), start, stop)
    raise Malformed(f"has a header that describes the tensor {name!r} in no known way")
