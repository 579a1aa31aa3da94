"""Error answers of both services: gRPC-gateway JSON and OpenAI style here, XML there."""

from __future__ import annotations

from typing import Any

from uploader.sandbox.wire import Response, json_response

INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS = 3, 5, 6
RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 8, 9
_INTERNAL = 13

#: HTTP status by gRPC code and back, as far as they occur here (docs/fireworks.md §1.3).
_HTTP = {3: 400, 5: 404, 6: 409, 8: 429, 9: 400}
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 6, 412: 9, 429: 8, 503: 14, 504: 4}


class Refused(Exception):
    """Ends an exchange with an error answer; `violation` if the client broke the protocol."""

    def __init__(self, response: Response, violation: str = "") -> None:
        super().__init__(violation)
        self.response = response
        self.violation = violation


def grpc(code: int, message: str, http: int | None = None, reason: str = "") -> Response:
    """The numeric gRPC-gateway shape; with a `reason`, google.rpc.ErrorInfo in its details."""
    document = {"code": code, "message": message, "details": _details(reason)}
    return json_response(http or _HTTP[code], document)


def grpc_by_status(http: int, message: str, reason: str = "") -> Response:
    """The numeric shape, the code following from the HTTP status."""
    return grpc(_CODES.get(http, _INTERNAL), message, http, reason)


def _details(reason: str) -> list[dict[str, Any]]:
    """The detail that Fireworks' own client calls the only source for an error's reason.

    See docs/fireworks.md §1.3.
    """
    if not reason:
        return []
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return [{"@type": kind, "reason": reason, "domain": "fireworks.ai", "metadata": {}}]


def stamp_control(response: Response, request_id: str) -> None:
    """The headers by which the vendor's support finds a request."""
    response.headers.setdefault("x-request-id", request_id)


def stamp_storage(response: Response, request_id: str) -> None:
    """The headers that every answer of the storage service has, but no proxy's."""
    response.headers.setdefault("server", "UploadServer")
    response.headers.setdefault("x-guploader-uploadid", request_id)


def bad_key(http: int) -> Response:
    """The OpenAI style that a bad key gets, with HTTP 403 rather than 401."""
    message = "The API key you provided is invalid."
    error = {"message": message, "param": None, "code": "UNAUTHORIZED", "type": "error"}
    return json_response(http, {"error": error, "request_id": "sandbox"})


def failed_precondition(shape: str, message: str) -> Response:
    """FAILED_PRECONDITION as `status`, `numeric`, `named`, `text` or `http-412`.

    See docs/fireworks.md §11.

    `status` is the numeric code with its name next to it: the vendor's own page looks for the name
    in the text of the answer.
    """
    if shape == "status":
        document = {"code": 9, "message": message, "status": "FAILED_PRECONDITION", "details": []}
        return json_response(400, document)
    if shape == "named":
        error = {"code": "FAILED_PRECONDITION", "message": message}
        return json_response(400, {"error": error})
    if shape == "text":
        text = f"FAILED_PRECONDITION: {message}".encode()
        return Response(400, {"content-type": "text/plain"}, text)
    return grpc(FAILED_PRECONDITION, message, 412 if shape == "http-412" else None)


def invalid(message: str) -> Refused:
    """INVALID_ARGUMENT: a control-plane request that the contract does not allow."""
    return Refused(grpc(INVALID_ARGUMENT, message), message)


def xml(status: int, code: str, details: str = "") -> Response:
    """An error answer of the storage service."""
    document = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{code}</Code><Message>{code}</Message><Details>{details}</Details></Error>"
    )
    return Response(status, {"content-type": "application/xml; charset=UTF-8"}, document.encode())


def malformed(reason: str, code: str = "InvalidArgument") -> Refused:
    """400: a storage request that the protocol does not allow."""
    return Refused(xml(400, code, reason), reason)


def expired_url() -> Response:
    """400: a signed URL that was valid, used too late (docs/fireworks.md §13.3)."""
    return xml(400, "ExpiredToken", "The provided token has expired.")
