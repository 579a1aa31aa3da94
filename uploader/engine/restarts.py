"""How a failed try at a file changes the next one: a new session, fresh URLs, smaller PUTs.

Used by the deciding thread of `engine/upload.py` only.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from uploader.core.errors import JobRefused, RemoteError, UploaderError
from uploader.core.events import EventKind
from uploader.core.job import FileState, Mode, Reason
from uploader.core.reasons import Code
from uploader.core.resumable import UploadUrl
from uploader.core.retry import Cause, Decision, RetryAt, cause_of
from uploader.core.upload import Backlog
from uploader.core.verdict import Call, Verdict
from uploader.engine.context import WorkerContext
from uploader.engine.endings import (
    MANY_SESSIONS_LOST,
    after_loss,
    after_mismatch,
    after_move,
    is_old,
)
from uploader.engine.transfer import CERTAINLY_LEFT_BYTES, Transfer
from uploader.engine.urls import Urls
from uploader.store.held import Held

#: After this many PUTs of a file in a row with nothing kept, the next one is half as long, or its
#: URL or its session, which may be what is wrong, is replaced.
_VAIN_PUTS_TO_HALVE = 2
_VAIN_PUTS_TO_RENEW = 10
#: What a proxy says if it waited for the rest of the way for too long.
_TIMED_OUT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT)

_log = logging.getLogger(__name__)


class Restarts:
    """How the files of one upload start over, and why."""

    def __init__(self, context: WorkerContext, held: Held, files: Backlog, urls: Urls) -> None:
        self._context = context
        self._held = held
        self._files = files
        self._urls = urls
        #: Why a file failed last.
        self.why: Reason | None = None

    def failed(self, path: str, error: Exception) -> Decision:
        """The file got no further: write why, and when it is tried again."""
        job_id = self._held.lease.job_id
        if not isinstance(error, UploaderError):
            _log.error("job %d, %s: unexpected error", job_id, path, exc_info=error)
        error = self._started_over(path, error)
        file = self._files[path]
        decision = self._context.decide(error, file.failures + 1, job_id, path)
        self.why = decision.reason
        at = decision.at if isinstance(decision, RetryAt) else None
        rows, sent = self._held.files, file.bytes_sent
        self._files.put(rows.mark_failed(path, decision.reason, at, bytes_sent=sent))
        return decision

    def _started_over(self, path: str, error: Exception) -> Exception:
        """``error``, or the error that ends the job if a file may have no more of its kind."""
        if not isinstance(error, RemoteError):
            return error
        if error.code is Code.MISMATCH:
            why = "the stored object differs from the source; the file starts over"
            return after_mismatch(self._drop_session(path, why, mismatch=True)) or error
        if error.verdict is not Verdict.SESSION_GONE:
            return error
        before = self._files[path]
        used = before.mark.offset > 0
        old = is_old(before, self._context.clock.now())
        why = "the storage service no longer knows the session; the file starts over"
        # One that died of age before its turn came says nothing about its file.
        file = self._drop_session(path, why, old=old and used, lost=used or not old)
        if (end := after_loss(file)) is not None:
            return end
        if file.sessions_lost >= MANY_SESSIONS_LOST:
            message = f"{file.sessions_lost} sessions in a row were lost without getting further"
            self._held.add_event(EventKind.SESSIONS_LOST, message, path)
        return error

    def moved(self, path: str, bytes_sent: int, url: UploadUrl | None) -> JobRefused | None:
        """The object has moved: what was stored, or an old session completes, would be lost.

        The file goes on by ``url``; without one, by that of the map that is about to be kept.
        Returns the error that ends the job if it moves again and again.
        """
        why = "the service moved the object to another path; the file starts over"
        file = self._held.files.drop_session(
            path, why, bytes_sent=bytes_sent, url=url, lost=True, lives=True
        )
        self._files.put(file)
        return after_move(file)

    def after_vain_put(self, transfer: Transfer) -> None:
        """Nothing was kept of several PUTs in a row: something on the way may not let them through.

        An answer may have been lost with the connection: too large, or a refusal of the URL. What
        a session holds is never given up for that; a status query has just shown that it lives.
        """
        if isinstance(transfer.error, RemoteError) and transfer.last_put:
            self._judge_length(transfer)
        cause = _in_vain(transfer)
        if cause is None or self._urls.given_up:
            return
        file = self._files[transfer.file.path]
        count = self._context.in_a_row[file.job_id][file.path, cause]
        if count % _VAIN_PUTS_TO_HALVE == 0 and file.mode is Mode.SESSION:
            self._context.halve_puts(self._held, file.path, len(transfer.last_put))
        if count % _VAIN_PUTS_TO_RENEW == 0 and cause is Cause.SENT_IN_VAIN:
            self._renew(file, count)

    def _judge_length(self, transfer: Transfer) -> None:
        if transfer.progress.checkpoint.offset < transfer.last_put.stop:
            self._context.puts.failed(transfer.job.id, len(transfer.last_put))

    def _renew(self, file: FileState, count: int) -> None:
        if file.mode is Mode.PUT:
            self._urls.expire()
        elif file.session is not None and file.reached == 0:
            why = f"{count} PUTs in a row were sent in vain; the file gets another session"
            self._drop_session(file.path, why, lost=True, lives=True)

    def _drop_session(self, path: str, why: str, **how: bool) -> FileState:
        before = self._files[path]
        file = self._held.files.drop_session(
            path,
            why,
            bytes_sent=before.bytes_sent,
            url=before.url if self._urls.fresh else None,
            **how,
        )
        self._files.put(file)
        return file


def _in_vain(transfer: Transfer) -> Cause | None:
    """The cause under which a PUT that did not get through is counted; None for anything else."""
    error = transfer.error
    if not isinstance(error, RemoteError) or error.call not in (Call.DATA, Call.PUT):
        return None
    cause, sent_bytes = cause_of(error), transfer.progress.mark.offset - transfer.last_put.start
    taken = cause is Cause.TROUBLE and sent_bytes > CERTAINLY_LEFT_BYTES
    return cause if taken or error.status in _TIMED_OUT or cause is Cause.SENT_IN_VAIN else None
