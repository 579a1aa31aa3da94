"""OpenSSL's own SHA-256, called as Python has loaded it: its state can be taken out and put in.

SHA256_CTX is a public structure, the same since OpenSSL 0.9.8, in its forks too: eight words, the
length in bits, a block that is not full yet, and how full it is. So after a whole number of blocks
it holds nothing but the words and the length. `sources/sha256.py` tests that before it is used.
"""

from __future__ import annotations

import _hashlib
import ctypes
import hashlib
import struct
from functools import partial
from typing import Any

_WORDS = struct.Struct("=8I")
_SAVED = struct.Struct(">8I")
#: The length in bits follows the words, the lower half first.
_LENGTH = struct.Struct("=2I")
_BLOCK_BITS = 512
_STRUCTURE_BYTES = 112
#: More than the structure, so that a larger one is noticed and harms nothing.
_ROOM_BYTES = 512
_UNTOUCHED = bytes(_ROOM_BYTES - _STRUCTURE_BYTES)


class Hash:
    """A hash, as `sha256.Sha256`."""

    def __init__(self, library: Any, state: bytes = b"", length: int = 0) -> None:
        self._library = library
        self._context = ctypes.create_string_buffer(_ROOM_BYTES)
        library.SHA256_Init(self._context)
        if state:
            bits = 8 * length
            _WORDS.pack_into(self._context, 0, *_SAVED.unpack(state))
            _LENGTH.pack_into(self._context, _WORDS.size, bits & 0xFFFFFFFF, bits >> 32)

    def update(self, block: bytes) -> None:
        """As `Sha256.update`."""
        self._library.SHA256_Update(self._context, block, len(block))

    def hexdigest(self) -> str:
        """As `Sha256.hexdigest`."""
        copy = ctypes.create_string_buffer(self._context.raw, _ROOM_BYTES)
        digest = ctypes.create_string_buffer(hashlib.sha256().digest_size)
        self._library.SHA256_Final(digest, copy)
        return digest.raw.hex()

    def state(self) -> bytes | None:
        """As `Sha256.state`; also None if the structure is larger than it is known to be."""
        low, _ = _LENGTH.unpack_from(self._context, _WORDS.size)
        if low % _BLOCK_BITS or self._context.raw[_STRUCTURE_BYTES:] != _UNTOUCHED:
            return None
        return _SAVED.pack(*_WORDS.unpack_from(self._context))


def opener() -> partial[Hash]:
    """Makes hashes. Raises AttributeError or OSError if this Python has not loaded OpenSSL."""
    library = ctypes.CDLL(_hashlib.__file__)  # its functions, and those of what it has loaded
    library.SHA256_Init.argtypes = (ctypes.c_void_p,)
    library.SHA256_Update.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
    library.SHA256_Final.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    return partial(Hash, library)
