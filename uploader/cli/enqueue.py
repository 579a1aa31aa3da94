"""`uploader enqueue`: makes a job of a folder, or says why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.failures import Failures, reporting, unfinished
from uploader.cli.findings import print_findings, print_plan, print_replaced
from uploader.cli.looking import looking
from uploader.cli.render import no_worker, readers
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, print_note, width
from uploader.cli.wait import results, told, wait_and_show
from uploader.core.documents import (
    PlanDocument,
    PlansDocument,
    plans_document,
)
from uploader.core.errors import StoreError, UploaderError
from uploader.core.exits import Exit, combined
from uploader.core.job import Job
from uploader.core.whole_job import WholeJob
from uploader.intake.request import EnqueueRequest

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the job that it would make; write nothing.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Then wait, as `uploader wait` does.")]


@options.spread
def enqueue(
    context: typer.Context,
    paths: options.Folders,
    *,
    wanted: options.JobOptions,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a job of each model folder and print its id.

    Nothing is sent: `uploader run` does that. Enqueuing the same folder with the same options again
    gives the same job.

    Example: uploader enqueue ./my-model --model-id my-model-v2
    """
    what = _Enqueue(settings_of(context), wanted.online, dry_run, wait, as_json)
    raise typer.Exit(what.carry_out(wanted.requests(paths)))


@dataclass(frozen=True, slots=True)
class _Enqueue:
    """One command line, and what came of its folders so far."""

    settings: Settings
    online: bool
    dry_run: bool
    wait: bool
    as_json: bool
    failures: Failures = field(default_factory=Failures)
    ids: list[int] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    def carry_out(self, requests: Sequence[EnqueueRequest]) -> Exit:
        """Do it for every folder in turn: one that cannot be a job does not stop the others."""
        with wiring.Store(self.settings) as store:
            found = partial(self._found, store, single=len(requests) == 1)
            with reporting(found, as_json=self.as_json):
                for request in requests:
                    if len(requests) > 1:
                        print_note(f"{request.path}:")
                    try:
                        self._take(store, request)
                    except StoreError:
                        raise
                    except UploaderError as error:
                        self.failures.add(str(request.path), error)
                self._say_if_unattended(store)
                codes = {self.failures.exit_code} if self.failures else set[Exit]()
                ended = self._wait(store) if self.wait and self.ids else []
            if self.as_json:
                out_json({**unfinished(ended), **found()})
            elif self.dry_run:
                _print_plans(self.plans)
        return combined(codes | results(ended))

    def _take(self, store: wiring.Store, request: EnqueueRequest) -> None:
        from uploader.intake.plan import planned  # slow to import

        service = wiring.service(self.settings) if self.online else None
        now, decides = wiring.clock().now(), self.online and not self.dry_run
        known = store.known() if decides else store.glimpse()
        plan = planned(request, self.settings, known, now, print_findings, service, looking=looking)
        if self.dry_run:
            _check_known(store, plan)
            self.plans.append(plan)
        else:
            self.ids.append(make_job(store, plan, as_json=self.as_json))

    def _say_if_unattended(self, store: wiring.Store) -> None:
        """Once for all jobs, or once for each address that no worker is there for."""
        jobs = store.need().these(self.ids) if self.ids else []
        base_url = self.settings.fireworks.base_url
        for alone in {no_worker(job, base_url): None for job in jobs}:
            if alone:
                print_note(alone)

    def _wait(self, store: wiring.Store) -> list[Job]:
        return wait_and_show(store.need(), self.ids, self.settings.fireworks.base_url)

    def _found(self, store: wiring.Store, *, single: bool) -> dict[str, Any]:
        """The document of what there is by now."""
        if self.dry_run:
            return self.failures.document(_plans_document(self.plans, single))
        return self.failures.document(told(store.find(), self.ids, single=single))


def _check_known(store: wiring.Store, plan: Plan) -> None:
    """Raises UsageError if there is a job in the way."""
    jobs = store.glimpse()
    known = jobs.same_as(plan.new) if jobs else None
    if known is not None:
        print_note(f"already enqueued: it is job {known}")


def _plans_document(plans: Sequence[Plan], single: bool) -> PlanDocument | PlansDocument | None:
    documents = [plan.as_json() for plan in plans]
    if single:
        return documents[0] if documents else None
    return plans_document(documents)


def _print_plans(plans: Sequence[Plan]) -> None:
    for number, plan in enumerate(plans):
        if number:
            out()
        print_plan(plan, width())


def make_job(store: wiring.Store, plan: Plan, *, as_json: bool) -> int:
    """Enqueue ``plan``, print what came of it, and return the job's id."""
    jobs = store.create()
    job_id, created = plan.enqueue(jobs, wiring.clock().now())
    job = jobs.job(job_id)
    _print_outcome(plan, job, created=created)
    if not created:
        print_replaced(plan.replaced(jobs, job), job.id)
    if not as_json:
        out(str(job_id))
    return job_id


def _print_outcome(plan: Plan, job: WholeJob, *, created: bool) -> None:
    if created:
        print_findings(plan.seen)
        print_note(f"job {job.id} will be {job.model}")
        if public := readers(job.create_body):
            print_note(f"job {job.id}: {public}")
    else:
        state = f"{job.status} in stage {job.stage}"
        print_note(f"already enqueued: job {job.id}, {job.model}, is {state}")
        if job.priority != plan.new.priority:
            print_note(f"job {job.id} keeps its priority {job.priority}")
