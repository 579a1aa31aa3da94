"""`uploader pause|resume|cancel|retry|remove`: each does all it can and tells what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.rescan import start_over
from uploader.cli.state import SeveralJobs, settings_of, store_of
from uploader.cli.terminal import out, say, say_error
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import Job, Mode, Status
from uploader.core.lifecycle import Verb, already
from uploader.core.text import size

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs


def pause(context: typer.Context, jobs: SeveralJobs) -> None:
    """Hold jobs where they are; `uploader resume` lets them go on, at the right byte."""

    def one(store: Jobs, job: Job) -> Job:
        if not already(job.status, Verb.PAUSE):
            _tell_discarded(store, job)
        return _apply(store, job, Verb.PAUSE)

    _each(context, jobs, one)


def resume(context: typer.Context, jobs: SeveralJobs) -> None:
    """Let paused jobs go on."""
    _each(context, jobs, lambda store, job: _apply(store, job, Verb.RESUME))


def cancel(
    context: typer.Context,
    jobs: SeveralJobs,
    delete_remote: Annotated[
        bool,
        typer.Option("--delete-remote", help="Delete the model too, where this job created it."),
    ] = False,
) -> None:
    """Give jobs up; a worker ends what is open remotely."""

    def one(store: Jobs, job: Job) -> Job:
        return _apply(store, job, Verb.CANCEL, delete_remote=delete_remote)

    _each(context, jobs, one)


def retry(
    context: typer.Context,
    jobs: SeveralJobs,
    rescan: Annotated[
        bool,
        typer.Option("--rescan", help="Start over with the folder as it is now."),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="As --rescan; delete the model first, where this job created it."
        ),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="With --rescan: take its errors for warnings."),
    ] = None,
) -> None:
    """Try failed, blocked or waiting jobs at once; what is confirmed stays."""
    if allow and not (rescan or replace):
        raise UsageError("--allow goes with --rescan or --replace", hint="no folder is looked at")

    def one(store: Jobs, job: Job) -> Job:
        if rescan or replace:
            return start_over(store, job, settings_of(context), allow or (), replace=replace)
        return _apply(store, job, Verb.RETRY)

    _each(context, jobs, one)


def remove(context: typer.Context, jobs: SeveralJobs) -> None:
    """Forget done, failed or cancelled jobs; models on Fireworks stay as they are."""

    def one(store: Jobs, job: Job) -> None:
        store.remove(job.id, wiring.clock().now())

    _each(context, jobs, one)


def _apply(store: Jobs, job: Job, verb: Verb, *, delete_remote: bool = False) -> Job:
    if already(job.status, verb):
        say(f"job {job.id} is already {job.status}")
    return store.apply(job.id, verb, wiring.clock().now(), delete_remote=delete_remote)


def _each(
    context: typer.Context, refs: Sequence[str], one: Callable[[Jobs, Job], Job | None]
) -> None:
    """Every job in turn; the exit code is the first failure's."""
    settings = settings_of(context)
    store_of(settings)  # a verb creates no store
    store = wiring.open_jobs(settings)
    working = wiring.worker_alive(settings)
    failures: list[int] = []
    for ref in refs:
        try:
            job = store.find(ref)
            _tell(job, one(store, job), working=working)
        except UploaderError as error:
            say_error(error)
            failures.append(error.exit_code)
    raise typer.Exit(next(iter(failures), 0))


def _tell(before: Job, after: Job | None, *, working: bool) -> None:
    """The new status on stdout; on stderr what is yet to come of it."""
    out(str(before.id), after.status if after else "removed")
    if after is None:
        return
    if after.status is Status.ACTIVE and not working:
        say("no worker runs: start `uploader run`")
    if after.status is not Status.ACTIVE and after.lease is not None and working:
        say(f"job {after.id}: its worker stops at the next block")
    if after.delete_remote and after.created_remotely:
        then = "" if after.status is Status.CANCELLED else " and create it again"
        say(f"job {after.id}: a worker will delete {after.model}{then}")


def _tell_discarded(store: Jobs, job: Job) -> None:
    """A plain PUT confirms nothing before its end: what it sent is sent again (design §3)."""
    for file in store.files(job.id):
        if file.mode is Mode.PUT and not file.stored and file.mark.offset:
            sent = size(file.mark.offset)
            say(f"job {job.id}: {sent} of {file.path} went by plain PUT and will be sent again")
