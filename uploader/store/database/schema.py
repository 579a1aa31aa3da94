"""Are the tables of a SQLite file as the migrations make them?

One that is put back may come from somebody else (SECURITY.md). A default, a check, a generated
column or an index of an expression acts on all of our writes, as a trigger does; and after the
highest number that a row can have, SQLite has none for another row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from uploader.store.database.neighbours import TABLES

#: Of the tables that SQLAlchemy 2.0 makes; those of another version are compared word by word.
SHA256 = "0f5300a8cb0f89c6e5e0df6e4ce10bb5d854ba22467881ccaf91e3706c0d89da"
#: No row of ours ever gets a higher number.
_MOST = 1 << 53
_NUMBERED = {"jobs": "id", "events": "seq", "leftovers": "id", "moves": "id", "deliveries": "id"}
_BLANKS = re.compile(r'[\s"]+')
#: None of ours has half of it; to part a longer one takes time that is quadratic in it.
_LONGEST = 8000
#: A comma within brackets parts nothing.
_COMMAS = re.compile(r",(?![^()]*\))")


def statements(connection: Connection) -> frozenset[str]:
    """What makes our tables and their indexes, spelt alike whichever version of SQLite did."""
    ours = ", ".join(f"'{name}'" for name in TABLES.split())
    query = (
        "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"  # noqa: S608 - our own names
        f" AND tbl_name COLLATE NOCASE IN ({ours})"
    )
    return frozenset(_spelt(str(sql)[:_LONGEST]) for (sql,) in connection.exec_driver_sql(query))


def _spelt(sql: str) -> str:
    """Without quotes and blanks, and in one order: a table that is rebuilt has another."""
    head, _, body = _BLANKS.sub("", sql).partition("(")
    columns, _, tail = body.rpartition(")")
    return "|".join((head, *sorted(_COMMAS.split(columns)), tail))


def sha256(found: Iterable[str]) -> str:
    """The same in short."""
    return hashlib.sha256("\n".join(sorted(found)).encode(errors="replace")).hexdigest()


def flaw(connection: Connection, made: Callable[[], frozenset[str]]) -> str | None:
    """What no migration has made; ``made``: `statements` of a new file, which takes a second."""
    found = statements(connection)
    if sha256(found) != SHA256 and found != made():
        return "tables that uploader has not made"
    last = (f"SELECT max({number}) FROM {table}" for table, number in _NUMBERED.items())  # noqa: S608 - our own names
    queries = ("SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence", *last)
    if any((connection.exec_driver_sql(query).scalar() or 0) > _MOST for query in queries):
        return "a row with a number that uploader never gives"
    return None
