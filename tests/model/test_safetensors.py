from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.model.build import safetensors
from uploader import files
from uploader.model.reading import Malformed, TooLong
from uploader.model.safetensors import (
    MAX_HEADER_BYTES,
    WrongSize,
    has_sound_header,
    read_header,
)
from uploader.model.tensors import Tensor


def framed(header: Any, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def tensor(shape: list[Any], start: int, stop: int, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_the_header_tells_every_tensor(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    both = {"a": tensor([2, 4], 0, 16, "BF16"), "b": tensor([4], 16, 20)}
    file.write_bytes(framed(both, b"\0" * 20))
    header = read_header(file)
    assert header.tensors == {"a": Tensor("BF16", (2, 4)), "b": Tensor("U8", (4,))}
    assert header.tensors_bytes == 20


def test_equal_shapes_are_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors({"a": 8, "b": 8}))
    tensors = read_header(file).tensors
    assert tensors["a"] is tensors["b"]


@pytest.mark.parametrize(
    "body", [framed({}), framed(b'{"__metadata__": {}}   '), safetensors({"a": 0})]
)
def test_odd_but_whole_files(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    assert read_header(file).tensors_bytes == 0


LIBRARY = "the safetensors library refuses"
CUT_SHORT = [
    (b"", "is cut short: 0 bytes are too few for a header"),
    (b"\1\0\0", "is cut short: 3 bytes"),
    (safetensors({"a": 8}, missing=1), "is cut short: 7 of 8 bytes"),
    (safetensors({"a": 8}, missing=20), "ends within its header"),
    (safetensors({"a": 8}, surplus=3), "3 bytes after"),
    (framed({"a": tensor([1], 0, 1), "b": tensor([1], 1, 2)}, b"1"), "1 of 2 bytes"),
]
BROKEN = [
    ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "exceed 100 MB"),
    (b"version https://git-lfs", "exceed 100 MB"),
    *(
        (framed(header, body), LIBRARY)
        for header, body in (
            (b"{", b""),
            (b"\xff", b""),
            ([], b""),
            (b"[" * 100_000, b""),
            ({"a": 3}, b""),
            ({"a": tensor([1], 1, 0)}, b""),
            ({"a": tensor([1], -1, 0)}, b"1"),
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1e999]}}', b"1"),
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": "09"}}', b"1"),
            ({"a": tensor(["1"], 0, 1)}, b"1"),
            ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0]}}, b""),
            ({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"1"),
            ({"a": tensor([1], 0, 1, "U9")}, b"1"),
            ({"a": tensor([2], 0, 1)}, b"1"),  # dtype times shape is not the span
            ({"a": tensor([1 << 40, 1 << 40], 0, 1)}, b"1"),
            ({"a": tensor([1], 1, 2)}, b"12"),  # a hole
            ({"a": tensor([2], 0, 2), "b": tensor([2], 1, 3)}, b"123"),  # an overlap
            (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}} x', b"1"),
        )
    ),
]


