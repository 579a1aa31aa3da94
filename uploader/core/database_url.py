"""The one reading of a `database_url`: for what is opened, and for what is never sent."""

from __future__ import annotations

from urllib.parse import unquote

#: What lets nobody on the way to it read or answer what is sent.
TLS_HINT = "add `?sslmode=verify-full` to database_url"
_SQLITE = "sqlite:///"


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
