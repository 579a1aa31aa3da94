"""The application: its routes, its errors, its doors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from uploader import __version__
from uploader.core.api_reasons import ApiCode
from uploader.core.documents import EventJson
from uploader.service.http import folders, jobs, metrics, page, problems, steering
from uploader.service.http.answers import Answer
from uploader.service.http.door import LINK, PROOF
from uploader.service.http.doors import Doors, Names, user_of
from uploader.service.http.feed import MAX_STREAMS, Feed
from uploader.service.http.problems import Problem, Refusal
from uploader.service.http.ready import Ready
from uploader.service.http.site import Site
from uploader.service.http.tokens import COOKIE_LIFE

_MAX_WAIT_S = 30.0
_SCHEMA = "#/components/schemas/{model}"
_PROBLEM = {problems.MEDIA_TYPE: {"schema": {"$ref": _SCHEMA.format(model=Problem.__name__)}}}
_NO: dict[int | str, dict[str, Any]] = {
    503: {"description": "No.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_SEQ = 2**62
#: What another program at this address may have left in the browser: a service worker outlives it.
_FORGET = {"Clear-Site-Data": '"cache", "storage"'}
_REFUSED: dict[int | str, dict[str, Any]] = {
    status.value: {"description": status.phrase, "content": _PROBLEM}
    for status in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """As FastAPI writes it, with the schema of what refuses.

        It is not a `model` of each answer: of that, every route would make a validator of its own.
        """
        if self.openapi_schema is None:
            schema = TypeAdapter(Problem).json_schema(ref_template=_SCHEMA)
            named = schema.pop("$defs", {}) | {Problem.__name__: schema}
            super().openapi()["components"]["schemas"].update(named)
        return super().openapi()


def application(site: Site, names: Names, address: str, feed: Feed) -> ASGIApp:
    """The whole API of ``site``, listening at ``address`` (HOST:PORT), behind its doors."""
    app = _App(
        title="uploader",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=_REFUSED,
    )
    problems.install(app)
    for room in (jobs, steering, folders, metrics):  # routers that are included are built twice
        room.add_routes(app.router, site)
    _add_events(app.router, feed)
    _add_health(app.router, site)
    at = page.new_path()
    _add_door(app.router, site, address, at)
    page.add_page(app, at)
    return Doors(app, site.keeper, names, address, site.clock)


def _add_events(router: APIRouter, feed: Feed) -> None:
    streams: set[object] = set()

    @router.get(
        "/api/events",
        response_model=list[EventJson],
        description="The events after `since`. Waits for one up to `wait` seconds. With `Accept:"
        " text/event-stream` it goes on for ever; `Last-Event-ID` says where.",
    )
    async def events(
        request: Request,
        since: Annotated[int, Query(ge=0, lt=_SEQ)] = 0,
        wait: Annotated[float, Query(ge=0, le=_MAX_WAIT_S)] = _MAX_WAIT_S,
        job: Annotated[str | None, Query(max_length=200, description="Only this job's.")] = None,
        last_event_id: Annotated[str, Header()] = "",
    ) -> Response:
        if job is not None:
            return Answer(await run_in_threadpool(feed.read_of, job, since))
        if "text/event-stream" not in request.headers.get("accept", ""):
            return Answer(await feed.wait(since, wait))
        if len(streams) >= MAX_STREAMS:
            raise Refusal(ApiCode.TOO_FAST, "too many streams of events are open")
        known = last_event_id.isascii() and last_event_id.isdecimal()
        begin = min(int(last_event_id[:19]), _SEQ) if known else since
        mine = object()
        streams.add(mine)

        async def lines() -> AsyncIterator[str]:
            try:
                async for line in feed.stream(begin):
                    yield line
            finally:
                streams.discard(mine)

        return StreamingResponse(lines(), media_type="text/event-stream")


def _add_health(router: APIRouter, site: Site) -> None:
    ready = Ready(site)

    @router.get("/livez", response_class=PlainTextResponse, responses=_NO)
    async def livez() -> Response:
        """503 if the worker's loop has not turned for as long as a lease lasts."""
        return _health_of(good=site.alive())

    @router.get("/readyz", response_class=PlainTextResponse, responses=_NO)
    async def readyz() -> Response:
        """503 if the store cannot be used."""
        return _health_of(good=await ready())


def _health_of(*, good: bool) -> PlainTextResponse:
    return PlainTextResponse("ok\n" if good else "no\n", HTTPStatus.OK if good else 503)


def _add_door(router: APIRouter, site: Site, address: str, page_path: str) -> None:
    @router.get(PROOF + "{question}", include_in_schema=False)
    async def prove(question: str) -> Response:
        answer = site.keeper.answer(question, address)
        if answer is None:
            raise Refusal(ApiCode.UNAUTHORIZED)
        return PlainTextResponse(answer)

    @router.get(LINK + "{link}", include_in_schema=False)
    async def enter(link: str, request: Request) -> Response:
        if not site.keeper.knows_link(link, address):
            raise Refusal(ApiCode.LINK_USED)
        cookie = site.keeper.redeem(link, address, await user_of(request.scope))
        if cookie is None:
            raise Refusal(ApiCode.LINK_USED)
        answer = RedirectResponse(page_path, HTTPStatus.SEE_OTHER, _FORGET)
        answer.set_cookie(
            site.keeper.cookie_name,
            cookie,
            max_age=int(COOKIE_LIFE.total_seconds()),
            secure=request.url.scheme == "https" or site.settings.api.behind_proxy,
            httponly=True,
            samesite="strict",
        )
        return answer
