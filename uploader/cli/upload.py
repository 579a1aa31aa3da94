"""`uploader upload`: folders become READY models in one command, without a daemon."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.failures import Failures, reporting, unfinished
from uploader.cli.findings import print_findings, print_replaced
from uploader.cli.live import live
from uploader.cli.looking import looking
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, print_note, print_note_wrapped
from uploader.cli.wait import print_hints, results, told
from uploader.core.errors import StoreError, UploaderError
from uploader.core.exits import Exit, combined
from uploader.core.job import Job, Status
from uploader.intake.request import EnqueueRequest

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


@options.spread
def upload(
    context: typer.Context,
    paths: options.Folders,
    *,
    wanted: options.JobOptions,
    as_json: options.AsJson = False,
) -> None:
    """Bring model folders to READY on Fireworks, and wait for that; no daemon is needed.

    The same folder with the same options is the same job. Ctrl-C ends this command; the jobs are
    kept, and the same command goes on with them. If a worker runs already, it does the work, and
    this command only shows it; if that worker dies, the work is done here.

    0 READY, 6 refused by preflight, 7 failed or cancelled, 8 blocked, 12 integrity, 9 several of
    these.

    Example: uploader upload ./my-model
    """
    what = _Upload(settings_of(context), online=wanted.online, as_json=as_json)
    raise typer.Exit(what.carry_out(wanted.requests(paths)))


@dataclass(frozen=True, slots=True)
class _Upload:
    """One command line."""

    settings: Settings
    online: bool
    as_json: bool

    def carry_out(self, requests: Sequence[EnqueueRequest]) -> Exit:
        """Enqueue what can be enqueued, see it through, and report how everything ended."""
        failures, ids, ended = Failures(), list[int](), list[Job]()

        def found() -> dict[str, Any]:
            known = list(dict.fromkeys(ids))
            return failures.document(told(store.find(), known, single=len(requests) == 1))

        with wiring.Store(self.settings) as store, reporting(found, as_json=self.as_json):
            for request in requests:
                if len(requests) > 1:
                    print_note(f"{request.path}:")
                try:
                    ids.append(self._enqueue(store, request))
                except StoreError:
                    raise
                except UploaderError as error:
                    failures.add(str(request.path), error)
            if ids:
                ended = self._see_through(store.need(), ids)
                print_hints(ended, self.settings.fireworks.base_url)
            if self.as_json:
                out_json({**unfinished(ended), **found()})
            return combined({*failures.exit_codes, *results(ended)})

    def _enqueue(self, store: wiring.Store, request: EnqueueRequest) -> int:
        from uploader.intake.plan import planned  # slow to import

        service = wiring.service(self.settings) if self.online else None
        now = wiring.clock().now()
        known = store.known() if self.online else store.glimpse()
        plan = planned(request, self.settings, known, now, print_findings, service, looking=looking)
        jobs = store.create()
        job_id, created = plan.enqueue(jobs, wiring.clock().now())
        job = jobs.job(job_id)
        _print_outcome(plan, job, created=created)
        if not created:
            print_replaced(plan.replaced(jobs, job), job.id)
        if not self.as_json:
            out(str(job_id))
        return job_id

    def _see_through(self, jobs: Jobs, ids: Sequence[int]) -> list[Job]:
        try:
            with live(wiring.clock(), self.settings.fireworks.base_url) as show:
                _log_problems()
                try:
                    return wiring.work_on(self.settings, jobs, ids, show)
                except (KeyboardInterrupt, SystemExit):
                    with contextlib.suppress(StoreError):  # the table may be why it was ended
                        show(_as_left(jobs, ids))
                    raise
        except (KeyboardInterrupt, SystemExit):
            kept = "the job is" if len(set(ids)) == 1 else "the jobs are"
            print_note_wrapped(
                f"{kept} kept: the same command, or `uploader run`, goes on where this one stopped"
            )
            raise


def _as_left(jobs: Jobs, ids: Sequence[int]) -> list[Job]:
    """The jobs after the drain; that no worker runs any longer goes without saying."""
    return [replace(jobs.job(job_id), unattended=False) for job_id in dict.fromkeys(ids)]


def _print_outcome(plan: Plan, job: Job, *, created: bool) -> None:
    if created:
        print_findings(plan.seen)
        print_note(f"job {job.id} will be {job.model}")
    elif job.status is Status.DONE:
        print_note(f"job {job.id} has made {job.model} READY already: nothing is sent")
    else:
        print_note(f"job {job.id} is enqueued already: it goes on in stage {job.stage}")
    if job.status is not Status.DONE and not job.unattended:
        print_note("a worker runs already: it does the work, with a key and settings of its own")


def _log_problems() -> None:
    """Show warnings of the worker in this process; while bars are drawn, above them."""
    from uploader.service.logs import log_to_stderr

    log_to_stderr(logging.WARNING)