@pytest.mark.parametrize(("body", "message"), CUT_SHORT, ids=range(len(CUT_SHORT)))
def test_a_file_of_the_wrong_size_says_what_it_lacks(
    tmp_path: Path, body: bytes, message: str
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(WrongSize, match=message):
        read_header(file)


@pytest.mark.parametrize(("body", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_says_how(tmp_path: Path, body: bytes, message: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(Malformed, match=message) as refused:
        read_header(file)
    assert not isinstance(refused.value, WrongSize)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="cannot be read: No such file"):
        read_header(tmp_path / "gone.safetensors")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_bytes_it_is_read_or_malformed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = safetensors({"a": 8, "b": 4})
    start = data.draw(st.integers(0, len(whole)))
    body = whole[:start] + data.draw(st.binary(max_size=8)) + whole[start:]
    file = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    file.write_bytes(body)
    with contextlib.suppress(Malformed):
        assert read_header(file).tensors_bytes < len(body)


def offsets(*shape: int, stop: int, dtype: str = "I32") -> dict[str, Any]:
    return tensor(list(shape), 0, stop, dtype)


#: The cases of the library's own test suite, as far as they are files.
SUITE_VALID = {
    "plain": framed({"test": offsets(2, 2, stop=16)}, b"\0" * 16),
    "no tensor": framed({}),
    "metadata only": framed({"__metadata__": {"framework": "pt"}}),
    "a scalar": framed({"test": offsets(stop=4)}, b"\0" * 4),
    "a tensor of no elements": framed({"test": offsets(2, 0, stop=0)}),
    "padded with white space": framed(
        b'{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}\r \t\n', b"\0" * 16
    ),
    "white space before": framed(b" {}"),
    "four bits": framed({"test": offsets(1, 2, stop=1, dtype="F4")}, b"\0"),
}
SUITE_REFUSED = {
    "tensors that share bytes": framed(
        {f"w{i}": offsets(2, 2, stop=16) for i in range(10)}, b"\0" * 16
    ),
    "bytes for another format behind": framed({"t": offsets(2, 2, stop=16)}, b"\0" * 16 + b"PK"),
    "bytes missing": framed({"t": offsets(2, 2, stop=16)}, b"\0" * 15),
    "header too large": b"<\0\0\0\0\xff\xff\xff" + b"{}",
    "header too small": b"",
    "header length beyond the file": b"<\0\0\0\0\0\0\0",
    "header no UTF-8": b"\1\0\0\0\0\0\0\0\xff",
    "header no JSON": b"\1\0\0\0\0\0\0\0{",
    "shape and span differ": framed({"t": offsets(2, 2, stop=4)}, b"\0" * 4),
    "a shape that overflows": framed({"t": offsets(2, 2**64 - 2, stop=16)}, b"\0" * 16),
    "a product that overflows": framed({"t": offsets(2, 2**63, stop=16)}, b"\0" * 16),
    "half a byte": framed({"t": offsets(1, 3, stop=1, dtype="F4")}, b"\0"),
}


@pytest.mark.parametrize("body", SUITE_VALID.values(), ids=SUITE_VALID)
def test_what_the_library_takes_is_taken(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    read_header(file)


@pytest.mark.parametrize("body", SUITE_REFUSED.values(), ids=SUITE_REFUSED)
def test_what_the_library_refuses_is_refused(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    with pytest.raises(Malformed):
        read_header(file)


ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(("bool", "uint8", "int16", "float16", "int32", "float32", "float64")),
        st.lists(st.integers(0, 4), max_size=4),
    ),
    max_size=8,
)


@settings(max_examples=50, deadline=None)
@given(ARRAYS)
def test_what_the_library_saves_is_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, tuple[str, list[int]]]
) -> None:
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted.items()}
    file = tmp_path_factory.getbasetemp() / "saved.safetensors"
    save_file(arrays, file, {"format": "pt"})
    header = read_header(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        name: tuple(shape) for name, (_, shape) in wanted.items()
    }
    assert header.tensors_bytes == sum(array.nbytes for array in arrays.values())


