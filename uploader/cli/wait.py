"""`uploader wait`: until jobs are done, or need a human."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.failures import unfinished
from uploader.cli.live import live
from uploader.cli.options import AsJson, SeveralJobs
from uploader.cli.render import hint
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out_json, print_note
from uploader.core.documents import result_document
from uploader.core.errors import UsageError
from uploader.core.exits import Exit, combined, exit_of
from uploader.core.job import Job, Status
from uploader.runtime import Clock
from uploader.store.wait import wait_for

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs


def wait(
    context: typer.Context,
    jobs: SeveralJobs,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help='Give up after DURATION: seconds, or a text like "90min".'
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until each job is done, or needs a human; the exit code says which.

    0 done, 7 failed or cancelled, 8 blocked, 12 integrity, 9 several of these, 10 timed out.

    Example: uploader wait my-model --timeout 90min
    """
    settings = settings_of(context)
    timeout_s = _seconds(timeout)
    with wiring.Store(settings) as store:
        table = store.need()
        ids = [table.find(ref).id for ref in jobs]
        code = exit_code_of(table, ids, wiring.clock(), timeout_s)
        if as_json:
            found = [(table.job(one), table.files(one)) for one in dict.fromkeys(ids)]
            now, single = wiring.clock().now(), len(found) == 1
            result = result_document(found, table.workers(), now, single=single)
            out_json({**(result or {}), **unfinished(job for job, _ in found)})
        raise typer.Exit(code)


def _seconds(text: str | None) -> float | None:
    from uploader.settings.units import parse_duration  # pydantic is slow to import

    if text is None:
        return None
    bare = text.replace(".", "", 1).isdecimal()
    try:
        return parse_duration(f"{text}s" if bare else text)
    except ValueError as problem:
        raise UsageError(f"--timeout cannot be {text!r}", hint=str(problem)) from None


def exit_code_of(
    jobs: Jobs, ids: Sequence[int], clock: Clock, timeout_s: float | None = None
) -> Exit:
    """Wait and show progress; returns the exit code of the jobs' results. Raises WaitTimedOut."""
    with live(clock) as show:
        ended = wait_for(jobs, ids, clock, timeout_s, show)
    print_hints(ended)
    return combined(results(ended))


def print_hints(ended: Iterable[Job]) -> None:
    """Print what to do about each job that did not end well."""
    for job in ended:
        if job.status is not Status.DONE and hint(job):
            print_note(f"hint: job {job.id}: {hint(job)}")


def results(ended: Iterable[Job]) -> set[Exit]:
    """The exit codes of those jobs."""
    return {exit_of(job.status, job.reason) for job in ended}
