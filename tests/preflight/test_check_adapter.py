"""The checks of adapters: good ones of many shapes, and every fault by itself."""

from __future__ import annotations

import json
from pathlib import Path

from tests.model.build import Brief, check, without, zipped
from tests.model.weights import Shape, alike
from tests.preflight.adapters import (
    ATTENTION,
    CONFIG,
    MLP,
    WEIGHTS,
    adapter,
    config,
    lora,
    paths,
    plain,
)

W, E = "warning", "error"
EXPERTS = [
    f"model.layers.0.block_sparse_moe.{m}"
    for m in ("gate", *(f"experts.{n}.w{w}" for n in range(2) for w in (1, 2, 3)))
]
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|up_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))"
)
ONE = lora(paths("q_proj"))
QV = lora(paths("q_proj", "v_proj"))
ROOT = "base_model.model."
Q0 = f"{ROOT}model.layers.0.self_attn.q_proj"
EMBEDDED: dict[str, Shape] = {
    f"{ROOT}model.embed_tokens.lora_embedding_A": (16, 128),
    f"{ROOT}model.embed_tokens.lora_embedding_B": (32, 16),
}
DORA = ONE | {f"{Q0}.lora_magnitude_vector": (32,)}
ADAPTIVE = lora(paths("q_proj"), 12) | {f"{Q0}.lora_E": (12, 1)}


def as_bin(files: dict[str, bytes]) -> dict[str, bytes]:
    return {CONFIG: files[CONFIG], "adapter_model.bin": zipped({"w": 8})}


def said(check: str, severity: str, file: str | None = CONFIG) -> Brief:
    return [(check, severity, file)]


RANK_AND_TARGETS = said("lora_rank", E) + said("lora_targets", E)
GOOD: dict[str, dict[str, bytes]] = {
    "list": plain("q_proj", "v_proj"),
    "all of them": plain(*ATTENTION, *MLP),
    "list of paths": adapter(paths("q_proj", "v_proj"), QV),
    "rank 4": adapter(["q_proj"], lora(paths("q_proj"), 4), r=4),
    "rank 64": adapter(["q_proj"], lora(paths("q_proj"), 64), r=64),
    "all-linear": adapter("all-linear", lora(paths(*ATTENTION, *MLP))),
    "names in a pattern": adapter("q_proj|v_proj", QV),
    "regular expression": adapter(r".*\.(q_proj|v_proj)$", QV),
    "unsloth's expression": adapter(UNSLOTH, lora(paths("q_proj", "up_proj"))),
    "names of one adapter": adapter(["q_proj"], lora(paths("q_proj"), adapter=".default")),
    "names without a root": adapter(
        ["q_proj"], {name.removeprefix(ROOT): shape for name, shape in ONE.items()}
    ),
    "experts": adapter(["w1", "w2", "w3", "block_sparse_moe.gate"], lora(EXPERTS)),
    "experts by a pattern": adapter("all-linear", lora(EXPERTS)),
    "a bare gate": adapter(["gate", "w1", "w2", "w3"], lora(EXPERTS)),
    "head of a llama": adapter(
        ["q_proj", "lm_head"],
        lora([*paths("q_proj"), "lm_head"]),
        base_model_name_or_path="accounts/fireworks/models/llama-v3p1-8b-instruct",
    ),
    "head of a llama by its class": adapter(
        ["lm_head"],
        lora(["lm_head"]),
        auto_mapping={"base_model_class": "LlamaForCausalLM"},
    ),
    "no peft_type": plain("q_proj", peft_type=None),
    "ranks as r": plain("q_proj", rank_pattern={"q_proj": 16}, alpha_pattern={"q_proj": 32}),
    "no patterns": plain("q_proj", rank_pattern=None, alpha_pattern=None),
    "bin": as_bin(plain("q_proj")),
    "bin with names in a pattern": as_bin(adapter("q_proj|v_proj", {})),
    "bin with a bare gate": as_bin(adapter(["gate"], {})),
    "bin with saved modules": as_bin(plain("q_proj", modules_to_save=["lm_head"])),
}  # fmt: skip


BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    "no weights": (without(plain("q_proj"), WEIGHTS), said("adapter_weights", E, None)),
    **{
        f"rank {rank!r}": (as_bin(plain("q_proj", r=rank)), said("lora_rank", E))
        for rank in (3, 65, 0, -8, None, "16", True, 16.0)
    },
    "rank 128 through and through": (
        adapter(["q_proj"], lora(paths("q_proj"), 128), r=128),
        said("lora_rank", E),
    ),
    "a rank of its own": (
        adapter(
            ["q_proj", "v_proj"],
            ONE | lora(paths("v_proj"), 8),
            rank_pattern={"v_proj": 8},
        ),
        said("lora_rank", W),
    ),
    "an alpha of its own": (plain("q_proj", alpha_pattern={"q_proj": 8}), said("lora_rank", W)),
    **{
        f"method {method}": (
            {CONFIG: json.dumps({"peft_type": method}).encode(), WEIGHTS: alike({"x": (2, 2)})},
            said("peft_type", E),
        )
        for method in ("LOHA", "IA3", "PROMPT_TUNING")
    },
    "method ADALORA": (
        adapter(["q_proj"], ADAPTIVE, peft_type="ADALORA"),
        said("peft_type", E),
    ),
    "an empty config": (as_bin({CONFIG: b"{}"}), RANK_AND_TARGETS),
    "an empty config and tensors": ({CONFIG: b"{}", WEIGHTS: alike(ONE)}, RANK_AND_TARGETS),
    "no object": ({CONFIG: b"[]", WEIGHTS: alike(ONE)}, said("adapter_config", E)),
    "method of no name": (plain("q_proj", peft_type=3), said("peft_type", E)),
    "DoRA": (
        adapter(["q_proj"], DORA, use_dora=True),
        said("peft_type", W),
    ),
    "DoRA in a bin": (as_bin(plain("q_proj", use_dora=True)), said("peft_type", W)),
    "DoRA by its tensors": (
        adapter(["q_proj"], DORA),
        said("peft_type", W, WEIGHTS),
    ),
    "scaled by rslora": (plain("q_proj", use_rslora=True), said("peft_type", W)),
    "trained biases of factors": (
        adapter(["q_proj"], ONE | {f"{Q0}.lora_B.bias": (32,)}, lora_bias=True),
        said("peft_type", W),
    ),
    "stacked experts": (
        adapter(
            ["q_proj"],
            ONE | lora(["model.layers.0.mlp.experts.base_layer"], 64),
            target_parameters=["mlp.experts.gate_up_proj"],
        ),
        said("peft_type", W),
    ),
    "no targets": (adapter([], ONE), said("lora_targets", E)),
    "null targets": (adapter(None, ONE), said("lora_targets", E)),
    "empty targets": (adapter("", ONE), said("lora_targets", E)),
    "targets no names": (adapter([3], ONE), said("lora_targets", E)),
    "a pattern nobody answers": (as_bin(adapter("all-linear", {})), said("lora_targets", E)),
    "fused attention": (plain("qkv_proj", "o_proj"), said("lora_targets", E)),
    "fused attention by a pattern": (
        adapter("all-linear", lora(paths("qkv_proj", "gate_up_proj"))),
        said("lora_targets", E),
    ),
    "another family": (as_bin(plain("query_key_value", "dense")), said("lora_targets", E)),
    "targets on two lines": (as_bin(plain("q_\nproj")), said("lora_targets", E)),
    "another gate": (
        adapter(["gate"], lora(["model.layers.0.mlp.gate"])),
        said("lora_targets", E),
    ),
    "embeddings": (
        adapter(["q_proj", "embed_tokens"], ONE | EMBEDDED),
        said("lora_targets", E),
    ),
    "embeddings by a pattern": (
        adapter(".*(q_proj|embed_tokens)", ONE | EMBEDDED),
        said("lora_targets", E),
    ),
    "embeddings and more": (
        as_bin(plain("wte", "c_attn")),
        said("lora_targets", E) + said("lora_targets", E),
    ),
    "a head": (
        adapter(["q_proj", "lm_head"], lora([*paths("q_proj"), "lm_head"])),
        said("lora_targets", W),
    ),
    "no LoRA at all": (
        adapter(["q_proj"], {"model.layers.0.self_attn.q_proj.weight": (32, 32)}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "tensors on two lines": (
        adapter(["q_proj"], ONE | {"lm_\nhead.weight": (1, 1)}),
        said("lora_tensors", W, WEIGHTS),
    ),
    "no LoRA to answer a pattern": (
        adapter("all-linear", {"model.layers.0.self_attn.q_proj.weight": (32, 32)}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "no tensor at all": (adapter(["q_proj"], {}), said("lora_tensors", E, WEIGHTS)),
    "names of another tool": (
        adapter(["q_proj"], {"model.layers.0.self_attn.q_proj.lora_a": (32, 16)}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "A without B": (
        adapter(["q_proj"], {n: s for n, s in ONE.items() if "_B" not in n}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "B without A": (
        adapter(["q_proj"], {n: s for n, s in ONE.items() if n != f"{Q0}.lora_A.weight"}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "another rank": (
        adapter(["q_proj"], lora(paths("q_proj"), 8)),
        said("lora_tensors", E, WEIGHTS),
    ),
    "another rank once": (
        adapter(["q_proj"], ONE | {f"{Q0}.lora_B.weight": (32, 8)}),
        said("lora_tensors", E, WEIGHTS),
    ),
    "a rank no pattern explains": (
        adapter(["q_proj"], lora(paths("q_proj"), 8), rank_pattern={"q_proj": 4}),
        said("lora_tensors", E, WEIGHTS) + said("lora_rank", W),
    ),
    "a target without tensors": (
        adapter(["q_proj", "v_proj", "o_proj"], QV),
        said("lora_tensors", W, WEIGHTS),
    ),
    "tensors of no target": (adapter(["q_proj"], QV), said("lora_tensors", W, WEIGHTS)),
    "targets and tensors apart": (
        adapter(["k_proj"], QV),
        said("lora_tensors", W, WEIGHTS) + said("lora_tensors", W, WEIGHTS),
    ),
    "embeddings beside the targets": (
        adapter(["q_proj", "v_proj"], QV | EMBEDDED),
        said("lora_tensors", E, WEIGHTS),
    ),
    "a saved head": (
        adapter(["q_proj", "v_proj"], QV | {f"{ROOT}lm_head.weight": (128, 32)}),
        said("lora_tensors", W, WEIGHTS),
    ),
    "trained biases": (
        adapter(["q_proj", "v_proj"], QV | {f"{Q0}.base_layer.bias": (32,)}, bias="all"),
        said("lora_tensors", W, WEIGHTS),
    ),
    "weights cut": (
        {CONFIG: config("all-linear"), WEIGHTS: b"cut"},
        said("safetensors_size", E, WEIGHTS),
    ),
}  # fmt: skip


def test_a_count_and_one_example_tell_of_many(tmp_path: Path) -> None:
    one = check(tmp_path, adapter(["q_proj"], lora(paths("q_proj", layers=9), 8)))[0]
    assert "model.layers.0.self_attn.q_proj.lora_A [8, 32] and 17 more" in one.message
