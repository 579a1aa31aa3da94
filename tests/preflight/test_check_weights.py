"""Weights and their index: what is cut, doubled, missing or said wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import (
    BASE,
    INDEX,
    LORA,
    SHARDED,
    SHARDS,
    Brief,
    brief,
    check,
    safetensors,
    without,
    zipped,
)
from uploader.model.index import read_index
from uploader.model.reading import Malformed

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
W, E = "warning", "error"
ST, BIN, BIN_INDEX = "model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"
BINS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
ADAPTER = "adapter_model.safetensors"


def index(weight_map: dict[str, str], total: float | None = None) -> bytes:
    metadata = {} if total is None else {"metadata": {"total_size": total}}
    return json.dumps({**metadata, "weight_map": weight_map}).encode()


MAP = {"a": SHARDS[0], "b": SHARDS[1]}
LOST = "model.layers.0.mlp.up_proj.weight"


def numbered(*names: str) -> dict[str, bytes]:
    """Shards of those names without an index."""
    return {
        **without(BASE, "model.safetensors"),
        **{name: safetensors({f"t{i}": 1}) for i, name in enumerate(names)},
    }


LLAMA, VL = "LlamaForCausalLM", "Gemma3ForConditionalGeneration"
#: What no shard contains, in a model of which class and config, and whether that refuses it. How
#: it is known that a loader needs or does not need it stands with each rule in spared.py.
SPARED: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("model.norm.weight", LLAMA, {}, E),
    ("model.layers.0.self_attn.q_proj.bias", LLAMA, {}, E),
    ("model.layers.1.self_attn.q_proj.bias", LLAMA, {"attention_bias": False}, W),
    ("model.layers.0.mlp.up_proj.bias", LLAMA, {"mlp_bias": False}, W),
    ("model.embed_tokens.weight", LLAMA, {"tie_word_embeddings": False}, E),
    ("model.lm_head.weight", LLAMA, {"tie_word_embeddings": False}, E),
    ("model.lm_head.weight", VL, {"text_config": {"tie_word_embeddings": False}}, E),
    ("language_model.lm_head.weight", LLAMA, {"tie_word_embeddings": True}, W),
    ("model.layers.0.x.weight_scale", LLAMA, {}, W),
    ("visual.blocks.0.attn.qkv.weight", VL, {}, E),
    ("visual.blocks.1.attn.qkv.weight", LLAMA, {}, W),
    ("shared.weight", LLAMA, {}, W),
    ("model.word_embeddings.weight", LLAMA, {"tie_word_embeddings": False}, E),
    ("v_head.summary.weight", LLAMA, {}, W),
    ("mtp.layers.0.mlp.up_proj.weight", LLAMA, {}, W),
    ("model.layers.2.mlp.up_proj.weight", LLAMA, {"num_hidden_layers": 2}, W),
    ("model.layers.3.mlp.up_proj.weight", LLAMA, {"num_hidden_layers": 4}, E),
)

BIN_MAP = {"a": BINS[0], "b": BINS[1]}
BINNED = {**without(BASE, ST), **dict.fromkeys(BINS, zipped({"w": 8})), BIN_INDEX: index(BIN_MAP)}

GOOD = {
    "whole": BASE,
    "sharded": SHARDED,
    "total size": {**SHARDED, INDEX: index(MAP, 16)},
    "total size as a float": {**SHARDED, INDEX: index(MAP, 16.0)},
    "total size is not a number": {
        **SHARDED,
        INDEX: json.dumps({"metadata": {"total_size": "16"}, "weight_map": MAP}).encode(),
    },
    "odd metadata": {**SHARDED, INDEX: json.dumps({"metadata": [], "weight_map": MAP}).encode()},
    "bins": BINNED,
    "several tensors in a shard": {
        **SHARDED,
        SHARDS[0]: safetensors({"a": 8, "c": 1}),
        INDEX: index({**MAP, "c": SHARDS[0]}),
    },
    "a shard has more than the index says": {**SHARDED, SHARDS[0]: safetensors({"a": 8, "c": 1})},
    "one shard of one": {
        **without(BASE, ST),
        "model-00001-of-00001.safetensors": safetensors({"a": 1}),
        INDEX: index({"a": "model-00001-of-00001.safetensors"}),
    },
    "another set of another precision": {
        **SHARDED,
        "model.fp32-00001-of-00002.safetensors": safetensors({"a": 16}),
        "model.fp32-00002-of-00002.safetensors": safetensors({"b": 16}),
        "model.fp32.safetensors.index.json": index(
            {
                "a": "model.fp32-00001-of-00002.safetensors",
                "b": "model.fp32-00002-of-00002.safetensors",
            }
        ),
    },
    "nought shards": {**BASE, "x-00000-of-00000.bin": zipped({"w": 8})},
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    "only weights for Mistral's loader": (
        {**without(BASE, ST), "consolidated.safetensors": safetensors({"z": 1})},
        [("no_weights", W, "consolidated.safetensors")],
    ),
    "no weights": (without(BASE, ST), [("no_weights", E, None)]),
    "cut": ({**BASE, ST: safetensors({"a": 9}, missing=1)}, [("safetensors_size", E, ST)]),
    "cut in its header": ({**BASE, ST: BASE[ST][:20]}, [("safetensors_size", E, ST)]),
    "cut in its length": ({**BASE, ST: b"\1"}, [("safetensors_size", E, ST)]),
    "overlong": ({**BASE, ST: BASE[ST] + b"x"}, [("safetensors_size", E, ST)]),
    "a pickle": ({**BASE, ST: b"\x80\x02}q\x00." * 4}, [("safetensors_header", E, ST)]),
    "header no JSON": (
        {**BASE, ST: (1).to_bytes(8, "little") + b"{"},
        [("safetensors_header", E, ST)],
    ),
    "one shard cut": (
        {**SHARDED, SHARDS[1]: SHARDED[SHARDS[1]][:-1]},
        [("safetensors_size", E, SHARDS[1])],
    ),
    "adapter weights cut": ({**LORA, ADAPTER: b"cut"}, [("safetensors_size", E, ADAPTER)]),
    "safetensors and bin": ({**BASE, BIN: zipped({"w": 8})}, [("two_formats", W, BIN)]),
    "whole and in shards": (
        {**SHARDED, ST: safetensors({"a": 8, "b": 8})},
        [("two_formats", W, ST), ("duplicate_tensor", W, ST), ("orphan_shard", W, ST)],
    ),
    "consolidated beside": (
        {**BASE, "consolidated.safetensors": safetensors({"z": 1})},
        [("two_formats", W, "consolidated.safetensors")],
    ),
    "bins beside shards": ({**SHARDED, **BINNED}, [("two_formats", W, BINS[0])]),
    "a tensor twice": (
        {**SHARDED, SHARDS[1]: safetensors({"a": 8, "b": 8})},
        [("duplicate_tensor", W, SHARDS[1])],
    ),
    "a tensor twice, and differently": (
        {**SHARDED, SHARDS[1]: safetensors({"a": 9, "b": 8})},
        [("duplicate_tensor", E, SHARDS[1])],
    ),
    "a tensor twice in files of no index": (
        {**BASE, "more.safetensors": safetensors({"lm_head.weight": 1})},
        [("duplicate_tensor", W, "more.safetensors")],
    ),
    "shard missing": (without(SHARDED, SHARDS[1]), [("missing_shard", E, INDEX)]),
    "both shards missing": (
        without(SHARDED, *SHARDS),
        [("no_weights", E, None), ("missing_shard", E, INDEX)],
    ),
    "shard missing without an index": (
        without(SHARDED, SHARDS[1], INDEX),
        [("missing_shard", E, SHARDS[0]), ("no_index", W, SHARDS[0])],
    ),
    "shards from nought": (
        numbered("model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        [("no_index", W, "model-00000-of-00002.safetensors")],
    ),
    "last of the shards from nought missing": (
        numbered("model-00000-of-00002.safetensors"),
        [
            ("missing_shard", E, "model-00000-of-00002.safetensors"),
            ("no_index", W, "model-00000-of-00002.safetensors"),
        ],
    ),
    "shard missing of three digits and six": (
        numbered("model-00001-of-000163.safetensors"),
        [
            ("missing_shard", E, "model-00001-of-000163.safetensors"),
            ("no_index", W, "model-00001-of-000163.safetensors"),
        ],
    ),
    "shard missing without noughts": (
        numbered("model-1-of-61.safetensors"),
        [
            ("missing_shard", E, "model-1-of-61.safetensors"),
            ("no_index", W, "model-1-of-61.safetensors"),
        ],
    ),
    "some stale shards beside a whole file": (
        {**BASE, "model-00001-of-00003.safetensors": safetensors({"lm_head.weight": 2048})},
        [
            ("duplicate_tensor", W, ST),
            ("missing_shard", W, "model-00001-of-00003.safetensors"),
            ("no_index", W, "model-00001-of-00003.safetensors"),
        ],
    ),
    "no index": (without(SHARDED, INDEX), [("no_index", W, SHARDS[0])]),
    "bin missing": (without(BINNED, BINS[0]), [("missing_shard", E, BIN_INDEX)]),
    "other format's index": (
        {**SHARDED, BIN_INDEX: BINNED[BIN_INDEX]},
        [("missing_shard", W, BIN_INDEX)],
    ),
    "index beside a whole file": ({**BASE, INDEX: SHARDED[INDEX]}, [("missing_shard", W, INDEX)]),
    "index no JSON": ({**SHARDED, INDEX: b"{"}, [("index_json", E, INDEX)]),
    "index no map": ({**SHARDED, INDEX: b"{}"}, [("index_json", E, INDEX)]),
    "index empty map": ({**SHARDED, INDEX: b'{"weight_map": {}}'}, [("index_json", E, INDEX)]),
    "index odd map": (
        {**SHARDED, INDEX: b'{"weight_map": {"a": 3}}'},
        [("index_json", E, INDEX)],
    ),
    "index empty": ({**SHARDED, INDEX: b""}, [("empty_file", E, INDEX)]),
    "index pointer": ({**SHARDED, INDEX: POINTER}, [("lfs_pointer", E, INDEX)]),
    "tensor missing": (
        {**SHARDED, INDEX: index({**MAP, LOST: SHARDS[0]})},
        [("missing_tensor", E, INDEX)],
    ),
    **{
        f"{name} missing": (
            {**SHARDED, INDEX: index({**MAP, name: SHARDS[0]})},
            [("missing_tensor", W, INDEX)],
        )
        for name in (
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.0.mlp.up_proj.weight_scale_inv",
            "lm_head.weight",
            "vision_tower.encoder.layers.0.mlp.weight",
        )
    },
    **{
        f"{name} missing": (
            {
                **SHARDED,
                "config.json": json.dumps({"architectures": [named], **entries}).encode(),
                INDEX: index({**MAP, name: SHARDS[0]}),
            },
            [("missing_tensor", severity, INDEX)],
        )
        for name, named, entries, severity in SPARED
    },
    "too many shards for any model": (
        {**BASE, INDEX: index({f"t{n}": f"s{n}" for n in range(10_001)})},
        [("index_json", W, INDEX)],
    ),
    "a header too long to be looked into": (
        {**BASE, ST: (16_000_002).to_bytes(8, "little") + b"{}" + b" " * 16_000_000},
        [("safetensors_header", W, ST)],
    ),
    "a long header, and a cut file": (
        {
            **BASE,
            ST: (16_000_100).to_bytes(8, "little")
            + b'{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}'.ljust(16_000_100)
            + b"12345678",
        },
        [("safetensors_size", E, ST)],
    ),
    "layer beyond the last missing": (
        {
            **SHARDED,
            "config.json": b'{"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 61}',
            INDEX: index({**MAP, "model.layers.61.mlp.up_proj.weight": SHARDS[0]}),
        },
        [("missing_tensor", W, INDEX)],
    ),
    "only samplers": (
        {**without(BASE, ST), "sampler.bin": b"x", "openvino_model.bin": b"x"},
        [("no_weights", E, None)],
    ),
    "tensors swapped": (
        {**SHARDED, INDEX: index({"b": SHARDS[0], "a": SHARDS[1]})},
        [("missing_tensor", W, INDEX)],
    ),
    "orphan": (
        {**SHARDED, "model-extra.safetensors": safetensors({"z": 1})},
        [("orphan_shard", W, "model-extra.safetensors")],
    ),
    "orphan bin": ({**BINNED, "more.bin": zipped({"w": 8})}, [("orphan_shard", W, "more.bin")]),
    "total size": ({**SHARDED, INDEX: index(MAP, 17)}, [("total_size", W, INDEX)]),
}


def test_weights_one_folder_further_down_are_pointed_at(tmp_path: Path) -> None:
    inner = tmp_path / "final"
    inner.mkdir()
    (inner / ST).write_bytes(BASE[ST])
    (finding,) = check(tmp_path, without(BASE, ST))
    assert finding.hint == f"did you mean {inner} (it contains weights)?"


def test_the_hint_says_how_much_leaving_one_format_out_saves(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, {**BASE, BIN: zipped({"w": 2048})})
    assert finding.hint == "`exclude` 'pytorch_model*.bin*' sends 2.5 KiB less"


def test_a_tensor_of_an_unreadable_shard_is_not_called_missing(tmp_path: Path) -> None:
    files = {**SHARDED, INDEX: index({**MAP, "c": SHARDS[1]}), SHARDS[1]: b"\1"}
    assert brief(check(tmp_path, files)) == [("safetensors_size", E, SHARDS[1])]


def test_many_names_are_one_finding(tmp_path: Path) -> None:
    wanted = {f"{LOST}{number}": SHARDS[0] for number in range(7)}
    (finding,) = check(tmp_path, {**SHARDED, INDEX: index({**MAP, **wanted})})
    assert finding.message == f"{INDEX} names {LOST}0 and 6 more, which no shard contains"


def test_an_index_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="cannot be read"):
        read_index(tmp_path / "gone.json")


def test_the_first_missing_number_and_how_many_more(tmp_path: Path) -> None:
    names = ("model-00001-of-09999.safetensors", "model-00003-of-09999.safetensors")
    missing = check(tmp_path, numbered(*names))[0]
    assert "model-00002-of-09999.safetensors and 9,996 more" in missing.message
