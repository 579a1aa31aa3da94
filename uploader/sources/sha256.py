"""SHA-256 whose state can be saved half-way, so that a hash goes on in another process.

`hashlib` cannot save its state. The library that it calls can: OpenSSL's SHA256_CTX is a plain
structure, the same since OpenSSL 0.9.8, in its forks too, and what it holds after a whole number of
64-byte blocks is eight words and the length. It is called directly only if Python itself has loaded
it, and only once it has passed a test: a state taken out of one hash and put into another must lead
to the digest that `hashlib` finds, and nothing outside the structure may have been written.
Without it, `hashlib` computes the same and nothing is saved (docs/receipts.md §5).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import struct
from typing import Any

#: Bytes of a saved state, and the granule of the offsets at which there is one.
STATE_BYTES = 32
BLOCK_BYTES = 64
_WORDS = struct.Struct("=8I")
_SAVED = struct.Struct(">8I")
#: The length in bits follows the eight words, the lower half first.
_LENGTH = struct.Struct("=2I")
_STRUCTURE_BYTES = 112
#: More than the structure, so that a larger one would be noticed and harm nothing.
_ROOM_BYTES = 512


class Sha256:
    """The SHA-256 of a stream; see `resumed`. For one thread at a time."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """Append ``block``; other threads run meanwhile."""
        self._hash.update(block)

    def hexdigest(self) -> str:
        """The digest so far, in lower-case hexadecimal."""
        return self._hash.hexdigest()

    def state(self) -> bytes | None:
        """What `resumed` goes on from; None if it cannot be known, or not at this length."""
        return None


class _Resumable(Sha256):
    """The same by OpenSSL's own functions."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._context = ctypes.create_string_buffer(_ROOM_BYTES)
        library.SHA256_Init(self._context)

    def update(self, block: bytes) -> None:
        self._library.SHA256_Update(self._context, block, len(block))

    def hexdigest(self) -> str:
        rest = ctypes.create_string_buffer(self._context.raw, _ROOM_BYTES)
        digest = ctypes.create_string_buffer(hashlib.sha256().digest_size)
        self._library.SHA256_Final(digest, rest)
        return digest.raw.hex()

    def state(self) -> bytes | None:
        low, _ = _LENGTH.unpack_from(self._context, _WORDS.size)
        if low % (8 * BLOCK_BYTES):
            return None
        return _SAVED.pack(*_WORDS.unpack_from(self._context))

    def load(self, state: bytes, length: int) -> None:
        """Go on as after ``length`` bytes, a multiple of `BLOCK_BYTES`."""
        bits = 8 * length
        _WORDS.pack_into(self._context, 0, *_SAVED.unpack(state))
        _LENGTH.pack_into(self._context, _WORDS.size, bits & 0xFFFFFFFF, bits >> 32)


def started() -> Sha256:
    """A hash of no bytes yet."""
    library = _library()
    return Sha256() if library is None else _Resumable(library)


def resumed(state: bytes, length: int) -> Sha256 | None:
    """The hash of ``length`` bytes whose state was saved; None if this Python cannot go on."""
    library = _library()
    if library is None or len(state) != STATE_BYTES or length % BLOCK_BYTES:
        return None
    hashing = _Resumable(library)
    hashing.load(state, length)
    return hashing


@functools.cache
def _library() -> Any | None:
    """OpenSSL's libcrypto, as `hashlib` has loaded it; None if it cannot be called or trusted."""
    try:
        import _hashlib  # noqa: PLC0415 - not every Python has it

        library = ctypes.CDLL(_hashlib.__file__)  # looks into the libraries that it needs
        library.SHA256_Update.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
        library.SHA256_Init.argtypes = (ctypes.c_void_p,)
        library.SHA256_Final.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        return library if _is_sound(library) else None
    except (ImportError, AttributeError, OSError):
        return None


def _is_sound(library: Any) -> bool:
    """Does a state that is taken out and put in again lead where `hashlib` comes?"""
    message = bytes(range(200)) * 3
    half = 5 * BLOCK_BYTES
    first, second = _Resumable(library), _Resumable(library)
    first.update(message[:half])
    state = first.state()
    if state is None:
        return False
    second.load(state, half)
    for one in (first, second):
        one.update(message[half:])
    expected = hashlib.sha256(message).hexdigest()
    untouched = bytes(_ROOM_BYTES - _STRUCTURE_BYTES)
    return all(
        one.hexdigest() == expected and one._context.raw[_STRUCTURE_BYTES:] == untouched  # noqa: SLF001 - a part of the same test
        for one in (first, second)
    )
