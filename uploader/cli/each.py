"""A verb for every job that a command line names: it is done, or an error says why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from uploader import wiring
from uploader.cli.failures import Failures
from uploader.cli.render import no_worker
from uploader.cli.terminal import out, out_json, print_note
from uploader.core.documents import result_document, waits
from uploader.core.errors import StoreError, UnreadableRow, UploaderError, UsageError
from uploader.core.job import FileState, Job, Status
from uploader.core.lifecycle import Verb, already, sources

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

#: Does the verb to one job; returns the job as it is then, None if it is gone.
One = Callable[["Jobs", Job], Job | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs that a command line names, or ``every`` one to which the verb applies."""

    refs: Sequence[str]
    every: bool
    as_json: bool

    def check(self) -> None:
        """Raises UsageError unless there are either names or --all."""
        if bool(self.refs) is self.every:
            what = "JOB and --all exclude each other" if self.every else "missing argument 'JOB'"
            raise UsageError(what, hint="name the jobs, or give --all alone for all of them")


# -- to which jobs `--all` applies ---------------------------------------------------------------


def would_change(verb: Verb) -> Callable[[Job], bool]:
    """The jobs that ``verb`` would change."""
    return lambda job: job.status in sources(verb) and not already(job.status, verb)


def stands_still(job: Job) -> bool:
    """Whether a retry makes the job go on sooner."""
    waiting = job.status is Status.ACTIVE and waits(job, wiring.clock().now())
    return waiting or job.status in (Status.FAILED, Status.BLOCKED)


def is_over(job: Job) -> bool:
    """Whether nothing more happens to the job by itself."""
    held = job.lease is not None or job.delete_on_cancel
    return job.status in (Status.DONE, Status.FAILED, Status.CANCELLED) and not held


# -- carrying it out -----------------------------------------------------------------------------


def each(settings: Settings, asked: Asked, applies: Callable[[Job], bool], one: One) -> None:
    """Do ``one`` to each job in turn; the exit code is that of the first failure."""
    asked.check()
    failures, done, base_url = Failures(), list[_Done](), settings.fireworks.base_url
    with wiring.Store(settings) as store:
        jobs = store.find() if asked.every else store.need()
        if jobs is not None:
            working = store.worker_alive()
            for ref in _refs(jobs, asked, applies):
                if outcome := _tried(jobs, ref, one, failures):
                    done.append(outcome)
                    _print_outcome(outcome, base_url, working=working, as_json=asked.as_json)
        workers = jobs.workers() if jobs is not None and asked.as_json else []
        store.sweep()
    if asked.as_json:
        found = [(one.after or one.before, one.files) for one in done]
        single, now = not asked.every and len(asked.refs) == 1, wiring.clock().now()
        out_json(failures.document(result_document(found, workers, now, single=single)))
    elif not done and not failures:
        print_note("nothing to do: it applies to no job")
    raise typer.Exit(failures.exit_code)


@dataclass(frozen=True, slots=True)
class _Done:
    """A job that the verb was done to; ``after`` is None if it is gone."""

    before: Job
    after: Job | None
    files: Sequence[FileState]


def _refs(jobs: Jobs, asked: Asked, applies: Callable[[Job], bool]) -> Sequence[str]:
    if not asked.every:
        return asked.refs
    return [str(job.id) for job in jobs.jobs() if applies(job)]


def _tried(jobs: Jobs, ref: str, one: One, failures: Failures) -> _Done | None:
    """None if it failed. Raises StoreError for what concerns more than this job."""
    try:
        return _do(jobs, ref, one)
    except UploaderError as error:
        if isinstance(error, StoreError) and not isinstance(error, UnreadableRow):
            raise
        failures.add(ref, error)
        return None


def _do(jobs: Jobs, ref: str, one: One) -> _Done:
    before = _found(jobs, ref)
    files = jobs.files_to_show(before.id)
    if one(jobs, before) is None:
        return _Done(before, None, files)
    return _Done(before, jobs.job(before.id), jobs.files(before.id))


def _found(jobs: Jobs, ref: str) -> Job:
    """The job that is meant; one that cannot be read, too: it can still be removed."""
    try:
        return jobs.find(ref)
    except UnreadableRow as error:
        return jobs.these([error.job_id])[0]


def _print_outcome(done: _Done, base_url: str, *, working: bool, as_json: bool) -> None:
    """Print the new status on stdout, and on stderr what will follow."""
    after = done.after
    if not as_json:
        out(str(done.before.id), after.status if after else "removed")
    if after is None:
        return
    if alone := no_worker(after, base_url):
        print_note(alone)
    if after.status is not Status.ACTIVE and after.lease is not None and working:
        print_note(f"job {after.id}: its worker stops at the next block")
    again = after.replace_first and after.status is not Status.CANCELLED
    if after.created_remotely and (after.delete_on_cancel or again):
        then = " and create it again" if again else ""
        print_note(f"job {after.id}: a worker will delete {after.model}{then}")
