"""`uploader enqueue`: makes a job of a folder, or says why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.failures import Failures, unfinished
from uploader.cli.findings import print_findings, print_plan
from uploader.cli.render import NO_WORKER, readers
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, print_note, width
from uploader.cli.wait import exit_code_of
from uploader.core.documents import (
    JobDocument,
    JobsDocument,
    PlanDocument,
    PlansDocument,
    plans_document,
    result_document,
)
from uploader.core.errors import StoreError, UploaderError, UsageError
from uploader.core.exits import Exit, combined
from uploader.core.job import Job, Status
from uploader.intake.request import EnqueueRequest, ModelFields

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the job that it would make; write nothing.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]


@dataclass(frozen=True, slots=True)
class _How:
    """What is done with the folders, besides making jobs of them."""

    online: bool
    dry_run: bool
    wait: bool
    as_json: bool


def enqueue(
    context: typer.Context,
    paths: options.Folders,
    *,
    model_id: options.ModelId = None,
    account: options.Account = None,
    kind: options.KindOption = options.KindWord.AUTO,
    base_model: options.BaseModel = None,
    model_json: options.ModelJson = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    allow: options.Allow = None,
    no_preflight: options.NoPreflight = False,
    display_name: options.DisplayName = None,
    description: options.Description = None,
    hugging_face_url: options.HuggingFaceUrl = None,
    github_url: options.GithubUrl = None,
    public: options.Public = False,
    context_length: options.ContextLength = None,
    supports_tools: options.SupportsTools = False,
    supports_image_input: options.SupportsImageInput = False,
    default_draft_model: options.DefaultDraftModel = None,
    default_draft_token_count: options.DefaultDraftTokenCount = None,
    priority: options.Priority = 0,
    online: options.Online = False,
    snapshot: options.Snapshot = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a job of each model folder and print its id.

    Nothing is sent: `uploader run` does that. Enqueuing the same folder with the same options again
    gives the same job.

    Example: uploader enqueue ./my-model --model-id my-model-v2
    """
    fields = ModelFields(
        display_name=display_name, description=description, hugging_face_url=hugging_face_url,
        github_url=github_url, public=public, context_length=context_length,
        supports_tools=supports_tools, supports_image_input=supports_image_input,
        default_draft_model=default_draft_model,
        default_draft_token_count=default_draft_token_count,
    )  # fmt: skip
    request = EnqueueRequest(
        path=paths[0], model_id=model_id, account=account, kind=kind.kind, base_model=base_model,
        fields=fields, model_json=options.read_model_json(model_json),
        include=tuple(include or ()), exclude=tuple(exclude or ()), allow=tuple(allow or ()),
        no_preflight=no_preflight, priority=priority, snapshot=snapshot,
    )  # fmt: skip
    how = _How(online=online, dry_run=dry_run, wait=wait, as_json=as_json)
    raise typer.Exit(_carry_out(settings_of(context), _requests(request, paths), how))


def _requests(request: EnqueueRequest, paths: Sequence[Path]) -> list[EnqueueRequest]:
    if request.model_id is not None and len(paths) > 1:
        hint = "give one PATH, or leave the ids to the folders' names"
        raise UsageError("--model-id names one model, but there are several folders", hint=hint)
    return [replace(request, path=path) for path in paths]


def _carry_out(settings: Settings, requests: Sequence[EnqueueRequest], how: _How) -> Exit:
    """Do it for every folder in turn: one that cannot be a job does not stop the others."""
    from uploader.intake.plan import planned  # slow to import

    failures, ids = Failures(), list[int]()
    plans: list[Plan] = []
    service = wiring.service(settings) if how.online else None
    with wiring.Store(settings) as store:
        for request in requests:
            try:
                now = wiring.clock().now()
                known = store.glimpse()
                plan = planned(request, settings, known, now, print_findings, service)
                if how.dry_run:
                    _check_known(store, plan)
                    plans.append(plan)
                else:
                    ids.append(_enqueue(store, plan, as_json=how.as_json))
            except StoreError:
                raise
            except UploaderError as error:
                failures.add(str(request.path), error)
        codes = [failures.exit_code] if failures else []
        if how.wait and ids:
            codes.append(exit_code_of(store.need(), ids, wiring.clock()))
        single = len(requests) == 1
        if how.as_json:
            result = _planned(plans, single) if how.dry_run else _enqueued(store, ids, single)
            ended = [store.need().job(one) for one in ids] if how.wait else []
            out_json({**unfinished(ended), **failures.document(result)})
        elif how.dry_run:
            _print_plans(plans)
    return combined(codes)


def _check_known(store: wiring.Store, plan: Plan) -> None:
    """Raises UsageError if there is a job in the way."""
    jobs = store.glimpse()
    known = jobs.same_as(plan.new) if jobs else None
    if known is not None:
        print_note(f"already enqueued: it is job {known}")


def _planned(plans: Sequence[Plan], single: bool) -> PlanDocument | PlansDocument | None:
    documents = [plan.as_json() for plan in plans]
    if single:
        return documents[0] if documents else None
    return plans_document(documents)


def _print_plans(plans: Sequence[Plan]) -> None:
    for number, plan in enumerate(plans):
        if number:
            out()
        print_plan(plan, width())


def _enqueued(
    store: wiring.Store, ids: Sequence[int], single: bool
) -> JobDocument | JobsDocument | None:
    jobs = store.need() if ids else None
    found = [(jobs.job(one), jobs.files(one)) for one in ids] if jobs else []
    workers = jobs.workers() if jobs else []
    return result_document(found, workers, wiring.clock().now(), single=single)


def _enqueue(store: wiring.Store, plan: Plan, *, as_json: bool) -> int:
    jobs = store.create()
    job_id, created = plan.enqueue(jobs, wiring.clock().now())
    _print_outcome(plan, jobs.job(job_id), created=created, working=store.worker_alive())
    if not as_json:
        out(str(job_id))
    return job_id


def _print_outcome(plan: Plan, job: Job, *, created: bool, working: bool) -> None:
    if created:
        print_findings(plan.seen)
        print_note(f"job {job.id} will be {job.model}")
        if public := readers(job.create_body):
            print_note(f"job {job.id}: {public}")
    else:
        print_note(f"already enqueued: job {job.id} is {job.status} in stage {job.stage}")
        if job.priority != plan.new.priority:
            print_note(f"job {job.id} keeps its priority {job.priority}")
    if job.status is Status.ACTIVE and not working:
        print_note(NO_WORKER)
