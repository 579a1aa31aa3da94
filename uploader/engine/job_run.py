"""One claimed job, stage by stage: create → upload → validate → ready."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import timedelta

from uploader.core.errors import (
    JobRefused,
    LeaseLost,
    RemoteError,
    Stopped,
    StoreError,
    UploaderError,
)
from uploader.core.job import UNKNOWN_ACCOUNT, Reason, Stage, Status
from uploader.core.reasons import SILENT, Code
from uploader.core.remote_model import A_SECOND, refuse_different
from uploader.core.retry import Block, Decision, Fail, RetryAt, is_final
from uploader.core.verdict import Call, Verdict
from uploader.engine.accounts import (
    refuse_key_of_another,
    refuse_worker_of_another,
)
from uploader.engine.context import WorkerContext
from uploader.engine.creation import known_model, post_model, refuse_made_again
from uploader.engine.disks import PATIENCE_S, keyless, silent, slow
from uploader.engine.endings import ModelUsedUp, model_gone
from uploader.engine.leftovers import Ending
from uploader.engine.upload import Upload
from uploader.engine.validate import Validation, check_sources
from uploader.remote.fireworks import Fireworks
from uploader.runtime import METERS, StopToken, bind, log_end
from uploader.sources.reader import source_of
from uploader.store.held import Held

#: How long a job waits for another one that has something open for its model; half as long again
#: each time, up to a minute.
_FIRST_WAIT, _MOST_LONGER = timedelta(seconds=2), 8

_log = logging.getLogger(__name__)


class JobRun:
    """What one worker does with one job under one lease."""

    def __init__(self, context: WorkerContext, held: Held, lease_ends_s: float) -> None:
        self.held = held
        #: In seconds since boot; the worker writes it each time it has renewed the lease.
        self.lease_ends_s = lease_ends_s
        #: When it was first told to stop, in seconds since boot; None if it was not.
        self.stopped_s: float | None = None
        #: The stage in which the run began; a cancelled job's run only cleans up.
        self.stage = held.job.stage
        self.closing = held.job.status is Status.CANCELLED
        self._context = context
        self._job = held.job
        self._stop = StopToken(self.lapsed, context.clock.boot_s)
        self._upload: Upload | None = None
        #: When its row said last that it waits for a disk, in seconds since boot, if it does.
        self._told_s = context.clock.boot_s() if _waits_for_disk(held.job.reason) else None
        self._waits_for_key = _waits_for_key(held.job.reason)

    def drive(self) -> None:
        """Take the job as far as it gets now; never raises. What stopped it is in the job's row."""
        bind(job=self._job.id, model=self._job.model_id, attempt=self._job.attempts)
        try:
            with closing(self._context.control(self._stop)) as control:
                self._advance(control)
        except (LeaseLost, Stopped) as end:
            if isinstance(end, LeaseLost):
                METERS.add("leases_lost")
            self._context.forget(self._job.id)
            _log.debug("job %d: %s", self._job.id, end.message)
        except Exception as error:  # noqa: BLE001 - one bad job never stops another
            self._conclude(error)
        self._release()

    def lapsed(self) -> bool:
        """Has the lease ended? From then on another worker may send (docs/architecture.md §9)."""
        return self._context.clock.boot_s() >= self.lease_ends_s

    def stop(self, boot_s: float) -> None:
        """Stop at the next block boundary; told at ``boot_s``, more than once if need be."""
        if self.stopped_s is not None:
            return
        self.stopped_s = boot_s
        self._stop.stop()
        if upload := self._upload:  # read only once: the job's thread may clear it
            upload.stop()

    def cut(self) -> None:
        """Stop now: close every connection."""
        self._stop.cut()
        if upload := self._upload:
            upload.cut()

    @property
    def held_up(self) -> bool:
        """Whether it waits for a disk that does not answer."""
        return self._silent() is not None

    @property
    def slowed(self) -> bool:
        """Whether its disk is slow, or silent, or that of the API key is."""
        return self.held_up or any(map(slow, self._tokens))

    def _silent(self) -> Reason | None:
        """Which disk does not answer it; None if there is none."""
        tokens, code = self._tokens, Code.SOURCE_SILENT
        if any(map(silent, tokens)):
            return Reason(code, code.meaning, code.hint)
        if any(map(keyless, tokens)):
            code, file = Code.KEY_SILENT, self._context.key_file
            message = f"The job waits for the API key: the disk of {file} does not answer."
            return Reason(code, message, code.hint)
        return None

    @property
    def _tokens(self) -> tuple[StopToken, ...]:
        upload = self._upload  # read only once: the job's thread may clear it
        return (self._stop,) if upload is None else (self._stop, *upload.tokens)

    def look_at_disk(self, boot_s: float) -> bool:
        """Let the row say whether it waits for a disk; True if that has changed. Raises StoreError.

        For the worker's thread: the job's own may be the one that waits. While others of its files
        go on, what they confirm takes the reason away; so it is said again.
        """
        reason, told_s = self._silent(), self._told_s
        if told_s is None and reason is None:
            return False
        if told_s is not None and boot_s - told_s < PATIENCE_S:
            return False
        try:
            self.held.wait_for_disk(reason)
        except (LeaseLost, StoreError) as error:
            if isinstance(error, StoreError) and not error.is_about_rows:
                raise
        if reason is None:
            self._told_s = None
        else:
            self._told_s, self._waits_for_key = boot_s, _waits_for_key(reason)
        if changed := (reason is None) != (told_s is None):
            disk = self._context.key_file if self._waits_for_key else self._job.path
            word = "answers again" if reason is None else "does not answer: the job waits for it"
            _log.warning("job %d: the disk of %s %s", self._job.id, disk, word)
        return changed

    # -- stages ----------------------------------------------------------------------------

    def _advance(self, control: Fireworks) -> None:
        if self.closing:
            self._clean_up(control)
            return
        refuse_worker_of_another(self._job, self._context.account)
        if self._job.stage is not Stage.CREATE and not self._job.model_exists:
            raise model_gone()  # what has its name by now has none of the files
        if self._job.stage in (Stage.CREATE, Stage.UPLOAD):
            with self._stop.disk:
                source_of(self._job.source, self._context.private).require()
        if self._job.stage is Stage.CREATE and not self._create(control):
            return
        if self._job.stage is Stage.UPLOAD and not self._send_files(control):
            return
        validation = Validation(self._context, self._job, self.held, control)
        if self.stage is not Stage.VALIDATE or not validation.ready_already():
            validation.poll()

    def _create(self, control: Fireworks) -> bool:
        """POST the model; a 409 is a success if the existing model fits (docs/life.md §2).

        False if the next claim has to go on: what others left open is not ended by now, the model
        that the job knew is deleted, or another one has its name.
        """
        if self._job.account == UNKNOWN_ACCOUNT:
            account = self._context.account or control.account()
            self._job = self.held.adopt_account(account)
        if not self._end_leftovers():
            return False
        refuse_key_of_another(self._job, control)
        if self._job.replace_first and self._job.created_remotely:
            self._replace(control)
            return False
        if self._job.model_exists:
            known = known_model(self._job, control)
            if known is None:
                # Written before our POST, whose answer may be lost.
                self.held.mark_deleted("the service no longer has the model that this job knew")
                return False
            created, model = False, known
        else:
            created, model = post_model(self._job, control)
        # Of a model that exists a POST may do nothing, and show it (docs/fireworks.md §0.7).
        differs = refuse_different(self._job, model)
        self._context.rest.accepted()
        self._job = self.held.enter_upload(
            created=created, differs=differs, model_created_at=model.created_at
        )
        return True

    def _end_leftovers(self) -> bool:
        """End what is still open of earlier runs and other jobs; False if the job waits for it."""
        code = Code.CLEANING_FIRST
        ending = Ending(self._context, self.held, self._stop)
        while found := self.held.take_name(self._job.account):
            self._wait_for_others()
            if not ending.end(found):
                break
        if ending.error is not None:
            failures = self._job.failures + 1
            decision = self._context.decide(ending.error, failures, self._job.id)
            why = _because(code, decision)
            if isinstance(decision, RetryAt):
                self.held.retry_at(decision.at, Reason(code, why, decision.reason.hint))
                return False
            ending.give_up()
        waits = self._context.waits
        if found is None:
            self._wait_for_others(_FIRST_WAIT * 1.5 ** min(waits[self._job.id], _MOST_LONGER))
            waits[self._job.id] += 1
        else:
            del waits[self._job.id]
        return found == []

    def _wait_for_others(self, pause: timedelta = timedelta(0)) -> None:
        """Say what the job waits for, unless it says so already, and perhaps more exactly."""
        code, known = Code.CLEANING_FIRST, self._job.reason
        told = known is not None and known.code == code
        reason = None if told else Reason(code, code.meaning, code.hint)
        self.held.wait_until(self._context.clock.now() + pause, reason)

    def _replace(self, control: Fireworks) -> None:
        """A new run with other files: delete the model that this job created, once."""
        self._delete(control)
        self.held.mark_deleted("the model was deleted, to be created again")
        # So that the time of its creation tells the next one from it.
        self.held.wait_until(self._context.clock.now() + 2 * A_SECOND)

    def _delete(self, control: Fireworks) -> None:
        refuse_made_again(self._job, control)
        earlier = self.held.calls.begin(Call.DELETE)
        try:
            control.delete_surely(self._job.account, self._job.model_id)
        except RemoteError as error:
            if not error.may_go_on:
                self.held.calls.heard(Call.DELETE, earlier)
            if error.verdict is not Verdict.ABSENT:
                raise
        else:
            self.held.calls.heard(Call.DELETE, earlier)

    def _send_files(self, control: Fireworks) -> bool:
        """True once every file is stored and every source has been checked again."""
        self._upload = Upload(self._context, self._job, self.held, self.lapsed)
        self._stop.check()
        try:
            if not self._upload.run():
                return False
        except ModelUsedUp as used_up:
            self.held.recreate(str(used_up))  # the next claim begins at `create`
            return False
        finally:
            self._upload = None
        check_sources(self._context, self._job, self.held, self._stop)
        Validation(self._context, self._job, self.held, control).refuse_ready()
        self._job = self.held.enter_validate()
        return True

    def _clean_up(self, control: Fireworks) -> None:
        """End a cancelled job's sessions remotely, and delete its model if that was asked for.

        Neither waits for the other. Raises what was said last of what may be tried again later.
        """
        ending = Ending(self._context, self.held, self._stop)
        while found := self.held.leave_sessions():
            if not ending.end(found):
                break
        error = ending.error
        job = self._job
        if job.delete_on_cancel and job.created_remotely and job.model_exists:
            try:
                self._delete_for_good(control)
            except RemoteError as kept:
                error = kept
        if error is not None:
            raise error
        if found:
            self.held.wait_until(self._context.clock.now())  # the others that wait come first
        else:
            self.held.close()

    def _delete_for_good(self, control: Fireworks) -> None:
        """Delete the model, unless the service refuses it. Raises RemoteError for what may pass."""
        refused: str | None = None
        refuse_worker_of_another(self._job, self._context.account)
        refuse_key_of_another(self._job, control)
        if self._is_of_others(control):
            refused = "the model is READY, which this job never asked for: it is not deleted"
        else:
            try:
                self._delete(control)
            except (RemoteError, JobRefused) as error:
                if not is_final(error):
                    raise
                refused = error.message
        self.held.end_model(refused)

    def _is_of_others(self, control: Fireworks) -> bool:
        """Is it the model of a later job, of which this table, an older copy, does not know?"""
        job = self._job
        if job.run_number > 1 or job.stage not in (Stage.CREATE, Stage.UPLOAD):
            return False  # it may have asked
        try:
            return control.get(job.account, job.model_id).state == "READY"
        except RemoteError as error:
            if is_final(error) or error.verdict is Verdict.ABSENT:
                return False  # the DELETE is told the same
            raise

    # -- ends ------------------------------------------------------------------------------

    def _conclude(self, error: Exception) -> None:
        """Write what follows from an error: the job waits, is blocked or fails."""
        if not isinstance(error, UploaderError):
            _log.error("job %d: unexpected error", self._job.id, exc_info=error)
        try:
            # Progress in this run ends an earlier series of failures.
            self._job = self._context.jobs.job(self._job.id)
            decision = self._decide(error)
            if self.closing:
                self._clean_up_later(decision)
            elif isinstance(decision, RetryAt):
                self.held.retry_at(decision.at, decision.reason)
            elif isinstance(decision, Block):
                self._context.rest.note(decision.reason.code, self._job.id)
                self.held.block(decision.reason)
            else:
                self.held.fail(decision.reason)
        except (LeaseLost, Stopped) as end:
            _log.warning("job %d: %s", self._job.id, end.message)
        except Exception as end:  # noqa: BLE001 - one bad job never stops another
            log_end(f"job {self._job.id}", end)
            if not isinstance(end, StoreError) or end.is_about_rows:
                self._context.claims.put_aside(self._job.id, end)

    def _decide(self, error: Exception) -> Decision:
        # What a cancelled job failed at before does not count for cleaning up after it.
        failures = 0 if self.closing else self._job.failures
        decision = self._context.decide(error, failures + 1, self._job.id)
        if self.closing or not isinstance(decision, RetryAt):
            self._context.forget(self._job.id)
        return decision

    def _clean_up_later(self, decision: Decision) -> None:
        """Cleaning up after a cancelled job is tried again, unless the service refuses it."""
        if isinstance(decision, Fail):
            self.held.close(decision.reason.message)
        else:
            code, wait = Code.CLEANING_UP, timedelta(seconds=self._context.limits.backoff.max_s)
            hint = decision.reason.hint if isinstance(decision, Block) else code.hint
            reason = Reason(code, _because(code, decision), hint)
            self.held.clean_up_after(self._context.clock.now() + wait, reason)

    def _release(self) -> None:
        try:
            self.held.release()
        except (LeaseLost, StoreError) as end:
            _log.debug("job %d: %s", self._job.id, end.message)


def _because(code: Code, decision: Decision) -> str:
    return f"{code.meaning.removesuffix('.')}: {decision.reason.message}"


def _waits_for_disk(reason: Reason | None) -> bool:
    return reason is not None and reason.code in SILENT


def _waits_for_key(reason: Reason | None) -> bool:
    return reason is not None and reason.code == Code.KEY_SILENT
