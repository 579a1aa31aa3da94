"""Did the service answer, or something on the way: a proxy, a firewall, a portal?

Such a box answers without the service's own headers, often in HTML, sometimes with a success or a
redirect. What it says means nothing for a session, a signature, a key or a model, so it is asked
past again (docs/gcs-resumable.md §1.4).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

import requests

from uploader.core.resumable import Finished, stored_facts
from uploader.core.verdict import CONTROL, SESSION, STORAGE, Call
from uploader.remote.words import body_text, json_value

_ERRORS = frozenset(range(300, 500))
#: These already say what to do, whoever says so.
_PLAIN_ENOUGH = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS}
)
#: What no service says of its own accord, in HTML or not.
_FOREIGN = frozenset(
    {
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED,
    }
)
#: Nor what the storage service says of an object or a session that it was asked to store.
_FOREIGN_TO_UPLOADS = _FOREIGN | {HTTPStatus.MOVED_PERMANENTLY} | {202, 203, 204, 205, 206}
#: What ends a session, or a file, if the storage service says so: its refusals have shapes.
_SHAPED = frozenset({400, 401, 403, 404, 410, 412})
#: With these the service refuses the account, and blocks a job: in JSON (docs/fireworks.md §1.3).
_ABOUT_THE_ACCOUNT = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN}
)
#: If the base URL is wrong, the first calls meet another server, which may answer in HTML.
_FIRST = frozenset({Call.CREATE, Call.VERIFY})
_STORAGE_HEADERS = ("x-guploader-uploadid", "x-goog-request-id", "x-goog-hash")
#: An MD5 (of parts), as storage gives it, what Google has in its place, and Azure's. Gateways make
#: weak ones, and for the files that they serve, be they empty, strong ones of size and time.
_STORED_ETAG = re.compile(r'"?(?:[0-9a-f]{32}(?:-\d{1,5})?|-?C[\w+/-]{5,100}={0,2}|0x[0-9A-F]+)"?')
_CONTROL_HEADERS = ("x-request-id", "x-fireworks-request-id")


def is_middle_box(call: Call, response: requests.Response) -> bool:
    """Whether an answer, even a success, does not come from the service that ``call`` was for."""
    status, headers = response.status_code, response.headers
    if _is_signed(call, response):
        return False
    if status == HTTPStatus.PERMANENT_REDIRECT and call in SESSION:
        return "Range" not in headers and (_is_page(response) or _leads_elsewhere(response))
    if _is_foreign(call, status):
        return True
    if status // 100 == 2:  # noqa: PLR2004 - HTTP's success class
        return _is_page(response) or (call in STORAGE and not _stores(call, response))
    if call in STORAGE and status in _SHAPED:
        return _is_html(response) or not _refuses(response)
    in_json = isinstance(_body(response), dict)
    unsaid = status in _ABOUT_THE_ACCOUNT and call in CONTROL and not in_json
    return unsaid or (status in _telling(call) and _is_html(response))


def is_unsigned_page(call: Call, response: requests.Response) -> bool:
    """Is it a page in HTML, as a proxy answers, and Google's front end, too?"""
    return not _is_signed(call, response) and _is_page(response)


def _is_signed(call: Call, response: requests.Response) -> bool:
    own, headers = _CONTROL_HEADERS if call in CONTROL else _STORAGE_HEADERS, response.headers
    return any(name in headers for name in own) or headers.get("Server", "") == "UploadServer"


def _telling(call: Call) -> frozenset[int]:
    """The statuses that a box, and not the service, gives if they come in HTML."""
    if call in _FIRST:
        return _FOREIGN | {HTTPStatus.FORBIDDEN}
    return (_ERRORS | _FOREIGN) - _PLAIN_ENOUGH


def _is_foreign(call: Call, status: int) -> bool:
    if call in _FIRST:
        return False
    uploads = call in STORAGE and call is not Call.END
    return status in (_FOREIGN_TO_UPLOADS if uploads else _FOREIGN)


def _stores(call: Call, response: requests.Response) -> bool:
    """Whether a success shows that the storage service gave it; whoever says just "OK" may be any.

    See docs/gcs-resumable.md §1.2, §1.4.
    """
    headers = response.headers
    if _has_goog(response) or (call is Call.START and "Location" in headers):
        return True
    facts = stored_facts(headers, response.content)
    described = facts != Finished() or facts.generation is not None
    etag = headers.get("ETag", "")
    return described or (not response.content and _STORED_ETAG.fullmatch(etag) is not None)


def _refuses(response: requests.Response) -> bool:
    """Whether a refusal is in a shape of the storage service: its header, XML, or Google's JSON."""
    if _has_goog(response) or "<Code>" in body_text(response):
        return True
    body = _body(response)
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and error.get("code") == response.status_code


def _body(response: requests.Response) -> object:
    return json_value(body_text(response))


def _has_goog(response: requests.Response) -> bool:
    return any(name.lower().startswith("x-goog-") for name in response.headers)


def _leads_elsewhere(response: requests.Response) -> bool:
    """308 is "Resume Incomplete" to the storage service, and a redirect to everybody else."""
    url, location = response.url or "", response.headers.get("Location", "")
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
    except ValueError:
        return True
    return (here.netloc, here.path) != (there.netloc, there.path)


def _is_page(response: requests.Response) -> bool:
    """The storage service itself calls an empty body HTML."""
    return bool(response.content) and _is_html(response)


def _is_html(response: requests.Response) -> bool:
    if "xml" in (kind := response.headers.get("Content-Type", "").lower()):
        return False
    return "html" in kind or begins_as_a_page(response)


def begins_as_a_page(response: requests.Response) -> bool:
    """Whether the body is a whole page in HTML, whatever the headers say."""
    return body_text(response)[:100].lstrip().lower().startswith(("<!doctype html", "<html"))
