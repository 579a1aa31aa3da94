"""Which model a job goes on with: the one that it knows, one that is there, or a new one."""

from __future__ import annotations

from dataclasses import replace

from uploader.core.errors import JobRefused, RemoteError
from uploader.core.reasons import Code
from uploader.core.remote_model import RemoteModel, is_old, is_same_model
from uploader.core.retry import cause_of, is_final
from uploader.core.verdict import Call, Verdict
from uploader.core.whole_job import WholeJob
from uploader.remote.fireworks import Fireworks
from uploader.remote.refusals import malformed


def post_model(job: WholeJob, control: Fireworks) -> tuple[bool, RemoteModel]:
    """POST the job's model, which it does not know, unless the service shows one of its name.

    Has the POST created it? And the model as it is. For one that exists, the POST may be answered
    like a creation (docs/fireworks.md §0.7).

    Raises RemoteError, also (TRANSIENT, `malformed`) for the model that the job had deleted.
    """
    model, was_absent = _before(job, control)
    created = False
    if model is None:
        created, model = _post(job, control)
    _refuse_deleted(job, model)
    return created and was_absent and not is_old(job, model), model


def _before(job: WholeJob, control: Fireworks) -> tuple[RemoteModel | None, bool]:
    """The model that has the job's name; does the service say that there is none?"""
    for _ in range(2):  # one answer alone may be wrong
        model, is_told = _look(job, control)
        if model is not None or not is_told:
            return model, False
    return None, True


def _look(job: WholeJob, control: Fireworks) -> tuple[RemoteModel | None, bool]:
    """The same of one answer; False if the service says nothing of it, even if asked again."""
    for _ in range(2):
        try:
            return control.find(job.account, job.model_id), True
        except RemoteError as error:
            if cause_of(error) is not None and error.code not in (Code.MIDDLE_BOX, Code.MALFORMED):
                raise
    return None, False  # the POST is told the same, or more


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


def _refuse_deleted(job: WholeJob, model: RemoteModel) -> None:
    """Raises RemoteError for the model that the job has had deleted, because its files are old.

    A deletion may take the service a while; one that it never carries out is for a human to see.
    """
    if not (job.replace_first and is_same_model(job, model)):
        return
    message = "the service shows a model again that it had said was gone"
    hint = f"if the job fails: `uploader model delete {job.model}`, then `uploader retry {job.id}`"
    raise RemoteError(
        Verdict.TRANSIENT, Call.CREATE, message, status=200, hint=hint, code=Code.MALFORMED
    )


def known_model(job: WholeJob, control: Fireworks) -> RemoteModel | None:
    """The model that the job knows; None if it is gone, or another one has its name."""
    for _ in range(2):  # one answer alone may be wrong, or old
        model = control.find(job.account, job.model_id)
        if model is not None and is_same_model(job, model) is not False:
            return replace(model, created_at=model.created_at or job.model_created_at)
    return None


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
