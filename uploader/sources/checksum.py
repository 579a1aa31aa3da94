"""How fast CRC32C is computed on this machine."""

from __future__ import annotations

import google_crc32c


def slowness() -> str:
    """A warning if CRC32C is computed in pure Python; empty if it is fast."""
    if google_crc32c.implementation != "python":
        return ""
    return (
        "CRC32C is computed in pure Python, a hundred times slower than in C:"
        " install a wheel of google-crc32c, or build it with the crc32c library"
    )
