"""The header of a .safetensors file: 8 bytes of length, then JSON; tensor bytes stay unread.

Hugging Face's own library judges whether a header is sound. What it does not say we find out
here: how many bytes a file lacks, and what its tensors look like.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from uploader.model.reading import Malformed, parse_object

MAX_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8


class WrongSize(Malformed):
    """A file is shorter or longer than its header says."""


class Tensor(NamedTuple):
    """``dtype`` in the format's words (BF16, F8_E4M3, …)."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """Every tensor by name, and the bytes that all of them take."""

    tensors: Mapping[str, Tensor]
    tensors_bytes: int


def read_header(path: Path) -> Header:
    """The header of the file at ``path``.

    Raises WrongSize where the file is cut short or goes on behind its last tensor, Malformed
    where it is no safetensors file or cannot be read.
    """
    try:
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            length = _header_length(file.read(_LENGTH_BYTES), size_bytes)
            data_bytes = size_bytes - _LENGTH_BYTES - length
            try:
                return Header(_tensors(path), data_bytes)
            except Malformed:
                _check_size(file.read(length), data_bytes)
                raise
    except OSError as problem:
        raise Malformed(f"cannot be read: {problem.strerror}") from None


def _header_length(prefix: bytes, size_bytes: int) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _LENGTH_BYTES:
        raise WrongSize(f"is cut short: {size_bytes} bytes hold no header")
    if length > MAX_HEADER_BYTES:
        raise Malformed("is no safetensors file: its header would exceed 100 MB")
    if _LENGTH_BYTES + length > size_bytes:
        raise WrongSize("is cut short: it ends within its header")
    return length


def _tensors(path: Path) -> dict[str, Tensor]:
    """As the library reads them; raises Malformed where it refuses, and OSError."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - brings numpy along

    # Layers repeat: a model of 200 000 tensors has a dozen shapes, and keeps each once.
    alike: dict[tuple[Any, ...], Tensor] = {}
    tensors = {}
    try:
        # pread: a mapped file that shrinks meanwhile would kill us with SIGBUS.
        with safe_open(path, framework="np", backend="pread") as file:
            for name in file.offset_keys():
                tensor = file.get_slice(name)
                key = (tensor.get_dtype(), *tensor.get_shape())
                if key not in alike:
                    alike[key] = Tensor(key[0], key[1:])
                tensors[name] = alike[key]
    except SafetensorError as error:
        words = str(error).removeprefix("Error while deserializing header: ")
        message = f"has a header that the safetensors library refuses: {words}"
        raise Malformed(message) from None
    return tensors


def _check_size(raw: bytes, data_bytes: int) -> None:
    """Raises WrongSize where tensor follows tensor, so that this is all that is wrong."""
    try:
        entries = parse_object(raw)
        entries.pop("__metadata__", None)
        spans = [_span(*entry["data_offsets"]) for entry in entries.values()]
    except (Malformed, KeyError, TypeError):
        return
    end = max((stop for _, stop in spans), default=0)
    if sum(stop - start for start, stop in spans) != end:
        return
    if data_bytes < end:
        raise WrongSize(f"is cut short: {data_bytes} of {end} bytes of tensors are there")
    if data_bytes > end:
        raise WrongSize(f"holds {data_bytes - end} bytes behind its last tensor")


def _span(start: Any, stop: Any) -> tuple[int, int]:
    if type(start) is int and type(stop) is int:
        return start, stop
    raise TypeError
