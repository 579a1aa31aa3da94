"""The page: files that a browser reads as they are; nothing is built and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FOLDER = Path(__file__).with_name("page")


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Always asked for again, so that a page never outlives the daemon it belongs to."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def files() -> StaticFiles:
    """The application that serves them."""
    return _Files(directory=_FOLDER, html=True)
