"""The validate stage: one validateUpload per claim, until the service calls the model READY.

Nothing waits in a thread: between two polls the job is an active row with `not_before`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from uploader.core.errors import JobRefused, RemoteError
from uploader.core.reasons import Code
from uploader.core.redact import MASK, redact
from uploader.core.remote_model import RemoteModel, made_apart
from uploader.core.verdict import Call, Verdict
from uploader.core.whole_job import WholeJob
from uploader.engine.context import WorkerContext
from uploader.engine.endings import check_gone, forget_for, forget_model
from uploader.remote.fireworks import Fireworks
from uploader.remote.refusals import malformed
from uploader.runtime import StopToken
from uploader.sources.reader import open_source
from uploader.store.held import Held

#: Seconds for which a 400 that names a file we stored counts as the service's own delay
#: (docs/fireworks.md §13.8).
NOT_FOUND_GRACE_S = 300.0
MIN_POLLS = 3


def check_sources(context: WorkerContext, job: WholeJob, held: Held, stop: StopToken) -> None:
    """Check every file again before the first validateUpload (docs/invariants.md §6).

    A file that was touched, or that somebody has open for writing, or had when it was sent, is read
    again as a whole. Raises SourceChanged, SourceMissing, SourceUnreadable, Stopped.
    """
    for file in context.jobs.sealed_files(job):
        with open_source(job.source, file, stop, context.private, at_end=True) as source:
            if source.touched:
                held.files.reidentify(file.path, file.size_bytes, source.fingerprint)


_RECEIVING = "Fireworks is still gathering the files"


class Validation:
    """Checks, once per claim, a model whose files are all stored."""

    def __init__(
        self, context: WorkerContext, job: WholeJob, held: Held, control: Fireworks
    ) -> None:
        self._context = context
        self._job = job
        self._held = held
        self._control = control

    def refuse_ready(self) -> None:
        """Before the first validateUpload of a run: if the model is READY, others made it so.

        A cancelled job, or an earlier run, had called it, and it went on when that was cut off: the
        files that it looked at need not be this run's. So it may be READY only in the first run of
        the job that created it: nobody else can have called it, unless the job table is an older
        copy. Raises JobRefused, also if somebody has made the model again.
        """
        job = self._job
        is_first = job.created_remotely and job.run_number == 1
        if self._get().state != "READY" or is_first:
            return
        message = (
            f"{job.model} has become READY before this run asked for it:"
            " it may have files of a cancelled job, or of an earlier run"
        )
        hint = (
            f"`uploader model delete {job.model}`, then `uploader retry {job.id} --rescan`;"
            " or choose another `model_id`"
        )
        raise JobRefused(message, code=Code.ALREADY_EXISTS, hint=hint)

    def ready_already(self) -> bool:
        """A claim that begins here reads the model first; True if it is already READY."""
        if self._get().state != "READY":
            return False
        self._finish(())
        return True

    def poll(self) -> None:
        """Ask once: the job ends done, or waits for its next poll. Raises RemoteError, JobError."""
        started_s = self._context.clock.boot_s()
        self._context.polls[self._job.id] += 1
        earlier = self._held.call_validate()
        try:
            warnings = self._control.validate(self._job.account, self._job.model_id)
        except RemoteError as error:
            if not error.may_go_on:
                self._held.calls.heard(Call.VALIDATE, earlier)
            self._refused(error, started_s)
            return
        self._held.calls.heard(Call.VALIDATE, earlier)
        model = self._get()
        if model.state == "READY":
            self._finish(warnings)
        else:
            self._wait(f"validated; the model's state is {model.state or 'unknown'}", started_s)

    def _refused(self, error: RemoteError, started_s: float) -> None:
        if error.verdict is Verdict.ABSENT:
            raise self._gone() from None
        if error.verdict is Verdict.TRANSIENT and self.ready_already():  # docs/fireworks.md §13.9
            return
        if error.verdict is Verdict.NOT_YET or self._names_a_stored_file(error):
            self._wait(_RECEIVING, started_s, answer=error.message)
            return
        if error.verdict is Verdict.FAILED:
            message = f"the service refuses the model: {error.message}"
            raise JobRefused(message, code=Code.VALIDATION_FAILED) from None
        raise error

    def _names_a_stored_file(self, error: RemoteError) -> bool:
        files = self._context.jobs.sealed_files(self._job)
        # Some names look like a key, as hf_processor.json does: the message has them masked.
        names = {name for file in files for name in (file.path, redact(file.path))} - {MASK}
        if error.status != 400 or not any(name in error.message for name in names):  # noqa: PLR2004
            return False
        polling_s, missed_s = self._job.polling_s, self._context.missed_s
        # A retry by the user restarts the count of polling time.
        missed_s[self._job.id] = min(polling_s, missed_s.get(self._job.id, polling_s))
        return polling_s - missed_s[self._job.id] < NOT_FOUND_GRACE_S

    def _gone(self) -> JobRefused:
        """Raises what `check_gone` raises."""
        check_gone(self._job, self._control)
        return forget_model(self._held)

    def _get(self) -> RemoteModel:
        model, known_at = self._find(), self._job.model_created_at
        if model is None or made_apart(known_at, model):
            model = self._find()  # one answer alone may be wrong, or old
        if model is None:
            raise self._gone()
        if apart := made_apart(known_at, model):
            raise self._another(apart)
        if model.state == "FAILED":
            message = f"the service calls the model FAILED: {model.status_message or 'no reason'}"
            raise JobRefused(message, code=Code.VALIDATION_FAILED)
        return model

    def _find(self) -> RemoteModel | None:
        return self._control.find(self._job.account, self._job.model_id)

    def _another(self, apart: timedelta) -> RemoteError | JobRefused:
        if apart < timedelta(0):
            return malformed(Call.GET, "is out of date: it shows an older model of that name")
        return forget_for(self._job.model, self._held)

    def _finish(self, warnings: Sequence[str]) -> None:
        self._held.finish(warnings)
        self._context.forget(self._job.id)

    def _wait(self, message: str, started_s: float, *, answer: str = "") -> None:
        """Poll again later; past the deadline of polling time, fail with our own counts."""
        clock, limits = self._context.clock, self._context.limits
        interval_s = limits.poll_interval_s * (0.9 + 0.2 * clock.jitter())
        polling_s = self._job.polling_s + clock.boot_s() - started_s + interval_s
        enough = self._context.polls[self._job.id] >= MIN_POLLS
        if polling_s > limits.deadline_s and enough:
            raise self._too_late(answer or message)
        at = clock.now() + timedelta(seconds=interval_s)
        self._held.poll_again(at, polling_s, message)

    def _too_late(self, message: str) -> JobRefused:
        job = self._job
        return JobRefused(
            f"not READY after {job.polling_s / 60:.0f} min of polling: {message}"
            f" (our count: {job.files_stored} of {job.files_total} files stored)",
            code=Code.VALIDATION_TIMEOUT,
        )
