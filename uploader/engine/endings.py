"""What ends an upload: the counts in a file's row, a model that is gone, and the errors of both."""

from __future__ import annotations

from datetime import datetime, timedelta

from uploader.core.errors import Corrupted, JobRefused, RemoteError, UploaderError
from uploader.core.job import FileState, Job
from uploader.core.reasons import Code
from uploader.core.text import size
from uploader.engine.accounts import refuse_key_of_another
from uploader.remote.fireworks import Fireworks
from uploader.store.held import Held

MAX_MISMATCHES = 3
#: A session lives for a week (docs/gcs-resumable.md §1.1); one lost this late was too short.
OLD_SESSION = timedelta(days=6)
MAX_OLD_SESSIONS = 2
#: Sessions of one file lost without getting further: from how many on events say so, and the limit.
MANY_SESSIONS_LOST = 2
MAX_SESSIONS_LOST = 5
#: A file that was sent this many times, and this many bytes more, is sent in vain. Twenty PUTs in a
#: row of which nothing is kept cost no more; a small file may be sent for days while storage fails.
_TIMES_SENT = 20
_SPARE_BYTES = 32 << 30


class ModelUsedUp(Exception):
    """The model takes no more files and has none: it has to be deleted and created again."""


def is_old(file: FileState, now: datetime) -> bool:
    """Has the file's session been open for so long that it may have expired?"""
    return file.session_at is not None and now - file.session_at > OLD_SESSION


def after_mismatch(file: FileState) -> Corrupted | None:
    """The error that ends the job, once the file has arrived damaged too often."""
    if file.mismatches < MAX_MISMATCHES:
        return None
    return Corrupted(f"{file.path} arrived damaged {file.mismatches} times")


def after_loss(file: FileState) -> JobRefused | None:
    """The error that ends the job, once the file has lost too many sessions."""
    if file.old_sessions_lost >= MAX_OLD_SESSIONS:
        message = f"{file.path} cannot be sent within the week for which a session lives"
        return JobRefused(message, code=Code.SESSION_TOO_SHORT)
    if file.sessions_lost >= MAX_SESSIONS_LOST:
        message = f"{file.path} lost {file.sessions_lost} upload sessions without getting further"
        return JobRefused(message, code=Code.SESSION_LOST_REPEATEDLY)
    return None


def after_move(file: FileState) -> JobRefused | None:
    """The error that ends the job, once the service has moved the file's object too often."""
    if file.sessions_lost < MAX_SESSIONS_LOST:
        return None
    message = f"the service gives {file.path} another place each time, and it starts over"
    return JobRefused(message, code=Code.URLS_MISMATCH)


def after_waste(before: FileState, file: FileState) -> JobRefused | None:
    """The error that ends the job, once the file was sent too often since ``before``.

    Whatever is kept of each try, and whatever is answered. Each further such lot of bytes ends the
    job again, so that after a retry the file has as many.
    """
    lot_bytes = _TIMES_SENT * file.size_bytes + _SPARE_BYTES
    if file.bytes_sent // lot_bytes <= before.bytes_sent // lot_bytes:
        return None
    sent = f"{file.path} has {size(file.size_bytes)}, and {size(file.bytes_sent)} were sent for it"
    return JobRefused(f"{sent}: too little is kept", code=Code.SENT_TOO_OFTEN)


def urls_refused(error: Exception) -> JobRefused:
    """What a refused getUploadEndpoint means if files are still to be sent (docs/life.md)."""
    words = error.message if isinstance(error, UploaderError) else str(error)
    message = f"the service takes no more files for this model: {words}"
    return JobRefused(message, code=Code.URLS_REFUSED)


_GONE = "the model of this job no longer exists on the service"


def model_gone() -> JobRefused:
    """The error for a job whose model is known to be gone."""
    return JobRefused(_GONE, code=Code.MODEL_GONE)


def forget_model(held: Held) -> JobRefused:
    """After a 404 on a model that was already created, with a key of its account.

    Whatever has its name from now on is somebody else's: no verb deletes it.
    """
    held.mark_deleted(_GONE)
    return model_gone()


def forget_for(other: str, held: Held) -> JobRefused:
    """As `forget_model`, if ``other``, a model that somebody has made since, has its name."""
    message = f"{_GONE}: somebody has made another one, {other}"
    held.mark_deleted(message)
    hint = (
        f"`uploader model delete {other}`, then `uploader retry {held.job.id} --replace`;"
        " or choose another `model_id`"
    )
    return JobRefused(message, hint=hint, code=Code.MODEL_GONE)


def check_gone(job: Job, control: Fireworks) -> None:
    """After one 404: is the model gone for its own account, and to another call, too?

    Raises RemoteError as `refuse_key_of_another` does, or if the service cannot say now; JobRefused
    (`model_gone`) if it shows the model: the row keeps that there is one, so a retry can go on.
    """
    refuse_key_of_another(job, control)
    if control.find(job.account, job.model_id) is None:
        return
    message = "one call says that the model no longer exists on the service, another one shows it"
    hint = f"`uploader retry {job.id}` asks again"
    raise JobRefused(message, hint=hint, code=Code.MODEL_GONE)


def mark_if_cut(error: RemoteError, sent_bytes: int) -> None:
    """Unlike a night without a network, a PUT that ends without an answer costs bytes.

    It may also have been refused early, by an answer that was lost with the connection.
    """
    if sent_bytes and error.status is None and error.code is Code.UNAVAILABLE:
        error.code = Code.CUT_SHORT
