"""The header of a .safetensors file: 8 bytes of length, then JSON; tensors are not read.

Hugging Face's own library decides whether a header is sound. This file adds what the library does
not tell: how many bytes a file lacks, and what its tensors look like. And it bounds what the
library is given, which makes an object of 128 bytes of each `[` before it knows what that is for.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from uploader import files
from uploader.core.redact import foreign_line
from uploader.core.text import size
from uploader.model import memory_file
from uploader.model.reading import Allowance, Malformed, TooLong
from uploader.model.tensors import Tensor, Tensors

MAX_HEADER_BYTES = 100_000_000
#: To read a header, the library needs ten times its length; this is enough for 150 000 tensors.
MAX_READ_BYTES = 16_000_000
#: How often these may be there. The longest header that is read has at most 246 000 tensors, of 65
#: bytes or more. Each has ten quotes, two `[` and one `{`, and three commas more than dimensions:
#: of eight dimensions, there is room for 200 000. Metadata may be made of far more quotes, and
#: values may be nested without end.
_MOST = {b'"': 2_500_000, b"[": 500_000, b"{": 250_000, b",": 2_500_000}
#: Strings that are values: each tensor has one, its type. Metadata consists of them, and each takes
#: five hundred bytes; no model has a hundred.
_STRING = re.compile(rb':\s*"')
_MAX_METADATA = 50_000
#: A header up to this long, as nearly every file has, is judged by the library while files are in
#: flight, too. This much of each file is in memory anyway; the library needs 16 MB for it.
_JUDGED_BYTES = 256 * 1024
#: The library has one header at a time, however many files are looked at in this process. What it
#: reads is in memory: nobody holds this and waits for a disk.
_JUDGING = threading.Lock() if memory_file.HAS_MEMORY_FILES else nullcontext()
_BLOCK_BYTES = 64 * 1024
_SPAN = re.compile(rb'"data_offsets"\s*:\s*\[\s*(\d{1,19})\s*,\s*(\d{1,19})\s*\]')
#: A span of 60 bytes, and as much white space as nobody writes.
_SPAN_BYTES = 200
_LENGTH_BYTES = 8
#: More than any framework has.
_MAX_DIMENSIONS = 64
#: Different types and shapes of one file's tensors; a model has some dozens. Each is an object.
_MAX_KINDS = 20_000
_LONGEST = 60
_MAX_WORDS_CHARS = 300


class WrongSize(Malformed):
    """A file is shorter or longer than its header says."""


@dataclass(frozen=True, slots=True)
class Header:
    """Every tensor by name, and the bytes that all of them take together.

    ``format`` is as the metadata gives it: empty if it does not, None without metadata.
    """

    tensors: Tensors
    tensors_bytes: int
    format: str | None = None


def read_header(path: Path, allowance: Allowance | None = None) -> Header:
    """The header of the file at ``path``; its length is taken from ``allowance``.

    Raises WrongSize if the file is cut short or goes on after its last tensor, TooLong if its
    header is too long, Malformed if it is not a safetensors file or cannot be read.
    """
    try:
        with files.opened(path) as file:
            return _header(file, allowance)
    except OSError as problem:
        raise Malformed(f"cannot be read: {problem.strerror}") from None


def has_sound_header(file: BinaryIO, allowance: Allowance | None = None) -> bool:
    """Does the header of what is open fit its size, as far as it can be read?

    Its length is taken from ``allowance``; one for which nothing is left is not sound.

    For any number of files at once, whatever is in them: no more than `_JUDGED_BYTES` of each are
    in memory. For a longer header it only asks whether the tensors that it names fill the file.
    """
    try:
        size_bytes, prefix, length = _beginning(file)
        if allowance:
            allowance.take(length)
        if length > _JUDGED_BYTES or not memory_file.HAS_MEMORY_FILES:
            return _fills(file, length, size_bytes - _LENGTH_BYTES - length)
        raw = file.read(length)
        _judged(file, prefix, raw, size_bytes)
    except (Malformed, OSError):
        return False
    return True


def _header(file: BinaryIO, allowance: Allowance | None = None) -> Header:
    """As `read_header`, but raises OSError if it cannot be read."""
    size_bytes, prefix, length = _beginning(file)
    if allowance:
        allowance.take(length)
    raw = file.read(length)
    data_bytes = size_bytes - _LENGTH_BYTES - length
    if length > MAX_READ_BYTES:
        _check_size(raw, data_bytes)
        raise TooLong(f"has a header of {size(length)}, too long to be read")
    if _has_countless_values(raw):
        _check_size(raw, data_bytes)
        raise TooLong("has a header of more values than that of any model: it was not read")
    try:
        return _judged(file, prefix, raw, size_bytes)
    except Malformed:
        _check_size(raw, data_bytes)
        raise


def _has_countless_values(raw: bytes) -> bool:
    strings = sum(1 for _ in _STRING.finditer(raw))
    return strings > raw.count(b"{") + _MAX_METADATA or any(
        raw.count(char) > most for char, most in _MOST.items()
    )


def _beginning(file: BinaryIO) -> tuple[int, bytes, int]:
    """The size of the file, its first bytes, and the length of the header that they give."""
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes < _LENGTH_BYTES:  # also what a file in /proc says, which reading may change
        raise WrongSize(f"is cut short: {size_bytes} bytes are too few for a header")
    file.seek(0)
    prefix = file.read(_LENGTH_BYTES)
    return size_bytes, prefix, _header_length(prefix, size_bytes)


def _judged(file: BinaryIO, prefix: bytes, raw: bytes, size_bytes: int) -> Header:
    # What was bounded is what the library reads: the owner of the file may change it meanwhile.
    with memory_file.beginning(file, prefix, raw, size_bytes=size_bytes) as name, _JUDGING:
        return _read(name, size_bytes - len(prefix) - len(raw))


def _fills(file: BinaryIO, length: int, data_bytes: int) -> bool:
    """Is it an object whose tensors fill the rest of the file? Read block by block."""
    held = end = 0
    known = b""
    for position in range(0, length, _BLOCK_BYTES):
        block = file.read(min(_BLOCK_BYTES, length - position))
        if not position and not block.lstrip().startswith(b"{"):
            return False
        known += block
        done = 0
        for found in _SPAN.finditer(known):
            start, stop = int(found[1]), int(found[2])
            end, held, done = max(end, stop), held + stop - start, found.end()
        known = known[max(done, len(known) - _SPAN_BYTES) :]
    return held == end == data_bytes


def _header_length(prefix: bytes, size_bytes: int) -> int:
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise Malformed("is not a safetensors file: its header would exceed 100 MB")
    if _LENGTH_BYTES + length > size_bytes:
        raise WrongSize("is cut short: it ends within its header")
    return length


def _read(name: str, data_bytes: int) -> Header:
    """Read it with the library; raises Malformed if that refuses it, and OSError."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - brings numpy along

    try:
        # pread: a mapped file that shrinks meanwhile would kill us with SIGBUS.
        with safe_open(name, framework="np", backend="pread") as tensors:
            metadata = tensors.metadata()
            form = None if metadata is None else str(metadata.get("format", ""))[:_LONGEST]
            return Header(Tensors(_tensors(tensors)), data_bytes, form)
    except SafetensorError as error:
        words = str(error).removeprefix("Error while deserializing header: ")
        words = foreign_line(words, _MAX_WORDS_CHARS)  # it repeats what stands in the file
        message = f"has a header that the safetensors library refuses: {words}"
        raise Malformed(message) from None


