"""Safetensors files of any header, and of zeros, of any types and shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

Shape = tuple[int, ...]
#: Type and shape by name.
Tensors = Mapping[str, tuple[str, Shape]]

BYTES = {"F32": 4, "I32": 4, "BF16": 2, "F16": 2, "U8": 1, "F8_E4M3": 1, "I64": 8}


def encode(tensors: Tensors) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    stop = 0
    for name, (dtype, shape) in tensors.items():
        start, stop = stop, stop + span(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
    return framed(header, bytes(stop))


def span(dtype: str, shape: Shape) -> int:
    """What a tensor takes, in bytes."""
    return BYTES[dtype] * prod(shape)


def alike(shapes: Mapping[str, Shape], dtype: str = "BF16") -> bytes:
    """A file of tensors of one type."""
    return encode({name: (dtype, shape) for name, shape in shapes.items()})


def framed(header: Any, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def tensor(shape: list[Any], start: int, stop: int, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def dense(count: int, shape: str = "1") -> bytes:
    """A file of that many tensors of a byte each, with names as short as there can be."""
    entries = (
        f'"{n:x}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{n},{n + 1}]}}'
        for n in range(count)
    )
    return framed(f"{{{','.join(entries)}}}".encode(), bytes(count))
