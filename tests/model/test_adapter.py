"""What is read out of an adapter: its tensors by kind, its targets by their short names."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import brief, check, folder, zipped
from tests.model.weights import Shape
from tests.preflight.adapters import ATTENTION, CONFIG, MLP, adapter, lora, paths, plain
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.adapter import (
    Factors,
    RankPattern,
    expand,
    factors,
    heads_adapt,
    short,
    suffixes,
    target_modules,
)
from uploader.model.folder import scan
from uploader.model.tensors import Tensor
from uploader.preflight import contents
from uploader.preflight.registry import findings


def tensors(shapes: dict[str, Shape]) -> dict[str, Tensor]:
    return {name: Tensor("BF16", shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("infix", ["", ".default"])
def test_factors_are_found_by_the_path_of_their_module(infix: str) -> None:
    found = factors(tensors(lora(["model.layers.0.self_attn.q_proj"], 8, infix)))
    assert found.a == {"model.layers.0.self_attn.q_proj": Tensor("BF16", (8, 32))}
    assert found.b == {"model.layers.0.self_attn.q_proj": Tensor("BF16", (32, 8))}
    assert [*found.embeddings, *found.variants, *found.whole] == []


def test_what_is_not_a_factor_is_sorted_too() -> None:
    names = {
        "base_model.model.embed_tokens.lora_embedding_A": (8, 4),
        "base_model.model.embed_tokens.lora_embedding_B.default": (4, 8),
        "base_model.model.x.q_proj.lora_magnitude_vector": (4,),
        "base_model.model.x.q_proj.lora_B.bias": (4,),
        "base_model.model.x.q_proj.lora_B.default.bias": (4,),
        "base_model.model.embed_tokens.token_adapter.trainable_tokens_delta": (4, 4),
        "base_model.model.lm_head.weight": (4, 4),
        "lora_A.weight": (4, 4),
    }
    found = factors(tensors(names))
    assert [*found.modules] == [*found.embeddings] == ["embed_tokens"]
    assert found.variants == [*names][2:6]
    assert found.whole == [*names][6:]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("q_proj", "q_proj"),
        ("model.layers.0.self_attn.q_proj", "q_proj"),
        ("model.layers.0.block_sparse_moe.gate", "block_sparse_moe.gate"),
        ("model.layers.0.block_sparse_moe.experts.7.w1", "w1"),
        ("model.layers.0.mlp.gate", "gate"),
        ("model.layers.0.mlp.experts.base_layer", "experts"),
        ("base_layer", "base_layer"),
        ("q_proj.", "q_proj."),
    ],
)
def test_the_service_knows_a_module_by_its_short_name(path: str, name: str) -> None:
    assert short(path) == name


EXPANDED: dict[str, tuple[Any, dict[str, Shape] | None, list[str]]] = {
    "list": (["v_proj", "q_proj"], None, ["v_proj", "q_proj"]),
    "list of paths": (paths("q_proj", "v_proj"), None, ["q_proj", "v_proj"]),
    "list with a router": (["block_sparse_moe.gate"], None, ["block_sparse_moe.gate"]),
    "router by its tensors": (
        ["gate"],
        lora(["model.layers.0.block_sparse_moe.gate"]),
        ["block_sparse_moe.gate"],
    ),
    "another gate": (["gate"], lora(["model.layers.0.mlp.gate"]), ["gate"]),
    "all-linear": ("all-linear", lora(paths(*ATTENTION, *MLP)), sorted([*ATTENTION, *MLP])),
    "all-linear in a list": (["all-linear"], lora(paths("q_proj")), ["q_proj"]),
    "expression": (r".*layers\.[01]\..*_proj", lora(paths("q_proj", "w1")), ["q_proj", "w1"]),
    "names without tensors": ("q_proj|v_proj", None, ["q_proj", "v_proj"]),
    "names with dots": (r".*\.(q_proj|v_proj)$", None, ["q_proj", "v_proj"]),
    "experts": (
        "all-linear",
        lora([f"model.layers.0.block_sparse_moe.experts.{n}.w{w}" for n in (0, 1) for w in (1, 2)]),
        ["w1", "w2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("targets", "shapes", "names"), EXPANDED.values(), ids=EXPANDED)
def test_targets_are_expanded(
    targets: Any, shapes: dict[str, Shape] | None, names: list[str]
) -> None:
    found = factors(tensors(shapes)) if shapes else None
    assert expand({"target_modules": targets}, found) == names


@pytest.mark.parametrize("targets", ["all-linear", ".*_proj", ["all-linear"], [], [""], [3], None])
def test_targets_that_nothing_tells(targets: Any) -> None:
    with pytest.raises(UsageError) as refused:
        expand({"target_modules": targets}, None)
    assert "as a list" in refused.value.hint
    assert "peftDetails.targetModules" in refused.value.hint
    assert "`allow` lora_targets" in refused.value.hint


def test_a_pattern_in_a_bin_may_be_answered_by_hand(tmp_path: Path) -> None:
    files = {CONFIG: adapter("all-linear", {})[CONFIG], "adapter_model.bin": zipped({"w": 8})}
    found = check(tmp_path, files)
    assert brief(found) == [("lora_targets", "error", CONFIG)]
    hint = "`model_json` with peftDetails.targetModules and `allow` lora_targets"
    assert found[0].hint.endswith(hint)


@pytest.mark.parametrize(
    ("path", "names"),
    [("q", ["q"]), ("a.b.q", ["q", "b.q", "a.b.q"]), ("", [""]), ("q.", ["", "q."])],
)
def test_what_a_target_may_call_a_module(path: str, names: list[str]) -> None:
    assert [*suffixes(path)] == names


def test_the_targets_of_a_folder(tmp_path: Path) -> None:
    files = adapter("all-linear", lora(paths("q_proj", "v_proj")))
    found = scan(folder(tmp_path, files))
    assert target_modules(found, {"target_modules": "all-linear"}) == ["q_proj", "v_proj"]
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    assert target_modules(found, {"target_modules": "q_proj"}) == ["q_proj"]
    with pytest.raises(UsageError):
        target_modules(found, {"target_modules": "all-linear"})


@pytest.mark.parametrize(
    ("pattern", "ranks"),
    [
        ({"q_proj": 8}, [8]),
        ({"layers.0.self_attn.q_proj": 8}, [8]),
        ({"model.layers.0.self_attn.q_proj": 8}, [8]),
        ({r"model\.layers\.0\.self_attn\.q_proj": 8}, [8]),
        ({r"layers\.\d+\..*": 8}, [8]),
        ({"^model.layers.0.self_attn.q_proj": 8}, [8]),
        ({"model.layers..*.q_proj": 8}, [8]),
        ({"q_proj|v_proj": 8}, [8]),
        ({"proj": 8, "q_proj": 32}, [32]),
        # PEFT sorts the keys when it saves them: which one came first nobody knows any more.
        ({r"layers\.\d+\..*": 8, "q_proj": 32}, [32, 8]),
        ({"self_attn.q_proj": 8, "q_proj": 32}, [32, 8]),
        ({"k_proj": 8}, []),
        ({"^q_proj": 8}, []),
        ({r"^model\.layers\.0\.self_attn\.q_proj$": 8}, [8]),
        # What is not a path may be meant for any module.
        ({"(": 8, "q_proj": 4}, [4, 8]),
        ({"(" * 9999: 8}, [8]),
        ({"x{99999999999}": 8, "y*": 8, "z+": 4}, [8, 4]),
        ({}, []),
        ({"q_proj": "8", "(": [8], "^a": None}, []),
        (None, []),
        ([], []),
    ],
)
def test_the_ranks_of_a_pattern(pattern: Any, ranks: list[int]) -> None:
    path = "model.layers.0.self_attn.q_proj"
    found = RankPattern({"rank_pattern": pattern})
    assert [rank for rank in (4, 8, 32) if found.has(path, rank)] == sorted(ranks)


@pytest.mark.parametrize("key", ["{}", r"^{}", r"(?:{})"])
def test_a_pattern_of_many_keys_is_compiled_once(key: str) -> None:
    modules = paths(*ATTENTION, *MLP, layers=100)
    started = time.process_time()
    found = RankPattern({"rank_pattern": {key.format(path): 8 for path in modules}})
    assert all(found.has(path, 8) for path in modules)
    assert time.process_time() - started < 3  # 18 s when each key is compiled for each tensor


def test_an_expression_of_a_stranger_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`re` would take longer than anybody waits: the second one doubles with every letter."""

    def compiled(pattern: object, *_: object) -> None:
        raise AssertionError(pattern)

    keys = ("(.*.*)*x", "(a|a)*" * 20 + "b", r"(\w+\.?)+!")
    path = f"model.{'layers.' * 40}q_proj"
    files = adapter(
        "(.*.*)*x", lora([path, *paths("q_proj")], 8), rank_pattern=dict.fromkeys(keys, 8)
    )
    seen = scan(folder(tmp_path, files))
    monkeypatch.setattr("re.compile", compiled)
    found = findings(seen, Kind.LORA)
    assert brief(found) == [("lora_rank", "warning", CONFIG)]


