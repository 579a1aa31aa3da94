"""A hash that was saved half-way ends as if it had never stopped."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from uploader.sources import libcrypto, sha256

CONTENT = random.Random(7).randbytes(1 << 20)
EXPECTED = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def fresh() -> Iterator[None]:
    """This Python is looked at again, and once more afterwards."""
    sha256._opener.cache_clear()
    yield
    sha256._opener.cache_clear()


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 128, 4095, 1 << 20])
def test_it_is_the_sha256(size: int) -> None:
    found = sha256.started()
    found.update(CONTENT[: size // 3])
    assert found.hexdigest() == hashlib.sha256(CONTENT[: size // 3]).hexdigest()
    found.update(CONTENT[size // 3 : size])
    assert found.hexdigest() == hashlib.sha256(CONTENT[:size]).hexdigest()


@pytest.mark.parametrize("at", [0, 64, 128, 64 * 1000, 1 << 19, 1 << 20])
def test_it_goes_on_from_a_state(at: int) -> None:
    first = sha256.started()
    first.update(CONTENT[:at])
    state = first.state()
    assert state is not None, "this machine's Python is expected to be able to"
    second = sha256.resumed(state, at)
    assert second is not None
    assert second.state() == state
    second.update(CONTENT[at:])
    assert second.hexdigest() == EXPECTED
    assert first.hexdigest() == hashlib.sha256(CONTENT[:at]).hexdigest()


def test_another_process_goes_on_too() -> None:
    first = sha256.started()
    first.update(CONTENT[:640])
    script = (
        "import sys\nfrom uploader.sources import sha256\n"
        "rest = sys.stdin.buffer.read()\n"
        "one = sha256.resumed(bytes.fromhex(sys.argv[1]), 640)\n"
        "one.update(rest)\nprint(one.hexdigest())"
    )
    command = [sys.executable, "-c", script, (first.state() or b"").hex()]
    done = subprocess.run(command, input=CONTENT[640:], check=True, capture_output=True)
    assert done.stdout.decode().strip() == EXPECTED


def test_a_length_beyond_four_gibibits_is_counted() -> None:
    """The padding holds the length in bits: two words of the structure."""
    state = sha256.started().state()
    assert state is not None
    digests = set()
    for length in (0, 1 << 29, 1 << 32, 5 << 40):
        one = sha256.resumed(state, length)
        assert one is not None
        digests.add(one.hexdigest())
    assert len(digests) == 4


def test_between_blocks_there_is_no_state() -> None:
    found = sha256.started()
    found.update(b"x" * 65)
    assert found.state() is None
    found.update(b"x" * 63)
    assert found.state() is not None


@pytest.mark.parametrize(("state", "length"), [(b"", 0), (bytes(31), 64), (bytes(32), 65)])
def test_what_is_not_a_state_is_refused(state: bytes, length: int) -> None:
    assert sha256.resumed(state, length) is None


class Wrong:
    """A library whose structure is not the one that is known."""

    def __init__(self, flaw: str) -> None:
        self._real = libcrypto.opener().args[0]
        self._flaw = flaw
        self.SHA256_Final = self._real.SHA256_Final

    def SHA256_Init(self, context: Any) -> None:  # noqa: N802 - its name
        self._real.SHA256_Init(context)
        if self._flaw == "larger":
            context[200] = b"x"

    def SHA256_Update(self, context: Any, block: bytes, count: int) -> None:  # noqa: N802 - its name
        if self._flaw != "does nothing":
            self._real.SHA256_Update(context, block, count)
        if self._flaw == "words elsewhere":
            context[0] = bytes([context.raw[0] ^ 1])
        if self._flaw == "length elsewhere":
            context[32:40] = bytes(8)


@pytest.mark.parametrize("flaw", ["larger", "words elsewhere", "length elsewhere", "does nothing"])
def test_a_library_that_is_not_understood_is_not_used(flaw: str) -> None:
    assert sha256.is_sound(libcrypto.opener())
    assert not sha256.is_sound(partial(libcrypto.Hash, Wrong(flaw)))


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_where_no_library_may_be_called_hashing_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refused() -> None:
        raise error

    monkeypatch.setattr(libcrypto, "opener", refused)
    found = sha256.started()
    found.update(CONTENT)
    assert (found.hexdigest(), found.state()) == (EXPECTED, None)


@pytest.mark.usefixtures("fresh")
def test_a_python_that_shows_no_library_hashes_and_saves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libcrypto, "_hashlib", SimpleNamespace())  # linked into the program
    found = sha256.started()
    found.update(CONTENT)
    assert found.hexdigest() == EXPECTED
    assert found.state() is None
    assert sha256.resumed(bytes(32), 64) is None


@pytest.mark.usefixtures("fresh")
def test_threads_that_hash_at_once_do_not_disturb_each_other() -> None:
    found: list[str] = []

    def run() -> None:
        one = sha256.started()
        for start in range(0, len(CONTENT), 4096):
            one.update(CONTENT[start : start + 4096])
        found.append(one.hexdigest())

    threads = [threading.Thread(target=run) for _ in range(min(8, 2 * (os.cpu_count() or 1)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {EXPECTED}
