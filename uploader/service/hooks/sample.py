"""What `uploader hooks test` tells: an event of a job that does not exist."""

from __future__ import annotations

from datetime import datetime
from ssl import SSLContext
from typing import Any

from uploader.core.documents import job_document
from uploader.core.events import EventKind
from uploader.core.hooks import Gone, Occasion, Undelivered
from uploader.core.job import Job, Kind, Reason, Stage, Status
from uploader.core.reasons import Code
from uploader.runtime import Clock
from uploader.service.hooks.deliver import beat, deliver
from uploader.settings.hooks import Hook
from uploader.store.outbox import Delivery

_STANDS: dict[str, tuple[Stage, Status, Code | None]] = {
    EventKind.READY: (Stage.READY, Status.DONE, None),
    EventKind.FAILED: (Stage.UPLOAD, Status.FAILED, Code.MODEL_GONE),
    EventKind.BLOCKED: (Stage.UPLOAD, Status.BLOCKED, Code.NO_KEY),
}
_GOES_ON = (Stage.UPLOAD, Status.ACTIVE, None)


def tell_sample(hook: Hook, kind: str, clock: Clock, tls: SSLContext) -> str:
    """Tell ``hook`` of one, or send a heartbeat; why it was not taken, empty if it was."""
    try:
        if kind == Occasion.HEARTBEAT:
            beat(hook, clock, tls)
        else:
            deliver(hook, _sample(hook, kind, clock.now()), clock, tls)
    except Gone:
        return "it answered 410: it wants no others"
    except Undelivered as failed:
        return failed.why
    return ""


def _sample(hook: Hook, kind: str, now: datetime) -> Delivery:
    stage, status, code = _STANDS.get(kind, _GOES_ON)
    document: Any = job_document(
        Job(
            id=0, base_url="", account="test", model_id="test", path="/test", kind=Kind.BASE,
            stage=stage, status=status, created_at=now, updated_at=now,
            ready_at=now if status is Status.DONE else None,
            reason=Reason(code, "a test: nothing has happened", code.hint) if code else None,
        ),
        [],
        now,
    )  # fmt: skip
    named = f"msg_test_{int(now.timestamp())}"
    return Delivery(0, hook.name, 0, kind, named, document, now, 0)
