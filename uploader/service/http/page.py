"""The page: files that a browser reads as they are; nothing is built and nothing is fetched.

Whoever listened at this address before may have told the browser to keep what they answered. So
the page is where nobody can have answered anything: below a name made at the start.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

_FOLDER = Path(__file__).with_name("page")


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Always asked for again, so that a page never outlives the daemon it belongs to."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _no_route(scope: Scope) -> HTTPException:
    """What a request below /api/ is told that no route takes: the path or its method is wrong."""
    routes = [one for one in scope["app"].routes if not isinstance(one, Mount)]

    def taken(method: str) -> bool:
        asked = {**scope, "method": method}
        return any(one.matches(asked)[0] is Match.FULL for one in routes)

    allowed = ", ".join(filter(taken, ("GET", "POST")))
    if not allowed:
        return HTTPException(HTTPStatus.NOT_FOUND)
    return HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})


async def _nothing(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise _no_route(scope)


def new_path() -> str:
    """Where the page is until the next start."""
    return f"/{uuid4()}/"


def add_page(app: FastAPI, path: str) -> None:
    """Serve it at ``path``, after all other routes.

    Where it was before leads to it: a tab that is open asks for its icon again.
    """
    app.mount(path, _Files(directory=_FOLDER, html=True))

    @app.get("/", include_in_schema=False)
    @app.get("/{earlier:uuid}/{file:path}", include_in_schema=False)
    async def lead(file: str = "") -> Response:
        return RedirectResponse(path + file, HTTPStatus.SEE_OTHER)

    app.mount("/", _nothing)
