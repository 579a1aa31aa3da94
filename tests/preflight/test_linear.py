"""Names and texts of a foreign folder cost time in proportion to their length."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.linear import assert_linear
from uploader.core.errors import UsageError
from uploader.model.adapter import RankPattern, expand, suffixes
from uploader.model.json_text import JsonText
from uploader.model.safetensors import _check_size
from uploader.preflight.checks.spared import spared

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}
UNITS = ("a", ".", "layers.1.", "x.vision", "scale\n", "(.*)*", "[", '"', "\\", " ", "\n", "q|")


def read_text(text: str) -> None:
    with contextlib.suppress(ValueError, IndexError, RecursionError):
        JsonText(text).value()
    with contextlib.suppress(ValueError, IndexError):
        for _ in JsonText('{"' + text).members():
            break


def read_target(text: str) -> None:
    with contextlib.suppress(UsageError):
        expand({"target_modules": text}, None)


READERS: dict[str, Callable[[str], object]] = {
    "a tensor's name": lambda text: spared(text + "\n", CONFIG),
    "a key of ranks": lambda text: [*RankPattern({"rank_pattern": {text: 8}}).ranks("q_proj")],
    "an adapted path": lambda text: [*RankPattern({"rank_pattern": {"a": 8}}).ranks(text)],
    "a pattern of targets": read_target,
    "an index": read_text,
    "a header": lambda text: _check_size(b'"data_offsets":' + text.encode(), 9),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_long_text_takes_time_in_proportion(read: Callable[[str], object], unit: str) -> None:
    assert_linear(read, unit)


def test_the_ends_of_a_path_are_as_many_as_its_parts() -> None:
    assert [*suffixes("a.b.c")] == ["c", "b.c", "a.b.c"]
