"""Signed URLs like GOOG4's: every signed header is required byte for byte.

Real ones have RSA signatures; these have HMACs of the same data with a secret of the world.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

from uploader.sandbox.refusals import Refused, expired_url, malformed, xml
from uploader.sandbox.wire import Request

_DATE = "%Y%m%dT%H%M%SZ"


def signed_url(
    secret: bytes,
    address: str,
    method: str,
    headers: Mapping[str, str],
    issued_at: float,
    life_s: int,
) -> str:
    """`address` (without a query) signed for one method and these header values."""
    date = datetime.fromtimestamp(issued_at, UTC).strftime(_DATE)
    split = urlsplit(address)
    signed = {"host": split.netloc, **headers}
    query = {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": f"sandbox/{date[:8]}/auto/storage/goog4_request",
        "X-Goog-Date": date,
        "X-Goog-Expires": str(life_s),
        "X-Goog-SignedHeaders": ";".join(sorted(signed)),
    }
    query["X-Goog-Signature"] = _signature(secret, method, split.path, query, signed)
    return f"{address}?{urlencode(query, quote_via=quote)}"


def check_signature(secret: bytes, request: Request, now: float) -> None:
    """Refuse a request that its signed URL does not allow.

    Raises Refused: 403 SignatureDoesNotMatch, 400 MalformedSecurityHeader for a signed header
    that was not sent, 400 ExpiredToken (docs/gcs-resumable.md §1.1).
    """
    query = request.query
    if "X-Goog-Signature" not in query:
        raise Refused(xml(403, "AccessDenied", "Anonymous caller"), "no signature")
    names = query.get("X-Goog-SignedHeaders", "").split(";")
    if missing := [name for name in names if name not in request.headers]:
        reason = f"Header was included in signedheaders, but not in the request: {missing[0]}"
        raise malformed(reason, "MalformedSecurityHeader")
    sent = {name: request.headers[name] for name in names}
    path = urlsplit(request.target).path
    expected = _signature(secret, request.method, path, query, sent)
    if not hmac.compare_digest(expected.encode(), query["X-Goog-Signature"].encode()):
        raise Refused(xml(403, "SignatureDoesNotMatch"), "signature does not match")
    issued = datetime.strptime(query["X-Goog-Date"], _DATE).replace(tzinfo=UTC)
    if now > issued.timestamp() + int(query["X-Goog-Expires"]):
        raise Refused(expired_url())


def _signature(
    secret: bytes, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    facts = [method, path]
    facts += [query.get(name, "") for name in ("X-Goog-Date", "X-Goog-Expires")]
    facts += [f"{name}:{value}" for name, value in sorted(headers.items())]
    return hmac.digest(secret, "\n".join(facts).encode(), "sha256").hex()
