"""Reads an answer that is an error: its gRPC code, its words, and what they mean for a job.

Sources: docs/fireworks.md §0.6, §1.3, §13.6 (two JSON shapes, numeric and named codes,
plain text), docs/gcs-resumable.md §1.4 and docs/fireworks.md §0.4 (XML of the storage service).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any

import requests

from uploader.core.errors import RemoteError
from uploader.core.foreign_json import MAX_ANSWER_VALUES, TooMany, parsed
from uploader.core.reasons import Code
from uploader.core.retry import GRPC_NAMES, classify
from uploader.core.verdict import Call, Verdict
from uploader.remote.middle_box import is_middle_box, is_unsigned_page
from uploader.remote.words import (
    body_text,
    http_date,
    json_value,
    kept,
    phrase,
    plain_words,
    request_id,
)

#: Names that the retry table knows; UNAUTHORIZED is from the OpenAI-style shape.
_NAMES = frozenset({*GRPC_NAMES[1:], "UNAUTHORIZED"})
#: Longer than any HTTP date.
_MAX_RETRY_AFTER_CHARS = 64
#: Seconds: as many digits as a number may have. No clock can wait for the longest date.
_MAX_RETRY_AFTER_S = 999_999_999.0
#: One character beyond the first 65,536, as it is or escaped, makes a whole text take four bytes a
#: character. A longer answer with such a character is refused.
_WIDE_BYTES = 8 << 20
_WIDE = re.compile(rb"[\xf0-\xff]|\\u[dD][89abAB]")
_NAME_IN_TEXT = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
#: Names that say more than the HTTP status with which they come (docs/fireworks.md §1.3). In a
#: text, which may repeat the words of a model folder, only these count, and only with that status.
_SAYS_MORE: dict[int, tuple[str, ...]] = {
    HTTPStatus.BAD_REQUEST: ("FAILED_PRECONDITION",),
    HTTPStatus.CONFLICT: ("ALREADY_EXISTS",),
}

#: Reasons of google.rpc.ErrorInfo (docs/fireworks.md §1.3) as the gRPC code they specify.
_REASONS = {
    "API_KEY_INVALID": "UNAUTHENTICATED",
    "API_KEY_EXPIRED": "UNAUTHENTICATED",
    "ACCESS_TOKEN_EXPIRED": "UNAUTHENTICATED",
    "CREDENTIALS_MISSING": "UNAUTHENTICATED",
    "ACCOUNT_STATE_INVALID": "PERMISSION_DENIED",
    "BILLING_DISABLED": "PERMISSION_DENIED",
    "CONSUMER_SUSPENDED": "PERMISSION_DENIED",
    "IAM_PERMISSION_DENIED": "PERMISSION_DENIED",
    "SERVICE_DISABLED": "PERMISSION_DENIED",
    "USER_PROJECT_DENIED": "PERMISSION_DENIED",
    "RATE_LIMIT_EXCEEDED": "RESOURCE_EXHAUSTED",
    "RESOURCE_QUOTA_EXCEEDED": "RESOURCE_EXHAUSTED",
}

#: Seconds for which a page may hold up all jobs: it need not be the service's.
_PAGE_WAIT_S = 120.0
_ASKED_AGAIN = frozenset({Verdict.NOT_YET, Verdict.TRANSIENT, Verdict.THROTTLED})
#: The code of each verdict except BLOCKED, whose code depends on the answer.
CODES = {
    Verdict.TRANSIENT: Code.UNAVAILABLE,
    Verdict.THROTTLED: Code.THROTTLED,
    Verdict.NOT_YET: Code.VALIDATING,
    Verdict.EXISTS: Code.ALREADY_EXISTS,
    Verdict.ABSENT: Code.MODEL_GONE,
    Verdict.SESSION_GONE: Code.SESSION_GONE,
    Verdict.URL_EXPIRED: Code.URL_EXPIRED,
    Verdict.START_REFUSED: Code.START_REFUSED,
    Verdict.FAILED: Code.REFUSED,
}


def refusal(call: Call, response: requests.Response, now: datetime) -> RemoteError:
    """The error an answer stands for: verdict, stable code, redacted words, hint.

    ``now`` is aware UTC, for a Retry-After that is a date. Never raises.
    """
    status = response.status_code
    name, words = _read(body_text(response), status)
    verdict = classify(call, status, name, words)
    if verdict is Verdict.FAILED and _garbled(response):
        verdict = Verdict.TRANSIENT  # what it meant cannot be known: ask again
    code = CODES.get(verdict) or _blocked_code(status, name, words)
    answer = f"{status}: {kept(words, response) or phrase(status)}"
    # The service names what is not there. Whatever stands before it may answer everything with 404.
    unnamed = verdict is Verdict.ABSENT and name != "NOT_FOUND"
    if unnamed or is_middle_box(call, response):
        verdict, code = Verdict.TRANSIENT, Code.MIDDLE_BOX
        answer = f"by a proxy or firewall on the way, not by the service, {answer}"
    wait_s = retry_after_s(response.headers.get("Retry-After", ""), now)
    if wait_s is not None and is_unsigned_page(call, response):
        wait_s = min(wait_s, _PAGE_WAIT_S)
    return RemoteError(
        verdict,
        call,
        f"{call} was answered {answer}{_support(verdict, response)}",
        status=status,
        retry_after_s=wait_s,
        hint=_redirect_hint(status),
        code=code,
    )


def malformed(call: Call, what: str) -> RemoteError:
    """A success with nothing usable in it: asked again, like any broken exchange."""
    message = f"{call}: the answer {what}"
    return RemoteError(Verdict.TRANSIENT, call, message, status=200, code=Code.MALFORMED)


def json_object(call: Call, response: requests.Response) -> dict[str, Any]:
    """The JSON object of a success. Raises RemoteError (TRANSIENT, `malformed`)."""
    found = None
    if len(response.content) > _WIDE_BYTES and _WIDE.search(response.content):
        raise malformed(call, "is long and holds characters that make it four times as long")
    try:
        found = parsed(response.content.decode("utf-8", "replace"), MAX_ANSWER_VALUES)
    except TooMany:
        raise malformed(call, "holds more values than any honest one") from None
    except ValueError:
        pass
    if not isinstance(found, dict):
        raise malformed(call, "is not the JSON object it should be")
    return found


def grpc_name(value: object) -> str:
    """A gRPC code's name, from its name or its number; empty if it is neither."""
    if isinstance(value, bool):
        return ""
    text = str(value).strip().upper() if isinstance(value, int | str) else ""
    if text.isascii() and text.isdecimal() and len(text) <= len("16"):
        number = int(text)
        text = GRPC_NAMES[number] if number < len(GRPC_NAMES) else ""
    return text if text in _NAMES else ""


