"""Files in the words of transformers 5."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, Brief, check
from uploader.core.text import shown

CONFIG, SETTINGS = "config.json", "tokenizer_config.json"
W = "warning"
NAMED = {"architectures": ["LlamaForCausalLM"]}
ROPE = {"rope_theta": 500000.0, "rope_type": "default"}


def settings(**entries: Any) -> dict[str, bytes]:
    return {**BASE, SETTINGS: json.dumps({"chat_template": "x", **entries}).encode()}


def config(**entries: Any) -> dict[str, bytes]:
    return {**BASE, CONFIG: json.dumps(NAMED | entries).encode()}


GOOD: dict[str, dict[str, bytes]] = {
    "an older class": settings(tokenizer_class="LlamaTokenizerFast"),
    "named tokens": settings(extra_special_tokens={"image_token": "<image>"}),
    "both words": config(rope_theta=500000.0, rope_parameters=ROPE),
    "no base in it": config(rope_parameters={"rope_type": "default"}),
    "no object": config(rope_parameters=[1]),
    "a base that is none": config(rope_parameters={"rope_theta": True}),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    "the newer class": (
        settings(tokenizer_class="TokenizersBackend"),
        [("newer_format", W, SETTINGS)],
    ),
    "listed tokens": (
        settings(extra_special_tokens=["<a>", "<b>"]),
        [("newer_format", W, SETTINGS)],
    ),
    "no rope_theta": (config(rope_parameters=ROPE), [("newer_format", W, CONFIG)]),
    "no rope_theta in the decoder": (
        config(text_config={"rope_parameters": ROPE}),
        [("newer_format", W, CONFIG)],
    ),
    "ropes by the kind of layer": (
        config(rope_parameters={"full_attention": ROPE, "sliding_attention": ROPE}),
        [("newer_format", W, CONFIG)],
    ),
    "numbers that are objects": (
        config(time_step_limit=[0.0, {"__float__": "Infinity"}]),
        [("newer_format", W, CONFIG)],
    ),
    "all at once": (
        {
            **config(rope_parameters=ROPE),
            SETTINGS: settings(tokenizer_class="TokenizersBackend", extra_special_tokens=[])[
                SETTINGS
            ],
        },
        [("newer_format", W, SETTINGS)],
    ),
}


def test_one_warning_has_every_edit(tmp_path: Path) -> None:
    files = settings(tokenizer_class="TokenizersBackend", extra_special_tokens=["<a>"])
    rope = {"rope_theta": 1e6, "rope_type": "llama3", "factor": 8.0}
    (finding,) = check(tmp_path, {**files, CONFIG: config(rope_parameters=rope)[CONFIG]})
    assert finding.message == (
        "tokenizer_config.json and config.json: as transformers 5 writes it, "
        "which older servers misread"
    )
    assert finding.hint.split("; ") == [
        'tokenizer_config.json: set "tokenizer_class" to "PreTrainedTokenizerFast"',
        'tokenizer_config.json: rename "extra_special_tokens" to "additional_special_tokens"',
        'config.json: add "rope_theta": 1000000.0 (from rope_parameters)',
        'config.json: add "rope_scaling" with the entries of rope_parameters',
    ]


@pytest.mark.parametrize("key", ["$(id)", "a'`id`", "two\nlines"])
@pytest.mark.parametrize(
    "entries",
    [
        lambda key: {"rope_parameters": {key: ROPE}},
        lambda key: {key: {"__float__": "Infinity"}},
    ],
    ids=["rope", "float"],
)
def test_a_strangers_key_is_one_word_for_a_shell(
    tmp_path: Path, key: str, entries: Callable[[str], dict[str, Any]]
) -> None:
    (found,) = check(tmp_path, config(**entries(key)))
    assert shlex.quote(shown(key)) in found.hint
