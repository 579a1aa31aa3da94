"""What a probe sees in the answers, in a few fixed words: none of them names anything."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from uploader.core.foreign_json import MAX_ANSWER_VALUES, parsed
from uploader.core.probe import Item, Line
from uploader.core.probe_model import NESTED, WEIGHTS
from uploader.core.resumable import Finished, UploadUrl, UrlKind

_USUAL_S = 30.0
_OF_STORAGE = re.compile("host|etag|content-(type|length)|x-goog-(?!meta)[a-z-]{1,40}")
_JSON_API = "/upload/storage/v1/b/"
_KINDS = {UrlKind.START: "a signed start", UrlKind.PUT: "a plain signed PUT"}
_SAID = frozenset({"upload", "storage", "v1", "b", "o", "resumable", "model", "models", "accounts"})


def files_shown(shown: Collection[str] | None, files: Collection[str]) -> str:
    """Does the model show its files?"""
    if not shown:
        return "not shown"
    return "shown" if set(shown) == set(files) else "others"


def nested(urls: Mapping[str, UploadUrl] | None, what: str) -> str:
    """Does the object of a file in a subfolder have the folder in its path?"""
    if not urls:
        return what
    folder = "with" if urls[NESTED].object_path.endswith(f"/{NESTED}") else "without"
    return f"a URL {folder} the folder"


def same_paths(
    first: Mapping[str, UploadUrl], second: Mapping[str, UploadUrl] | None, what: str
) -> str:
    """Do both maps lead to the same objects?"""
    if not second:
        return what
    same = all(first[name].object_path == url.object_path for name, url in second.items())
    return f"{what}, {'the same' if same else 'other'} paths"


def kind_of(url: UploadUrl) -> str:
    """What may be done with it."""
    if url.kind is UrlKind.SESSION:
        of_json = _JSON_API in urlsplit(url.url.reveal()).path
        return "a session of the JSON API" if of_json else "a session"
    return _KINDS[url.kind]


def urls(
    found: Mapping[str, UploadUrl], body: bytes, now: datetime, account: str, model_id: str
) -> Iterator[Line]:
    """What one map of URLs, in the answer ``body``, looks like."""
    answer = parsed(body.decode("utf-8", "replace"), MAX_ANSWER_VALUES)
    keys = answer.get("filenameToSignedUrls", {}).keys()
    yield Line(Item.URL_KEYS, "names" if keys == found.keys() else "paths")
    kinds = sorted({kind_of(url) for url in found.values()})
    yield Line(Item.URL_KIND, " or ".join(kinds))
    url = found[WEIGHTS]
    signed = () if url.kind is UrlKind.SESSION else sorted(url.signed_headers)
    yield Line(Item.URL_HEADERS, ";".join(map(_header, signed)) or "none")
    life = "not given" if url.life_s is None else f"{url.life_s:.0f} s"
    yield Line(Item.URL_LIFE, life)
    yield Line(Item.URL_CLOCK, _date(url, now))
    yield Line(Item.OBJECT_PATH, _path(url, account, model_id))


def header_names(headers: Collection[str]) -> str:
    """Those that tell of the object; what an owner may name is left out."""
    return ", ".join(sorted(name for name in headers if _OF_STORAGE.fullmatch(name)))


def _header(name: str) -> str:
    return name if _OF_STORAGE.fullmatch(name) else "…"


def _date(url: UploadUrl, now: datetime) -> str:
    query = {name.lower(): value for name, value in parse_qsl(urlsplit(url.url.reveal()).query)}
    try:
        at = datetime.strptime(query.get("x-goog-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "not given"
    off_s = (at - now).total_seconds()
    if abs(off_s) <= _USUAL_S:
        return f"within {_USUAL_S:.0f} s"
    return f"{abs(off_s):.0f} s {'ahead' if off_s > 0 else 'behind'}"


def _path(url: UploadUrl, account: str, model_id: str) -> str:
    """The path of an object, every part of which that could name something is left out."""
    known = {
        f"fireworks-artifacts-{account}": "BUCKET",
        account: "ACCOUNT",
        model_id: "MODEL",
        WEIGHTS: "FILE",
    }
    parts = url.object_path.split("/")[1:]
    return "/".join(known.get(part, part if part in _SAID else "…") for part in parts)


def facts(found: Finished, size_bytes: int, crc32c: int, *, md5: bool) -> str:
    """Which facts of a stored object an answer has, and whether they are those that were sent."""
    other = [
        name
        for name, theirs, ours in (
            ("length", found.size_bytes, size_bytes),
            ("CRC32C", found.crc32c, crc32c),
        )
        if theirs not in (None, ours)
    ]
    if other:
        return f"another {' and '.join(other)}"
    given = {
        "length": found.size_bytes is not None,
        "CRC32C": found.crc32c is not None,
        "MD5": md5,
        "generation": found.generation is not None,
    }
    return ", ".join(name for name, there in given.items() if there) or "nothing"
