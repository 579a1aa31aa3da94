"""SHA-256 whose state can be saved half-way, so that a hash goes on in another process.

`hashlib` cannot save its state; the library behind it can (`sources/libcrypto.py`). Without that,
`hashlib` computes the same and nothing is saved (docs/receipts.md §5).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Protocol

#: Bytes of a saved state, and the granule of the offsets at which there is one.
STATE_BYTES = 32
BLOCK_BYTES = 64


class Sha256(Protocol):
    """The SHA-256 of a stream, for one thread at a time."""

    def update(self, block: bytes) -> None:
        """Append ``block``; other threads run meanwhile."""

    def hexdigest(self) -> str:
        """The digest so far, in lower-case hexadecimal."""

    def state(self) -> bytes | None:
        """What `resumed` goes on from; None if it cannot be known, or not at this length."""


class Plain:
    """Python's own, whose state is never known."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """As `Sha256.update`."""
        self._hash.update(block)

    def hexdigest(self) -> str:
        """As `Sha256.hexdigest`."""
        return self._hash.hexdigest()

    def state(self) -> bytes | None:
        """As `Sha256.state`."""
        return None

    def fork(self) -> Plain:
        """Another one of the same bytes, which goes on by itself."""
        other = Plain()
        other._hash = self._hash.copy()
        return other


#: A state, or a copy of a hash whose state is not known.
Snapshot = bytes | Plain


def snapshot(hashed: Sha256) -> Snapshot | None:
    """What `restored` goes on from, in a few bytes if that can be; None as of `Sha256.state`."""
    return hashed.fork() if isinstance(hashed, Plain) else hashed.state()


def restored(known: Snapshot, length: int) -> Sha256 | None:
    """The hash of ``length`` bytes of which that is the snapshot; None as of `resumed`."""
    return known.fork() if isinstance(known, Plain) else resumed(known, length)


class Opener(Protocol):
    """Starts a hash, or goes on with one."""

    def __call__(self, state: bytes = b"", length: int = 0) -> Sha256:
        """After ``length`` bytes, a multiple of `BLOCK_BYTES`, whose ``state`` was saved."""


def started() -> Sha256:
    """A hash of no bytes yet, whose state can be saved if this Python can do that."""
    opener = _opener()
    return Plain() if opener is None else opener()


def resumed(state: bytes, length: int) -> Sha256 | None:
    """The hash of ``length`` bytes whose state was saved; None if this Python cannot go on."""
    opener = _opener()
    if opener is None or len(state) != STATE_BYTES or length % BLOCK_BYTES:
        return None
    return opener(state, length)


@functools.cache
def _opener() -> Opener | None:
    """None if OpenSSL cannot be called, or does not do what is expected of it."""
    try:
        from uploader.sources import libcrypto  # noqa: PLC0415 - it is slow to import

        opener = libcrypto.opener()
    except (ImportError, AttributeError, OSError, MemoryError):  # the last: no writable code
        return None
    return opener if is_sound(opener) else None


def is_sound(opener: Opener) -> bool:
    """Does a state that is taken out and put in again lead where `hashlib` comes?"""
    message = bytes(range(200)) * 3
    half = 5 * BLOCK_BYTES
    first = opener()
    first.update(message[:half])
    state = first.state()
    if state is None or len(state) != STATE_BYTES:
        return False
    second = opener(state, half)
    for one in (first, second):
        one.update(message[half:])
    expected = hashlib.sha256(message).hexdigest()
    return first.hexdigest() == second.hexdigest() == expected
