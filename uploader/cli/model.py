"""`uploader model`: what stands on the account, also what failed uploads left there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.grammar import Commands
from uploader.cli.looking import looking
from uploader.cli.settings import settings_of
from uploader.cli.terminal import (
    out,
    out_columns,
    out_facts,
    out_json,
    out_table,
    print_note,
    print_note_wrapped,
    width,
)
from uploader.core.errors import UsageError, VerbRefused
from uploader.core.job import ACCOUNT_ID, Job, Status
from uploader.core.model_documents import (
    ListedModelJson,
    ModelDeletedDocument,
    ModelsDocument,
    listed_json,
    model_document,
)
from uploader.core.text import duration

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

model = Commands(
    help="Show, adopt and delete the models of the account.\n\nExample: uploader model list",
)
Id = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a model, or accounts/ACCOUNT/models/ID.")
]
#: A failed job has left its model: whether it is tried again is for a person to say.
_GOING_ON = (Status.ACTIVE, Status.PAUSED, Status.BLOCKED)
_COLUMNS = ("model", "state", "kind", "created", "age", "jobs")
#: When it was made comes last, because a narrow terminal has no room for it: its age is there.
_HEADINGS = ("", "MODEL", "STATE", "KIND", "AGE", "JOBS", "CREATED")


@model.command("list")
def list_models(context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the models of the account, their age, and the jobs of this store that made them.

    Example: uploader model list
    """
    settings = settings_of(context)
    now = wiring.clock().now()
    with _asked(settings) as (service, account), wiring.Store(settings) as store:
        jobs = store.find()
        listed = service.models(account)
        found = [
            listed_json(account, one, _of_model(jobs, account, one.model_id), now)
            for one in listed.models
        ]
    if not listed.complete:
        print_note(f"the service's list goes on: only its first {len(found):,} models are shown")
    if as_json:
        document: ModelsDocument = {
            "schema": "uploader.models/1",
            "account": account,
            "models": found,
            "complete": listed.complete,
        }
        out_json(document)
    else:
        _print(found, width())


def _print(found: Sequence[ListedModelJson], columns: int | None) -> None:
    if columns is None:
        out_columns(_COLUMNS, map(_row, found))
    elif found:
        out_table(_HEADINGS, [_table_row(one) for one in found], columns)
    else:
        out("no models")


def _row(one: ListedModelJson) -> tuple[str, ...]:
    age = "-" if one["age_s"] is None else duration(one["age_s"])
    jobs = ",".join(map(str, one["jobs"])) or "-"
    return one["model_id"], one["state"], one["kind"], one["created_at"], age, jobs


def _table_row(one: ListedModelJson) -> tuple[str, ...]:
    *first, created, age, jobs = _row(one)
    return ("", *first, age, jobs, created)


@model.command()
def show(context: typer.Context, name: Id, as_json: options.AsJson = False) -> None:
    """Show one model as it is now, and what to do next; it runs nothing of that.

    Example: uploader model show my-model
    """
    from uploader.intake.adopt import standing  # loads the preflight

    settings = settings_of(context)
    with _asked(settings) as (service, own), wiring.Store(settings) as store:
        account, model_id = _named(name, own)
        found = standing(service, account, model_id)
        made_by = _of_model(store.find(), account, model_id)
    whole = f"accounts/{account}/models/{model_id}"
    document = model_document(whole, found, made_by, _next(found.state, whole, made_by))
    if as_json:
        out_json(document)
        return
    facts = [
        ("model", whole),
        ("state", found.state),
        ("kind", document["kind"]),
        ("message", found.status_message),
        ("files", str(len(found.huggingface_files or ()))),
        ("jobs", ", ".join(f"{job.id} ({job.status})" for job in made_by) or "-"),
        *(("next", line) for line in document["next"]),
    ]
    out_facts([(name, value) for name, value in facts if value], width())


