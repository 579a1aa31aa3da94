"""What is assumed of the live services, and how their answers compare with it.

Every assumption stands here once, with the section it rests on: docs/fireworks.md,
docs/gcs-resumable.md. `uploader doctor --probe` asks; nothing here does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

from uploader.core.foreign_json import parsed
from uploader.core.redact import redact
from uploader.core.retry import GRPC_NAMES

#: FAILED_PRECONDITION by name or number, in any shape of docs/fireworks.md §1.3.
_NOT_YET = r"4(00|12) .*(code: 9\b|FAILED_PRECONDITION).*"
_SIGNED = "content-type|content-length|host|x-goog-content-length-range|x-goog-resumable"
_REFUSED = r"[45]\d\d .*"


class Match(StrEnum):
    """How an answer compares with the assumption."""

    CONFIRMED = "confirmed"  #: as assumed
    NEW = "new"  #: otherwise, but uploader copes with it
    CONTRADICTS = "contradicts"  #: otherwise, and uploader is not made for it


class Item(Enum):
    """One thing that is asked: its section, the assumption, and which answers are which.

    An answer that ``expected`` matches as a whole confirms the assumption, one that ``coped``
    matches is new, any other one contradicts.
    """

    source: str
    assumes: str
    expected: str
    coped: str

    def __init__(self, source: str, assumes: str, expected: str, coped: str = "(?!)") -> None:
        self.source = source
        self.assumes = assumes
        self.expected = expected
        self.coped = coped

    BAD_KEY = (
        "docs/fireworks.md §1.3",
        "a wrong key is refused with 403 and an error of the OpenAI style",
        r"403 \{error: \{code: UNAUTHORIZED\}\}",
        r"40[13] .*",
    )
    CREATE = ("docs/fireworks.md §1", "a new model is UPLOADING", "200 UPLOADING", "200 .*")
    FILES_SHOWN = (
        "docs/fireworks.md §13.5",
        "GET shows the huggingfaceFiles that were declared",
        "shown",
        "not shown",
    )
    NESTED_NAMES = (
        "docs/fireworks.md §2.6",
        "a name in a subfolder keeps its folder; uploader sends none",
        "a URL with the folder",
        rf"a URL without the folder|{_REFUSED}",
    )
    CANCEL = (
        "docs/gcs-resumable.md §1",
        "a cancelled session answers 499",
        "499",
        "20[04]|404|410",
    )
    ZERO_BYTES = (
        "docs/fireworks.md §2.4",
        "a file of no bytes can be stored; uploader leaves it out",
        "stored",
        _REFUSED,
    )
    EARLY_VALIDATE = (
        "docs/fireworks.md §11",
        "validateUpload before the files answers 400, code 9 and FAILED_PRECONDITION",
        r"400 \{code: 9, status: FAILED_PRECONDITION\}",
        _NOT_YET,
    )
    URLS_AFTER_EARLY = (
        "docs/fireworks.md §0.8",
        "then the model takes no more files: 405; uploader validates stored files only",
        "405 .*",
        "200|409 .*",
    )
    RECREATE = (
        "docs/fireworks.md §13.4",
        "the id of a deleted model is free at once",
        "200 UPLOADING",
        "200 .*",
    )
    URL_KEYS = ("docs/fireworks.md §2.2", "URLs come by the names of the files", "names", "paths")
    URL_KIND = (
        "docs/fireworks.md §2.3",
        "enableResumableUpload gives URLs that start a session",
        "a signed start",
        "a session( of the JSON API)?",
    )
    URL_HEADERS = (
        "docs/fireworks.md §2.4",
        "the signature covers type, host, length range and the start",
        "content-type;host;x-goog-content-length-range;x-goog-resumable",
        rf"none|({_SIGNED})(;({_SIGNED}))*",
    )
    URL_LIFE = ("docs/fireworks.md §2.5", "a URL lives for an hour", "3600 s", r"\d+ s|not given")
    URL_CLOCK = (
        "docs/fireworks.md §13.20",
        "the date of a URL is that of this machine; its life counts from receipt",
        "within 30 s",
        r"\d+ s (ahead|behind)|not given",
    )
    OBJECT_PATH = (
        "docs/fireworks.md §2.2",
        "a URL leads to bucket, account, model and file",
        "BUCKET/ACCOUNT/MODEL/FILE",
        ".*",
    )
    URLS_AGAIN = (
        "docs/fireworks.md §13.3",
        "a second map, before there are files, leads to the same objects",
        "200, the same paths",
        "200, other paths",
    )
    START = (
        "docs/gcs-resumable.md §1",
        "a start answers 201 with the session in Location",
        "201, a session",
        "200, a session",
    )
    QUERY_EMPTY = (
        "docs/gcs-resumable.md §1",
        "a new session holds nothing: 308 without Range",
        "308 without Range",
    )
    FINISH = (
        "docs/gcs-resumable.md §1.2",
        "the last byte is answered 200, without a body",
        "200, no body",
        "20[01], (no|a JSON) body|308, then finished",
    )
    FINISH_FACTS = (
        "docs/gcs-resumable.md §1.2",
        "the answer has length, CRC32C and generation, as sent",
        "length, CRC32C(, MD5)?, generation",
        "nothing|(length|CRC32C|MD5|generation)(, (CRC32C|MD5|generation))*",
    )
    QUERY_FINISHED = (
        "docs/gcs-resumable.md §1",
        "a status query of a finished session repeats this",
        "200, the same",
        "20[01], (the same|other facts)",
    )
    URLS_WITH_FILES = (
        "docs/fireworks.md §13.4",
        "a map asked for when there are files leads to the same objects",
        "200, the same paths",
        r"200, other paths|40[59] .*",
    )
    PLAIN_URL = (
        "docs/fireworks.md §2.4",
        "without enableResumableUpload it is a plain signed PUT",
        "a plain signed PUT",
        r"40[59] .*",
    )
    PLAIN_PUT = (
        "docs/fireworks.md §2.4",
        "a plain PUT is answered 200 with length, CRC32C and generation, as sent",
        "200, length, CRC32C(, MD5)?, generation",
        "20[01], (nothing|(length|CRC32C|MD5|generation)(, (CRC32C|MD5|generation))*)",
    )
    SENT = ("docs/fireworks.md §0.1", "every file can be stored", "all")
    LANDING_ANSWER = (
        "docs/fireworks.md §11",
        "while files are landing, validateUpload answers as before there were any",
        r"400 \{code: 9, status: FAILED_PRECONDITION\}",
        _NOT_YET,
    )
    READY = (
        "docs/fireworks.md §3",
        "validateUpload makes it READY, but not at once",
        "READY",
        "READY at once|not yet",
    )
    WARNINGS = ("docs/fireworks.md §3", "validateUpload warns of nothing", "none", r"\d+")
    URLS_WHEN_READY = (
        "docs/fireworks.md §13.4",
        "a READY model takes no more files: 409",
        "409 .*",
        "200|405 .*",
    )
    GCS_URI = (
        "docs/fireworks.md §4",
        "GET shows no gcsUri; uploader reads none",
        "absent",
        "present",
    )
    CREATE_AGAIN = ("docs/fireworks.md §0.7", "an id that is taken is answered 409", "409 .*")
    DELETE = ("docs/fireworks.md §4", "delete answers 200 and {}", r"200 \{\}", "20[0-9] .*")
    GONE = (
        "docs/fireworks.md §1.3",
        "a model that is not there answers 404, code 5",
        r"404 \{code: 5\}",
        "404 .*",
    )
    REQUEST_ID = (
        "docs/fireworks.md §1.3",
        "answers of the control plane carry x-request-id",
        "all",
        "some|none",
    )
    REPEATED = ("docs/fireworks.md §13.16", "no call has to be repeated", "none", ".*")
    DURATIONS = (
        "docs/fireworks.md §3",
        "each call is answered within a minute",
        "at most a minute",
        "longer",
    )

    @property
    def label(self) -> str:
        """Its name in a report; stable."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Line:
    """What was seen of one item.

    ``what`` decides, and is of a few fixed words; ``more`` is for people, and may be a service's.
    """

    item: Item
    what: str
    more: str = ""

    @property
    def match(self) -> Match:
        """How it compares with the assumption."""
        if re.fullmatch(self.item.expected, self.what):
            return Match.CONFIRMED
        return Match.NEW if re.fullmatch(self.item.coped, self.what) else Match.CONTRADICTS

    def seen(self, *names: str) -> str:
        """All that was seen, without these names."""
        return f"{self.what} ({without_names(self.more, *names)})" if self.more else self.what


