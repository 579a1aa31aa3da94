"""`uploader enqueue`: makes a job of a folder, or says why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.findings import print_findings, print_plan
from uploader.cli.render import NO_WORKER
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, print_note, width
from uploader.cli.wait import exit_code_of
from uploader.core.documents import job_document
from uploader.core.exits import Exit
from uploader.core.job import Job, Status
from uploader.intake.request import EnqueueRequest, ModelFields

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the job that it would make; write nothing.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]


def enqueue(
    context: typer.Context,
    path: options.Folder,
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
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a job of a model folder and print its id.

    Nothing is sent: `uploader run` does that. Enqueuing the same folder with the same options again
    gives the same job.
    """
    fields = ModelFields(
        display_name=display_name, description=description, hugging_face_url=hugging_face_url,
        github_url=github_url, public=public, context_length=context_length,
        supports_tools=supports_tools, supports_image_input=supports_image_input,
        default_draft_model=default_draft_model,
        default_draft_token_count=default_draft_token_count,
    )  # fmt: skip
    request = EnqueueRequest(
        path=path, model_id=model_id, account=account, kind=kind.kind, base_model=base_model,
        fields=fields, model_json=options.read_model_json(model_json),
        include=tuple(include or ()), exclude=tuple(exclude or ()), allow=tuple(allow or ()),
        no_preflight=no_preflight, priority=priority,
    )  # fmt: skip
    raise typer.Exit(
        _carry_out(settings_of(context), request, dry_run=dry_run, wait=wait, as_json=as_json)
    )


def _carry_out(
    settings: Settings, request: EnqueueRequest, *, dry_run: bool, wait: bool, as_json: bool
) -> Exit:
    from uploader.intake.plan import planned  # slow to import

    with wiring.Store(settings) as store:
        plan = planned(request, settings, store.glimpse(), print_findings)
        if not dry_run:
            return _enqueue(store, plan, wait=wait, as_json=as_json)
    if as_json:
        out_json(plan.as_json())
    else:
        print_plan(plan, width())
    return Exit.OK


def _enqueue(store: wiring.Store, plan: Plan, *, wait: bool, as_json: bool) -> Exit:
    clock, jobs = wiring.clock(), store.create()
    job_id, created = jobs.enqueue(plan.new, clock.now())
    _print_outcome(plan, jobs.job(job_id), created=created, working=store.worker_alive())
    if not as_json:
        out(str(job_id))
    code = exit_code_of(jobs, [job_id], clock) if wait else Exit.OK
    if as_json:
        out_json(job_document(jobs.job(job_id), jobs.files(job_id), clock.now()))
    return code


def _print_outcome(plan: Plan, job: Job, *, created: bool, working: bool) -> None:
    if created:
        print_findings(plan.seen)
        print_note(f"job {job.id} will be {job.model}")
    else:
        print_note(f"already enqueued: job {job.id} is {job.status} in stage {job.stage}")
        if job.priority != plan.new.priority:
            print_note(f"job {job.id} keeps its priority {job.priority}")
    if job.status is Status.ACTIVE and not working:
        print_note(NO_WORKER)
