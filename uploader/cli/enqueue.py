"""`uploader enqueue`: a folder becomes a job, or hears why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import options as o
from uploader.cli.findings import print_findings, print_plan
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, say, width
from uploader.cli.wait import exit_code_of
from uploader.core.documents import job_document
from uploader.core.errors import UploaderError
from uploader.core.exits import Exit
from uploader.core.job import Job, Status
from uploader.intake.request import EnqueueRequest, ModelFields

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be; write nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]


def enqueue(
    context: typer.Context,
    path: o.Folder,
    *,
    model_id: o.ModelId = None,
    account: o.Account = None,
    kind: o.KindOption = o.KindWord.AUTO,
    base_model: o.BaseModel = None,
    model_json: o.ModelJson = None,
    include: o.Include = None,
    exclude: o.Exclude = None,
    allow: o.Allow = None,
    no_preflight: o.NoPreflight = False,
    display_name: o.DisplayName = None,
    description: o.Description = None,
    hugging_face_url: o.HuggingFaceUrl = None,
    github_url: o.GithubUrl = None,
    public: o.Public = False,
    context_length: o.ContextLength = None,
    supports_tools: o.SupportsTools = False,
    supports_image_input: o.SupportsImageInput = False,
    default_draft_model: o.DefaultDraftModel = None,
    default_draft_token_count: o.DefaultDraftTokenCount = None,
    priority: o.Priority = 0,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: o.AsJson = False,
) -> None:
    """Make a job of a model folder and print its id.

    Nothing is sent: `uploader run` does that. The same folder with the same options is the same
    job.
    """
    fields = ModelFields(
        display_name=display_name,
        description=description,
        hugging_face_url=hugging_face_url,
        github_url=github_url,
        public=public,
        context_length=context_length,
        supports_tools=supports_tools,
        supports_image_input=supports_image_input,
        default_draft_model=default_draft_model,
        default_draft_token_count=default_draft_token_count,
    )
    request = EnqueueRequest(
        path=path,
        model_id=model_id,
        account=account,
        kind=kind.kind,
        base_model=base_model,
        fields=fields,
        model_json=o.read_model_json(model_json),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        allow=tuple(allow or ()),
        no_preflight=no_preflight,
        priority=priority,
    )
    settings = settings_of(context)
    with wiring.Store(settings) as store:
        plan = planned(request, settings, store.glimpse())
        if not dry_run:
            raise typer.Exit(_enqueue(store, plan, wait=wait, as_json=as_json))
    if as_json:
        out_json(plan.as_json())
    else:
        print_plan(plan, width())


def planned(request: EnqueueRequest, settings: Settings, jobs: Jobs | None) -> Plan:
    """The job that the folder would be; if it is none, everything found is printed first."""
    from uploader.intake import plan as intake  # reads headers, and checks many things

    seen = intake.inspect(request, settings, jobs)
    try:
        return intake.plan(request, seen, settings)
    except UploaderError:
        print_findings(seen)
        raise


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
        say(f"job {job.id} will be {job.model}")
    else:
        say(f"already enqueued: job {job.id} is {job.status} in stage {job.stage}")
        if job.priority != plan.new.priority:
            say(f"job {job.id} keeps its priority {job.priority}")
    if job.status is Status.ACTIVE and not working:
        say("no worker runs: start `uploader run`")
