"""Other roles of the same PostgreSQL server, which have no right on our tables.

Whoever may create a function or an operator in a schema that is searched for names has all rights
of those who search: an operator for exactly the types that are compared is taken before one of the
system's (CVE-2018-1058). Up to PostgreSQL 14 everybody may do so in the schema `public`, as in what
was upgraded or restored from there.
"""

from __future__ import annotations

from typing import Any

from uploader.core.errors import UsageError
from uploader.core.text import shown

#: Every name is one of the system's: nobody else's is taken for it. Roles that are trusted anyway
#: are left out: superusers, owners of the database, the schema or the tables, and roles that are
#: members of ours, or that ours is a member of.
_CREATORS = """
SELECT r.rolname, n.nspname, CURRENT_USER
FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles r
WHERE n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
  AND r.rolcanlogin AND NOT r.rolsuper
  AND r.oid OPERATOR(pg_catalog.<>) n.nspowner
  AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
  AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')
  AND NOT pg_catalog.pg_has_role(CURRENT_USER, r.oid, 'MEMBER')
  AND NOT pg_catalog.pg_has_role(r.oid, CURRENT_USER, 'MEMBER')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_database d
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
      AND d.datdba OPERATOR(pg_catalog.=) r.oid)
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_class c
    WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid
      AND c.relname OPERATOR(pg_catalog.=) 'jobs'::pg_catalog.name
      AND c.relowner OPERATOR(pg_catalog.=) r.oid)
LIMIT 1
"""


def refuse_creators(connection: Any) -> None:
    """Raises UsageError if another role may create what this connection, psycopg's, would run."""
    found = connection.execute(_CREATORS).fetchone()
    if found is None:
        return
    role, schema, own = map(shown, found)
    raise UsageError(
        f"the PostgreSQL role {role} may create functions in the schema {schema}, which would run"
        f" with all rights of {own}",
        hint=f"as the schema's owner, `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC` (or from"
        f" {role}), and see what it has created there",
    )
