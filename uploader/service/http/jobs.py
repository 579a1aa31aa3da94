"""Routes about jobs: read them, enqueue a folder, carry out a verb."""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from typing_extensions import TypedDict

from uploader.core.documents import (
    FileJson,
    JobDocument,
    JobJson,
    PreflightDocument,
    WorkerJson,
    file_json,
    job_document,
    job_json,
    preflight_document,
    worker_json,
)
from uploader.core.explanation import ExplanationDocument, explanation_document
from uploader.core.job import Manifest
from uploader.core.lifecycle import Verb
from uploader.core.limit_documents import LimitsJson
from uploader.core.why import to_do
from uploader.intake.explain import explained
from uploader.intake.plan import inspect, planned
from uploader.intake.rescan import start_over
from uploader.intake.steer import limits_in_force
from uploader.service.http.answers import Answer
from uploader.service.http.enqueuing import EnqueueBody, request_of
from uploader.service.http.looks import Look
from uploader.service.http.roots import folder_below, reading_below, refuse_outsiders
from uploader.service.http.site import Site

MAX_JOBS = 1000
_USUAL_JOBS = 100
Ref = Annotated[str, Path(max_length=200, description="An id or a model's id.")]


class JobsPage(TypedDict):
    """`GET /api/jobs`: one page of the jobs."""

    schema: Annotated[Literal["uploader.jobs/1"], "The name and version of this document."]
    jobs: Annotated[list[JobJson], "The jobs by id."]
    workers: Annotated[list[WorkerJson], "The workers of this store that live; empty if none runs."]
    limits: Annotated[LimitsJson, "The limits in force, and where each comes from."]
    last_event: Annotated[int, "The number of the newest event; the next ones are after it."]
    next: Annotated[int | None, "`after` of the next page; null on the last one."]


class FilesPage(TypedDict):
    """`GET /api/jobs/{job}/files`: its files by path."""

    files: Annotated[list[FileJson], "As in `uploader show --json`."]


class WorkersDocument(TypedDict):
    """`GET /api/workers`."""

    workers: Annotated[list[WorkerJson], "The workers of this store that live; empty if none runs."]


class CancelBody(BaseModel):
    """What `cancel` may be told."""

    model_config = ConfigDict(extra="forbid", strict=True)
    delete_remote: bool = False


class RetryBody(BaseModel):
    """What `retry` may be told."""

    model_config = ConfigDict(extra="forbid", strict=True)
    rescan: bool = False
    replace: bool = False


class NothingBody(BaseModel):
    """`{}`."""

    model_config = ConfigDict(extra="forbid", strict=True)


def add_routes(router: APIRouter, site: Site) -> None:
    """All of them. Each one is short; a thread of the server waits for nothing but the store."""
    _reading(router, site)
    _writing(router, site)
    _verbs(router, site)


def _reading(router: APIRouter, site: Site) -> None:
    table, settings, clock = site.jobs, site.settings, site.clock

    @router.get("/api/jobs", response_model=JobsPage)
    def jobs(
        after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_JOBS)] = _USUAL_JOBS,
        finished: Annotated[int | None, Query(ge=0, le=MAX_JOBS)] = None,
    ) -> Response:
        newest = table.last_event()  # first: what happens meanwhile is told again, not missed
        if finished is None:
            found = table.page(after, limit + 1)
        else:
            stream = table.stream(finished)
            found = list(islice((job for job in stream if job.id > after), limit + 1))
        now, more = clock.now(), len(found) > limit
        page: JobsPage = {
            "schema": "uploader.jobs/1",
            "jobs": [job_json(job, now) for job in found[:limit]],
            "workers": [worker_json(worker) for worker in table.workers()],
            "limits": limits_in_force(site.settings, table, now),
            "last_event": newest,
            "next": found[limit - 1].id if more else None,
        }
        return Answer(page)

    @router.get("/api/jobs/{job}", response_model=JobDocument)
    def job(job: Ref) -> Response:
        found = table.find(job)
        return Answer(job_document(found, table.files(found.id), clock.now()))

    @router.get("/api/jobs/{job}/files", response_model=FilesPage)
    def files(job: Ref) -> Response:
        return Answer({"files": [file_json(one) for one in table.files(table.find(job).id)]})

    @router.get("/api/jobs/{job}/explain", response_model=ExplanationDocument)
    def explain(job: Ref) -> Response:
        now, base_url = clock.now(), settings.fireworks.base_url
        limits = limits_in_force(site.settings, table, now)
        found = explained(table, job, limits, base_url, now)
        step = to_do(found.job, base_url)
        told = explanation_document(found.job, found.sentences, step, found.last)
        return Answer(told)

    @router.get("/api/workers", response_model=WorkersDocument)
    def workers() -> Response:
        return Answer({"workers": [worker_json(worker) for worker in table.workers()]})


