"""The GCS upload protocol without I/O: kinds of URL, what to send next, what an answer means.

Sources: docs/fireworks.md §2.3 (kinds of URL), docs/gcs-resumable.md §1 (answers).
Ranges are half-open here and inclusive only in header text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote

from uploader.core import addresses
from uploader.core.errors import JobRefused, UploaderError
from uploader.core.foreign_json import parsed
from uploader.core.job import INT64_END, Mode
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri, SignedUrl, foreign_line

#: A session persists whole granules; every data PUT but the last is a multiple of it
#: (docs/gcs-resumable.md §1).
GRANULE = 256 * 1024
#: A PUT this short is not halved any more: whoever refuses it refuses any.
LEAST_PUT_BYTES = 8 * 1024 * 1024
#: The most bytes of one PUT if `transfer.chunk_size` is "auto": as long as nothing is known of the
#: network, and if it is fast (docs/gcs-resumable.md T18).
FIRST_PUT_BYTES = 256 * 1024 * 1024
MOST_PUT_BYTES = 1024 * 1024 * 1024
#: This much is kept of the names of headers.
_MAX_WORDS_CHARS = 200
#: Seconds that such a PUT takes on a fast network.
_PUT_S = 4.0
#: A session lives up to a week (docs/gcs-resumable.md §1.1).
SESSION_LIFE_S = 7 * 86400.0
CONTENT_TYPE = "application/octet-stream"

_OK = (200, 201)
_RESUME_INCOMPLETE = 308
#: A proxy may repeat a header, which is then read as a list, and write a unit as it likes.
_RANGE = re.compile(r"bytes=0-(\d{1,19})(?:\s*,\s*bytes=0-\1)*", re.IGNORECASE)
#: A session of the JSON API names its object in the query only (docs/gcs-resumable.md §1).
_JSON_API = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o/?")
#: The names of Google's storage. That of a bucket may stand before them, or in the path.
_GOOGLE = re.compile(
    r"(?:(.+)\.)?(?:(?:storage|storage-(?:up|down)load|commondatastorage|www)"
    r"(?:\.mtls|\.[a-z0-9-]+\.rep)?\.googleapis|storage\.cloud\.google)\.com(:\d+)?"
)
_GOOGLES = "storage.googleapis.com"  #: the one that stands for them all
_UPLOAD_ID = re.compile(r"[?&]upload(?:_|%5f)id=([^&#]+)", re.IGNORECASE)
#: The ETag of an empty object, and of the empty file of some web servers.
_MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
_CRC32C = re.compile(r"(?:^|,)\s*crc32c=([^,]*)")


class ProtocolError(UploaderError):
    """An answer that no rule of the protocol explains; asking again is the only cure."""

    code = Code.PROTOCOL


class UrlKind(StrEnum):
    """What may be done with an upload URL."""

    SESSION = "session"  #: a session URI: query it, then send data
    START = "start"  #: signed for POST with x-goog-resumable: start
    PUT = "put"  #: signed for one PUT of the whole file


@dataclass(frozen=True, slots=True)
class UploadUrl:
    """One URL of getUploadEndpoint, read.

    ``object_path`` is host + bucket + key, the same however the object's address is spelled. A
    session of the JSON API need not name its object: it ``is_nameless``, and the path has no key.
    ``session_id`` is the ``upload_id``, if it has one. A session that a signed URL has started may
    repeat that one's ``signature`` (docs/gcs-resumable.md §1.1).
    """

    url: SignedUrl
    kind: UrlKind
    object_path: str
    signed_headers: tuple[str, ...]
    life_s: float | None
    session_id: SignedUrl | None = None
    signature: SignedUrl | None = None
    is_nameless: bool = False

    @property
    def mode(self) -> Mode:
        """How a file is sent by it."""
        return Mode.PUT if self.kind is UrlKind.PUT else Mode.SESSION

    def headers(self, size_bytes: int) -> dict[str, str]:
        """Exactly the headers the signature covers, with the values it expects.

        Raises JobRefused if it covers one whose value is not known (docs/fireworks.md §2.4).
        """
        known = {
            "content-type": CONTENT_TYPE,
            "x-goog-content-length-range": f"{size_bytes},{size_bytes}",
            "x-goog-resumable": "start",
        }
        by_transport = {"host", "content-length"}
        unknown = [name for name in self.signed_headers if name not in known.keys() | by_transport]
        if unknown:
            names = foreign_line(", ".join(unknown), _MAX_WORDS_CHARS)
            message = f"the upload URL needs headers whose values the service did not give: {names}"
            raise JobRefused(message, code=Code.URL_UNUSABLE)
        signed = {name: known[name] for name in self.signed_headers if name in known}
        return {"content-type": CONTENT_TYPE, **signed}


#: Fields of a URL's query: a signed one has some ten; each costs time whenever a row is read.
_MOST_FIELDS = 100
#: Which of them are read.
_READ = ("name", "upload_id", "x-goog-expires", "x-goog-signature", "x-goog-signedheaders")


def read_url(url: str) -> UploadUrl:
    """Tell the three kinds apart by the detection rule of docs/fireworks.md §2.3.

    Raises JobRefused for anything but an absolute http(s) URL of at most `addresses.MAX_CHARS`, and
    for one with two values of a parameter that is read here.
    """
    parts = addresses.parts_of(url)
    host = parts.hostname if parts and parts.scheme in ("http", "https") else None
    if parts is None or not host or not host.isascii():  # a name beyond ASCII has several spellings
        raise JobRefused("the service sent an upload URL that is not a URL", code=Code.URL_UNUSABLE)
    query = _query(parts)
    signed = tuple(
        name for name in query.get("x-goog-signedheaders", "").lower().split(";") if name
    )
    session, signature = (_secret(query, name) for name in ("upload_id", "x-goog-signature"))
    if session and not signature:
        kind = UrlKind.SESSION
    elif "x-goog-resumable" in signed:
        kind = UrlKind.START
    else:
        kind = UrlKind.PUT
    if kind is UrlKind.PUT and not signed:
        signed = (
            "content-type",
            "x-goog-content-length-range",
        )  # the two headers that the documented script sends
    expires = query.get("x-goog-expires", "")
    life_s = float(expires) if re.fullmatch(r"\d{1,9}", expires) else None
    nameless = session and _JSON_API.fullmatch(parts.path) and not query.get("name")
    place = _object_path(parts, query)
    return UploadUrl(
        SignedUrl(url), kind, place, signed, life_s, session, signature, bool(nameless)
    )


def _secret(query: Mapping[str, str], name: str) -> SignedUrl | None:
    return SignedUrl(query[name]) if name in query else None


def answers(url: UploadUrl, session: UploadUrl) -> bool | None:
    """Is ``session``, by its address, one that a start by ``url`` may be answered with?

    None if the address does not say: it repeats no signature, is at another host, or at a gateway
    that keeps sessions in a place of their own (docs/gcs-resumable.md §1.1).
    """
    if session.object_path == url.object_path:
        if session.signature is None and url.signature is not None:
            return None
        return session.signature == url.signature
    host, bucket, _ = f"{url.object_path}//".split("/", 2)
    objects = f"{host}/" if host == _GOOGLES else f"{host}/{bucket}/"
    is_elsewhere = session.is_nameless or not session.object_path.startswith(objects)
    return None if is_elsewhere or session.session_id is None else False


def session_key(session: SessionUri) -> str:
    """What tells a session from others: its ``upload_id``, or its address if that has none."""
    found = _UPLOAD_ID.search(session.reveal())
    return unquote(found[1]) if found else session.reveal()


def _query(parts: SplitResult) -> dict[str, str]:
    """What it says, names in lower case. Which of two values counts, only the server knows."""
    found: dict[str, str] = {}
    try:
        fields = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        message = "the service sent an upload URL with too many fields"
        raise JobRefused(message, code=Code.URL_UNUSABLE) from None
    for written, value in fields:
        name = written.lower()
        if found.setdefault(name, value) != value and name in _READ:
            message = f"the service sent an upload URL with two values of `{name}`"
            raise JobRefused(message, code=Code.URL_UNUSABLE)
    return {name: value for name, value in found.items() if value}


def _object_path(parts: SplitResult, query: Mapping[str, str]) -> str:
    host = re.sub(r"\.(?=:\d+$|$)", "", addresses.authority(parts))
    path = _without_dots(unquote(parts.path).replace("\\", "/"))
    if found := _JSON_API.fullmatch(parts.path):
        path = f"/{unquote(found[1])}/{query.get('name', '')}"
    if found := _GOOGLE.fullmatch(host):
        host = _GOOGLES + (found[2] or "")
        path = f"/{found[1]}{path}" if found[1] else path
    return host + path.replace("\0", "%00")  # some databases cannot store NUL in a text


def _without_dots(path: str) -> str:
    """The path with `.` and `..` resolved, as a client or a server may do (RFC 3986 §5.2.4)."""
    found: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del found[max(1, len(found) - 1) :]
        elif part != ".":
            found.append(part)
    return "/".join(found)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The server has [0, offset) and wants the rest; at ``offset == size`` only the finish."""

    offset: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The object exists. A field is None if the answer does not give it.

    ``generation`` names this version of the object; it describes no bytes, so that an answer that
    gives nothing else is as good as a bare one.
    """

    size_bytes: int | None = None
    crc32c: int | None = None
    generation: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Unclear:
    """The answer leaves the offset open: query the session before anything else is sent."""


Reading = Confirmed | Finished | Unclear


def interpret(
    status: int, headers: Mapping[str, str], body: bytes, *, size_bytes: int, query: bool
) -> Reading | None:
    """What the answer to a data PUT, or to a status ``query``, says; None if it is an error.

    ``headers`` have lower-case names. Raises ProtocolError if a 308 confirms more than the
    file has, or if even the answer to a query cannot be read.
    """
    if status in _OK:
        return stored_facts(headers, body)
    if status != _RESUME_INCOMPLETE:
        return None
    text = headers.get("range")
    # docs/gcs-resumable.md §1.3: after data the header may be lost, after a query it means 0
    if text is None:
        return Confirmed(0) if query else Unclear()
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        if query:
            raise ProtocolError("the storage service's Range header cannot be read")
        return Unclear()
    offset = int(match[1]) + 1
    if offset > size_bytes:
        raise ProtocolError("the storage service claims to hold more bytes than the file has")
    return Confirmed(offset)


def stored_facts(headers: Mapping[str, str], body: bytes) -> Finished:
    """Length, CRC32C and generation of a finished object, from XML headers or a JSON body.

    See docs/gcs-resumable.md §1.2.
    """
    size: object = headers.get("x-goog-stored-content-length")
    if size is None and not body and headers.get("etag", "").strip('"') == _MD5_OF_NOTHING:
        size = 0
    found = _CRC32C.search(headers.get("x-goog-hash", ""))
    crc: object = found[1].strip() if found else None
    generation: object = headers.get("x-goog-generation")
    if "json" in headers.get("content-type", ""):
        facts = _json_object(body)
        size = size or facts.get("size")
        crc = crc or facts.get("crc32c")
        generation = generation or facts.get("generation")
    crc32c = decode_crc32c(crc) if isinstance(crc, str) else None
    return Finished(_count(size), crc32c, _generation(generation))


#: An object has thirty, and metadata.
_MAX_FACTS = 1000


def _json_object(body: bytes) -> dict[str, object]:
    try:
        found = parsed(body, _MAX_FACTS)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _generation(value: object) -> int | None:
    generation = _count(value)
    return generation if generation is not None and generation < INT64_END else None


def _count(value: object) -> int | None:
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def encode_crc32c(crc: int) -> str:
    """Base64 of the big-endian value, as GCS writes it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def decode_crc32c(text: str) -> int | None:
    """The value that GCS wrote, or None if it wrote something else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 4 else None  # noqa: PLR2004 - 32 bits


class Agreement(StrEnum):
    """How the stored object compares with the source."""

    VERIFIED = "verified"  #: its CRC32C is ours
    UNVERIFIED = "unverified"  #: the service gave no CRC32C to compare
    MISMATCH = "mismatch"  #: length or CRC32C differ, or nothing shows that all of it was sent


def compare(finished: Finished, size_bytes: int, crc32c: int, sent_bytes: int) -> Agreement:
    """Compare length and CRC32C with ours, each only if the service returned it.

    Without a CRC32C an object is only believed if all of it was sent: ``sent_bytes`` is the end of
    what is known to have gone to a socket on its session without a gap (docs/invariants.md §4).
    """
    if finished.size_bytes not in (None, size_bytes) or finished.crc32c not in (None, crc32c):
        return Agreement.MISMATCH
    if finished.crc32c is not None:
        return Agreement.VERIFIED
    return Agreement.UNVERIFIED if sent_bytes >= size_bytes else Agreement.MISMATCH


def next_put(offset: int, size_bytes: int, max_put_bytes: int) -> tuple[int, int]:
    """The half-open range of the next data PUT, granule-long unless it ends the file.

    ``max_put_bytes`` is a multiple of GRANULE (docs/gcs-resumable.md T18: one PUT is limited, so
    that an early refusal is seen).
    """
    return offset, min(size_bytes, offset + max_put_bytes)


def gets_further(before: int, offset: int, size_bytes: int) -> bool:
    """Is a confirmed ``offset`` progress, if ``before`` was confirmed earlier?

    A session persists whole granules, and what is left at the end of its file
    (docs/gcs-resumable.md §1). Whoever keeps byte after byte would never be done.
    """
    return offset // GRANULE > before // GRANULE or before < offset == size_bytes


def quick_put(put_bytes: int, took_s: float) -> int:
    """The most bytes of the PUT after one that was confirmed as a whole after ``took_s`` seconds.

    As many as go in a few seconds, so that round trips are a small part of them and an early
    refusal is still seen soon (docs/gcs-resumable.md T18, §3.2).
    """
    in_time = int(put_bytes * _PUT_S / took_s) if took_s > 0 else MOST_PUT_BYTES
    return max(FIRST_PUT_BYTES, min(MOST_PUT_BYTES, in_time // GRANULE * GRANULE))


def half_a_put(put_bytes: int) -> int | None:
    """The most bytes of the next PUT after one that does not get through; None if it is small."""
    if put_bytes <= LEAST_PUT_BYTES:
        return None
    return max(LEAST_PUT_BYTES, put_bytes // 2 // GRANULE * GRANULE)


def content_range(start: int, stop: int, size_bytes: int) -> str:
    """The Content-Range of a data PUT, or of a status query if the range is empty."""
    if start == stop:
        return f"bytes */{size_bytes}"
    return f"bytes {start}-{stop - 1}/{size_bytes}"
