"""The index of shards, read pair by pair: as `json` reads it, in less memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.model import index as module
from uploader.model.index import read_index
from uploader.model.reading import Malformed, TooLong

TEXT = st.text(max_size=12)
MAPS = st.dictionaries(TEXT, TEXT, min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def written(root: Path, body: bytes | str) -> Path:
    path = root / "model.safetensors.index.json"
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return path


def shards_of(weight_map: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        found.setdefault(shard, set()).add(tensor)
    return found


@settings(max_examples=120, deadline=None)
@given(
    weight_map=MAPS,
    others=st.dictionaries(TEXT.filter(lambda key: key != "weight_map"), VALUES, max_size=3),
    indent=st.sampled_from([None, 1, "\t"]),
    ascii_only=st.booleans(),
)
def test_any_index_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    weight_map: dict[str, str],
    others: dict[str, Any],
    indent: int | str | None,
    ascii_only: bool,
) -> None:
    whole = {**others, "weight_map": weight_map}
    body = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    found = read_index(written(tmp_path_factory.getbasetemp(), body.encode(errors="replace")))
    wanted = json.loads(body.encode(errors="replace"))["weight_map"]
    assert {shard: {*names} for shard, names in found.shards.items()} == shards_of(wanted)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_json_refuses_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    body = json.dumps({"metadata": {"total_size": 3}, "weight_map": {"a": "x", "b": "y"}})
    start = data.draw(st.integers(0, len(body)))
    broken = body[:start] + data.draw(st.text('{}[]",:\\ ax1', max_size=3))
    broken += body[start + data.draw(st.integers(0, 2)) :]
    path = written(tmp_path_factory.getbasetemp(), broken)
    try:
        wanted = json.loads(broken)
    except ValueError:
        with pytest.raises(Malformed):
            read_index(path)
        return
    weight_map = wanted.get("weight_map") if isinstance(wanted, dict) else None
    shards = [*weight_map.values()] if isinstance(weight_map, dict) else []
    if shards and all(isinstance(shard, str) for shard in shards):
        assert read_index(path).shards.keys() == {*shards}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "is not a JSON object"),
        (b"", "is not JSON"),
        (b'{"weight_map": {"a": "x"}} x', "is not JSON"),
        (b'{"weight_map": {"a": "x",}}', "is not JSON"),
        (b'{"weight_map": {"a" "x"}}', "is not JSON"),
        (b'{"weight_map": {"a": 3}}', "names shards that are not file names"),
        (b'{"weight_map": {}}', "has no weight_map"),
        (b'{"weight_map": []}', "has no weight_map"),
        (b'{"metadata": ' + b"[" * 100_000, "is not JSON"),
        (b'{"weight_map": {"a": "x"}}\0', "is not JSON"),
    ],
)
def test_what_is_wrong_with_an_index(tmp_path: Path, body: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        read_index(written(tmp_path, body))


def test_names_are_packed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKED_AT", 3)
    weight_map = {f"t{n}": f"s{n % 2}" for n in range(11)}
    found = read_index(written(tmp_path, json.dumps({"weight_map": weight_map})))
    assert {s: {*names} for s, names in found.shards.items()} == shards_of(weight_map)


def test_an_index_beyond_the_largest_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_INDEX_BYTES", 20)
    with pytest.raises(TooLong):
        read_index(written(tmp_path, '{"weight_map": {"a": "x"}}'))
