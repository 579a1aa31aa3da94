"""The values of a file's row as long as nothing of it was sent."""

from __future__ import annotations

from typing import Any

#: The values of a file's row without a session or anything proven about one.
NO_SESSION: dict[str, Any] = {
    "session_uri": None,
    "session_at": None,
    "object_path": None,
    "offset": 0,
    "offset_crc32c": 0,
    "mark_bytes": 0,
    "mark_crc32c": 0,
    "awaiting_since": None,
    "unproven": False,
    "gap": False,
    "reached": 0,
}
#: The values of a file's row without a stored object.
NOT_STORED: dict[str, Any] = {
    "stored": False,
    "verified": False,
    "crc32c": None,
    "generation": None,
    "sha256": None,
    "sha256_as_sent": False,
}
