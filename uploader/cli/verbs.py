"""`uploader pause|resume|cancel|retry|remove`: each does what it can and reports the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.findings import print_findings
from uploader.cli.options import SeveralJobs
from uploader.cli.render import NO_WORKER
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, print_error, print_note
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import Job, Mode, Status
from uploader.core.lifecycle import Verb, already
from uploader.core.text import size

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def pause(context: typer.Context, jobs: SeveralJobs) -> None:
    """Pause jobs; `uploader resume` lets them go on at the byte where they stopped."""

    def one(jobs: Jobs, job: Job) -> Job:
        if not already(job.status, Verb.PAUSE):
            _print_discarded(jobs, job)
        return _apply(jobs, job, Verb.PAUSE)

    _each(settings_of(context), jobs, one)


def resume(context: typer.Context, jobs: SeveralJobs) -> None:
    """Let paused jobs go on."""
    _each(settings_of(context), jobs, lambda jobs, job: _apply(jobs, job, Verb.RESUME))


def cancel(
    context: typer.Context,
    jobs: SeveralJobs,
    delete_remote: Annotated[
        bool,
        typer.Option("--delete-remote", help="Delete the model too, if this job created it."),
    ] = False,
) -> None:
    """Cancel jobs; a worker ends what is open remotely."""

    def one(jobs: Jobs, job: Job) -> Job:
        return _apply(jobs, job, Verb.CANCEL, delete_remote=delete_remote)

    _each(settings_of(context), jobs, one)


def retry(
    context: typer.Context,
    jobs: SeveralJobs,
    rescan: Annotated[
        bool,
        typer.Option(
            "--rescan",
            help="Start over with the folder as it is now; unchanged stored files are kept.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Like --rescan, but delete the model first, if this job created it."
        ),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK",
            help="With --rescan or --replace: treat errors of this check as warnings.",
        ),
    ] = None,
) -> None:
    """Try failed, blocked or waiting jobs at once; confirmed bytes are kept."""
    if allow and not (rescan or replace):
        raise UsageError(
            "--allow goes with --rescan or --replace", hint="without them no folder is checked"
        )
    settings = settings_of(context)

    def one(jobs: Jobs, job: Job) -> Job:
        if rescan or replace:
            return _start_over(jobs, job, settings, allow or (), replace=replace)
        return _apply(jobs, job, Verb.RETRY)

    _each(settings, jobs, one)


def _start_over(
    jobs: Jobs, job: Job, settings: Settings, allow: Sequence[str], *, replace: bool
) -> Job:
    from uploader.intake.rescan import start_over  # slow to import

    def reads(size_bytes: int) -> None:
        total = size(size_bytes)
        print_note(f"job {job.id}: reads what is stored, to keep what is unchanged: {total}")

    clock = wiring.clock()
    begun, seen = start_over(
        jobs, job, settings, clock,
        replace=replace, allow=allow, refused=print_findings, reads=reads,
    )  # fmt: skip
    print_findings(seen)
    total = size(begun.bytes_total)
    print_note(f"job {begun.id}: starts over with {begun.files_total} files, {total}")
    if begun.files_stored:
        same = f"{begun.files_stored} of {begun.files_total} files, {size(begun.bytes_confirmed)}"
        print_note(f"job {begun.id}: keeps {same}: stored and unchanged")
    return begun


def remove(context: typer.Context, jobs: SeveralJobs) -> None:
    """Forget done, failed or cancelled jobs; models on Fireworks are kept."""

    def one(jobs: Jobs, job: Job) -> None:
        jobs.remove(job.id, wiring.clock().now())

    _each(settings_of(context), jobs, one)


def _apply(jobs: Jobs, job: Job, verb: Verb, *, delete_remote: bool = False) -> Job:
    after = jobs.apply(job.id, verb, wiring.clock().now(), delete_remote=delete_remote)
    if already(job.status, verb):
        print_note(f"job {job.id} is already {job.status}")
    return after


def _each(settings: Settings, refs: Sequence[str], one: Callable[[Jobs, Job], Job | None]) -> None:
    """Apply the verb to every job in turn; the exit code is that of the first failure."""
    failures: list[int] = []
    with wiring.Store(settings) as store:
        jobs, working = store.need(), store.worker_alive()
        for ref in refs:
            try:
                job = jobs.find(ref)
                _print_outcome(job, one(jobs, job), working=working)
            except UploaderError as error:
                print_error(error)
                failures.append(error.exit_code)
    raise typer.Exit(next(iter(failures), 0))


def _print_outcome(before: Job, after: Job | None, *, working: bool) -> None:
    """Print the new status on stdout, and on stderr what will follow."""
    out(str(before.id), after.status if after else "removed")
    if after is None:
        return
    if after.status is Status.ACTIVE and not working:
        print_note(NO_WORKER)
    if after.status is not Status.ACTIVE and after.lease is not None and working:
        print_note(f"job {after.id}: its worker stops at the next block")
    if after.created_remotely and (after.delete_on_cancel or after.replace_first):
        then = " and create it again" if after.replace_first else ""
        print_note(f"job {after.id}: a worker will delete {after.model}{then}")


def _print_discarded(jobs: Jobs, job: Job) -> None:
    """Warn that a plain PUT confirms nothing before its end: what it sent is sent again.

    See docs/life.md §3.3.
    """
    for file in jobs.files(job.id):
        if file.mode is Mode.PUT and not file.stored and file.mark.offset:
            sent = size(file.mark.offset)
            print_note(
                f"job {job.id}: {sent} of {file.path} went by plain PUT and will be sent again"
            )
