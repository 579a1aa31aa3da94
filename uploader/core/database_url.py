"""The one reading of a `database_url`: for what is opened, what is never sent, what is shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

from uploader.core.redact import MASK

#: What lets nobody on the way to it read or answer what is sent.
TLS_HINT = "add `?sslmode=verify-full` to database_url"
_SQLITE = "sqlite:///"

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://")
#: An @ after the ? may belong to a password before or after it: such a URL has no parts.
_PARTS = re.compile(
    rf"(?P<scheme>{_SCHEME.pattern})(?P<user>[^?]*@)?(?P<hosts>[^/?@]*)"
    r"(?P<path>/[^?@]*)?(?P<query>\?[^@]*)?"
)
_NAMED = re.compile(r"/?[\w.-]*")
_ADDRESS, _PORT = r"\[[\w:.%]+\]", r"(?::\d{1,5})?"
_HOST = re.compile(rf"(?:{_ADDRESS}|[\w.-]*){_PORT}")
#: Without an @, digits may be a password, unless the name before them can only be a host's, or they
#: are a usual port.
_HOST_ALONE = re.compile(
    rf"(?:{_ADDRESS}|localhost|[\w-]*\.[\w.-]*){_PORT}|[\w-]*(?::(?:543\d|6432))?"
)


def is_shared(url: str) -> bool:
    """Is it in PostgreSQL, so that several machines may share it?"""
    return url.startswith("postgres")


def sqlite_file(url: str) -> str | None:
    """The path in ``url``, as it is written there; None for another kind of database.

    What follows a `?` changes nothing. Raises ValueError if the database is not a file.
    """
    if not url.startswith(_SQLITE):
        return None
    name = unquote(url.removeprefix(_SQLITE).partition("?")[0])
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ValueError("the state store must be a file")
    return name


def shown(url: str) -> str:
    """The URL as people may see it: what is not certainly harmless is masked.

    A password may be anywhere if somebody mistyped the URL.
    """
    if url.startswith(_SQLITE):
        file, mark, _ = url.partition("?")
        return f"{file}?{MASK}" if mark else file
    found = _harmless(url)
    if found is None:
        scheme = _SCHEME.match(url)
        return f"{scheme[0] if scheme else ''}{MASK}"
    user, query = (f"{MASK}@" if found["user"] else ""), (f"?{MASK}" if found["query"] else "")
    return f"{found['scheme']}{user}{found['hosts']}{_path(found)}{query}"


def server(url: str) -> str:
    """Host and database of a URL of PostgreSQL as people may see them: ``HOST/DATABASE``."""
    found = _harmless(url)
    if found is None:
        return MASK
    hosts = re.sub(r":\d+(?=,|$)", "", found["hosts"])
    return f"{hosts or 'localhost'}{_path(found) or '/'}"


def _harmless(url: str) -> re.Match[str] | None:
    """The parts of the URL if what stands where hosts do looks like hosts, and else nothing."""
    found = _PARTS.fullmatch(url)
    form = _HOST if found and found["user"] else _HOST_ALONE
    return found if found and all(map(form.fullmatch, found["hosts"].split(","))) else None


def _path(found: re.Match[str]) -> str:
    path = found["path"] or ""
    return path if _NAMED.fullmatch(path) else f"/{MASK}"
