"""Weights that are there and say nothing. The evidence for every refusal stands with its case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import (
    BASE,
    INDEX,
    LORA,
    SHARDED,
    SHARDS,
    Brief,
    brief,
    check,
    safetensors,
    without,
    zipped,
)
from tests.model.weights import alike, encode
from tests.preflight.adapters import CONFIG, config, lora, paths
from uploader.core.job import Kind

W, E = "warning", "error"
ST, BIN, ADAPTER_BIN = "model.safetensors", "pytorch_model.bin", "adapter_model.bin"
ADAPTER = "adapter_model.safetensors"
SOUND = zipped({"w": 64})
#: PyTorch before 1.6: its magic number, pickled with protocol 2.
OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"x" * 2000
TAR = b"storages".ljust(257, b"\0") + b"ustar  \0" + b"x" * 900


def binned(body: bytes, name: str = BIN) -> dict[str, bytes]:
    return {**without(BASE, ST), name: body}


def tensors(**shapes: tuple[int, ...]) -> dict[str, bytes]:
    """A model of those weights, ``__`` for a dot."""
    found = {name.replace("__", "."): ("BF16", shape) for name, shape in shapes.items()}
    return {**BASE, ST: encode(found)}


def sharded(count: int) -> dict[str, bytes]:
    names = [f"model-{n + 1:05}-of-{count:05}.safetensors" for n in range(count)]
    weight_map = {f"w{n}": name for n, name in enumerate(names)}
    return {
        **without(BASE, ST),
        **{name: safetensors({tensor: 8}) for tensor, name in weight_map.items()},
        INDEX: json.dumps({"weight_map": weight_map}).encode(),
    }


GOOD: dict[str, dict[str, bytes]] = {
    "a zip of PyTorch": binned(SOUND),
    "a pickle of old": binned(OLD),
    "a tar of very old": binned(TAR),
    "an adapter's zip": {**without(LORA, ADAPTER), ADAPTER_BIN: SOUND},
    "a scalar": tensors(model__layers__0__mlp__alpha=(), lm_head__weight=(4, 4)),
    "an empty bias and an empty order of groups": tensors(
        a__bias=(0,), a__g_idx=(0,), a__weight=(2, 2)
    ),
    "thirty small shards": sharded(30),
}
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    # transformers#20082: "copying a param with shape torch.Size([0]) from checkpoint".
    "all of ZeRO-3": (
        tensors(model__embed_tokens__weight=(0,), lm_head__weight=(0,)),
        [("hollow_weights", E, ST)],
    ),
    # OpenRLHF#839: layers before 26 are whole, those from 26 on are of no elements.
    "the last layers of ZeRO-3": (
        tensors(a__0__weight=(2, 2), a__1__weight=(0,)),
        [("hollow_weights", E, ST)],
    ),
    "one expert of many": (
        tensors(experts__0__up_proj=(2, 2), experts__1__up_proj=(0, 2)),
        [("hollow_weights", E, ST)],
    ),
    "one shard": (
        {**SHARDED, SHARDS[0]: encode({"a": ("BF16", (0,))})},
        [("hollow_weights", E, SHARDS[0])],
    ),
    "no tensor": ({**BASE, ST: safetensors({})}, [("hollow_weights", E, ST)]),
    "no tensor in a further file": (
        {**BASE, "more.safetensors": safetensors({})},
        [("hollow_weights", W, "more.safetensors")],
    ),
    # OpenRLHF#651: lora_A and lora_B of shape [0] in layers 26 and 27.
    "an adapter of ZeRO-3": (
        {
            CONFIG: config(["q_proj"]),
            ADAPTER: alike(dict.fromkeys(lora(paths("q_proj")), (0,))),
        },
        [("hollow_weights", E, ADAPTER)],
    ),
    "an adapter whose other side is hollow": (
        {
            CONFIG: config(["q_proj"]),
            ADAPTER: alike(
                {n: (s[0], 0) for n, s in lora(paths("q_proj")).items() if "_A" in n}
                | {n: s for n, s in lora(paths("q_proj")).items() if "_B" in n}
            ),
        },
        [("hollow_weights", E, ADAPTER)],
    ),
    # peft#286, peft#970: an empty dictionary of 443 bytes, and the model acts as not tuned at all.
    "an adapter of 443 bytes": (
        {**without(LORA, ADAPTER), ADAPTER_BIN: zipped({})},
        [("pickled_weights", E, ADAPTER_BIN)],
    ),
    "a zip of tensors of no bytes": (
        binned(zipped({"a": 0, "b": 0})),
        [("pickled_weights", E, BIN)],
    ),
    "a pickle too small for weights": (binned(OLD[:300]), [("pickled_weights", E, BIN)]),
    # A zip is read from its end: torch says "failed finding central directory".
    "a zip cut at its end": (
        binned(zipped({"w": 4096}, cut=30)),
        [("pickled_weights", E, BIN)],
    ),
    "a zip cut in its middle": (binned(SOUND[:100]), [("pickled_weights", E, BIN)]),
    "a zip whose directory is cut": (
        binned(SOUND[:-60] + SOUND[-22:]),
        [("pickled_weights", E, BIN)],
    ),
    # What a portal or a login page answers; neither a zip, a pickle nor a tar begins so.
    "a web page": (binned(b"<!DOCTYPE html><html>"), [("pickled_weights", E, BIN)]),
    "a web page after a mark": (
        binned(b"\xef\xbb\xbf\n <html>"),
        [("pickled_weights", E, BIN)],
    ),
    "an answer in JSON": (binned(b'{"error": "gated"}'), [("pickled_weights", E, BIN)]),
    "zeros of a download": (binned(bytes(4096)), [("pickled_weights", E, BIN)]),
    "a form that nobody knows": (
        {**BASE, "vectors.bin": b"\1\2\3" * 99},
        [("pickled_weights", W, "vectors.bin")],
    ),
    "a zip of something else": (
        {**BASE, "vectors.bin": zipped({}).replace(b"data.pkl", b"data.txt")},
        [("pickled_weights", W, "vectors.bin")],
    ),
    **{
        f"only {name}": (
            {**without(BASE, ST), name: safetensors({"w": 8})},
            [("unread_weights", W, name)],
        )
        for name in ("model.fp16.safetensors", "weights.safetensors", "model_final.safetensors")
    },
    "only an old .bin": (binned(SOUND, "model.bin"), [("unread_weights", W, "model.bin")]),
    "one shard of one without an index": (
        {**without(BASE, ST), "model-00001-of-00001.safetensors": safetensors({"w": 8})},
        [("unread_weights", W, "model-00001-of-00001.safetensors")],
    ),
    "shards of a variant": (
        {**without(SHARDED, INDEX), "model.fp16.safetensors.index.json": SHARDED[INDEX]},
        [("unread_weights", W, "model.fp16.safetensors.index.json")],
    ),
    "thirty-one small shards": (sharded(31), [("small_shards", W, INDEX)]),
}


def test_many_files_of_one_unknown_form_are_one_warning(tmp_path: Path) -> None:
    vectors = {f"vectors-{n:03}.bin": b"\1\2\3" * 99 for n in range(500)}
    other = {"other.bin": zipped({}).replace(b"data.pkl", b"data.txt")}
    zips, forms = sorted(check(tmp_path, {**BASE, **vectors, **other}), key=lambda f: f.message)
    assert brief([zips, forms]) == [
        ("pickled_weights", W, "other.bin"),
        ("pickled_weights", W, "vectors-000.bin"),
    ]
    assert zips.message == "other.bin is a zip, but not as PyTorch saves weights"
    assert forms.message.startswith("vectors-000.bin and 499 more: each is neither a zip")


def test_the_cure_of_weights_that_were_not_gathered_is_named(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, tensors(a__weight=(0,), b__weight=(1,), c__weight=(0, 4)))
    assert (
        finding.message == f"{ST} contains 2 of 3 tensors without any element: a.weight and 1 more"
    )
    assert "stage3_gather_16bit_weights_on_model_save" in finding.hint


def test_the_shards_and_their_mean_size_are_named(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, sharded(31))
    assert finding.message.startswith("31 shards of 112 B on average")


def test_shards_of_a_gigabyte_may_be_many(tmp_path: Path) -> None:
    assert brief(check(tmp_path, sharded(31))) == [("small_shards", W, INDEX)]
    header = {"w0": {"dtype": "U8", "shape": [31 * 10**9], "data_offsets": [0, 31 * 10**9]}}
    raw = json.dumps(header).encode()
    with (tmp_path / "model-00001-of-00031.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + 31 * 10**9)
    assert check(tmp_path, {}) == []


@pytest.mark.parametrize("kind", [Kind.EMBEDDING, Kind.DRAFT])
def test_every_kind_of_model_is_looked_at(tmp_path: Path, kind: Kind) -> None:
    assert brief(check(tmp_path, tensors(a__weight=(0,)), kind)) == [("hollow_weights", E, ST)]


def test_no_pickle_is_ever_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr("pickle.load", loaded)
    monkeypatch.setattr("pickle.loads", loaded)
    monkeypatch.setattr("pickle.Unpickler", loaded)
    assert check(tmp_path / "new", binned(SOUND)) == []
    assert check(tmp_path / "old", binned(OLD)) == []
