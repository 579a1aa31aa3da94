"""The model of a few KB that `uploader doctor --probe` makes: a Llama of one layer, all zeros."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

_HIDDEN, _INNER, _WORDS = 16, 32, 32
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _HIDDEN,
    "intermediate_size": _INNER,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": _WORDS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_LAYER = "model.layers.0"
_TENSORS: Mapping[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (_WORDS, _HIDDEN),
    f"{_LAYER}.input_layernorm.weight": (_HIDDEN,),
    **{f"{_LAYER}.self_attn.{one}_proj.weight": (_HIDDEN, _HIDDEN) for one in "qkvo"},
    f"{_LAYER}.post_attention_layernorm.weight": (_HIDDEN,),
    f"{_LAYER}.mlp.gate_proj.weight": (_INNER, _HIDDEN),
    f"{_LAYER}.mlp.up_proj.weight": (_INNER, _HIDDEN),
    f"{_LAYER}.mlp.down_proj.weight": (_HIDDEN, _INNER),
    "model.norm.weight": (_HIDDEN,),
    "lm_head.weight": (_WORDS, _HIDDEN),
}
_BF16_BYTES = 2
WEIGHTS, NESTED, EMPTY = "model.safetensors", "notes/probe.txt", "empty.txt"


def files() -> dict[str, bytes]:
    """The files of the model, by name."""
    vocabulary = {f"w{number}": number for number in range(_WORDS)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w2"},
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "w0", "eos_token": "w1"}
    return {
        "config.json": _json(_CONFIG),
        WEIGHTS: _weights(),
        "tokenizer.json": _json(tokenizer),
        "tokenizer_config.json": _json(settings),
    }


def create_body(model_id: str, names: list[str]) -> dict[str, Any]:
    """What creates it (docs/fireworks.md §1.2)."""
    details = {"checkpointFormat": "HUGGINGFACE", "worldSize": 1, "huggingfaceFiles": names}
    return {
        "modelId": model_id,
        "model": {"kind": "HF_BASE_MODEL", "baseModelDetails": details},
    }


def _weights() -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    stop = 0
    for name, dimensions in _TENSORS.items():
        start, stop = stop, stop + _BF16_BYTES * prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [start, stop]}
    raw = _json(header)
    return len(raw).to_bytes(8, "little") + raw + bytes(stop)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
