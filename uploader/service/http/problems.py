"""Every refusal as a problem document (RFC 9457): our code, one sentence, one thing to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, NotRequired

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from uploader.core.api_reasons import ApiCode
from uploader.core.coded import Coded
from uploader.core.documents import FindingJson
from uploader.core.errors import (
    NotFound,
    PreflightRefused,
    StoreError,
    UploaderError,
    UsageError,
    VerbRefused,
)
from uploader.core.reasons import Code
from uploader.core.redact import foreign_line, redact
from uploader.service.http.answers import Answer

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_MAX_WORDS_CHARS = 300
#: What is refused only for now, and for how many seconds.
_AFTER_S: Mapping[Coded, int] = {ApiCode.TOO_FAST: 1, ApiCode.FOLDER_SILENT: 30}
_STATUS: Mapping[type[UploaderError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    VerbRefused: HTTPStatus.CONFLICT,
    PreflightRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    UsageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_REFUSALS: Mapping[ApiCode, HTTPStatus] = {
    ApiCode.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    ApiCode.LINK_USED: HTTPStatus.FORBIDDEN,
    ApiCode.FOREIGN_HOST: HTTPStatus.FORBIDDEN,
    ApiCode.FOREIGN_ORIGIN: HTTPStatus.FORBIDDEN,
    ApiCode.OUTSIDE_ROOTS: HTTPStatus.FORBIDDEN,
    ApiCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ApiCode.TOO_FAST: HTTPStatus.TOO_MANY_REQUESTS,
    ApiCode.FOLDER_SILENT: HTTPStatus.SERVICE_UNAVAILABLE,
    ApiCode.NOT_JSON: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ApiCode.WRONG_METHOD: HTTPStatus.METHOD_NOT_ALLOWED,
}


class Problem(TypedDict):
    """What every refusal is answered with, as `application/problem+json`."""

    type: Annotated[str, "Always `about:blank`: `code` tells the kinds apart."]
    title: Annotated[str, "The words of the HTTP status."]
    status: Annotated[int, "The HTTP status."]
    code: Annotated[str, "A stable word: see [reasons.md](reasons.md)."]
    detail: Annotated[str, "One sentence: what happened."]
    hint: Annotated[str, "One sentence: what to do about it. May be empty."]
    findings: NotRequired[Annotated[list[FindingJson], "All findings of a folder that is refused."]]


class Refusal(UploaderError):
    """A request that is refused before any job is looked at; its status follows from the code."""

    def __init__(self, code: ApiCode, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or code.meaning, code=code, hint=hint)
        self.status = _REFUSALS[code]


def response(error: UploaderError, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to a request that ended in ``error``."""
    status = error.status if isinstance(error, Refusal) else _status(error)
    problem = _problem(status, error.code, error.message, error.hint)
    if isinstance(error, PreflightRefused):
        problem["findings"] = [finding.as_json() for finding in error.findings]
    return _answer(problem, {**_later(error), **(headers or {})})


def install(app: FastAPI) -> None:
    """Every error of a route becomes a problem document; one of ours that is not known, a 500."""
    app.add_exception_handler(UploaderError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)


def _later(error: UploaderError) -> Mapping[str, str]:
    after_s = _AFTER_S.get(error.code)
    return {"Retry-After": str(after_s)} if after_s else {}


def _status(error: UploaderError) -> HTTPStatus:
    if error.code is Code.CONFLICT or error.code is Code.FIXED_FILES:
        return HTTPStatus.CONFLICT
    kinds = (status for kind, status in _STATUS.items() if isinstance(error, kind))
    return next(kinds, HTTPStatus.INTERNAL_SERVER_ERROR)


def _problem(status: HTTPStatus, code: str, detail: str, hint: str) -> Problem:
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "code": str(code),
        "detail": redact(detail),
        "hint": redact(hint),
    }


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(
        problem,
        status_code=problem["status"],
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


async def _ours(_request: Request, error: Exception) -> Answer:
    if not isinstance(error, UploaderError):
        raise error
    return response(error)


async def _invalid(_request: Request, error: Exception) -> Answer:
    """What is wrong with a request, by the name of the field; its value is not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    first: Mapping[str, Any] = found[0] if found else {"loc": (), "msg": "it cannot be read"}
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    words = foreign_line(f"{place}: {first['msg']}", _MAX_WORDS_CHARS)
    if first.get("type") == "extra_forbidden":
        words = foreign_line(f"there is no field {place}", _MAX_WORDS_CHARS)
    elif first.get("type") == "json_invalid":  # then the place is a position
        words = f"the body is not JSON from character {place} on"
    hint = "/api/openapi.json lists the fields"
    return _answer(_problem(HTTPStatus.UNPROCESSABLE_ENTITY, Code.USAGE, words, hint))


async def _plain(_request: Request, error: Exception) -> Answer:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus(500)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = dict(getattr(error, "headers", None) or {})
        hint = f"use {allowed.get('Allow', 'another one')}"
        return response(Refusal(ApiCode.WRONG_METHOD, hint=hint), allowed)
    if status is HTTPStatus.BAD_REQUEST:
        words, hint = "the body of the request cannot be read", "send one object of JSON"
        return _answer(_problem(status, Code.USAGE, words, hint))
    hint = "/api/openapi.json lists the paths"
    return _answer(_problem(status, Code.NOT_FOUND, "there is nothing at this path", hint))


async def _bug(_request: Request, error: Exception) -> Answer:
    _log.error("a request ended in %s", type(error).__name__, exc_info=error)
    words = "this is a bug; the log says which"
    return _answer(_problem(HTTPStatus.INTERNAL_SERVER_ERROR, Code.BUG, words, Code.BUG.hint))