@pytest.mark.parametrize("rank", [8, 32])
def test_any_key_of_a_pattern_may_have_won(tmp_path: Path, rank: int) -> None:
    pattern = {r"layers\.\d+\..*": 8, "q_proj": 32}
    files = adapter(["q_proj"], lora(paths("q_proj"), rank), rank_pattern=pattern)
    assert brief(check(tmp_path, files)) == [("lora_rank", "warning", CONFIG)]


def test_many_tensors_are_sorted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(tensors: Mapping[str, Tensor]) -> Factors:
        calls.append(len(tensors))
        return factors(tensors)

    monkeypatch.setattr(contents, "factors", counted)
    check(tmp_path, plain("q_proj"))
    assert calls == [4]


@pytest.mark.parametrize(
    "name",
    [
        "meta-llama/Llama-3.1-8B",
        "accounts/fireworks/models/llama-v3p1-8b-instruct",
        "mistralai/Mistral-7B-v0.3",
        "Qwen/Qwen2-VL-7B-Instruct",
        "Qwen/Qwen2.5-7B",
        "accounts/fireworks/models/kimi-k2p5",
        "moonshotai/Kimi-K2.5",
        "kimi_k25",
        "qwen2_vl",
    ],
)
def test_a_family_whose_head_adapts(name: str) -> None:
    assert heads_adapt([None, name])


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-4B", "Qwen/Qwen-235B", "google/gemma-3-4b-it", "", None]
)
def test_a_family_whose_head_does_not(name: str | None) -> None:
    assert not heads_adapt([name])


def test_a_plain_adapter_is_what_its_names_say(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, plain("q_proj")))
    assert target_modules(found, {"target_modules": ["q_proj"]}) == ["q_proj"]