def _garbled(response: requests.Response) -> bool:
    """It calls itself JSON and is not JSON."""
    is_json = "json" in response.headers.get("Content-Type", "")
    return is_json and json_value(body_text(response)) is None


def _read(text: str, status: int) -> tuple[str, str]:
    """The gRPC name, if there is one, and the server's words."""
    body = json_value(text)
    if isinstance(body, dict):
        words = _message(body) or text
        named = next(filter(None, map(grpc_name, _candidates(body))), "")
    else:
        words = plain_words(text)
        named = ""
    usable = _SAYS_MORE.get(status, ())
    return named or next(filter(usable.__contains__, _NAME_IN_TEXT.findall(words)), ""), words


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield body
    for key in ("error", "status"):
        if isinstance(body.get(key), dict):
            yield body[key]


def _candidates(body: dict[str, Any]) -> Iterator[object]:
    """Where a code may stand, in order (docs/fireworks.md §13.6): ErrorInfo's reason first."""
    for part in _parts(body):
        details = part.get("details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict) and isinstance(reason := detail.get("reason"), str):
                yield _REASONS.get(reason.strip().upper(), reason)
    for part in _parts(body):
        yield part.get("code")
        yield part.get("status")


def _message(body: dict[str, Any]) -> str:
    found = [part.get("message") for part in _parts(body)]
    found += [body.get("error"), body.get("detail")]
    return next((text for text in found if isinstance(text, str) and text), "")


def _blocked_code(status: int, name: str, words: str) -> Code:
    if status == HTTPStatus.UNAUTHORIZED or name in ("UNAUTHENTICATED", "UNAUTHORIZED"):
        return Code.KEY_REJECTED
    if status == HTTPStatus.TOO_MANY_REQUESTS or name == "RESOURCE_EXHAUSTED":
        return Code.QUOTA
    if status != HTTPStatus.FORBIDDEN and name != "PERMISSION_DENIED":
        return Code.ACCOUNT_SUSPENDED
    return Code.KEY_REJECTED if "api key" in words.lower() else Code.PERMISSION


def _support(verdict: Verdict, response: requests.Response) -> str:
    """The request's id, for support; left out of what is asked again.

    So those messages stay equal, and one event tells of all of them; the log has each id.
    """
    found = "" if verdict in _ASKED_AGAIN else request_id(response)
    return f" (request {found})" if found else ""


def _redirect_hint(status: int) -> str:
    redirects = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    return "redirects are not followed: check the base URL and the proxy" if redirects else ""


def retry_after_s(text: str, now: datetime) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; None if it is neither."""
    text = text.strip()[:_MAX_RETRY_AFTER_CHARS]
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text):
        return float(text)
    at = http_date(text)
    return None if at is None else min(max(0.0, (at - now).total_seconds()), _MAX_RETRY_AFTER_S)
