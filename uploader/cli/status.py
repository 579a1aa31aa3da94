"""`uploader status`: where jobs stand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.options import AnyJobs, AsJson, AsTable
from uploader.cli.render import (
    JOB_COLUMNS,
    JOB_HEADINGS,
    NO_WORKER,
    hint,
    job_columns,
    job_row,
    no_worker,
    note,
)
from uploader.cli.settings import settings_of
from uploader.cli.terminal import (
    out,
    out_columns,
    out_json_stream,
    out_table,
    out_wrapped,
    print_note,
    width,
)
from uploader.core.documents import job_json, jobs_document
from uploader.core.errors import UsageError
from uploader.core.job import Job, Status
from uploader.core.limit_documents import LimitsJson, status_document
from uploader.core.limit_words import limits_line

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

#: How many jobs that have ended are shown to a person, and to a program that reads them.
_FOR_PEOPLE, _FOR_PROGRAMS = 20, 200
_MOST = 2**31 - 1

States = Annotated[
    list[Status] | None,
    typer.Option(
        "--state",
        metavar="STATUS",
        help=f"Only jobs that are STATUS: {', '.join(Status)}. May be repeated.",
    ),
]

Watch = Annotated[
    bool, typer.Option("--watch", help="Keep showing them as they move, until Ctrl-C.")
]
AllJobs = Annotated[
    bool, typer.Option("--all", help="All jobs that have ended, however many they are.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=0,
        max=_MOST,
        help="The newest N jobs that have ended.",
        show_default=False,
    ),
]
_EVENTS = "`uploader events --follow` prints JSON as things happen"


def status(  # noqa: PLR0917 - its options
    context: typer.Context,
    jobs: AnyJobs = None,
    state: States = None,
    table: AsTable = False,
    watch: Watch = False,
    every: AllJobs = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs in a table; into a pipe, in columns under a line that begins with #.

    Every open job is shown, and the newest of those that have ended.

    Example: uploader status --state paused
    """
    from uploader.intake.steer import limits_in_force  # pydantic is slow to import

    settings, now = settings_of(context), wiring.clock().now()
    base_url, columns = settings.fireworks.base_url, width(always=table)
    most = _FOR_PROGRAMS if as_json or columns is None else _FOR_PEOPLE
    choice = Choice(jobs or (), state or (), None if every else most if limit is None else limit)
    if jobs and (every or limit is not None):
        raise UsageError("--all and --limit go without JOB", hint="name jobs, or leave them out")
    if watch:
        _watch(settings, choice, otherwise=as_json or table)
        return
    with wiring.Store(settings) as store:
        known = store.need() if jobs else store.find()
        left_out = choice.left_out(known)
        limits = limits_in_force(settings, known, now)
        if as_json:
            _print_document(choice, known, limits, now)
            return
        if columns is None:
            _print_columns(choice.of(known), base_url, now)
        else:
            _show_table([*choice.of(known)], base_url, now, columns)
    _print_limits(limits_line(limits), columns)
    if left_out:
        print_note(f"older jobs that have ended, not shown: {left_out}; --all shows them")


@dataclass(frozen=True, slots=True)
class Choice:
    """The jobs to show: those that are named, or the open ones and the newest that have ended."""

    refs: Sequence[str]
    statuses: Collection[Status]
    #: How many that have ended; None for all of them.
    ended: int | None

    def of(self, table: Jobs | None) -> Iterable[Job]:
        """Those jobs, read as they are needed. Raises NotFound, UsageError, StoreError."""
        if table is None:
            return ()
        if not self.refs:
            return table.stream(self.ended, self.statuses)
        named = [table.find(ref) for ref in self.refs]
        return [job for job in named if not self.statuses or job.status in self.statuses]

    def left_out(self, table: Jobs | None) -> int:
        """How many jobs are not shown because they ended too long ago."""
        if table is None or self.refs or self.ended is None:
            return 0
        return max(0, table.count_ended(self.statuses) - self.ended)


def _print_document(choice: Choice, table: Jobs | None, limits: LimitsJson, now: datetime) -> None:
    workers = table.workers() if table is not None else []
    listed = (job_json(job, now) for job in choice.of(table))
    document = jobs_document([], workers, now, choice.left_out(table))
    out_json_stream(status_document(document, limits), "jobs", listed)


def _print_limits(sentence: str, columns: int | None) -> None:
    if sentence and columns is None:
        out(f"# {sentence}")
    elif sentence:
        out()
        out_wrapped(sentence, columns)


def _print_columns(jobs: Iterable[Job], base_url: str, now: datetime) -> None:
    alone = False

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal alone
        for job in jobs:
            alone = alone or no_worker(job, base_url) == NO_WORKER
            yield job_columns(job, base_url, now)

    if not out_columns(JOB_COLUMNS, rows()):
        out("# no jobs")
    if alone:
        print_note(NO_WORKER)


def _watch(settings: Settings, choice: Choice, *, otherwise: bool) -> None:
    if otherwise:
        raise UsageError("--watch goes with neither --json nor --table", hint=_EVENTS)
    from uploader.cli.follow import watch as keep_watching

    with wiring.Store(settings) as store:
        keep_watching(store, settings.fireworks.base_url, lambda table: [*choice.of(table)])


def _show_table(jobs: Sequence[Job], base_url: str, now: datetime, columns: int) -> None:
    if not jobs:
        out("no jobs")
        return
    out_table(JOB_HEADINGS, [job_row(job, now) for job in jobs], columns)
    if any(no_worker(job, base_url) == NO_WORKER for job in jobs):
        out()
        out_wrapped(NO_WORKER, columns)
    for job in jobs:
        message = note(job, base_url, now)
        if message:
            out()
            out_wrapped(f"job {job.id} {job.status}: {message}", columns)
        if message and (step := hint(job, base_url)):
            out_wrapped(f"hint: {step}", columns, "  ")
