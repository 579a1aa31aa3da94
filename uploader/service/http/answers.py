"""The one way in which a route answers with JSON."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from uploader.core.utf8 import json_bytes


class Answer(JSONResponse):
    """A document that can be sent whatever its strings say: one bad name hides no other job."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json_bytes(content)
