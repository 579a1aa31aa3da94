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

#: Of what SQLAlchemy 2.0 and 2.1 make; what another version makes is compared word by word.
SHA256 = "f484201d2edd4de09698d06db43d0dd10aec307d61eea67452565dcdfe5fbbb7"
#: No row of ours ever gets a higher number.
_MOST = 1 << 52
_NUMBERED = {"jobs": "id", "events": "seq", "leftovers": "id", "moves": "id", "deliveries": "id"}
_NAMES = frozenset(TABLES.split())
#: None of ours has half as many characters, and there are not half as many.
_LONGEST, _MOST_STATEMENTS = 8000, 100
#: Without a statement: an index that SQLite makes by itself, for a key of a table.
_ALL = f"""
SELECT type, name, tbl_name, substr(sql, 1, {_LONGEST + 1}) FROM sqlite_master
WHERE sql IS NOT NULL OR (type = 'index' AND name GLOB 'sqlite_autoindex_*') IS NOT TRUE
LIMIT {_MOST_STATEMENTS}
"""  # noqa: S608 - of our own numbers
#: SQLite's own tables, and Litestream's.
_OTHERS = {
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
    "sqlite_stat1": "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "sqlite_stat4": "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
    "_litestream_seq": "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
    "_litestream_lock": "CREATE TABLE _litestream_lock (id INTEGER)",
}
_TOKENS = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\w+|\S""", re.ASCII)
#: An earlier SQLAlchemy writes brackets around a value.
_IN_BRACKETS = re.compile(r"DEFAULT \((\w+)\)")
_DEPTH = {"(": 1, ")": -1}


def statements(connection: Connection) -> frozenset[str]:
    """What makes the tables and indexes, spelt alike whichever version of SQLite did.

    All of them, and whatever else has a statement: one that is not ours, but refers to ours, has a
    say in each of our writes. SQLite reads the statements alone, so each row is to be as a whole
    what SQLite writes itself: a trigger may be called anything.
    """
    found = [_row(*row) for row in connection.exec_driver_sql(_ALL)]
    more = {"too many"} if len(found) == _MOST_STATEMENTS else set()
    others = (_row("table", name, name, sql) for name, sql in _OTHERS.items())
    return frozenset(found).difference(others).union(more)


def _row(*row: object) -> str:
    """A row of the schema: its kind, its name, the table that it belongs to, and the statement."""
    *words, sql = row
    return f"{words} {_spelt(str(sql))}"


def _spelt(sql: str) -> str:
    """In one order, since a table that is rebuilt has another; names of tables without quotes.

    All other quotes stay: within them a constraint would be a name. So it would with a character
    beyond ASCII, each of which, a blank too, is a letter to SQLite.
    """
    if len(sql) > _LONGEST or not sql.isascii():
        return "nothing of ours"
    found = _TOKENS.findall(_IN_BRACKETS.sub(r"DEFAULT \1", sql))
    tokens = [name if (name := one.strip('"')) in _NAMES else one for one in found]
    parts = _parts(tokens)
    if tokens[:2] == ["CREATE", "TABLE"]:
        parts[1:-1] = sorted(parts[1:-1])
    return " , ".join(parts)


def _parts(tokens: Iterable[str]) -> list[str]:
    """What is before the outer brackets, between each two commas in them, and after them."""
    parts: list[list[str]] = [[]]
    depth = 0
    for one in tokens:
        before, depth = depth, depth + _DEPTH.get(one, 0)
        if (one == "," and depth == 1) or {before, depth} == {0, 1}:
            parts.append([])
        else:
            parts[-1].append(one)
    return [" ".join(part) for part in parts]


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
