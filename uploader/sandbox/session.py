"""The resumable session: data, status query, finish, cancel (docs/gcs-resumable.md §1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from uploader.sandbox.part import GRANULE_BYTES, Part
from uploader.sandbox.refusals import Refused, malformed, xml
from uploader.sandbox.wire import Body, Request, Response
from uploader.sandbox.world import Session, StorageObject, Stored, World

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)")
_WRONG_CRC32C = "AAAAAA=="


@dataclass(frozen=True)
class Span:
    """The bytes [start, stop) of a request, and the object's size if it is known."""

    start: int
    stop: int
    total: int | None

    @property
    def final(self) -> bool:
        """Whether these bytes reach the end of the object, whose size is known."""
        return self.stop == self.total


def is_query(request: Request) -> bool:
    """True for `bytes */N`, which carries no bytes and asks for the offset."""
    return request.headers.get("content-range", "").startswith("bytes */")


def put(world: World, session: Session, request: Request) -> Response:
    """Data, a status query, or the finish of a session. Raises Refused, ConnectionError."""
    _kill_if_asked(session, request)
    _check_alive(world, session)
    if is_query(request):
        return _query(world, session, request)
    session.target.puts += 1
    span = _span(request)
    _check_total(session, span.total)
    check_limits(span.stop, (0, session.limits[1]))
    if session.finished or span.start < session.confirmed:
        _note_resent(session, span)
    if session.finished:
        return stored_response(session.finished, request)
    if span.start > session.confirmed:
        raise _ahead(session)
    return _take_in(world, session, request, span)


def cancel(world: World, session: Session, request: Request) -> Response:
    """DELETE: 499, now and later; 404 if there is nothing left to cancel."""
    if request.headers.get("content-length") != "0":
        raise malformed("a cancel needs Content-Length: 0")
    _check_alive(world, session)
    if session.finished:
        raise Refused(xml(404, "NoSuchUpload"))
    session.gone = 499
    session.part.discard()
    return Response(499)


def receive(world: World, target: StorageObject, part: Part, body: Body, span: Span) -> bool:
    """Read a body into `part` from `span.start` on; true if all of it arrived and was kept.

    Bytes that are already persisted are ignored, and so are those from `span.stop` on. Whatever
    interrupts the body, the part keeps what it got, down to a granule.
    """
    position, whole = span.start, False
    token = part.begin()
    arrived = part.persisted
    try:
        while block := body.read():
            fresh = block[max(0, arrived - position) : max(0, span.stop - position)]
            part.write(token, fresh)
            arrived += len(fresh)
            position += len(block)
            with world.lock:
                target.body_bytes_read += len(block)
        whole = position == span.stop
    finally:
        ours = part.end(token, whole=whole and span.final, cut=bool(body.unread))
    return whole and ours


def check_limits(size: int, limits: tuple[int, int]) -> None:
    """Refuse a size outside x-goog-content-length-range."""
    if limits[0] <= size <= limits[1]:
        return
    code = "EntityTooSmall" if size < limits[0] else "EntityTooLarge"
    raise malformed(f"{size} bytes are outside the signed content length range", code)


def check_hash(world: World, part: Part, request: Request) -> None:
    """Refuse a finished body if `x-goog-hash` says that other bytes were meant.

    See docs/gcs-resumable.md §1.2.
    """
    for entry in request.headers.get("x-goog-hash", "").split(","):
        name, _, meant = entry.strip().partition("=")
        if not entry.strip():
            continue
        if name not in ("crc32c", "md5"):
            raise malformed(f"x-goog-hash has no {name!r:.20}", "InvalidDigest")
        if meant != (part.crc32c if name == "crc32c" else world.md5(part.key)):
            raise malformed(f"the {name} of x-goog-hash is not that of the bytes", "BadDigest")


def stored_response(stored: Stored, request: Request) -> Response:
    """200 with an empty body; size and hash are in headers (docs/gcs-resumable.md §1.2)."""
    crc32c = _WRONG_CRC32C if request.suffers("wrong-hash") else stored.crc32c
    hashes = f"crc32c={crc32c}" + (f",md5={stored.md5}" if stored.md5 else "")
    headers = {
        "x-goog-hash": hashes,
        "x-goog-stored-content-length": str(stored.size),
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": "1",
        "etag": f'"{stored.generation:x}"',
    }
    return Response(200, headers)


