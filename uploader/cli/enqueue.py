"""`uploader enqueue` and `uploader preflight`: a folder becomes a job, or hears why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uploader import wiring
from uploader.cli.look import Look, tell_left_out, tell_look
from uploader.cli.options import AHEAD, FIELDS, WORDS, Folder, flag, taking, wanted
from uploader.cli.plan import Plan, make_plan, show_look, show_plan
from uploader.cli.render import job_document
from uploader.cli.state import AsJson, settings_of
from uploader.cli.terminal import out, out_json, say, say_wrapped, width
from uploader.cli.wait import wait_for
from uploader.core.job import Job, Status

if TYPE_CHECKING:
    from uploader.settings.schema import Settings


Priority = Annotated[int, typer.Option(metavar="N", min=-1000, max=1000, help="Higher is sooner.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be; write nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]
NO_PREFLIGHT = {"no_preflight": flag("--no-preflight", "Look into no file.")}


@taking(WORDS, NO_PREFLIGHT, FIELDS)
def enqueue(
    context: typer.Context,
    path: Folder,
    *,
    words: Mapping[str, Any],
    priority: Priority = 0,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Make a job of a model folder and print its id.

    Nothing is sent: `uploader run` does that. The same folder with the same options is the same
    job.
    """
    asked = wanted(path, words, priority)
    settings = settings_of(context)
    plan = make_plan(asked, settings)
    if not dry_run:
        raise typer.Exit(_enqueue(settings, plan, wait=wait, as_json=as_json))
    if as_json:
        out_json(plan.as_json())
    else:
        show_plan(plan, width())


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
        tell_look(plan.seen)
        say(f"job {job.id} will be {job.model}")
    else:
        say(f"already enqueued: job {job.id} is {job.status} in stage {job.stage}")
        if job.priority != plan.new.priority:
            say(f"job {job.id} keeps its priority {job.priority}")
    if job.status is Status.ACTIVE and not working:
        say("no worker runs: start `uploader run`")


@taking(WORDS, AHEAD)
def preflight(
    context: typer.Context, path: Folder, *, words: Mapping[str, Any], as_json: AsJson = False
) -> None:
    """Look at a model folder for what Fireworks would refuse.

    Needs no network, and reads of the weights their headers only.
    """

    def show(seen: Look) -> None:
        if as_json:
            out_json({"schema": "uploader.preflight/1", **seen.as_json()})
        else:
            _show(seen, width())

    plan = make_plan(wanted(path, words), settings_of(context), show)
    show(plan.seen)
    counts = f"; {plan.seen.counts}" if plan.seen.findings else ""
    what = f"{plan.seen.manifest.root} can become {plan.seen.what}"
    say_wrapped(f"{what} ({plan.seen.because}): {plan.seen.total}{counts}")


def _show(seen: Look, columns: int | None) -> None:
    if columns is not None:
        show_look(seen, columns)
        return
    for finding in seen.findings:
        out(*finding.as_json().values())
    tell_left_out(seen.left_out)
