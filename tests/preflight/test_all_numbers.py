"""A folder of which every number grows costs time in proportion: no two of them are multiplied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.linear import cpu_s
from tests.model.build import BASE, LORA, folder
from tests.preflight.test_memory import write_shard
from uploader.core.job import Kind
from uploader.model.finding import Finding
from uploader.model.folder import Folder, scan
from uploader.preflight.contents import Contents
from uploader.preflight.registry import CHECKS, Check

#: Of eight times as much, what is in proportion takes about eight times as long; what multiplies
#: two numbers, sixty-four times.
_FACTOR, _MAX_RATIO = 8, 24
#: Below this the clock's own grain decides.
_LEAST_S = 0.004


def wide(words: Sequence[str], **more: object) -> str:
    """An object with many keys, and in each field that checks read, many values."""
    fields = {
        "architectures": [f"{word}ForCausalLM" for word in words],
        "auto_map": {word: f"{word}.Code" for word in words},
        "rope_parameters": {word: {} for word in words},
        "target_modules": list(words),
        "rank_pattern": {f"{word}.q": number for number, word in enumerate(words)},
        "alpha_pattern": {f"({word}": 1 for word in words},
    }
    return json.dumps(dict.fromkeys(words, 0) | fields | more)


def model(root: Path, size: int) -> Folder:
    """Many words, keys, files, tensors and indexes: ``size`` times as many of each."""
    words = [f"w{number:x}" for number in range(1000 * size)]
    layers = [f"model.layers.{number}.{word}" for number, word in enumerate(words)]
    shards = [f"m-{number:04}.safetensors" for number in range(50 * size)]
    root = folder(root, BASE)
    (root / "config.json").write_text(wide(words, num_hidden_layers=len(words)))
    (root / "tokenizer_config.json").write_text(wide(words))
    (root / "fireworks.json").write_text(json.dumps(dict.fromkeys(words, 0)))
    write_shard(root / "model.safetensors", ["model.embed_tokens.weight", *layers])
    for name, word, layer in zip(shards, words, layers, strict=False):
        write_shard(root / name, [word, layer])
        (root / f"{word}.part").touch()
        (root / f"pytorch_{word}.bin").write_bytes(b"\x80\2" + bytes(2000))
    there = dict.fromkeys(layers, "model.safetensors") | dict(zip(words, shards, strict=False))
    lost = {f"lost.{word}": "model.safetensors" for word in words}
    (root / "a.safetensors.index.json").write_text(json.dumps({"weight_map": there | lost}))
    for number in range(12 * size):
        text = json.dumps({"weight_map": {"a": "model.safetensors", "b": shards[number]}})
        (root / f"{number}.safetensors.index.json").write_text(text)
    return scan(root)


def adapter(root: Path, size: int) -> Folder:
    words = [f"w{number:x}" for number in range(1000 * size)]
    root = folder(root, LORA)
    (root / "adapter_config.json").write_text(wide(words, r=8))
    names = [
        f"base_model.model.{word}.{word}.lora_{side}.weight" for word in words for side in "AB"
    ]
    write_shard(root / "adapter_model.safetensors", names)
    return scan(root)


def costs_s(root: Path, kind: Kind, size: int) -> Iterator[tuple[str, float]]:
    """What each check takes; the first that reads a file takes that time, too."""
    seen = model(root / f"model{size}", size)
    contents = Contents(seen, kind)
    if kind is Kind.LORA:
        contents = Contents(adapter(root / f"adapter{size}", size), kind, seen)
    for check in CHECKS:
        if kind in check.kinds:
            yield check.name, cpu_s(partial(every, check, contents))


def every(check: Check, contents: Contents) -> list[Finding]:
    return [*check.run(contents)]


@pytest.mark.long
@pytest.mark.parametrize("kind", [Kind.BASE, Kind.LORA])
def test_a_folder_of_which_all_numbers_grow_takes_time_in_proportion(
    tmp_path: Path, kind: Kind
) -> None:
    few_s, many_s = (dict(costs_s(tmp_path, kind, size)) for size in (1, _FACTOR))
    ratios = {name: many_s[name] / max(few_s[name], _LEAST_S) for name in few_s}
    assert {name: ratio for name, ratio in ratios.items() if ratio > _MAX_RATIO} == {}
