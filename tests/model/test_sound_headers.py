"""Whether a header is sound, asked while files are in flight: of any length, with little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.model.build import safetensors
from tests.model.weights import dense, framed, tensor
from uploader.model import memory_file
from uploader.model.safetensors import MAX_HEADER_BYTES, has_sound_header, read_header


def test_brackets_in_metadata_are_only_text(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    tags = json.dumps({"tags": "[" * 400 + "]" * 400})
    file.write_bytes(framed({"__metadata__": {"tags": tags}, "a": tensor([1], 0, 1)}, b"1"))
    assert [*read_header(file).tensors] == ["a"]
    assert is_sound(file)


def is_sound(path: Path) -> bool:
    with path.open("rb") as file:
        return has_sound_header(file)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_nothing_is_read_of_a_file_that_says_that_it_is_empty() -> None:
    """Reading takes something away from some files of /proc, and others have nothing to give."""
    with Path("/proc/self/status").open("rb") as file:
        assert not has_sound_header(file)
        assert file.tell() == 0


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
    monkeypatch.setattr(memory_file, "HAS_MEMORY_FILES", False)
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


@pytest.mark.skipif(not memory_file.HAS_MEMORY_FILES, reason="the library reads the disk itself")
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
