"""The check of adapters against a base model that is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.build import BASE, Brief, brief, folder, without, zipped
from tests.model.weights import alike
from tests.preflight.adapters import (
    ATTENTION,
    CONFIG,
    MLP,
    WEIGHTS,
    adapter,
    base_weights,
    lora,
    paths,
    plain,
)
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.preflight.registry import findings

W, E = "warning", "error"
Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def on(tmp_path: Path, files: dict[str, bytes], base: dict[str, bytes]) -> Brief:
    """What there is to say about the adapter when its base model is here."""
    seen = scan(folder(tmp_path / "adapter", files))
    model = folder(tmp_path / "base", without(BASE, "model.safetensors") | base)
    found = findings(seen, Kind.LORA, scan(model))
    return brief(found)


LAYERS = paths(*ATTENTION, *MLP)
THREE = lora(paths("q_proj", layers=3))
DEEPER = adapter(["q_proj"], THREE)
WIDER = lora(paths("q_proj")) | {f"{Q0}.lora_B.weight": (48, 16)}
VISION = [f"model.visual.blocks.0.attn.{name}" for name in ("q_proj", "v_proj")]
RENAMED = [path.replace("model.", "model.language_model.", 1) for path in paths("q_proj")]
FITTING: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
    "as it is": (plain(*ATTENTION, *MLP), base_weights(LAYERS)),
    "FP8": (plain("q_proj"), base_weights(LAYERS, "F8_E4M3")),
    "packed": (adapter(["q_proj"], WIDER), base_weights(LAYERS, "U8")),
    "under another root": (adapter(["q_proj"], lora(RENAMED)), base_weights(LAYERS)),
    "with a tower": (plain("q_proj"), base_weights([*LAYERS, *VISION])),
    "bin of the adapter": (
        {CONFIG: DEEPER[CONFIG], "adapter_model.bin": zipped({"w": 8})},
        base_weights(LAYERS),
    ),
    "bin of the base": (DEEPER, {"pytorch_model.bin": zipped({"w": 8})}),
    "a broken base": (DEEPER, base_weights(LAYERS) | {"x.safetensors": b"cut"}),
    "fused experts": (
        adapter(["q_proj", "w1"], lora([*paths("q_proj"), "model.layers.0.mlp.experts.0.w1"])),
        base_weights(LAYERS),
    ),
    "transposed": (
        adapter(["q_proj"], WIDER, fan_in_fan_out=True),
        base_weights(LAYERS),
    ),
}


@pytest.mark.parametrize(("files", "base"), FITTING.values(), ids=FITTING)
def test_an_adapter_that_fits_its_base(
    tmp_path: Path, files: dict[str, bytes], base: dict[str, bytes]
) -> None:
    assert on(tmp_path, files, base) == []


def test_layers_that_are_replicated_are_not_looked_for(tmp_path: Path) -> None:
    files = adapter(["q_proj"], THREE, layer_replication=[[0, 2], [1, 2]])
    assert on(tmp_path, files, base_weights(LAYERS)) == [("peft_type", W, CONFIG)]


UNFIT: dict[str, tuple[dict[str, bytes], dict[str, bytes], str]] = {
    "more layers": (DEEPER, base_weights(LAYERS), E),
    "a module that is fused there": (
        plain("q_proj"),
        base_weights([f"model.layers.{n}.self_attn.qkv_proj" for n in range(2)]),
        E,
    ),
    "another width": (adapter(["q_proj"], WIDER), base_weights(LAYERS), E),
    "another width under another root": (
        adapter(["q_proj"], {name.replace("model.l", "model.x.l"): s for name, s in WIDER.items()}),
        base_weights(LAYERS),
        E,
    ),
    "nothing in common": (
        plain("q_proj"),
        base_weights(["gpt_neox.layer.0.attention.query_key_value"]),
        W,
    ),
}


@pytest.mark.parametrize(("files", "base", "severity"), UNFIT.values(), ids=UNFIT)
def test_an_adapter_that_does_not_fit_its_base(
    tmp_path: Path, files: dict[str, bytes], base: dict[str, bytes], severity: str
) -> None:
    assert on(tmp_path, files, base) == [("lora_base", severity, WEIGHTS)]


def test_the_head_of_a_base_that_is_here(tmp_path: Path) -> None:
    head = adapter(["lm_head"], lora(["lm_head"]), base_model_name_or_path="/data/model")
    llama = base_weights(LAYERS) | {"config.json": b'{"model_type": "llama"}'}
    assert on(tmp_path, head, llama) == []
    tied = {"model.safetensors": alike({"model.embed_tokens.weight": (128, 32)})}
    assert on(tmp_path, head, llama | tied) == []
    assert on(tmp_path, head, base_weights(LAYERS)) == [("lora_targets", W, CONFIG)]
