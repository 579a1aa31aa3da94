"""What a worker does of its own accord, whatever became of its lease meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tests.store.conftest import open_session
from uploader.core.events import EventKind
from uploader.core.job import Kind, Manifest, ManifestFile, NewJob, Reason
from uploader.core.redact import SessionUri
from uploader.core.resumable import read_url
from uploader.core.verdict import Call
from uploader.store.held import Held

BASE_URL = "https://api.fireworks.ai"
REASON = Reason("net", "the connection was reset", "wait")
SIZES = {"a.bin": 100, "b.bin": 7}
#: What a worker does of its own accord at a moment, whatever became of its lease meanwhile.
Write = Callable[[Held, datetime], object]

WRITES: dict[str, Write] = {
    "adopt_account": lambda held, _: held.adopt_account("acme"),
    "enter_upload": lambda held, _: held.enter_upload(created=True),
    "adopted": lambda held, _: held.enter_upload(created=False),
    "enter_validate": lambda held, _: held.enter_validate(),
    "call_validate": lambda held, _: held.call_validate(),
    "heard": lambda held, now: held.calls.heard(Call.VALIDATE, now),
    "call_delete": lambda held, _: held.calls.begin(Call.DELETE),
    "finish": lambda held, _: held.finish(["odd"]),
    "retry_at": lambda held, now: held.retry_at(soon(now), REASON),
    "wait_until": lambda held, now: held.wait_until(soon(now)),
    "block": lambda held, _: held.block(REASON),
    "fail": lambda held, _: held.fail(REASON),
    "fall_back_to_put": lambda held, _: held.fall_back_to_put(),
    "mark_deleted": lambda held, _: held.mark_deleted("why"),
    "take_name": lambda held, _: held.take_name("acme"),
    "leave_sessions": lambda held, _: held.leave_sessions(),
    "end_model": lambda held, _: held.end_model(),
    "clean_up_after": lambda held, now: held.clean_up_after(soon(now), REASON),
    "close": lambda held, _: held.close(),
    "add_event": lambda held, _: held.add_event(EventKind.LEFT_OPEN, "something"),
    "release": lambda held, _: held.release(),
}
FileWrite = Callable[[Held, str, int, datetime], object]
URL = read_url("https://storage.example/b/k")
URI = SessionUri("https://storage.example/o?upload_id=1")
WHY = "the service no longer knows it"

FILE_WRITES: dict[str, FileWrite] = {
    "open_session": lambda held, path, *_: open_session(held, path, URI, "b/k"),
    "keep_urls": lambda held, path, _, now: held.files.keep_urls({path: URL}, soon(now)),
    "expire_urls": lambda held, *_: held.files.expire_urls(),
    "lose_session": lambda held, path, sent, _: held.files.drop_session(
        path, WHY, bytes_sent=sent, old=True
    ),
    "mismatch": lambda held, path, sent, _: held.files.drop_session(
        path, WHY, bytes_sent=sent, mismatch=True
    ),
    "mark_failed": lambda held, path, sent, now: held.files.mark_failed(
        path, REASON, soon(now), bytes_sent=sent
    ),
    "reidentify": lambda held, path, *_: held.files.reidentify(path, 100, "made:2"),
}


def soon(now: datetime) -> datetime:
    return now + timedelta(seconds=60)


def new_job(model_id: str, account: str, root: str) -> NewJob:
    files = tuple(ManifestFile(path, size, "made:1") for path, size in SIZES.items())
    return NewJob(BASE_URL, account, model_id, Kind.BASE, Manifest(root, files), {})