def _writing(router: APIRouter, site: Site) -> None:
    table, settings, clock = site.jobs, site.settings, site.clock

    @router.post("/api/jobs", response_model=JobDocument, status_code=HTTPStatus.CREATED)
    async def enqueue(body: EnqueueBody) -> Response:
        def look(one: Look) -> Answer:
            request = request_of(body, folder_below(settings.api.roots, body.path))
            with reading_below(settings.api.roots):
                plan = planned(request, settings, table, clock.now())
            refuse_outsiders(settings.api.roots, plan.new.manifest)
            with reading_below(settings.api.roots), plan.kept(table) as new:
                one.settle()
                job_id, is_new = table.enqueue(new, clock.now())
            status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
            return Answer(_document(site, job_id), status_code=status)

        return await site.looks.at(body.path, look)

    @router.post("/api/preflight", response_model=PreflightDocument)
    async def preflight(body: EnqueueBody) -> Response:
        def look(_: Look) -> Answer:
            request = request_of(body, folder_below(settings.api.roots, body.path))
            with reading_below(settings.api.roots):
                seen = inspect(request, settings, table, clock.now())
            refuse_outsiders(settings.api.roots, seen.manifest)
            return Answer(preflight_document(seen.as_json()))

        return await site.looks.at(body.path, look)


def _verbs(router: APIRouter, site: Site) -> None:
    table, settings, clock = site.jobs, site.settings, site.clock

    @router.post("/api/jobs/{job}/pause", response_model=JobDocument)
    def pause(job: Ref, _body: NothingBody | None = None) -> Response:
        return _applied(site, job, Verb.PAUSE)

    @router.post("/api/jobs/{job}/resume", response_model=JobDocument)
    def resume(job: Ref, _body: NothingBody | None = None) -> Response:
        return _applied(site, job, Verb.RESUME)

    @router.post("/api/jobs/{job}/cancel", response_model=JobDocument)
    def cancel(job: Ref, body: CancelBody | None = None) -> Response:
        return _applied(site, job, Verb.CANCEL, delete_remote=bool(body and body.delete_remote))

    @router.post("/api/jobs/{job}/retry", response_model=JobDocument)
    async def retry(job: Ref, body: RetryBody | None = None) -> Response:
        if body is None or not (body.rescan or body.replace):
            return await run_in_threadpool(_applied, site, job, Verb.RETRY)
        found = await run_in_threadpool(lambda: table.sealed(table.find(job)))
        roots = settings.api.roots

        def look(one: Look) -> Answer:
            def agree(manifest: Manifest) -> None:
                refuse_outsiders(roots, manifest)
                one.settle()

            folder_below(roots, found.path)
            with reading_below(roots):
                replace = body.replace
                again = start_over(table, found, settings, clock, replace=replace, agree=agree)[0]
            return Answer(_document(site, again.id))

        return await site.looks.at(found.path, look)


def _applied(site: Site, ref: str, verb: Verb, **options: Any) -> Answer:
    found = site.jobs.find(ref)
    site.jobs.apply(found.id, verb, site.clock.now(), **options)
    return Answer(_document(site, found.id))


def _document(site: Site, job_id: int) -> JobDocument:
    return job_document(site.jobs.job(job_id), site.jobs.files(job_id), site.clock.now())
