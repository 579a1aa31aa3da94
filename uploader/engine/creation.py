"""Which model a job goes on with: the one that it knows, or the one to which its POST leads."""

from __future__ import annotations

from uploader.core.errors import JobRefused, RemoteError
from uploader.core.reasons import Code
from uploader.core.remote_model import RemoteModel, is_same_model
from uploader.core.retry import is_final
from uploader.core.verdict import Call, Verdict
from uploader.core.whole_job import WholeJob
from uploader.remote.fireworks import Fireworks
from uploader.remote.refusals import malformed


def post_model(job: WholeJob, control: Fireworks) -> tuple[bool, RemoteModel]:
    """POST the job's model, which it does not know: has that created it? And the model as it is.

    Raises RemoteError, also (TRANSIENT, `malformed`) for the model that the job had deleted.
    """
    created, model = _post(job, control)
    if job.replace_first and is_same_model(job, model):
        raise _shown_again(job)
    return created, model


def _post(job: WholeJob, control: Fireworks) -> tuple[bool, RemoteModel]:
    try:
        return True, control.create(job.account, job.create_body)
    except RemoteError as error:
        if error.verdict is not Verdict.EXISTS:
            raise
    model = control.find(job.account, job.model_id)
    if model is None:
        raise malformed(Call.CREATE, "says that the model exists, but it is not shown")
    return False, model


def _shown_again(job: WholeJob) -> RemoteError:
    """The error for a model that the service said was gone: its files are old.

    A deletion may take the service a while; one that it never carries out is for a human to see.
    """
    message = f"{Call.GET}: the service shows a model again that it had said was gone"
    hint = f"if the job fails: `uploader model delete {job.model}`, then `uploader retry {job.id}`"
    return RemoteError(
        Verdict.TRANSIENT, Call.GET, message, status=200, hint=hint, code=Code.MALFORMED
    )


def known_model(job: WholeJob, control: Fireworks) -> RemoteModel | None:
    """The model that the job knows; None if it is gone, or another one has its name."""
    model = control.find(job.account, job.model_id)
    if model is None:  # one 404 alone may be wrong
        model = control.find(job.account, job.model_id)
    return None if model is None or is_same_model(job, model) is False else model


def refuse_made_again(job: WholeJob, control: Fireworks) -> None:
    """Before the job's model is deleted. Raises JobRefused if another one has its name by now."""
    try:
        model = control.find(job.account, job.model_id)
    except RemoteError as error:
        if is_final(error):
            return  # the DELETE is told the same, or more
        raise
    if model is not None and is_same_model(job, model) is False:
        raise JobRefused(
            f"{job.model} is another model by now, which somebody else has made: it is not deleted",
            code=Code.EXISTS_DIFFERENTLY,
            hint=f"`uploader model delete {job.model}`, then `uploader retry {job.id}`; or choose"
            " another `model_id`",
        )
