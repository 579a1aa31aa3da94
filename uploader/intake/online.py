"""Asks the service before a job is made: does the key work, is the id free?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from uploader.core.errors import RemoteError
from uploader.core.job import UNKNOWN_ACCOUNT, Job, Status
from uploader.core.reasons import Code
from uploader.core.verdict import Verdict
from uploader.model.finding import Finding, error, warning
from uploader.preflight.serving import base_not_found, lora_serving

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks


def ask(
    service: Fireworks,
    account: str,
    model_id: str,
    base_model: str | None = None,
    *,
    known: Job | None = None,
) -> Iterator[Finding]:
    """The findings of at most three calls. An answer that does not come is a finding, too.

    ``base_model`` is the resource name of an adapter's base, if it is known. The model of a
    ``known`` job may exist, and that of one that is done has to.
    """
    refused = [*_ask_about_id(service, account, model_id, known)]
    yield from refused
    if base_model and all(finding.severity != "error" for finding in refused):
        yield from _ask_about_base(service, base_model)


def _ask_about_id(
    service: Fireworks, account: str, model_id: str, known: Job | None
) -> Iterator[Finding]:
    try:
        owner = service.account()
        meant = account if account != UNKNOWN_ACCOUNT or not known else known.account
        if meant not in (UNKNOWN_ACCOUNT, owner):
            yield _of_another(owner, meant, known)
            return
        if known and known.status is not Status.DONE:
            return
        name = owner if account == UNKNOWN_ACCOUNT else account
        state = service.get(name, model_id).state
        if not known:
            yield from _taken(state, f"accounts/{name}/models/{model_id}")
        elif state == "UPLOADING":
            yield error("model_id", None, *done_in_vain(known, "waits for its files again"))
    except RemoteError as problem:
        if problem.verdict is not Verdict.ABSENT:
            yield _unanswered(problem)
        elif known:
            yield error("model_id", None, *done_in_vain(known, "is gone"))


def _of_another(owner: str, account: str, known: Job | None) -> Finding:
    job = f"job {known.id} is" if known else "the job would be"
    message = f"the API key belongs to account {owner}, {job} one of {account}"
    hint = f"give `account` {owner} or FIREWORKS_ACCOUNT_ID={owner}, or a key of {account}"
    return error("api_key", None, message, hint)


def done_in_vain(job: Job, what: str) -> tuple[str, str]:
    """Message and hint for a job that is done, and whose model is not there as it made it."""
    hint = f"`uploader remove {job.id}`, then the same again: its folder is sent again"
    return f"job {job.id} is done, but {job.model} {what}", hint


def _ask_about_base(service: Fireworks, base_model: str) -> Iterator[Finding]:
    _, account, _, model_id = base_model.split("/")
    try:
        base = service.get(account, model_id)
    except RemoteError as problem:
        absent = problem.verdict is Verdict.ABSENT
        yield base_not_found(base_model) if absent else _unanswered(problem)
    else:
        yield from lora_serving(
            base_model, base.default_precision, supports_lora=base.supports_lora
        )


def _unanswered(problem: RemoteError) -> Finding:
    if problem.verdict is Verdict.BLOCKED:
        return error("api_key", None, problem.message, problem.hint or "check the key")
    hint = "check the network and FIREWORKS_BASE_URL, then ask again"
    return error("service", None, problem.message, hint)


def _taken(state: str, model: str) -> Iterable[Finding]:
    if state == "UPLOADING":
        hint = "the upload uses it if it is what this job would create"
        yield warning("model_id", None, f"{model} exists and waits for its files", hint)
    else:
        hint = Code.ALREADY_EXISTS.hint
        yield error(
            "model_id", None, f"{model} already exists: its state is {state or 'unknown'}", hint
        )
