"""Adapters with true shapes, as PEFT saves them, and base models that they fit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.model.weights import Shape, alike

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE_NAME = "accounts/fireworks/models/qwen3-4b"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
#: [out, in] of the weights of a tiny decoder with grouped attention.
SHAPES: dict[str, Shape] = {
    "k_proj": (16, 32),
    "v_proj": (16, 32),
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), (64, 32)),
    **dict.fromkeys(("down_proj", "w2"), (32, 64)),
    "gate": (4, 32),
    **dict.fromkeys(("lm_head", "embed_tokens"), (128, 32)),
}


def shape_of(path: str) -> Shape:
    return SHAPES.get(path.rpartition(".")[2], (32, 32))


def paths(*names: str, layers: int = 2) -> list[str]:
    """The names in every layer: q_proj → model.layers.0.self_attn.q_proj and so on."""
    parents = dict.fromkeys(ATTENTION, "self_attn.") | dict.fromkeys(MLP, "mlp.")
    return [f"model.layers.{n}.{parents.get(s, '')}{s}" for n in range(layers) for s in names]


def lora(modules: Iterable[str], rank: int = 16, adapter: str = "") -> dict[str, Shape]:
    """The tensors of the modules; ``adapter`` is ".default" in the names that some tools save."""
    found: dict[str, Shape] = {}
    for path in modules:
        out, into = shape_of(path)
        found[f"base_model.model.{path}.lora_A{adapter}.weight"] = (rank, into)
        found[f"base_model.model.{path}.lora_B{adapter}.weight"] = (out, rank)
    return found


def config(targets: Any, **entries: Any) -> bytes:
    whole = {
        "base_model_name_or_path": BASE_NAME,
        "peft_type": "LORA",
        "r": 16,
        "lora_alpha": 32,
        "target_modules": targets,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": None,
        "use_dora": False,
    }
    return json.dumps(whole | entries).encode()


def adapter(targets: Any, tensors: dict[str, Shape], **entries: Any) -> dict[str, bytes]:
    """The files of an adapter."""
    return {CONFIG: config(targets, **entries), WEIGHTS: alike(tensors)}


def plain(*names: str, **entries: Any) -> dict[str, bytes]:
    """A sound adapter of those modules, unless the config's entries say otherwise."""
    return adapter([*names], lora(paths(*names)), **entries)


def base_weights(modules: Iterable[str], dtype: str = "BF16") -> dict[str, bytes]:
    """The only weights of a base model that has the modules and a head."""
    tensors = {f"{path}.weight": shape_of(path) for path in [*modules, "lm_head"]}
    return {"model.safetensors": alike(tensors, dtype)}
