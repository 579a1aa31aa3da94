"""Other roles of the same PostgreSQL server, which have no right on our tables.

Whoever may create a function or an operator in a schema that is searched for names has all rights
of those who search: an operator for exactly the types that are compared is taken before one of the
system's (CVE-2018-1058). Up to PostgreSQL 14 everybody may do so in the schema `public`, as in what
was upgraded or restored from there. Whom an administrator has named may, too: that is a decision.

And `"$user"`, which is searched first, is any schema of our role's name, whosever it is. So what is
searched is what there was when the process began.
"""

from __future__ import annotations

from typing import Any

from uploader.core.errors import UsageError
from uploader.core.text import shown

#: In all of these every name is one of the system's: nobody else's is taken for it.
_SEARCHED = """
SELECT pg_catalog.current_setting('search_path'), pg_catalog.array_to_string(ARRAY(
  SELECT pg_catalog.quote_ident(one) FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) one
), ', ')
"""
_SEARCH = "SELECT pg_catalog.set_config('search_path', %s, false)"


def _trusted(role: str) -> str:
    """That a role may become a superuser, us, or the database's owner; or that we may become it."""
    return f"""(
      pg_catalog.pg_has_role(CURRENT_USER, {role}, 'MEMBER')
      OR pg_catalog.pg_has_role({role}, CURRENT_USER, 'MEMBER')
      OR pg_catalog.pg_has_role({role}, d.datdba, 'MEMBER')
      OR EXISTS (SELECT FROM pg_catalog.pg_roles s
                 WHERE s.rolsuper AND pg_catalog.pg_has_role({role}, s.oid, 'MEMBER')))"""


_FROM = """
FROM pg_catalog.pg_database d, pg_catalog.pg_namespace n, pg_catalog.pg_roles r
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
"""
#: A schema of our role's name that is another role's.
_FOREIGN = f"""
SELECT r.rolname, n.nspname, CURRENT_USER {_FROM}
  AND r.oid OPERATOR(pg_catalog.=) n.nspowner
  AND n.nspname OPERATOR(pg_catalog.=) CURRENT_USER
  AND NOT {_trusted("r.oid")}
LIMIT 1
"""
#: Another role that may connect, and create as everybody may.
_CREATOR = f"""
SELECT r.rolname, n.nspname, CURRENT_USER {_FROM}
  AND pg_catalog.has_schema_privilege('public', n.oid, 'CREATE')
  AND r.rolcanlogin
  AND pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')
  AND NOT pg_catalog.pg_has_role(r.oid, n.nspowner, 'MEMBER')
  AND NOT {_trusted("r.oid")}
LIMIT 1
"""


class Searched:
    """What the connections of a process search for names: the schemas that it began with."""

    def __init__(self) -> None:
        self._path: str | None = None

    def only(self, connection: Any) -> None:
        """Let this connection, psycopg's, search no other schema.

        The first one is looked at. Raises UsageError if another role may create what it would run.
        """
        if self._path is None:
            asked, path = connection.execute(_SEARCHED).fetchone()
            connection.execute(_SEARCH, (path,))
            if "$user" in asked:
                _refuse(connection, _FOREIGN, "give that schema to {own}, or rename it")
            _refuse(
                connection, _CREATOR, "as its owner, `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC`"
            )
            self._path = path
        else:
            connection.execute(_SEARCH, (self._path,))


def _refuse(connection: Any, query: str, hint: str) -> None:
    found = connection.execute(query).fetchone()
    if found is None:
        return
    role, schema, own = map(shown, found)
    raise UsageError(
        f"the PostgreSQL role {role} may create functions in the schema {schema}, which would run"
        f" with all rights of {own}",
        hint=f"{hint.format(own=own, schema=schema)}; see what it has created there",
    )
