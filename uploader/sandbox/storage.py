"""The storage service: signed URLs, the start of a session, plain signed PUTs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

from uploader.sandbox import session
from uploader.sandbox.folder import IllegalKey, check_key
from uploader.sandbox.refusals import Refused, malformed, stamp_storage, xml
from uploader.sandbox.session import Span
from uploader.sandbox.signing import check_signature, signed_url
from uploader.sandbox.wire import BLOCK_BYTES, Request, Response, Route, head, read_body
from uploader.sandbox.world import World

_CONTENT_TYPE = "application/octet-stream"
_LENGTH_RANGE = "x-goog-content-length-range"
_DOWNLOAD_LIFE_S = 599
_START_BODIES = (b"", b"{}")


def download_url(world: World, key: str) -> str:
    """The URL by which an object can be read for a while (docs/fireworks.md §2.2)."""
    return signed_url(
        world.doors.secret, _address(world, key), "GET", {}, world.now(), _DOWNLOAD_LIFE_S
    )


def issue_url(world: World, key: str, size: int, *, resumable: bool) -> str:
    """The upload URL of one file, of the kind that the world is configured for.

    Without `resumable` it is always a plain signed PUT (docs/fireworks.md §2.3, §2.4).
    """
    address = _address(world, key)
    kind = world.config.url_kind if resumable else "put"
    if kind == "session":
        upload_id = world.new_session(world.object_at(key), (size, size))
        return f"{address}?upload_id={upload_id}"
    headers = {"content-type": _CONTENT_TYPE, _LENGTH_RANGE: f"{size},{size}"}
    method, secret = "PUT", world.doors.secret
    if kind != "put":
        method, headers["x-goog-resumable"] = "POST", "start"
    if kind == "refused":
        secret = b"a key that the storage service does not know"
    life_s = world.config.url_life_s
    return signed_url(secret, address, method, headers, world.now(), life_s)


def route(world: World, request: Request) -> Route:
    """Where a storage request leads; its name is the object's key."""
    bucket, _, key = request.path.removeprefix("/").partition("/")
    if bucket != _bucket(world) or not key:
        missing = xml(404, "NoSuchBucket")
        stamp_storage(missing, world.ledger.next_id())
        return Route("unknown", key, lambda _: missing)
    on, run = _verb(request)
    return Route(on, key, lambda bent: _answer(world, bent, key, run))


_Run = Callable[[World, Request, str], Response]


def _verb(request: Request) -> tuple[str, _Run]:
    in_session = "upload_id" in request.query
    if request.method == "PUT" and not in_session:
        return "put", _plain_put
    if request.method == "PUT":
        return "query" if session.is_query(request) else "put", _session_verb
    if request.method == "DELETE" and in_session:
        return "cancel", _session_verb
    if request.method == "POST" and not in_session:
        return "start", _start
    if request.method == "GET" and not in_session:
        return "read", _read
    return "unknown", _not_allowed


def _answer(world: World, request: Request, key: str, run: _Run) -> Response:
    try:
        _admit(world, request)
        _check_name(key)
        response = run(world, request, key)
    except Refused as refused:
        if refused.violation:
            world.ledger.refuse(refused.violation)
        response = refused.response
    except ConnectionError:
        raise
    except OSError:
        response = xml(500, "InternalError", "the data folder refuses it")
    # In the real service, too, an upload's id is the secret part of its session's URI.
    stamp_storage(response, request.query.get("upload_id") or world.ledger.next_id())
    return response


def _check_name(key: str) -> None:
    try:
        check_key(key)
    except IllegalKey as error:
        raise malformed(f"an illegal object name: {error}", "InvalidObjectName") from error


def _admit(world: World, request: Request) -> None:
    if world.leaks(request):
        with world.lock:
            world.ledger.leaked_keys += 1
        raise malformed("a control-plane credential was sent to storage")
    if "transfer-encoding" in request.headers:
        raise malformed("chunked request body")


def _start(world: World, request: Request, key: str) -> Response:
    """Start a session: 201 and its URI in Location, which repeats the signed query.

    See docs/gcs-resumable.md §1.1.
    """
    check_signature(world.doors.secret, request, world.now())
    # Google's own library posts `{}` (docs/gcs-resumable.md §2).
    small = "content-length" in request.headers and request.body.length <= len(b"{}")
    if not small or read_body(request.body) not in _START_BODIES:
        raise malformed("the start of a session has no body, or `{}`")
    upload_id = world.new_session(world.object_at(key), _limits(request))
    signed = urlsplit(request.target).query
    return Response(201, {"location": f"{_address(world, key)}?{signed}&upload_id={upload_id}"})


def _plain_put(world: World, request: Request, key: str) -> Response:
    """The whole object in one request; if that is cut, nothing is kept."""
    check_signature(world.doors.secret, request, world.now())
    if "content-length" not in request.headers or "content-range" in request.headers:
        raise malformed("a plain PUT has Content-Length and no Content-Range")
    size, target = request.body.length, world.object_at(key)
    session.check_limits(size, _limits(request))
    target.puts += 1
    part = world.new_part(target)
    try:
        session.receive(world, target, part, request.body, Span(0, size, size))
        session.check_hash(world, part, request)
    except BaseException:
        part.discard()
        raise
    return session.stored_response(world.store(target, part), request)


def _read(world: World, request: Request, key: str) -> Response:
    """The bytes of a stored object."""
    check_signature(world.doors.secret, request, world.now())
    stored = world.object_at(key).stored
    if stored is None:
        raise Refused(xml(404, "NoSuchKey"))
    response = session.stored_response(stored, request)
    response.headers["content-type"] = _CONTENT_TYPE
    response.raw = _content(world, key, response, stored.size)
    return response


def _content(world: World, key: str, response: Response, size: int) -> Iterator[bytes]:
    yield head(response, length=size)
    with world.folder.open(key) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _session_verb(world: World, request: Request, key: str) -> Response:
    found = world.session_at(request.query["upload_id"])
    if found is None or found.target.key != key:
        raise Refused(xml(404, "NoSuchUpload"))
    verb = session.cancel if request.method == "DELETE" else session.put
    return verb(world, found, request)


def _not_allowed(_world: World, request: Request, _key: str) -> Response:
    raise Refused(xml(405, "MethodNotAllowed"), f"{request.method} is not allowed here")


def _limits(request: Request) -> tuple[int, int]:
    """The sizes that may be stored; every URL signs them."""
    low, high = request.headers[_LENGTH_RANGE].split(",")
    return int(low), int(high)


def _bucket(world: World) -> str:
    return f"fireworks-artifacts-{world.config.account_id}"


def _address(world: World, key: str) -> str:
    return f"{world.storage_url}/{_bucket(world)}/{quote(key)}"
