"""Was it the service that refused, or something on the way: a proxy, a firewall, a portal?

Such a box answers in HTML and without the service's own headers. What it says means nothing for a
session, a signature or a key, so it is asked past again (docs/gcs-resumable.md §1.4).
"""

from __future__ import annotations

from http import HTTPStatus

import requests

from uploader.core.verdict import CONTROL, Call
from uploader.remote.words import body_text

_NETWORK_AUTHENTICATION = frozenset({HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED})
#: On storage any refusal would count; these already say what to do, whoever says so.
_PLAIN_ENOUGH = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS}
)
_OF_STORAGE = frozenset(range(300, 500)) - _PLAIN_ENOUGH | _NETWORK_AUTHENTICATION
#: The control plane itself may answer in HTML if the base URL is wrong.
_OF_CONTROL = frozenset({HTTPStatus.FORBIDDEN}) | _NETWORK_AUTHENTICATION
_STORAGE_HEADERS = ("x-guploader-uploadid", "x-goog-request-id", "x-goog-hash")
_CONTROL_HEADERS = ("x-request-id", "x-fireworks-request-id")


def is_middle_box(call: Call, response: requests.Response) -> bool:
    """Whether a refusal does not come from the service that ``call`` was for."""
    control = call in CONTROL
    if response.status_code not in (_OF_CONTROL if control else _OF_STORAGE):
        return False
    headers = response.headers
    own = any(name in headers for name in (_CONTROL_HEADERS if control else _STORAGE_HEADERS))
    return _is_html(response) and not own and headers.get("Server", "") != "UploadServer"


def _is_html(response: requests.Response) -> bool:
    if "xml" in (kind := response.headers.get("Content-Type", "").lower()):
        return False
    start = body_text(response)[:100].lstrip().lower()
    return "html" in kind or start.startswith(("<!doctype html", "<html"))
