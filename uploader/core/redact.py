"""The one list of secret patterns, and the type that does not print its secret.

Two layers (invariant 8): values known to be secret travel as `Secret`; text that came from
elsewhere (a server's message, a library's exception) passes `redact` before it is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MASK = "***"

#: Query strings of signed URLs and session URIs, bearer headers, Fireworks keys.
_PATTERNS: tuple[re.Pattern[str], ...] = (
    re.compile(
        r"(?<=\?)[^\s\"'<>]*(?:upload_id|x-goog-|x-amz-|signature|sig)=?[^\s\"'<>]*", re.IGNORECASE
    ),
    re.compile(r"(?<=upload_id=)[^\s&\"'<>]+", re.IGNORECASE),
    re.compile(r"(?<=signature=)[^\s&\"'<>]+", re.IGNORECASE),
    re.compile(r"(?<=bearer )[^\s\"',]+", re.IGNORECASE),
    re.compile(r"\bfw_[A-Za-z0-9_-]{6,}"),
)


def redact(text: str, *known: str) -> str:
    """``text`` without signed queries, session ids, keys and any of the ``known`` secrets."""
    for secret in known:
        if secret:
            text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(MASK, text)
    return text


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A string that prints as ``***``; only `reveal` gives it away."""

    value: str

    def reveal(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    __str__ = __repr__


class SessionUri(Secret):
    """A GCS resumable session: a bearer secret that lives up to a week (contract gcs §1.1)."""


class SignedUrl(Secret):
    """A signed upload URL: a bearer secret until it expires (contract fireworks §2)."""


class ApiKey(Secret):
    """The Fireworks API key."""
