"""Checks of config.json against the weights of the common text decoders.

Each only reports what it certainly understands: a listed family, all weights present with readable
headers, tensor names as that family has them, tensors not quantized.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from uploader.core.text import size, some
from uploader.model.finding import Finding, warning
from uploader.model.tensors import Tensor
from uploader.preflight.checks.config import CONFIG, decoder_config, listed, quantization_of
from uploader.preflight.contents import Contents

_OTHER = f"take {CONFIG} and the weights from the same model"
#: Types whose tensors have the shapes that a config describes; packed ones have others.
_PLAIN = frozenset({"BF16", "F16", "F32"})
_HALVES = frozenset({"bfloat16", "float16"})
#: A larger number cannot be a model's size, and would only be long to print.
_END = 1 << 31
#: A longer number cannot be that of a layer, and of shorter ones there are not too many to be kept.
_LAYER_DIGITS = 5

#: Models of images and text have the decoder under the first ones, in old and new releases of
#: transformers; embedding models are saved without a prefix.
_ROOTS = ("model.", "language_model.model.", "model.language_model.", "model.text_model.", "")
#: Names of the token embedding and of the last norm, and how the names of layers begin.
_LAYOUTS = (
    *((f"{root}embed_tokens.weight", f"{root}norm.weight", f"{root}layers.") for root in _ROOTS),
    ("model.embed_tokens.weight", "model.final_layernorm.weight", "model.layers."),  # Phi
    ("gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm.weight", "gpt_neox.layers."),
    ("transformer.word_embeddings.weight", "transformer.ln_f.weight", "transformer.h."),  # Falcon
    ("transformer.wte.weight", "transformer.ln_f.weight", "transformer.h."),  # Starcoder, Qwen 1
    ("transformer.wte.weight", "transformer.norm_f.weight", "transformer.blocks."),  # DBRX
)
_HEADS = ("lm_head.weight", "language_model.lm_head.weight", "embed_out.weight")

#: Most configs use the same key for a size; DBRX and Starcoder have their own.
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")

#: `model_type`s whose projections have one row per head and element. Not DeepSeek and Kimi
#: (latent attention), Qwen3-Next (gates), Gemma 3n and 4 (layers of two shapes).
_PLAIN_ATTENTION = frozenset(
    {
        *("deepseek", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "glm4v_text"),
        *("glm4v_moe_text", "gpt_oss", "llama", "llama4_text", "ministral3", "mistral", "mixtral"),
        *("mllama_text_model", "phi", "phimoe", "qwen2", "qwen2_5_vl", "qwen2_5_vl_text"),
        *("qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen3", "qwen3_moe", "qwen3_vl_moe_text"),
        *("qwen3_vl_text", "solar", "solar_open", "stablelm", "starcoder2"),
    }
)
_PROJECTIONS = (
    ("q_proj", "num_attention_heads"),
    ("k_proj", "num_key_value_heads"),
    ("v_proj", "num_key_value_heads"),
)


@dataclass(frozen=True, slots=True)
class _Decoder:
    """The decoder's part of config.json, and the names of its tensors."""

    contents: Contents
    config: Mapping[str, Any]
    embedding: str
    norm: str
    layers: str

    def entry(self, *keys: str) -> tuple[str, int] | None:
        """The first of the keys that has a size, and that size."""
        found = ((key, self.config.get(key)) for key in keys)
        return next(((k, n) for k, n in found if type(n) is int and 0 < n < _END), None)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape; empty if it is not there, or packed."""
        tensor = _tensor(self.contents, name)
        return tensor.shape if tensor and tensor.dtype in _PLAIN else ()


def _decoder(contents: Contents) -> _Decoder | None:
    if not listed(contents.config) or not contents.whole:
        return None
    config = decoder_config(contents.config)
    for embedding, norm, layers in _LAYOUTS:
        if _tensor(contents, embedding) and _tensor(contents, norm):
            return _Decoder(contents, config, embedding, norm, layers)
    return None


def _tensor(contents: Contents, name: str) -> Tensor | None:
    found = (header.tensors.get(name) for header in contents.headers.values())
    return next((tensor for tensor in found if tensor), None)


def config_shapes(contents: Contents) -> Iterable[Finding]:
    """hidden_size or vocab_size of config.json does not match the weights."""
    decoder = _decoder(contents)
    if decoder:
        yield from _hidden(decoder)
        yield from _vocabulary(decoder)


def _hidden(decoder: _Decoder) -> Iterator[Finding]:
    entry = decoder.entry(*_HIDDEN)
    for name, rank in ((decoder.embedding, 2), (decoder.norm, 1)):
        shape = decoder.shape(name)
        if entry and len(shape) == rank and shape[-1] != entry[1]:
            message = f"{CONFIG}: {entry[0]} is {entry[1]}, but {name} has the shape {[*shape]}"
            yield warning("config_shapes", CONFIG, message, _OTHER)
            return


def _vocabulary(decoder: _Decoder) -> Iterator[Finding]:
    """Too few rows; additional rows are padding or reserved tokens."""
    entry = decoder.entry("vocab_size")
    for name in (decoder.embedding, *_HEADS):
        shape = decoder.shape(name)
        if entry and len(shape) == 2 and shape[0] < entry[1]:  # noqa: PLR2004 - rows and columns
            message = f"{CONFIG}: vocab_size is {entry[1]}, but {name} has only {shape[0]} rows"
            yield warning("config_shapes", CONFIG, message, _OTHER)
            return


def config_layers(contents: Contents) -> Iterable[Finding]:
    """num_hidden_layers of config.json is not the number of layers in the weights."""
    decoder = _decoder(contents)
    entry = decoder.entry(*_LAYERS) if decoder else None
    if not decoder or not entry:
        return
    key, count = entry
    layers = _layer_numbers(contents, decoder.layers)
    # Layers that predict further tokens come last (DeepSeek V3, GLM 4.5) or are left out.
    _, spare = decoder.entry("num_nextn_predict_layers") or ("", 0)
    last = max(layers, default=-1)
    lacking = count - sum(1 for layer in layers if layer < count)
    if layers and lacking:
        first = next(layer for layer in range(count) if layer not in layers)
        lost = some([f"layer {first}"], of=lacking)
        message = f"{CONFIG}: {key} is {count}, but the weights lack {lost}"
        yield warning("config_layers", CONFIG, message, _OTHER)
    elif last >= count + spare:
        message = f"{CONFIG}: {key} is {count}, but the weights go on to layer {last}"
        yield warning("config_layers", CONFIG, message, _OTHER)


def _layer_numbers(contents: Contents, prefix: str) -> set[int]:
    start = len(prefix)
    found = {
        number
        for header in contents.headers.values()
        for name in header.tensors
        if name.startswith(prefix)
        for number in [name[start:].partition(".")[0]]
        if number.isdecimal() and len(number) <= _LAYER_DIGITS
    }
    return {*map(int, found)}


def config_heads(contents: Contents) -> Iterable[Finding]:
    """num_attention_heads, num_key_value_heads or head_dim does not match the weights."""
    decoder = _decoder(contents)
    if not decoder or quantization_of(contents.config):
        return
    family = decoder.config.get("model_type")
    if not isinstance(family, str) or family not in _PLAIN_ATTENTION:
        return
    width = _head_width(decoder)
    for projection, key in _PROJECTIONS:
        name = f"{decoder.layers}0.self_attn.{projection}.weight"
        entry, shape = decoder.entry(key), decoder.shape(name)
        if width and entry and shape and shape[0] != entry[1] * width:
            message = (
                f"{CONFIG}: {entry[1]} {key} of {width} rows each, but {name} has {shape[0]} rows"
            )
            yield warning("config_heads", CONFIG, message, _OTHER)
            return


def _head_width(decoder: _Decoder) -> int | None:
    """head_dim; if the config leaves it out, as derived from the queries' projection."""
    entry = decoder.entry("head_dim")
    if entry:
        return entry[1]
    heads = decoder.entry("num_attention_heads")
    rows = decoder.shape(f"{decoder.layers}0.self_attn.q_proj.weight")[:1]
    return rows[0] // heads[1] if heads and rows else None


def config_dtype(contents: Contents) -> Iterable[Finding]:
    """Most weights are F32 although config.json says 16 bits: twice the bytes."""
    config = contents.config
    wanted = _dtype(config) or _dtype(decoder_config(config))
    if wanted not in _HALVES or quantization_of(config) or not contents.whole:
        return
    elements: Counter[str] = Counter()
    for header in contents.headers.values():
        for (dtype, shape), count in header.tensors.counts():
            if len(shape) > 1:
                elements[dtype] += prod(shape) * count
    if elements["F32"] > elements.total() - elements["F32"]:
        saved = size(elements["F32"] * 2)
        message = f"{CONFIG} says {wanted}, but most weights are F32: {saved} more than needed"
        hint = f"save the model again after model.to(torch.{wanted}), or send it as it is"
        yield warning("config_dtype", CONFIG, message, hint)


def _dtype(config: Mapping[str, Any]) -> str:
    """The type's name without "torch."; `dtype` is newer than `torch_dtype`."""
    found = config.get("dtype") or config.get("torch_dtype")
    return found.removeprefix("torch.") if isinstance(found, str) else ""
