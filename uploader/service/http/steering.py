"""Routes that change what users may change while workers run: limits, and a job's priority."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from uploader.core.documents import JobDocument, job_document
from uploader.core.limit_documents import LimitsDocument, limits_document
from uploader.intake.steer import choose_limits, edit, limits_in_force
from uploader.service.http.answers import Answer
from uploader.service.http.jobs import Ref
from uploader.service.http.site import Site

_Words = Annotated[str, Field(max_length=4096)]


class LimitsBody(BaseModel):
    """Those that are given are changed; each may be `default`, which is what is configured."""

    model_config = ConfigDict(extra="forbid", strict=True)
    bandwidth: Annotated[_Words | None, Field(description="A rate, `off` or a timetable.")] = None
    files: Annotated[int | _Words | None, Field(description="A number, or `auto`.")] = None
    jobs: Annotated[int | _Words | None, Field(description="A number.")] = None


class EditBody(BaseModel):
    """What can be changed of a job that has not ended."""

    model_config = ConfigDict(extra="forbid", strict=True)
    priority: Annotated[int, Field(ge=-(2**62), lt=2**62)]


def add_routes(router: APIRouter, site: Site) -> None:
    """All of them. Every worker follows a change within a second."""
    table, clock = site.jobs, site.clock

    @router.get("/api/limits", response_model=LimitsDocument)
    def limits() -> Response:
        return Answer(limits_document(limits_in_force(site.settings, table, clock.now())))

    @router.post("/api/limits", response_model=LimitsDocument)
    def choose(body: LimitsBody) -> Response:
        choose_limits(
            table, clock.now(), bandwidth=body.bandwidth, files=body.files, max_jobs=body.jobs
        )
        return limits()

    @router.post("/api/jobs/{job}/edit", response_model=JobDocument)
    def edited(job: Ref, body: EditBody) -> Response:
        now = clock.now()
        found = edit(table, table.find(job).id, now, priority=body.priority)
        return Answer(job_document(found, table.files(found.id), now))