def test_what_the_library_repeats_of_a_file_is_one_short_printable_line(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(framed({"a": tensor([], 0, 0, "\x1b[2J\n" + "X" * 1_000_000)}))
    with pytest.raises(Malformed, match=LIBRARY) as caught:
        read_header(file)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_a_shape_of_countless_dimensions_is_refused(tmp_path: Path) -> None:
    shape = ",".join("1" * 100)
    header = f'{{"x":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,4]}}}}'.encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(Malformed, match="100 dimensions"):
        read_header(path)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no file of ours alone")
@pytest.mark.parametrize("surplus", [0, 3])
def test_what_was_bounded_is_what_the_library_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surplus: int
) -> None:
    """The owner of a file may change it in between: its length, or what is in it."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"a": 8}, surplus=surplus))
    later = framed({name: tensor([1], n, n + 1) for n, name in enumerate("bcdefghi")}, bytes(8))
    real = safe_open

    def changed(*args: Any, **kwargs: Any) -> Any:
        with path.open("r+b") as file:
            file.write(later)
        return real(*args, **kwargs)

    monkeypatch.setattr("safetensors.safe_open", changed)
    if surplus:
        with pytest.raises(WrongSize, match="3 bytes after"):
            read_header(path)
    else:
        assert [*read_header(path).tensors] == ["a"]
    assert path.read_bytes() == later


def test_without_a_file_of_our_own_the_library_reads_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"a": 8}))

    def refused(*_: object) -> int:
        raise PermissionError

    for missing in (True, False):
        if missing:
            monkeypatch.delattr(os, "memfd_create", raising=False)
        else:
            monkeypatch.setattr(os, "memfd_create", refused, raising=False)
        assert [*read_header(path).tensors] == ["a"]


def dense(count: int, shape: str = "1") -> bytes:
    """A file of that many tensors of a byte each, with names as short as there can be."""
    entries = (
        f'"{n:x}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{n},{n + 1}]}}'
        for n in range(count)
    )
    return framed(f"{{{','.join(entries)}}}".encode(), bytes(count))


@pytest.mark.parametrize(
    ("count", "shape"), [(245_000, "1"), (180_000, "1,1,1,1,1,1,1,1")], ids=["flat", "deep"]
)
def test_a_header_of_more_tensors_than_any_model_has_is_read(
    tmp_path: Path, count: int, shape: str
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(dense(count, shape))
    assert len(read_header(file).tensors) == count


def test_brackets_in_metadata_are_only_text(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tags = json.dumps({"tags": "[" * 400 + "]" * 400})
    file.write_bytes(framed({"__metadata__": {"tags": tags}, "a": tensor([1], 0, 1)}, b"1"))
    assert [*read_header(file).tensors] == ["a"]
    assert is_sound(file)


@pytest.mark.parametrize("unit", ["[", "{", ",", '"'])
def test_a_header_of_countless_values_is_never_given_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    monkeypatch.delattr("safetensors.safe_open")
    file = tmp_path / "a.safetensors"
    file.write_bytes(framed(b"{" + unit.encode() * 3_000_000 + b"}"))
    with pytest.raises(TooLong, match="more values than that of any model"):
        read_header(file)


def is_sound(path: Path) -> bool:
    with path.open("rb") as file:
        return has_sound_header(file)


#: Longer than what the library judges while files are in flight, and as short as most are.
COUNTS = pytest.mark.parametrize("count", [6000, 3], ids=["long", "short"])


@COUNTS
def test_a_sound_header_is_found_sound_whatever_its_length(tmp_path: Path, count: int) -> None:
    file = tmp_path / "a.safetensors"
    for body in (
        dense(count),
        framed(json.dumps(json.loads(dense(count)[8:-count]), indent=9).encode(), bytes(count)),
    ):
        file.write_bytes(body)
        assert is_sound(file)


@COUNTS
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:8] + bytes(len(whole) - 8),
        lambda whole: whole[:8] + b"<" + whole[9:],
        lambda whole: whole[:8] + b" " * (len(whole) - 8),
        lambda whole: whole.replace(b"[0,1]", b"[1,0]"),
        lambda whole: whole.replace(b"[1,2]", b"[1,1]"),
        lambda whole: bytes(8) + whole[8:],
    ],
    ids=["short", "surplus", "half", "zeros", "page", "space", "turned", "hole", "empty"],
)
def test_a_header_that_is_not_of_this_file_is_not_sound(
    tmp_path: Path, count: int, damage: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(damage(dense(count)))
    assert not is_sound(file)


@COUNTS
def test_without_files_in_memory_a_header_is_only_asked_whether_it_fills_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The library would read the disk itself, while the others wait for it."""
    monkeypatch.setattr(files, "HAS_MEMORY_FILES", False)
    monkeypatch.delattr("safetensors.safe_open")
    file = tmp_path / "a.safetensors"
    file.write_bytes(dense(count))
    assert is_sound(file)


def nested_lists(length: int) -> bytes:
    lists = b"[" * 120 + b"]" * 120 + b","
    body = b'{"a":{"dtype":"U8","data_offsets":[0,0],"shape":[' + lists * (length // 241)
    return framed(body.ljust(length))


ASK = """
import resource, sys, threading
import numpy, safetensors
from uploader.model.safetensors import has_sound_header
def ask():
    with open(sys.argv[1], "rb") as file:
        has_sound_header(file)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=ask) for _ in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
MAX_GROWTH_MB = 100
HOSTILE: dict[str, bytes] = {
    "as much as the library judges": nested_lists(256 * 1024),
    "nested lists": nested_lists(15_990_000),
    "as long as there can be": MAX_HEADER_BYTES.to_bytes(8, "little") + b"{",
}


@pytest.mark.long
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_any_number_of_headers_at_once_takes_little_memory(tmp_path: Path, body: bytes) -> None:
    """A worker has many files in flight, and whoever writes to the folder can swap them all."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(body)
    os.truncate(file, 8 + int.from_bytes(body[:8], "little"))  # sparse
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", ASK, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kib_per_mb = 1024 * (1 if sys.platform == "linux" else 1024)
    assert int(done.stdout) / kib_per_mb < MAX_GROWTH_MB


@pytest.mark.skipif(not files.HAS_MEMORY_FILES, reason="the library reads the disk itself")
def test_the_library_has_one_header_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preflights of many folders at once are in the same process, and so is the worker."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(safetensors({"a": 8}))
    real, now, most = safe_open, [0], [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.01)  # the others would come in
        now[0] -= 1
        return real(*args, **kwargs)

    monkeypatch.setattr("safetensors.safe_open", counted)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(look, file) for look in (read_header, is_sound) * 8]
    assert all(one.result() for one in found)
    assert most == [1]
