"""Safetensors files of zeros, of any types and shapes."""

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
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(stop)


def span(dtype: str, shape: Shape) -> int:
    """What a tensor takes, in bytes."""
    return BYTES[dtype] * prod(shape)


def alike(shapes: Mapping[str, Shape], dtype: str = "BF16") -> bytes:
    """A file of tensors of one type."""
    return encode({name: (dtype, shape) for name, shape in shapes.items()})
