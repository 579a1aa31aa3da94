"""The use case of a model that stands on the account without its files: a job sends them.

The worker looks at the model again, by the same rule, before it sends anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from uploader.core.errors import NotFound, RemoteError, UsageError
from uploader.core.job import Status
from uploader.core.reasons import Code
from uploader.core.remote_model import RemoteModel, refuse_different, refuse_ready
from uploader.core.verdict import Verdict
from uploader.intake.inspect import Inspection
from uploader.intake.online import done_in_vain
from uploader.intake.plan import Looking, Plan, here, planned
from uploader.intake.request import EnqueueRequest

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def standing(service: Fireworks, account: str, model_id: str) -> RemoteModel:
    """The model as it is now. Raises NotFound, RemoteError."""
    try:
        return service.get(account, model_id)
    except RemoteError as error:
        if error.verdict is not Verdict.ABSENT:
            raise
        hint = "`uploader model list` lists what is there"
        raise NotFound(f"there is no model {model_id} in account {account}", hint=hint) from None


def adopted(  # noqa: PLR0913 - whom it asks and tells, and where it may wait
    request: EnqueueRequest,
    settings: Settings,
    jobs: Jobs | None,
    now: datetime,
    service: Fireworks,
    refused: Callable[[Inspection], object] = lambda _: None,
    *,
    looking: Looking = here,
) -> Plan:
    """The plan of a job that goes on with the model which the request names by account and id.

    Raises NotFound, JobRefused for a model that is READY or differs, UsageError for one of another
    account than the key's and for one that a job has made READY before, and what `planned` raises.
    """
    account, model_id = request.account or "", request.model_id or ""
    _refuse_account_of_others(service, account)
    name = f"accounts/{account}/models/{model_id}"
    model = standing(service, account, model_id)
    refuse_ready(name, model, f"it has its files: `uploader model show {model_id}`")
    # Without the account, which is the default, it is the same job as `enqueue` makes.
    plan = planned(replace(request, account=None), settings, jobs, now, refused, looking=looking)
    plan = replace(plan, new=replace(plan.new, account=account))
    refuse_different(plan.new, model)
    known = jobs and jobs.same_as(plan.new)
    if jobs and known and (job := jobs.job(known)).status is Status.DONE:
        message, hint = done_in_vain(job, "waits for its files again")
        raise UsageError(message, hint=hint)
    return plan


def _refuse_account_of_others(service: Fireworks, account: str) -> None:
    owner = service.owner()
    if owner not in (None, account):
        message = f"the model is of account {account}; the API key belongs to account {owner}"
        raise UsageError(message, hint=f"use a key of {account}", code=Code.OTHER_ACCOUNT)
