"""The signed URLs of one job: may they be asked for, and until when can they start a session?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from uploader.core.errors import RemoteError
from uploader.core.job import Job, Status
from uploader.core.remote_model import RemoteModel
from uploader.core.resumable import UploadUrl
from uploader.core.retry import Block, RetryAt
from uploader.core.upload import Gate, Later, Open, Shut
from uploader.core.verdict import Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.endings import ModelUsedUp, forget_model, urls_refused
from uploader.store.held import Held

#: The assumed life of a URL that does not give one (docs/fireworks.md §13.3), in seconds.
DEFAULT_LIFE_S = 3600.0
#: Seconds for which a URL that was just received is used, whatever its life.
_MIN_LIFE_S = 5.0
#: How many times a run's model may be deleted and created again: a new one may get no URLs either.
MAX_RECREATIONS = 3


class Urls:
    """Written by the deciding thread only. Ages count from receipt, suspended time included."""

    def __init__(self, context: WorkerContext, held: Held, job: Job) -> None:
        self.gate: Gate = Open()
        self._context = context
        self._held = held
        self._until_s = float("-inf")
        if job.urls_until is not None:  # an earlier worker has kept them
            left = job.urls_until - context.clock.now()
            self._until_s = context.clock.boot_s() + left.total_seconds()

    @property
    def fresh(self) -> bool:
        """Can they start a session? A quarter of the shortest life is left for that."""
        return self._context.clock.boot_s() <= self._until_s

    @property
    def given_up(self) -> bool:
        """Is the job blocked or failed by now, because of its URLs or of a file?"""
        return isinstance(self.gate, Shut) and self.gate.status is not None

    def expire(self) -> None:
        """One of them was refused: the others are not better, now and for the next worker."""
        self._held.files.expire_urls()
        self._until_s = float("-inf")

    def receive(self, urls: Mapping[str, UploadUrl], received_s: float) -> datetime:
        """A new map came at ``received_s``; returns the wall-clock time of its end."""
        clock, self.gate = self._context.clock, Open()
        self._context.rest.accepted()
        life_s = min((url.life_s or DEFAULT_LIFE_S for url in urls.values()), default=0.0)
        now_s = clock.boot_s()
        self._until_s = max(received_s + life_s * 0.75, now_s + _MIN_LIFE_S)
        return clock.now() + timedelta(seconds=self._until_s - now_s)

    def postpone(self, error: Exception, job_id: int) -> None:
        """There are none now: ask for them later or, for some errors, not again."""
        failures = (self.gate.failures if isinstance(self.gate, Later) else 0) + 1
        if isinstance(error, RemoteError) and error.verdict is Verdict.ABSENT:
            error = forget_model(self._held)
        before = self._context.jobs.job(job_id).failures
        decision = self._context.decide(error, before + failures, job_id)
        if isinstance(decision, RetryAt):
            self.gate = Later(decision.at, error, failures)
        elif isinstance(decision, Block):
            self._context.rest.note(decision.reason.code, job_id)
            self._held.block(decision.reason)
            self.gate = Shut(error, Status.BLOCKED)
        else:
            self.gate = Shut(error)

    def refused(self, model: RemoteModel, error: Exception, job: Job, *, any_stored: bool) -> None:
        """The service no longer gives a map for this model.

        Raises ModelUsedUp if the model can be deleted and created again without losing finished
        files; otherwise the files with a session are finished, and then the job fails.
        """
        ours = self._context.limits.recreate and job.created_remotely
        again = job.recreations < MAX_RECREATIONS
        if ours and again and not any_stored and model.state != "READY":
            raise ModelUsedUp("the service gives no more upload URLs for the model")
        self.gate = Shut(urls_refused(error))
