"""The folders that are sent: valid small models, so that every contender sends the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

_PATTERN = os.urandom(1 << 20)
_ROW = 1024 * 2


def make_model(folder: Path, shards: int, shard_bytes: int) -> int:
    """A model of ``shards`` weight files of about ``shard_bytes`` each; its size in bytes."""
    folder.mkdir(parents=True)
    rows = max(1, shard_bytes // _ROW)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        tensor = f"model.layers.{number}.mlp.up_proj.weight"
        weight_map[tensor] = name
        _write_shard(folder / name, tensor, rows)
    documents = {
        "model.safetensors.index.json": {
            "metadata": {"total_size": shards * rows * _ROW},
            "weight_map": weight_map,
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 1024,
            "num_hidden_layers": shards,
            "torch_dtype": "bfloat16",
        },
        "tokenizer.json": {
            "version": "1.0",
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        },
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ m }}"},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    return sum(path.stat().st_size for path in folder.iterdir())


def _write_shard(path: Path, tensor: str, rows: int) -> None:
    size = rows * _ROW
    entry = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [0, size]}
    header = json.dumps({tensor: entry}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for at in range(0, size, len(_PATTERN)):
            file.write(_PATTERN[: size - at])
