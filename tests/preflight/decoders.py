"""Decoders of tiny sizes: the parts that published models are made of."""

from __future__ import annotations

import json
from typing import Any

from tests.model.weights import encode

Tensors = dict[str, tuple[str, tuple[int, ...]]]

WEIGHTS = "model.safetensors"
VOCAB, HIDDEN, INNER = 96, 32, 48


def model(config: dict[str, Any], tensors: Tensors, *extra: str) -> dict[str, bytes]:
    """The files of a model that can chat, with ``extra`` ones."""
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        **dict.fromkeys(extra, b'{"do_resize": true}'),
        WEIGHTS: encode(tensors),
    }


def plain(dtype: str = "BF16", /, **shapes: tuple[int, ...]) -> Tensors:
    return {name.replace("__", "."): (dtype, shape) for name, shape in shapes.items()}


def below(root: str, tensors: Tensors) -> Tensors:
    return {f"{root}{name}": tensor for name, tensor in tensors.items()}


def ends(vocab: int = VOCAB, hidden: int = HIDDEN) -> Tensors:
    return plain(embed_tokens__weight=(vocab, hidden), norm__weight=(hidden,))


def head(vocab: int = VOCAB, hidden: int = HIDDEN) -> Tensors:
    return plain(lm_head__weight=(vocab, hidden))


def attention(heads: int = 8, kv_heads: int = 2, width: int = 4) -> Tensors:
    return below(
        "self_attn.",
        plain(
            q_proj__weight=(heads * width, HIDDEN),
            k_proj__weight=(kv_heads * width, HIDDEN),
            v_proj__weight=(kv_heads * width, HIDDEN),
            o_proj__weight=(HIDDEN, heads * width),
        ),
    )


def mlp(root: str = "mlp.", dtype: str = "BF16") -> Tensors:
    shapes = {
        "gate_proj__weight": (INNER, HIDDEN),
        "up_proj__weight": (INNER, HIDDEN),
        "down_proj__weight": (HIDDEN, INNER),
    }
    return below(root, plain(dtype, **shapes))


NORMS = plain(input_layernorm__weight=(HIDDEN,), post_attention_layernorm__weight=(HIDDEN,))


def stack(count: int, *parts: Tensors, root: str = "layers.") -> Tensors:
    layer = {name: tensor for part in parts for name, tensor in part.items()}
    return {f"{root}{n}.{name}": tensor for n in range(count) for name, tensor in layer.items()}


def body(count: int = 3, *parts: Tensors, vocab: int = VOCAB) -> Tensors:
    """Everything below `model.`: embedding, last norm, layers."""
    return ends(vocab) | stack(count, *(parts or (attention(), mlp(), NORMS)))


VISION = plain(patch_embed__proj__weight=(16, 3, 2, 14, 14), blocks__0__attn__qkv__weight=(48, 16))
SIZES = {
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
}
