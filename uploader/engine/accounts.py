"""Whose account is it? To a key of another one each model looks as if it were gone."""

from __future__ import annotations

from uploader.core.errors import RemoteError
from uploader.core.job import UNKNOWN_ACCOUNT, Job
from uploader.core.reasons import Code
from uploader.core.verdict import Call, Verdict
from uploader.remote.fireworks import Fireworks


def refuse_worker_of_another(job: Job, configured: str | None) -> None:
    """Raises RemoteError `other_account` if the worker is ``configured`` for another account."""
    if configured is None or job.account in (UNKNOWN_ACCOUNT, configured):
        return
    message = (
        f"this job belongs to account {job.account}; the worker is configured for {configured}"
    )
    hint = f"run a worker with FIREWORKS_ACCOUNT_ID={job.account} and that account's key"
    raise RemoteError(Verdict.BLOCKED, Call.CREATE, message, hint=hint, code=Code.OTHER_ACCOUNT)


def refuse_key_of_another(job: Job, control: Fireworks) -> None:
    """Raises RemoteError `other_account` if the key is another account's.

    Asked before anything is created or deleted, and before a 404 counts: the service's own answer
    would only be a 403 or a 404. So nothing of that happens before the service has answered.
    """
    owner, own = control.owner(), job.account
    if owner in (None, own):
        return
    message = f"this job belongs to account {own}; the API key belongs to account {owner}"
    hint = (
        f"give the worker a key of {own}; or `uploader cancel {job.id}` and enqueue the"
        f" folder with --account {owner}"
    )
    raise RemoteError(Verdict.BLOCKED, Call.VERIFY, message, hint=hint, code=Code.OTHER_ACCOUNT)
