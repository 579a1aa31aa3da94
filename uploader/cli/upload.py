"""`uploader upload`: folders become READY models in one command, without a daemon."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.failures import Failures, unfinished
from uploader.cli.findings import print_findings
from uploader.cli.live import live
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, print_note, print_note_wrapped
from uploader.cli.wait import print_hints, results
from uploader.core.documents import result_document
from uploader.core.errors import StoreError, UploaderError, UsageError
from uploader.core.exits import Exit, combined
from uploader.core.job import Job, Status
from uploader.intake.request import EnqueueRequest, ModelFields

if TYPE_CHECKING:
    from uploader.intake.plan import Plan
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def upload(
    context: typer.Context,
    paths: options.Folders,
    *,
    model_id: options.ModelId = None,
    account: options.Account = None,
    kind: options.KindOption = options.KindWord.AUTO,
    base_model: options.BaseModel = None,
    model_json: options.ModelJson = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    allow: options.Allow = None,
    no_preflight: options.NoPreflight = False,
    display_name: options.DisplayName = None,
    description: options.Description = None,
    hugging_face_url: options.HuggingFaceUrl = None,
    github_url: options.GithubUrl = None,
    public: options.Public = False,
    context_length: options.ContextLength = None,
    supports_tools: options.SupportsTools = False,
    supports_image_input: options.SupportsImageInput = False,
    default_draft_model: options.DefaultDraftModel = None,
    default_draft_token_count: options.DefaultDraftTokenCount = None,
    priority: options.Priority = 0,
    snapshot: options.Snapshot = None,
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
    if model_id is not None and len(paths) > 1:
        raise UsageError("--model-id names one model", hint="upload one PATH, or leave it out")
    fields = ModelFields(
        display_name=display_name, description=description, hugging_face_url=hugging_face_url,
        github_url=github_url, public=public, context_length=context_length,
        supports_tools=supports_tools, supports_image_input=supports_image_input,
        default_draft_model=default_draft_model,
        default_draft_token_count=default_draft_token_count,
    )  # fmt: skip
    request = EnqueueRequest(
        path=paths[0], model_id=model_id, account=account, kind=kind.kind, base_model=base_model,
        fields=fields, model_json=options.read_model_json(model_json),
        include=tuple(include or ()), exclude=tuple(exclude or ()), allow=tuple(allow or ()),
        no_preflight=no_preflight, priority=priority, snapshot=snapshot,
    )  # fmt: skip
    requests = [replace(request, path=path) for path in paths]
    raise typer.Exit(_Upload(settings_of(context), as_json).carry_out(requests))


@dataclass(frozen=True, slots=True)
class _Upload:
    """One command line."""

    settings: Settings
    as_json: bool

    def carry_out(self, requests: Sequence[EnqueueRequest]) -> Exit:
        """Enqueue what can be enqueued, see it through, and report how everything ended."""
        failures, single = Failures(), len(requests) == 1
        with wiring.Store(self.settings) as store:
            ids: list[int] = []
            for request in requests:
                try:
                    ids.append(self._enqueue(store, request))
                except StoreError:
                    raise
                except UploaderError as error:
                    failures.add(str(request.path), error)
            jobs, ended = store.find(), list[Job]()
            if jobs and ids:
                ended = self._see_through(jobs, ids, [request.path for request in requests])
                print_hints(ended)
            if self.as_json:
                found = [(job, jobs.files(job.id)) for job in ended] if jobs else []
                workers, now = jobs.workers() if jobs else [], wiring.clock().now()
                result = result_document(found, workers, now, single=single)
                out_json({**unfinished(ended), **failures.document(result)})
            return combined({*failures.exit_codes, *results(ended)})

    def _enqueue(self, store: wiring.Store, request: EnqueueRequest) -> int:
        from uploader.intake.plan import planned  # slow to import

        plan = planned(
            request, self.settings, store.glimpse(), wiring.clock().now(), print_findings
        )
        jobs = store.create()
        job_id, created = plan.enqueue(jobs, wiring.clock().now())
        job = jobs.job(job_id)
        _print_outcome(plan, job, created=created)
        if not self.as_json:
            out(str(job_id))
        return job_id

    def _see_through(self, jobs: Jobs, ids: Sequence[int], paths: Sequence[Path]) -> list[Job]:
        try:
            with live(wiring.clock()) as show:
                _log_problems()
                try:
                    return wiring.work_on(self.settings, jobs, ids, show)
                except (KeyboardInterrupt, SystemExit):
                    show(_as_left(jobs, ids))
                    raise
        except (KeyboardInterrupt, SystemExit):
            again = shlex.join(["uploader", "upload", *map(str, paths)])
            kept = "the job is" if len(set(ids)) == 1 else "the jobs are"
            print_note_wrapped(
                f"{kept} kept: `{again}` or `uploader run` goes on where this stopped"
            )
            raise


def _as_left(jobs: Jobs, ids: Sequence[int]) -> list[Job]:
    """The jobs after the drain; that no worker runs any longer goes without saying."""
    return [replace(jobs.job(job_id), unattended=False) for job_id in dict.fromkeys(ids)]


def _print_outcome(plan: Plan, job: Job, *, created: bool) -> None:
    if created:
        print_findings(plan.seen)
        print_note(f"job {job.id} will be {job.model}")
    elif job.status is not Status.DONE:
        print_note(f"job {job.id} is enqueued already: it goes on in stage {job.stage}")
    if job.status is Status.ACTIVE and not job.unattended:
        print_note("a worker runs already: it does the work, and this command shows it")


def _log_problems() -> None:
    """Show warnings of the worker in this process; while bars are drawn, above them."""
    from uploader.service.logs import log_to_stderr

    log_to_stderr(logging.WARNING)