def _take_in(world: World, session: Session, request: Request, span: Span) -> Response:
    kept = Span(span.start, _kept_stop(request, span), span.total)
    complete = receive(world, session.target, session.part, request.body, kept)
    session.unseen = 0
    _kill_if_asked(session, request)
    _check_alive(world, session)
    if complete and span.final and not request.suffers("no-finish"):
        return _finish(world, session, request)
    answer = _incomplete(session)
    if request.suffers("no-range-308"):
        answer.headers.pop("range", None)
    return answer


def _kept_stop(request: Request, span: Span) -> int:
    if request.suffers("no-range-308"):
        return span.start
    if request.suffers("short-308") and request.fault:
        # This is below the end, so that a whole body is never taken for the finish.
        return min(span.start + request.fault.at_byte, span.stop - 1)
    return span.stop


def _query(world: World, session: Session, request: Request) -> Response:
    session.target.queries += 1
    if request.body.length:
        raise malformed("a status query carries no body")
    if request.headers.get("content-length") != "0":
        raise malformed("a status query needs Content-Length: 0")
    if session.finished:
        return stored_response(session.finished, request)
    session.part.settle()
    total = _total(_match(request)[3])
    session.unseen = _unseen(session, request)
    if total != session.confirmed:
        return _incomplete(session)
    _check_total(session, total)
    return _finish(world, session, request)


def _unseen(session: Session, request: Request) -> int:
    if not request.suffers("growing-ack") or not request.fault:
        return 0
    granules = max(1, request.fault.at_byte // GRANULE_BYTES)
    return min(session.part.persisted, granules * GRANULE_BYTES)


def _finish(world: World, session: Session, request: Request) -> Response:
    part = session.part
    check_limits(part.persisted, session.limits)
    with world.lock:
        if session.finished is None:
            part.end(part.begin())  # an object without bytes has no file yet
            _check_hash_or_die(world, session, request)
            session.finished = world.store(session.target, part)
        return stored_response(session.finished, request)


def _check_hash_or_die(world: World, session: Session, request: Request) -> None:
    try:
        check_hash(world, session.part, request)
    except Refused:
        session.gone = 410  # bad data ends a session
        session.part.discard()
        raise


def _incomplete(session: Session) -> Response:
    confirmed = session.confirmed
    headers = {"range": f"bytes=0-{confirmed - 1}"} if confirmed else {}
    return Response(308, headers)


def _span(request: Request) -> Span:
    """The range of a data PUT; without Content-Range it is the whole object."""
    length = request.body.length
    if "content-length" not in request.headers:
        raise Refused(xml(411, "MissingContentLength"), "no Content-Length")
    if "content-range" not in request.headers:
        return Span(0, length, length)
    first, last, total = _match(request).groups()
    span = Span(int(first), int(last) + 1, _total(total))
    if span.stop - span.start != length or length == 0:
        raise malformed("Content-Range does not agree with Content-Length")
    if span.total is not None and span.stop > span.total:
        raise malformed("Content-Range ends after the object")
    if not span.final and length % GRANULE_BYTES:
        raise malformed("a PUT that is not the last is not a multiple of 256 KiB")
    return span


def _match(request: Request) -> re.Match[str]:
    matched = _CONTENT_RANGE.fullmatch(request.headers["content-range"])
    if matched is None:
        raise malformed("illegal Content-Range")
    return matched


def _total(text: str) -> int | None:
    return None if text == "*" else int(text)


def _check_total(session: Session, total: int | None) -> None:
    if total is None:
        return
    if session.total not in (None, total):
        raise malformed("the object's size changed within the session")
    check_limits(total, session.limits)
    session.total = total


def _note_resent(session: Session, span: Span) -> None:
    confirmed = session.finished.size if session.finished else session.confirmed
    session.target.bytes_below_confirmed += max(0, min(span.stop, confirmed) - span.start)


def _ahead(session: Session) -> Refused:
    text = f"Invalid request: content-range is ahead of the {session.confirmed} persisted bytes."
    response = Response(503, {"content-type": "text/plain; charset=utf-8"}, text.encode())
    return Refused(response, "offset ahead of the persisted one")


def _kill_if_asked(session: Session, request: Request) -> None:
    if not request.suffers("dead-session") or not request.fault:
        return
    if session.part.persisted >= request.fault.at_byte:
        session.gone = request.fault.status or 410
        session.part.discard()


def _check_alive(world: World, session: Session) -> None:
    if session.gone:
        raise Refused(xml(session.gone, "NoSuchUpload"))
    expired = world.now() > session.created_at + world.config.session_life_s
    if expired and not session.finished:
        raise Refused(xml(404, "NoSuchUpload"))
