"""`uploader pause|resume|cancel|retry|remove`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import completion
from uploader.cli.each import Asked, each, is_over, stands_still, would_change
from uploader.cli.findings import print_findings
from uploader.cli.looking import looking
from uploader.cli.options import AsJson, Every, JobsOrAll
from uploader.cli.settings import settings_of
from uploader.cli.terminal import print_note
from uploader.core.errors import UsageError
from uploader.core.job import Job, Mode
from uploader.core.lifecycle import Verb, already
from uploader.core.text import size

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

#: Like --allow of `enqueue`, for the folder as it is now.
_AllowAnew = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="CHECK",
        help="With --rescan or --replace: treat errors of CHECK, the name of a check, as warnings."
        " May be repeated.",
        autocompletion=completion.checks,
    ),
]


def pause(
    context: typer.Context,
    jobs: JobsOrAll = None,
    *,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Pause jobs; `uploader resume` lets them go on at the byte where they stopped.

    Example: uploader pause my-model
    """

    def one(jobs: Jobs, job: Job) -> Job:
        if not already(job.status, Verb.PAUSE):
            _print_discarded(jobs, job)
        return _apply(jobs, job, Verb.PAUSE)

    each(settings_of(context), Asked(jobs or (), every, as_json), would_change(Verb.PAUSE), one)


def resume(
    context: typer.Context,
    jobs: JobsOrAll = None,
    *,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Let paused jobs go on.

    Example: uploader resume --all
    """

    def one(jobs: Jobs, job: Job) -> Job:
        return _apply(jobs, job, Verb.RESUME)

    each(settings_of(context), Asked(jobs or (), every, as_json), would_change(Verb.RESUME), one)


def cancel(
    context: typer.Context,
    jobs: JobsOrAll = None,
    *,
    delete_remote: Annotated[
        bool,
        typer.Option("--delete-remote", help="Delete the model too, if this job created it."),
    ] = False,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs; a worker ends what is open remotely.

    Example: uploader cancel my-model --delete-remote
    """

    def one(jobs: Jobs, job: Job) -> Job:
        # Of all jobs, some may not have created their model: those are only cancelled.
        deletes = delete_remote and (job.created_remotely or not every)
        return _apply(jobs, job, Verb.CANCEL, delete_remote=deletes)

    each(settings_of(context), Asked(jobs or (), every, as_json), would_change(Verb.CANCEL), one)


def retry(
    context: typer.Context,
    jobs: JobsOrAll = None,
    *,
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
    allow: _AllowAnew = None,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Try failed, blocked or waiting jobs at once; confirmed bytes are kept.

    Example: uploader retry my-model --rescan
    """
    if allow and not (rescan or replace):
        raise UsageError(
            "--allow goes with --rescan or --replace", hint="without them no folder is checked"
        )
    settings = settings_of(context)

    def one(jobs: Jobs, job: Job) -> Job:
        if rescan or replace:
            return _start_over(jobs, job, settings, allow or (), replace=replace)
        return _apply(jobs, job, Verb.RETRY)

    each(settings, Asked(jobs or (), every, as_json), stands_still, one)


def remove(
    context: typer.Context,
    jobs: JobsOrAll = None,
    *,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Forget done, failed or cancelled jobs; models on Fireworks are kept.

    A job takes its events with it: a reader of `uploader events --since` misses those that it has
    not read yet.

    Example: uploader remove my-model
    """

    def one(jobs: Jobs, job: Job) -> None:
        count = len(jobs.events(job.id))
        jobs.remove(job.id, wiring.clock().now())
        print_note(f"job {job.id}: gone from the history, too: {count} event{'s' * (count != 1)}")

    each(settings_of(context), Asked(jobs or (), every, as_json), is_over, one)


def _start_over(
    jobs: Jobs, job: Job, settings: Settings, allow: Sequence[str], *, replace: bool
) -> Job:
    from uploader.intake.rescan import start_over  # slow to import

    def reads(size_bytes: int) -> None:
        total = size(size_bytes)
        print_note(f"job {job.id}: reads what is stored, to keep what is unchanged: {total}")

    clock = wiring.clock()
    begun, seen = start_over(
        jobs, jobs.sealed(jobs.job(job.id)), settings, clock,
        replace=replace, allow=allow, refused=print_findings, reads=reads, looking=looking,
    )  # fmt: skip
    print_findings(seen)
    total = size(begun.bytes_total)
    print_note(f"job {begun.id}: starts over with {begun.files_total} files, {total}")
    if begun.files_stored:
        same = f"{begun.files_stored} of {begun.files_total} files, {size(begun.bytes_confirmed)}"
        print_note(f"job {begun.id}: keeps {same}: stored and unchanged")
    return begun


def _apply(jobs: Jobs, job: Job, verb: Verb, *, delete_remote: bool = False) -> Job:
    after = jobs.apply(job.id, verb, wiring.clock().now(), delete_remote=delete_remote)
    if already(job.status, verb):
        print_note(f"job {job.id} is already {job.status}")
    return after


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
