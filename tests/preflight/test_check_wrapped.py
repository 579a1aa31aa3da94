"""Weights in words that loaders do not look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, Brief, brief, check, safetensors, without
from tests.preflight.adapters import WEIGHTS

W, E = "warning", "error"
ST = "model.safetensors"


def with_metadata(metadata: dict[str, str] | None, files: dict[str, bytes] = BASE) -> Any:
    """The model, its weights' metadata replaced; none with None."""
    (name,) = (name for name in files if name.endswith(".safetensors"))
    length = int.from_bytes(files[name][:8], "little")
    header = json.loads(files[name][8 : 8 + length])
    del header["__metadata__"]
    header |= {} if metadata is None else {"__metadata__": metadata}
    raw = json.dumps(header).encode()
    return {**files, name: len(raw).to_bytes(8, "little") + raw + files[name][8 + length :]}


def named(tensor: str) -> dict[str, bytes]:
    return {**BASE, ST: safetensors({tensor: 8})}


GOOD: dict[str, dict[str, bytes]] = {
    "no metadata": with_metadata(None),
    "MLX's layout": with_metadata({"format": "mlx"}),
    "more than a format": with_metadata({"format": "pt", "step": "3"}),
    "a module of that name further down": named("model.module.weight"),
    "a name that begins alike": named("modules.0.weight"),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    **{
        f"named {tensor}": (named(tensor), [("wrapped_names", W, ST)])
        for tensor in (
            "_orig_mod.model.layers.0.mlp.up_proj.weight",
            "module.model.layers.0.mlp.up_proj.weight",
            "model.layers.0._fsdp_wrapped_module.mlp.up_proj.weight",
            "model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight",
            "base_model.model.model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.base_layer.weight",
            "model.layers.0.mlp.up_proj.lora_A.default.weight",
        )
    },
    **{
        f"metadata {metadata}": (with_metadata(metadata), [("metadata_format", W, ST)])
        for metadata in ({}, {"step": "3"}, {"format": "tf"}, {"format": "x\n" * 99})
    },
    "metadata of an adapter": (with_metadata({}, LORA), [("metadata_format", W, WEIGHTS)]),
}


@pytest.mark.parametrize(
    ("tensor", "cure"),
    [("_orig_mod.a.weight", "_orig_mod"), ("a.lora_A.weight", "merge_and_unload()")],
)
def test_what_takes_the_wrapper_away_is_named(tmp_path: Path, tensor: str, cure: str) -> None:
    (finding,) = check(tmp_path, named(tensor))
    assert cure in finding.hint


def test_a_pipeline_of_diffusers_is_called_by_its_name(tmp_path: Path) -> None:
    files = {**without(BASE, "config.json"), "model_index.json": b"{}"}
    found = check(tmp_path, files)
    assert brief(found) == [("config_json", E, "config.json")]
    assert "diffusers" in found[0].hint
