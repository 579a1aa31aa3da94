"""`uploader enqueue` and `uploader preflight`: a folder becomes a job, or hears why not."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.look import look, tell_findings, tell_left_out
from uploader.cli.plan import Plan, Wanted, make_plan, show_plan
from uploader.cli.render import job_document
from uploader.cli.state import AsJson, settings_of
from uploader.cli.terminal import out, out_json, say, width
from uploader.cli.wait import wait_for
from uploader.core.errors import NotFound
from uploader.core.job import Job, Status

if TYPE_CHECKING:
    from uploader.settings import Settings


class KindWord(StrEnum):
    """What --kind may be."""

    AUTO = "auto"
    BASE = "base"
    LORA = "lora"


def _folder(word: str) -> Path:
    """``word`` as a path. An empty one is an unset variable, not the folder we stand in."""
    if not word:
        raise NotFound("the path is empty", hint="check the variable it comes from")
    return Path(word)


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="The folder of a model.", show_default=False, parser=_folder
    ),
]
ModelId = Annotated[str | None, typer.Option(metavar="ID", help="Default: the folder's name.")]
Account = Annotated[str | None, typer.Option(metavar="A", help="Default: the configured one.")]
KindOption = Annotated[KindWord, typer.Option(help="What the folder becomes.")]
BaseModel = Annotated[
    str | None, typer.Option(metavar="M", help="Of an adapter: accounts/A/models/M.")
]
DisplayName = Annotated[str | None, typer.Option(metavar="S", help="Shown by Fireworks.")]
Description = Annotated[str | None, typer.Option(metavar="S", help="Shown by Fireworks.")]
Url = Annotated[str | None, typer.Option(metavar="U", help="Where the model comes from.")]
Include = Annotated[
    list[str] | None, typer.Option(metavar="G", help="Send what is left out by default.")
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="G", help="Leave more files out.")]
Priority = Annotated[int, typer.Option(metavar="N", min=-1000, max=1000, help="Higher is sooner.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be; write nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]


def enqueue(
    context: typer.Context,
    path: Folder,
    *,
    model_id: ModelId = None,
    account: Account = None,
    kind: KindOption = KindWord.AUTO,
    base_model: BaseModel = None,
    display_name: DisplayName = None,
    description: Description = None,
    hugging_face_url: Url = None,
    include: Include = None,
    exclude: Exclude = None,
    priority: Priority = 0,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Make a job of a model folder and print its id.

    Nothing is sent: `uploader run` does that. The same folder with the same options is the same
    job.
    """
    wanted = Wanted(
        path=path,
        model_id=model_id,
        account=account,
        kind=kind.value,
        base_model=base_model,
        display_name=display_name,
        description=description,
        hugging_face_url=hugging_face_url,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        priority=priority,
    )
    settings = settings_of(context)
    plan = make_plan(wanted, settings)
    if not dry_run:
        raise typer.Exit(_enqueue(settings, plan, wait=wait, as_json=as_json))
    if as_json:
        out_json(plan.as_json())
    else:
        show_plan(plan)


def _enqueue(settings: Settings, plan: Plan, *, wait: bool, as_json: bool) -> int:
    clock = wiring.clock()
    jobs = wiring.open_jobs(settings)
    job_id, created = jobs.enqueue(plan.new, clock.now())
    job = jobs.job(job_id)
    _tell(plan, job, created=created, working=wiring.worker_alive(settings))
    if not as_json:
        out(str(job_id))
    code = wait_for(jobs, [job_id], clock) if wait else 0
    if as_json:
        out_json(job_document(jobs.job(job_id), jobs.files(job_id), clock.now()))
    return code


def _tell(plan: Plan, job: Job, *, created: bool, working: bool) -> None:
    if created:
        tell_left_out(plan.seen.left_out)
        tell_findings(plan.seen.findings)
        say(f"job {job.id} will be {job.model}")
    else:
        say(f"already enqueued: job {job.id} is {job.status} in stage {job.stage}")
        if job.priority != plan.new.priority:
            say(f"job {job.id} keeps its priority {job.priority}")
    if job.status is Status.ACTIVE and not working:
        say("no worker runs: start `uploader run`")


def preflight(context: typer.Context, path: Folder, as_json: AsJson = False) -> None:
    """Look at a model folder for what Fireworks would refuse; needs no network."""
    settings_of(context)
    seen = look(path)
    if as_json:
        out_json({"schema": "uploader.preflight/1", **seen.as_json()})
    elif width() is None:
        for finding in seen.findings:
            out(*finding.as_json().values())
    else:
        tell_findings(seen.findings, out)
    tell_left_out(seen.left_out)
    if seen.errors:
        raise seen.refuse()
    say(f"{seen.manifest.root} can become a {seen.kind} model")
