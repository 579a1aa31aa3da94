"""Names and texts of a foreign folder cost time in proportion to their length."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.linear import assert_in_proportion, assert_linear, cpu_s
from tests.model.build import BASE, INDEX, folder, zipped
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.adapter import RankPattern, expand, factors, suffixes
from uploader.model.folder import scan
from uploader.model.hashes import only_in, shared
from uploader.model.index import Shards
from uploader.model.json_text import JsonText
from uploader.model.safetensors import Header, _check_size
from uploader.model.tensors import Tensor, Tensors
from uploader.preflight import contents as contents_room
from uploader.preflight.checks import hollow
from uploader.preflight.checks.adapter import _misranked
from uploader.preflight.checks.hollow import hollow_weights
from uploader.preflight.checks.index import no_index
from uploader.preflight.checks.spared import Spared
from uploader.preflight.checks.weights import duplicate_tensor
from uploader.preflight.contents import Contents
from uploader.preflight.registry import findings

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
    "a tensor's name": lambda text: text + "\n" in Spared(CONFIG),
    "a key of ranks": lambda text: RankPattern({"rank_pattern": {text: 8}}).has("q_proj", 8),
    "an adapted path": lambda text: RankPattern({"rank_pattern": {"a": 8}}).has(text, 8),
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


def _cost_s(check: Callable[[Contents], Iterable[object]], contents: object) -> float:
    found: list[object] = []
    took_s = cpu_s(lambda: found.extend(check(cast("Contents", contents))))
    assert found
    return took_s


def _hollow(count: int) -> float:
    headers = {str(number): Header(Tensors(()), 0) for number in range(count)}
    return _cost_s(hollow_weights, SimpleNamespace(headers=headers))


def _ranks(count: int) -> float:
    pattern = {f"({number}": 1000 + number for number in range(count)}
    config = {"r": 8, "target_modules": ["q"], "rank_pattern": pattern}
    names = (f"base_model.model.{number}.q.lora_A.weight" for number in range(count))
    found = factors({name: Tensor("U8", (9, 1)) for name in names})
    return _cost_s(lambda _: [*_misranked(config, found)], None)


#: Numbers that are as far apart as this have one hash.
_ALIKE = (1 << 61) - 1


def _ranks_of_one_hash(count: int) -> float:
    pattern = {f"({number}": 8 + number * _ALIKE for number in range(4 * count)}
    return cpu_s(lambda: RankPattern({"rank_pattern": pattern}))


def _shapes_of_one_hash(count: int) -> float:
    shapes = [(0, *(1 + _ALIKE * (n >> bit & 1) for bit in range(12))) for n in range(count)]
    return cpu_s(lambda: Tensors((str(n), Tensor("U8", one)) for n, one in enumerate(shapes)))


def _twice(count: int) -> float:
    """Many files, each with the last of the many tensors of one."""
    tensor = Tensor("U8", (1,))
    large = Header(Tensors((str(number), tensor) for number in range(count)), 0)
    small = {
        f"b{number}": Header(Tensors([(str(count - 1), tensor)]), 0) for number in range(count)
    }
    contents = SimpleNamespace(headers={"a": large, **small}, indexes={})
    return _cost_s(duplicate_tensor, contents)


def _without_index(count: int) -> float:
    names = frozenset(f"m{number}.safetensors" for number in range(count))
    sets = [Shards(name, frozenset({name}), "", 0) for name in names]
    return _cost_s(no_index, SimpleNamespace(shards=sets, present=names))


def _indexes(count: int) -> float:
    """Each names one tensor of a file that has many."""
    one, many = array("q", [-1]), array("q", range(20 * count))

    def compare() -> None:
        for _ in range(count // 10):
            assert only_in(one, many)
            assert not shared(one, [many])

    return cpu_s(compare)


@pytest.mark.parametrize(
    "cost_s",
    [_hollow, _without_index, _ranks, _twice, _indexes, _ranks_of_one_hash, _shapes_of_one_hash],
)
def test_many_files_take_time_in_proportion(cost_s: Callable[[int], float]) -> None:
    assert_in_proportion(cost_s, 500, cost_s.__name__)


def test_an_index_beyond_the_hundredth_is_not_read(tmp_path: Path) -> None:
    root = folder(tmp_path, BASE)
    for number in range(101):
        (root / f"m{number}.safetensors.index.json").write_text('{"weight_map": {"a": "m"}}')
    found = [f for f in findings(scan(root), Kind.BASE) if f.check == "index_json"]
    assert [(f.severity, "already 100 indexes" in f.message) for f in found] == [("warning", True)]


def test_of_an_index_for_which_nothing_is_left_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With forty megabytes under each of many names, it would take a minute a thousand."""
    monkeypatch.setattr(contents_room, "_INDEXES_BYTES", 100)
    root = folder(tmp_path, BASE)
    (root / INDEX).write_bytes(b"\xff" * 101)  # whoever reads it says that it is not UTF-8
    (found,) = (f for f in findings(scan(root), Kind.BASE) if f.check == "index_json")
    assert "was not read" in found.message


def test_of_many_names_of_one_file_only_so_many_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_room, "_HEADERS_BYTES", 1000)
    monkeypatch.setattr(hollow, "_DIRECTORIES_BYTES", 1000)
    monkeypatch.setattr(contents_room, "_INDEXES_BYTES", 100)
    root = folder(tmp_path, {**BASE, "pytorch_model.bin": zipped({"a": 8})})
    (root / INDEX).write_text('{"weight_map": {"lm_head.weight": "model.safetensors"}}')
    (root / "again.safetensors.index.json").hardlink_to(root / INDEX)
    for number in range(20):
        (root / f"a{number}.safetensors").hardlink_to(root / "model.safetensors")
        (root / f"pytorch_model-{number}.bin").hardlink_to(root / "pytorch_model.bin")
    found = [f for f in findings(scan(root), Kind.BASE) if "was not read" in f.message]
    assert {(f.severity, f.check) for f in found} == {
        ("warning", "safetensors_header"),
        ("warning", "pickled_weights"),
        ("warning", "index_json"),
    }