def shape(status: int, body: bytes) -> str:
    """An answer without its words: ``400 {code: 9, status: FAILED_PRECONDITION}``.

    Only numbers and the names of gRPC codes are kept, so nothing that is said of an account.
    """
    text = body[:_MOST_BYTES].decode("utf-8", "replace")
    try:
        found = parsed(text, _MOST_VALUES)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return f"{status} {_fields(found)}"
    named = next((name for name in _NAMES if re.search(rf"\b{name}\b", text)), "")
    named = named or next(iter(re.findall(r"<Code>((?:[A-Z][a-z]+)+)</Code>", text)), "")
    kind = "text" if text.strip() else "no body"
    return " ".join(filter(None, [str(status), kind, named]))


_MOST_BYTES = 64 * 1024
_MOST_VALUES = 10_000
_NAMES = (*GRPC_NAMES[1:], "UNAUTHORIZED")
_KEYS = ("code", "status", "error", "reason")


def _fields(found: Mapping[str, Any]) -> str:
    inner = [f"{key}: {_value(found[key])}" for key in _KEYS if key in found]
    return f"{{{', '.join(inner)}}}"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return _fields(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1000:  # noqa: PLR2004
        return str(value)
    return value if isinstance(value, str) and value in _NAMES else "…"


def state_word(state: str) -> str:
    """A model's state, if it looks like one."""
    return state if re.fullmatch("[A-Z_]{1,40}", state) else "…"


def without_names(text: str, *names: str) -> str:
    """A service's words without addresses, secrets and the ``names``, in whatever case."""
    text = re.sub(r"[a-z][a-z0-9+.-]*://\S*|\S*[\w-]\.(?:com|ai|net|org|io)\b\S*", "URL", text)
    text = re.sub(r"accounts/[^\s/\"']+(?:/models/[^\s/:\"']+)?", "MODEL", text)
    for name in sorted(filter(None, names), key=len, reverse=True):
        whole = rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])"
        text = re.sub(whole, "NAME", text, flags=re.IGNORECASE)
    return redact(text)
