"""What a worker does of its own accord, whatever became of its lease meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from uploader.core.job import Kind, Lease, Manifest, ManifestFile, NewJob, Reason
from uploader.core.redact import SessionUri
from uploader.store.claims import Claims

BASE_URL = "https://api.fireworks.ai"
REASON = Reason("net", "the connection was reset", "wait")
SIZES = {"a.bin": 100, "b.bin": 7}
#: What a worker does of its own accord, whatever became of its lease meanwhile.
Write = Callable[[Claims, Lease, datetime], object]

WRITES: dict[str, Write] = {
    "adopt_account": lambda claims, lease, now: claims.adopt_account(lease, "acme", now),
    "to_upload": lambda claims, lease, now: claims.to_upload(lease, now, created=True),
    "adopted": lambda claims, lease, now: claims.to_upload(lease, now, created=False),
    "to_validate": lambda claims, lease, now: claims.to_validate(lease, now),
    "finish": lambda claims, lease, now: claims.finish(lease, now, ["odd"]),
    "retry_at": lambda claims, lease, now: claims.retry_at(lease, soon(now), REASON, now),
    "wait_until": lambda claims, lease, now: claims.wait_until(lease, soon(now), now),
    "block": lambda claims, lease, now: claims.block(lease, REASON, now),
    "fail": lambda claims, lease, now: claims.fail(lease, REASON, now),
    "fall_back_to_put": lambda claims, lease, now: claims.fall_back_to_put(lease, now),
    "deleted": lambda claims, lease, now: claims.deleted(lease, now),
    "closed": lambda claims, lease, now: claims.closed(lease, now),
    "note": lambda claims, lease, now: claims.note(lease, "left_open", "something", now),
    "release": lambda claims, lease, now: claims.release(lease, now),
}
FileWrite = Callable[[Claims, Lease, str, int, datetime], object]
URI = SessionUri("https://storage.example/o?upload_id=1")
WHY = "the service no longer knows it"

FILE_WRITES: dict[str, FileWrite] = {
    "open_session": lambda claims, lease, path, _, now: claims.open_session(
        lease, path, URI, "b/k", now
    ),
    "start_put": lambda claims, lease, path, _, now: claims.start_put(lease, path, now),
    "lose_session": lambda claims, lease, path, sent, now: claims.drop_session(
        lease, path, WHY, now, bytes_sent=sent, old=True
    ),
    "mismatch": lambda claims, lease, path, sent, now: claims.drop_session(
        lease, path, WHY, now, bytes_sent=sent, mismatch=True
    ),
    "file_failed": lambda claims, lease, path, sent, now: claims.file_failed(
        lease, path, REASON, soon(now), now, bytes_sent=sent
    ),
    "reidentify": lambda claims, lease, path, _, now: claims.reidentify(lease, path, 2, 3, now),
}


def soon(now: datetime) -> datetime:
    return now + timedelta(seconds=60)


def new_job(model_id: str, account: str, root: str) -> NewJob:
    files = tuple(ManifestFile(path, size, 1, 1) for path, size in SIZES.items())
    return NewJob(BASE_URL, account, model_id, Kind.BASE, Manifest(root, files), {})
