"""`uploader model`: what stands on the account, also what failed uploads left there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.grammar import Commands
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_columns, print_note
from uploader.core.errors import NotFound, RemoteError, UsageError, VerbRefused
from uploader.core.job import ACCOUNT_ID, Job, Status
from uploader.core.verdict import Verdict

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks, RemoteModel
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

model = Commands(
    help="Show and delete what stands on the account.\n\nExample: uploader model list",
    no_args_is_help=True,
)
Id = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a model, or accounts/ACCOUNT/models/ID.")
]
#: A failed job has left its model: whether it is tried again is for a person to say.
_GOING_ON = (Status.ACTIVE, Status.PAUSED, Status.BLOCKED)
_COLUMNS = ("model", "state", "kind", "created", "jobs")


@model.command("list")
def list_models(context: typer.Context) -> None:
    """List the models of the account, and the jobs of this store that made them.

    Example: uploader model list
    """
    settings = settings_of(context)
    with _asked(settings) as (service, account), wiring.Store(settings) as store:
        jobs = store.find()
        rows = [
            (
                one.model_id,
                one.state,
                one.kind,
                one.created_at,
                _made_by(jobs, account, one.model_id),
            )
            for one in service.models(account)
        ]
    out_columns(_COLUMNS, rows)


@model.command()
def show(context: typer.Context, name: Id) -> None:
    """Show one model as it is now, and what to do next; it runs nothing of that.

    Example: uploader model show my-model
    """
    settings = settings_of(context)
    with _asked(settings) as (service, own), wiring.Store(settings) as store:
        account, model_id = _named(name, own)
        found = _there(service, account, model_id)
        made_by = _of_model(store.find(), account, model_id)
    whole = f"accounts/{account}/models/{model_id}"
    out("model", whole)
    out("state", found.state)
    out("kind", found.kind)
    if found.status_message:
        out("message", found.status_message)
    out("files", str(len(found.huggingface_files or ())))
    out("jobs", ", ".join(f"{job.id} ({job.status})" for job in made_by))
    for line in _next(found.state, whole, made_by):
        out("next", line)


@model.command()
def delete(
    context: typer.Context,
    name: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a model from the account, with its files. That cannot be undone.

    Example: uploader model delete my-model --yes
    """
    settings = settings_of(context)
    with _asked(settings) as (service, own), wiring.Store(settings) as store:
        account, model_id = _named(name, own)
        whole = f"accounts/{account}/models/{model_id}"
        for job in _of_model(store.find(), account, model_id):
            if job.status in _GOING_ON:
                hint = f"`uploader cancel {job.id} --delete-remote` ends both"
                raise VerbRefused(f"job {job.id} still works on {whole}", hint=hint)
        found = _there(service, account, model_id)
        if not yes:
            _ask(f"{whole} is {found.state}. Delete it, with its files?")
        service.delete(account, model_id)
    out(whole, "deleted")


@contextlib.contextmanager
def _asked(settings: Settings) -> Iterator[tuple[Fireworks, str]]:
    with contextlib.closing(wiring.service(settings)) as service:
        yield service, settings.fireworks.account_id or service.account()


def _named(name: str, account: str) -> tuple[str, str]:
    parts = name.split("/")
    if len(parts) == 1 and ACCOUNT_ID.fullmatch(name):
        return account, name
    if len(parts) == 4 and (parts[0], parts[2]) == ("accounts", "models"):  # noqa: PLR2004
        return parts[1], parts[3]
    raise UsageError(f"{name} is not a model", hint="write its id, or accounts/ACCOUNT/models/ID")


def _there(service: Fireworks, account: str, model_id: str) -> RemoteModel:
    try:
        return service.get(account, model_id)
    except RemoteError as error:
        if error.verdict is not Verdict.ABSENT:
            raise
        hint = "`uploader model list` lists what is there"
        raise NotFound(f"there is no model {model_id} in account {account}", hint=hint) from None


def _of_model(jobs: Jobs | None, account: str, model_id: str) -> list[Job]:
    return jobs.of_model(f"accounts/{account}/models/{model_id}") if jobs else []


def _made_by(jobs: Jobs | None, account: str, model_id: str) -> str:
    return ",".join(str(job.id) for job in _of_model(jobs, account, model_id))


def _next(state: str, whole: str, made_by: list[Job]) -> list[str]:
    """What a person may do now. READY is not serving, and whoever deploys pays."""
    if state == "READY":
        return [
            f"firectl deployment-shape-version list --base-model {whole}",
            f"firectl deployment create {whole} (costs money from then on)",
        ]
    going_on = [job for job in made_by if job.status in _GOING_ON]
    if going_on:
        return [f"uploader explain {going_on[0].id}"]
    retried = [f"uploader retry {made_by[-1].id}"] if made_by else []
    return [*retried, f"uploader model delete {whole}"]


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked: this is not a terminal", hint="add --yes")
    if not typer.confirm(question, err=True):
        print_note("nothing was deleted")
        raise typer.Exit
