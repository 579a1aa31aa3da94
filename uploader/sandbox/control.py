"""The control plane: routes, key, rate limit; the verbs are in `models`."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

from uploader.sandbox import models, refusals, switchboard, uploads
from uploader.sandbox.call import Call
from uploader.sandbox.refusals import Refused, grpc, invalid
from uploader.sandbox.wire import Request, Response, Route, carries, is_too_long, read_json
from uploader.sandbox.world import World


def route(world: World, request: Request) -> Route:
    """Where a control-plane request leads. Raises ConnectionError if its body never ends."""
    world.ledger.touched.add(("models", ""))
    if is_too_long(request):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return _unknown(world, request, refusals.grpc_by_status(status, "the body is too long"))
    if request.path.startswith("/_sandbox/"):
        return switchboard.route(world, request)
    allowed = [entry for entry in _ROUTES if entry[1].fullmatch(request.path)]
    for method, pattern, on, run in allowed:
        matched = pattern.fullmatch(request.path)
        if matched and method == request.method:
            names = matched.groupdict()
            call = Call(world, request, names.get("account", ""), names.get("model_id", ""))
            return _call_route(call, on, run)
    status = HTTPStatus.METHOD_NOT_ALLOWED if allowed else HTTPStatus.NOT_FOUND
    return _unknown(world, request, refusals.grpc_by_status(status, status.phrase))


def _unknown(world: World, request: Request, response: Response) -> Route:
    refusals.stamp_control(response, world.ledger.next_id())
    return Route("unknown", request.path, lambda _: response)


def _call_route(call: Call, on: str, run: Callable[[Call], Response]) -> Route:
    # A stranger's body is not worth reading: the answer will be that the key is wrong.
    known = carries(call.request, call.world.config.api_key)
    body = read_json(call.request) if known else {}
    parsed = isinstance(body, dict)
    call.body = body if isinstance(body, dict) else {}
    name = f"{call.account}/{call.model_id}" if call.model_id else call.account
    if on == "create":
        name += f"/{call.body.get('modelId')}"
    return Route(on, name, lambda _: _answer(call, run, parsed=parsed))


def _answer(call: Call, run: Callable[[Call], Response], *, parsed: bool) -> Response:
    with call.world.lock:
        response = _outcome(call, run, parsed=parsed)
        refusals.stamp_control(response, call.world.ledger.next_id())
        return response


def _outcome(call: Call, run: Callable[[Call], Response], *, parsed: bool) -> Response:
    try:
        _admit(call)
        if not parsed:
            raise invalid("the body is not a JSON object")
        return run(call)
    except Refused as refused:
        if refused.violation:
            call.world.ledger.refuse(refused.violation)
        return refused.response


def _admit(call: Call) -> None:
    """Key, rate limit and account, in this order."""
    config, world = call.world.config, call.world
    if not carries(call.request, config.api_key) or not config.key_valid:
        raise Refused(refusals.bad_key(config.bad_key_status))
    if config.requests_per_minute:
        _limit_rate(world)
    if call.account and call.account != config.account_id:
        raise Refused(grpc(refusals.NOT_FOUND, "resource not found"))
    if "transfer-encoding" in call.request.headers:
        raise invalid("chunked request body")


def _limit_rate(world: World) -> None:
    now = world.now()
    world.ledger.call_times = [at for at in world.ledger.call_times if at > now - 60]
    if len(world.ledger.call_times) < world.config.requests_per_minute:
        world.ledger.call_times.append(now)
        return
    response = grpc(refusals.RESOURCE_EXHAUSTED, "rate limit exceeded")
    response.headers["retry-after"] = str(int(world.ledger.call_times[0] + 60 - now) + 1)
    raise Refused(response)


_ACCOUNT = r"/v1/accounts/(?P<account>[^/]+)"
_MODELS = rf"{_ACCOUNT}/models"
_ONE = rf"{_MODELS}/(?P<model_id>[^/:]+)"
_ROUTES: list[tuple[str, re.Pattern[str], str, Callable[[Call], Response]]] = [
    ("GET", re.compile("/verifyApiKey"), "verify", models.verify_key),
    ("GET", re.compile("/v1/accounts"), "accounts", models.list_accounts),
    ("GET", re.compile(_ACCOUNT), "accounts", models.get_account),
    ("POST", re.compile(_MODELS), "create", models.create_model),
    ("GET", re.compile(_MODELS), "list", models.list_models),
    ("GET", re.compile(_ONE), "get", models.get_model),
    ("PATCH", re.compile(_ONE), "update", models.update_model),
    ("DELETE", re.compile(_ONE), "delete", models.delete_model),
    ("POST", re.compile(f"{_ONE}:prepare"), "prepare", models.prepare_model),
    ("POST", re.compile(f"{_ONE}:getUploadEndpoint"), "urls", uploads.upload_endpoint),
    ("GET", re.compile(f"{_ONE}:validateUpload"), "validate", uploads.validate_upload),
    ("GET", re.compile(f"{_ONE}:getDownloadEndpoint"), "download", uploads.download_endpoint),
]
