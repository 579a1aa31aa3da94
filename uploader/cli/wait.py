"""`uploader wait`: until jobs are done, or need a human."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uploader import wiring
from uploader.cli.each import Asked
from uploader.cli.failures import reporting, unfinished
from uploader.cli.live import live
from uploader.cli.options import AsJson, Every, JobsOrAll
from uploader.cli.render import hint
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out_json, print_note, print_note_wrapped
from uploader.core.documents import result_document
from uploader.core.errors import UsageError
from uploader.core.exits import Exit, combined, exit_of
from uploader.core.job import Job
from uploader.store.wait import ENDS, wait_for

if TYPE_CHECKING:
    from uploader.store.jobs import Jobs


def wait(
    context: typer.Context,
    jobs: JobsOrAll = None,
    every: Every = False,
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
    asked = Asked(jobs or (), every, as_json)
    asked.check()
    settings, timeout_s = settings_of(context), _seconds(timeout)
    with wiring.Store(settings) as store:
        table = store.find() if every else store.need()
        ids = _ids(table, asked) if table else []
        found = partial(told, table, ids, single=not every and len(ids) == 1)
        with reporting(found, as_json=as_json):
            ended: list[Job] = []
            if table and ids:
                ended = wait_and_show(table, ids, settings.fireworks.base_url, timeout_s)
        if as_json:
            out_json({**found(), **unfinished(ended)})
        elif not ids:
            print_note("nothing to wait for: every job has ended")
        raise typer.Exit(combined(results(ended)))


def _ids(table: Jobs, asked: Asked) -> list[int]:
    if asked.every:
        return [job.id for job in table.jobs(0) if job.status not in ENDS]
    return list(dict.fromkeys(table.find(ref).id for ref in asked.refs))


def told(table: Jobs | None, ids: Sequence[int], *, single: bool) -> dict[str, Any]:
    """The document of those jobs as they are now; empty if the ``single`` one is missing."""
    known = {job.id: job for job in table.these(ids)} if table else {}
    found = [(known[one], table.files_to_show(one)) for one in ids if table and one in known]
    workers = table.workers() if table and found else []
    return {**(result_document(found, workers, wiring.clock().now(), single=single) or {})}


def _seconds(text: str | None) -> float | None:
    from uploader.settings.units import parse_duration  # pydantic is slow to import

    if text is None:
        return None
    bare = text.replace(".", "", 1).isdecimal()
    try:
        return parse_duration(f"{text}s" if bare else text)
    except ValueError as problem:
        raise UsageError(f"--timeout cannot be {text!r}", hint=str(problem)) from None


def wait_and_show(
    jobs: Jobs, ids: Sequence[int], base_url: str, timeout_s: float | None = None
) -> list[Job]:
    """Wait, show progress, and return the jobs as they ended. Raises WaitTimedOut.

    ``base_url`` is the one that workers of this configuration work for.
    """
    clock = wiring.clock()
    with live(clock, base_url) as show:
        ended = wait_for(jobs, ids, clock, timeout_s, show)
    print_hints(ended, base_url)
    return ended


def print_hints(ended: Iterable[Job], base_url: str) -> None:
    """Print what to do about each job that did not end well."""
    for job in ended:
        if step := hint(job, base_url):
            print_note_wrapped(step, f"hint: job {job.id}: ")


def results(ended: Iterable[Job]) -> set[Exit]:
    """The exit codes of those jobs."""
    return {exit_of(job.status, job.reason) for job in ended}