def _tensors(file: Any) -> Iterator[tuple[str, Tensor]]:
    alike: dict[Tensor, Tensor] = {}
    for name in file.offset_keys():
        tensor = file.get_slice(name)
        shape = tensor.get_shape()
        if len(shape) > _MAX_DIMENSIONS:
            raise Malformed(f"has a tensor of {len(shape):,} dimensions")
        key = Tensor(tensor.get_dtype(), tuple(shape))
        if key not in alike:
            if len(alike) == _MAX_KINDS:
                raise TooLong(f"has tensors of more than {_MAX_KINDS:,} types and shapes")
            alike[key] = key
        yield name, alike[key]


def _check_size(raw: bytes, data_bytes: int) -> None:
    """Raises WrongSize if the tensors themselves are in order, so that only the size is wrong."""
    count = end = held = 0
    for found in _SPAN.finditer(raw):
        start, stop = int(found[1]), int(found[2])
        count, end, held = count + 1, max(end, stop), held + stop - start
    if count != raw.count(b'"data_offsets"') or held != end:
        return
    if data_bytes < end:
        raise WrongSize(f"is cut short: {data_bytes} of {end} bytes of tensors are there")
    if data_bytes > end:
        raise WrongSize(f"has {data_bytes - end} bytes after its last tensor")
