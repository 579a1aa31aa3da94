"""Lists: pages, order and filters. A list refuses what it does not support and never ignores it.

It supports the part of the filter grammar (google.aip.dev/160) with comparisons joined by AND:
`state = "READY" AND kind != HF_PEFT_ADDON`, and `displayName:text` for a part of it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from uploader.sandbox.creation import int64
from uploader.sandbox.documents import camel, masked
from uploader.sandbox.refusals import invalid

PARAMETERS = ("pageSize", "pageToken", "filter", "orderBy", "readMask")
_PAGE_SIZE, _LARGEST_PAGE_SIZE = 50, 200
_LONGEST_FILTER = 2000
_TERM = re.compile(r'\s*([\w.]{1,100})\s*(!=|=|:)\s*("[^"\\]*"|[\w./-]+)\s*')

Documents = Sequence[Mapping[str, Any]]


def page(name: str, documents: Documents, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a list as the gateway writes it. Raises Refused (INVALID_ARGUMENT)."""
    size = int64(query.get("pageSize") or "0")
    if size is None:
        raise invalid("pageSize is not a number from 0 on")
    found = _filtered(documents, query.get("filter", ""))
    found = _ordered(found, query.get("orderBy", ""))
    start = _start(query)
    stop = start + min(size or _PAGE_SIZE, _LARGEST_PAGE_SIZE)
    return {
        name: [masked(document, query.get("readMask", "")) for document in found[start:stop]],
        "nextPageToken": f"{stop}-{_digest(query)}" if stop < len(found) else "",
        "totalSize": len(found),
    }


def _start(query: Mapping[str, str]) -> int:
    token = query.get("pageToken", "")
    if not token:
        return 0
    start, _, digest = token.partition("-")
    number = int64(start)
    if number is None or digest != _digest(query):
        raise invalid("the pageToken is not of this list, or its other parameters have changed")
    return number


def _digest(query: Mapping[str, str]) -> str:
    facts = [query.get(name, "") for name in ("filter", "orderBy", "readMask")]
    return f"{zlib.crc32(repr(facts).encode()):08x}"


def _filtered(documents: Documents, text: str) -> Documents:
    if not text.strip():
        return documents
    if len(text) > _LONGEST_FILTER:
        raise invalid("the filter is too long")
    terms = [_TERM.fullmatch(term) for term in re.split(r"\sAND\s", text)]
    if not all(terms):
        raise invalid("a filter that the sandbox does not know: it takes FIELD = VALUE AND …")
    parsed = [(match[1], match[2], match[3].strip('"')) for match in terms if match]
    return [document for document in documents if all(_fits(document, *term) for term in parsed)]


def _fits(document: Mapping[str, Any], path: str, comparison: str, wanted: str) -> bool:
    value = _text(_value(document, path))
    if comparison == ":":
        return wanted in value
    return (value == wanted) == (comparison == "=")


def _ordered(documents: Documents, order: str) -> Documents:
    found = list(documents)
    for key in reversed([key.strip() for key in order.split(",")] if order.strip() else []):
        path, _, direction = key.partition(" ")
        if direction.strip() not in ("", "asc", "desc"):
            raise invalid(f"orderBy cannot be {key!r:.100}")
        values = {id(document): _text(_value(document, path)) for document in found}
        found.sort(key=lambda document: values[id(document)], reverse=direction.strip() == "desc")
    return found


def _value(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None below an object that is not there."""
    value: Any = document
    for name in camel(path).split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or name not in value:
            raise invalid(f"unknown field {path!r:.100}")
        value = value[name]
    if isinstance(value, (Mapping, list)):
        raise invalid(f"{path!r:.100} is not a field with one value")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
