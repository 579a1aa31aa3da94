"""The page: files that a browser reads as they are; nothing is built and nothing is fetched."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOLDER = Path(__file__).with_name("page")


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Always asked for again, so that a page never outlives the daemon it belongs to."""
        if path.startswith("api/"):
            raise _no_route(scope)
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


def files() -> StaticFiles:
    """The application that serves them."""
    return _Files(directory=_FOLDER, html=True)
