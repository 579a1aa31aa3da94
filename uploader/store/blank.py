"""The values of rows: at the beginning of a run, without a lease, and before anything is sent."""

from __future__ import annotations

from typing import Any

from uploader.core.job import Stage

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
#: The values of a job's row at the beginning of a run (docs/words.md).
NEW_RUN: dict[str, Any] = {
    "stage": Stage.CREATE,
    "attempts": 0,
    "failures": 0,
    "rescues": 0,
    "not_before": None,
    "start_accepted": False,
    "plain_put": False,
    "urls_until": None,
    "upload_started_at": None,
    "uploaded_at": None,
    "polling_s": 0.0,
    "rate_bps": None,
    "warnings": [],
}
#: The lease in a job's row when nobody holds it.
NO_LEASE: dict[str, None] = {
    "lease_owner": None,
    "lease_token": None,
    "lease_expires_at": None,
    "rate_bps": None,
}
