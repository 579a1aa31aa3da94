"""config.json against the weights: sizes, layers, heads, types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import Brief, brief, check, without, zipped
from tests.model.weights import encode
from tests.preflight.decoders import HIDDEN, VOCAB, WEIGHTS, Tensors, plain
from tests.preflight.packed import DEEPSEEK_V3, KIMI_K2, QUANTIZED
from tests.preflight.published import (
    BERT,
    LLAMA_3,
    LLAMA_3_CONFIG,
    LLAMA_3_TENSORS,
    QWEN_3,
    QWEN_3_EMBEDDING,
    TEXTS,
)
from tests.preflight.seeing import GEMMA_3, QWEN_25_VL, SEEING
from uploader.core.job import Kind

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
K_PROJ = "model.layers.0.self_attn.k_proj.weight"
SHAPES: Brief = [("config_shapes", "warning", CONFIG)]
LAYERS: Brief = [("config_layers", "warning", CONFIG)]
HEADS: Brief = [("config_heads", "warning", CONFIG)]
DTYPE: Brief = [("config_dtype", "warning", CONFIG)]


def says(files: dict[str, bytes], **entries: Any) -> dict[str, bytes]:
    """The same weights with other entries in config.json."""
    whole = json.loads(files[CONFIG])
    part = whole.get("text_config", whole)
    part.update(entries)
    return {**files, CONFIG: json.dumps(whole).encode()}


def llama(**tensors: tuple[int, ...]) -> dict[str, bytes]:
    """Llama 3 with a few tensors of other shapes."""
    return {**LLAMA_3, WEIGHTS: encode(LLAMA_3_TENSORS | plain(**tensors))}


def lacking(*parts: str) -> dict[str, bytes]:
    """Llama 3 without the tensors whose names hold any of the parts."""
    kept = {n: t for n, t in LLAMA_3_TENSORS.items() if not any(part in n for part in parts)}
    return {**LLAMA_3, WEIGHTS: encode(kept)}


def typed(dtype: str, only: str = "") -> dict[str, bytes]:
    """Llama 3 with the tensors whose names hold ``only`` in another type."""
    changed: Tensors = {
        name: (dtype if only in name else old, shape)
        for name, (old, shape) in LLAMA_3_TENSORS.items()
    }
    return {**LLAMA_3, WEIGHTS: encode(changed)}


def sharded(*, indexed: bool = True) -> dict[str, bytes]:
    """Llama 3 in two files, the head in the second one."""
    first = {n: t for n, t in LLAMA_3_TENSORS.items() if n != "lm_head.weight"}
    weight_map = dict.fromkeys(first, SHARDS[0]) | {"lm_head.weight": SHARDS[1]}
    index = {INDEX: json.dumps({"weight_map": weight_map}).encode()} if indexed else {}
    return {
        **without(LLAMA_3, WEIGHTS),
        **index,
        SHARDS[0]: encode(first),
        SHARDS[1]: encode({"lm_head.weight": LLAMA_3_TENSORS["lm_head.weight"]}),
    }


GOOD: dict[str, dict[str, bytes]] = {
    **TEXTS,
    **SEEING,
    "sharded": sharded(),
    "more rows than words": says(LLAMA_3, vocab_size=VOCAB - 7),
    "sizes left to the class": {
        **LLAMA_3,
        CONFIG: b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
    },
    "sizes that are none": says(
        LLAMA_3,
        hidden_size="32",
        vocab_size=None,
        num_hidden_layers=True,
        num_attention_heads=8.5,
        num_key_value_heads=-2,
        head_dim=10**400,
        torch_dtype={"a": 1},
    ),
    "heads left to the class": says(LLAMA_3, num_key_value_heads=None, head_dim=None),
    "a model_type with heads of its own": says(LLAMA_3, model_type="nope", num_attention_heads=3),
    "a model_type that is not a name": says(LLAMA_3, model_type=["llama"]),
    "a norm that is packed": llama(model__norm__weight=(1, 2)),
    "no norm to know it by": says(lacking("model.norm"), hidden_size=1),
    "no layers to know it by": says(lacking(".layers."), num_hidden_layers=9),
    "layers that have no numbers": llama(model__layers__x__weight=(1,)),
    "a layer beyond all numbers": {
        **LLAMA_3,
        WEIGHTS: encode(LLAMA_3_TENSORS | {f"model.layers.{'9' * 5000}.w": ("BF16", (1,))}),
    },
    "a layer that predicts": says(
        llama(model__layers__3__eh_proj__weight=(1,)), num_nextn_predict_layers=1
    ),
    "a layer that predicts, left out": says(LLAMA_3, num_nextn_predict_layers=1),
    "no type": says(LLAMA_3, torch_dtype=None),
    "F32 as said": says(typed("F32"), torch_dtype="float32"),
    "F16 for BF16": typed("F16"),
    "BF16 for F32": says(LLAMA_3, torch_dtype="float32"),
    "a few F32": typed("F32", "norm"),
    "F32 of no matrix": typed("F32", "layernorm"),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    "hidden size": (says(LLAMA_3, hidden_size=64), SHAPES),
    "hidden size and vocabulary": (says(LLAMA_3, hidden_size=64, vocab_size=VOCAB + 1), SHAPES * 2),
    "hidden size of a decoder": (says(GEMMA_3, hidden_size=64), SHAPES),
    "hidden size by another key": (says(TEXTS["Starcoder"], n_embd=64), SHAPES),
    "norm": (llama(model__norm__weight=(HIDDEN + 1,)), SHAPES),
    "vocabulary": (says(LLAMA_3, vocab_size=VOCAB + 1), SHAPES),
    "vocabulary of the head": (llama(lm_head__weight=(VOCAB - 1, HIDDEN)), SHAPES),
    "vocabulary of another root": (says(SEEING["Qwen 3 VL"], vocab_size=VOCAB + 1), SHAPES),
    "vocabulary of a head below": (says(SEEING["Llama 3.2 Vision"], vocab_size=VOCAB + 1), SHAPES),
    "vocabulary of GPT NeoX": (says(TEXTS["Pythia"], vocab_size=VOCAB + 1), SHAPES),
    "more layers said": (says(LLAMA_3, num_hidden_layers=4), LAYERS),
    "far more layers said": (says(LLAMA_3, num_hidden_layers=2**31 - 1), LAYERS),
    "fewer layers said": (says(LLAMA_3, num_hidden_layers=2), LAYERS),
    "a gap": (lacking(".layers.1."), LAYERS),
    "a gap and one too many": (
        says(lacking(".layers.1."), num_hidden_layers=2),
        LAYERS,
    ),
    "layers by another key": (says(TEXTS["DBRX"], n_layers=4), LAYERS),
    "layers of Falcon": (says(TEXTS["Falcon"], num_hidden_layers=2), LAYERS),
    "one more than predict": (
        says(llama(model__layers__4__w=(1,)), num_nextn_predict_layers=1),
        LAYERS,
    ),
    "heads": (says(QWEN_3, num_attention_heads=16), HEADS),
    "heads without a width": (says(LLAMA_3, num_attention_heads=16), HEADS),
    "heads of keys": (says(LLAMA_3, num_key_value_heads=4), HEADS),
    "heads of values": (llama(model__layers__0__self_attn__v_proj__weight=(16, HIDDEN)), HEADS),
    "width of heads": (says(QWEN_3, head_dim=8), HEADS),
    "heads of a model that sees": (says(QWEN_25_VL, num_key_value_heads=4), HEADS),
    "twice the bytes": (typed("F32"), DTYPE),
    "twice the bytes, said anew": (
        says({**typed("F32")}, torch_dtype=None, dtype="torch.float16"),
        DTYPE,
    ),
    "most are F32": (typed("F32", "layers"), DTYPE),
}


@pytest.mark.parametrize("files", QUANTIZED.values(), ids=QUANTIZED)
def test_of_quantized_weights_only_the_ends_and_the_layers_count(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    odd = says(files, num_attention_heads=5, head_dim=3, torch_dtype="float16")
    assert {f.check for f in check(tmp_path / "a", odd)} == {"quantization"}
    other = says(files, hidden_size=64, num_hidden_layers=9)
    found = {f.check for f in check(tmp_path / "b", other)}
    assert found == {"quantization", "config_shapes", "config_layers"}


def test_the_layer_that_predicts_is_expected_if_it_is_announced(tmp_path: Path) -> None:
    weights = {WEIGHTS: DEEPSEEK_V3[WEIGHTS]}
    found = {f.check for f in check(tmp_path, {**KIMI_K2, **weights})}
    assert found == {"quantization", "config_layers"}


WRONG = says(LLAMA_3, hidden_size=64, num_hidden_layers=2, num_key_value_heads=4)
SILENT: dict[str, tuple[dict[str, bytes], set[str]]] = {
    "a shard is missing": (
        says(without(sharded(), SHARDS[1]), hidden_size=64),
        {"missing_shard"},
    ),
    "a shard is missing, and no index": (
        says(without(sharded(indexed=False), SHARDS[1]), hidden_size=64),
        {"missing_shard", "no_index"},
    ),
    "a shard is cut": (
        says({**sharded(), SHARDS[1]: b"cut"}, hidden_size=64),
        {"safetensors_size"},
    ),
    "a shard is empty": (says({**sharded(), SHARDS[1]: b""}, hidden_size=64), {"empty_file"}),
    "another family": (says(WRONG, architectures=["MambaForCausalLM"]), {"architectures"}),
    "no class": (says(WRONG, architectures=[3]), {"architectures"}),
    "packed by another tool": (says(typed("I32"), hidden_size=64, num_attention_heads=16), set()),
    "not read": (
        {**without(WRONG, WEIGHTS), "pytorch_model.bin": zipped({"w": 8})},
        set(),
    ),
}


@pytest.mark.parametrize(("files", "others"), SILENT.values(), ids=SILENT)
def test_nothing_is_reported_of_what_is_not_surely_understood(
    tmp_path: Path, files: dict[str, bytes], others: set[str]
) -> None:
    assert {finding.check for finding in check(tmp_path, files)} == others


def test_models_of_embeddings(tmp_path: Path) -> None:
    assert check(tmp_path / "a", QWEN_3_EMBEDDING, Kind.EMBEDDING) == []
    assert check(tmp_path / "b", BERT, Kind.EMBEDDING) == []
    found = check(tmp_path / "c", says(QWEN_3_EMBEDDING, vocab_size=VOCAB + 1), Kind.EMBEDDING)
    assert brief(found) == SHAPES


def test_a_draft_shares_what_it_lacks_with_its_target(tmp_path: Path) -> None:
    assert check(tmp_path, WRONG, Kind.DRAFT) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            says(LLAMA_3, hidden_size=64),
            "config.json: hidden_size is 64, but model.embed_tokens.weight has the shape [96, 32]",
        ),
        (
            says(LLAMA_3, vocab_size=100),
            "config.json: vocab_size is 100, but model.embed_tokens.weight has only 96 rows",
        ),
        (
            says(LLAMA_3, num_hidden_layers=6),
            "config.json: num_hidden_layers is 6, but the weights lack layer 3 and 2 more",
        ),
        (
            says(LLAMA_3, num_hidden_layers=1),
            "config.json: num_hidden_layers is 1, but the weights go on to layer 2",
        ),
        (
            says(LLAMA_3, num_key_value_heads=4),
            f"config.json: 4 num_key_value_heads of 4 rows each, but {K_PROJ} has 8 rows",
        ),
        (
            {**typed("F32"), CONFIG: json.dumps(LLAMA_3_CONFIG).encode()},
            "config.json says bfloat16, but most weights are F32: 54.0 KiB more than needed",
        ),
    ],
)
def test_both_numbers_are_reported(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    assert [finding.message for finding in check(tmp_path, files)] == [message]
