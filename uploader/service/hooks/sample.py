"""What `uploader hooks test` tells: a job that is READY but does not exist."""

from __future__ import annotations

from ssl import SSLContext
from typing import Any

from uploader.core.documents import job_document
from uploader.core.hooks import Gone, Undelivered
from uploader.core.job import Job, Kind, Stage, Status
from uploader.runtime import Clock
from uploader.service.hooks.deliver import deliver
from uploader.settings.hooks import Hook
from uploader.store.outbox import Delivery


def tell_sample(hook: Hook, clock: Clock, tls: SSLContext) -> str:
    """Tell ``hook`` of it once; why it was not taken, empty if it was."""
    now = clock.now()
    document: Any = job_document(
        Job(
            id=0, base_url="", account="test", model_id="test", path="/test", kind=Kind.BASE,
            stage=Stage.READY, status=Status.DONE, created_at=now, updated_at=now, ready_at=now,
            create_body={},
        ),
        [],
        now,
    )  # fmt: skip
    named = f"msg_test_{int(now.timestamp())}"
    sample = Delivery(0, hook.name, 0, "ready", named, document, now, 0)
    try:
        deliver(hook, sample, clock, tls)
    except Gone:
        return "it answered 410: it wants no others"
    except Undelivered as failed:
        return failed.why
    return ""