@model.command()
@options.spread
def adopt(
    context: typer.Context,
    name: Id,
    path: options.Folder,
    *,
    wanted: options.AdoptOptions,
    as_json: options.AsJson = False,
) -> None:
    """Make a job for a model that the account has without its files; print the job's id.

    Nothing is sent: `uploader run` does that. The same command again gives the same job.

    Example: uploader model adopt my-model ./my-model
    """
    from uploader.cli.enqueue import make_job
    from uploader.cli.findings import print_findings
    from uploader.cli.wait import told
    from uploader.intake.adopt import adopted

    settings, now = settings_of(context), wiring.clock().now()
    with _asked(settings) as (service, own), wiring.Store(settings) as store:
        request = wanted.request(path, *_named(name, own))
        known = store.known()
        plan = adopted(request, settings, known, now, service, print_findings, looking=looking)
        job_id = make_job(store, plan, as_json=as_json)
        if store.need().job(job_id).status in (Status.FAILED, Status.BLOCKED):
            print_note(f"`uploader retry {job_id}` goes on with it")
        if as_json:
            out_json(told(store.find(), [job_id], single=True))


@model.command()
def delete(
    context: typer.Context,
    name: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete a model from the account, with its files. That cannot be undone.

    Example: uploader model delete my-model --yes
    """
    from uploader.intake.adopt import standing  # loads the preflight

    settings = settings_of(context)
    with _asked(settings) as (service, own), wiring.Store(settings) as store:
        account, model_id = _named(name, own)
        whole = f"accounts/{account}/models/{model_id}"
        made_by = _of_model(store.find(), account, model_id)
        for job in made_by:
            if job.status in _GOING_ON:
                hint = f"`uploader cancel {job.id} --delete-remote` ends both"
                raise VerbRefused(f"job {job.id} still works on {whole}", hint=hint)
        found = standing(service, account, model_id)
        meant = yes or _is_meant(f"{whole} is {found.state}. Delete it, with its files?")
        if meant:
            service.delete_surely(account, model_id)
            for job in (job for job in made_by if job.status is Status.DONE):
                print_note_wrapped(
                    f"job {job.id} made it and stays done: run `uploader remove {job.id}` before"
                    " you enqueue its folder again, or nothing is sent"
                )
    if as_json:
        document: ModelDeletedDocument = {
            "schema": "uploader.model_deleted/1",
            "model": whole,
            "deleted": meant,
        }
        out_json(document)
    elif meant:
        out(whole, "deleted")


@contextlib.contextmanager
def _asked(settings: Settings) -> Iterator[tuple[Fireworks, str]]:
    with contextlib.closing(wiring.service(settings)) as service:
        yield service, settings.fireworks.account_id or service.account()


def _named(name: str, account: str) -> tuple[str, str]:
    parts = name.split("/")
    known = len(parts) == 4 and (parts[0], parts[2]) == ("accounts", "models")  # noqa: PLR2004
    owner, model_id = (parts[1], parts[3]) if known else (account, name)
    if ACCOUNT_ID.fullmatch(owner) and ACCOUNT_ID.fullmatch(model_id):
        return owner, model_id
    raise UsageError(f"{name} is not a model", hint="write its id, or accounts/ACCOUNT/models/ID")


def _of_model(jobs: Jobs | None, account: str, model_id: str) -> list[Job]:
    return jobs.of_model(f"accounts/{account}/models/{model_id}") if jobs else []


def _next(state: str, name: str, jobs: Sequence[Job]) -> list[str]:
    """What a person may do with the model of these jobs; only the last line of a READY one costs.

    READY is not serving (docs/fireworks.md §4).
    """
    if state == "READY":
        deploy = f"firectl deployment create {name} --deployment-shape SHAPE"
        return [
            f"firectl deployment-shape-version match --model {name}",
            f"{deploy}  # SHAPE: one of those; costs money from then on",
        ]
    going_on = [job for job in jobs if job.status in _GOING_ON]
    if going_on:
        return [f"uploader explain {going_on[0].id}"]
    model_id = name.rpartition("/")[2]
    ways = [f"uploader model delete {name}"]
    if state != "UPLOADING":
        return ways
    adopt = f"uploader model adopt {model_id} PATH"
    if not jobs:
        return [adopt, *ways]
    last = jobs[-1]
    if last.status is Status.DONE:
        return [f"uploader remove {last.id}", adopt, *ways]
    return [f"uploader retry {last.id}", *ways]


def _is_meant(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked: this is not a terminal", hint="add --yes")
    meant = typer.confirm(question, err=True)
    if not meant:
        print_note("nothing was deleted")
    return meant
