"""Other roles of the same PostgreSQL server, which have no right on our tables.

Whoever may create a function or an operator in a schema that is searched for names has all rights
of those who search: an operator for exactly the types that are compared is taken before one of the
system's (CVE-2018-1058). Up to PostgreSQL 14 everybody may do so in the schema `public`, as in what
was upgraded or restored from there. Whom an administrator has named may, too: that is a decision.

And `"$user"`, which is searched first, is any schema of our role's name, whosever it is. So what is
searched is what there was when the process began.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from uploader.core.errors import UsageError
from uploader.core.text import shown

#: In all of these every name is one of the system's: nobody else's is taken for it.
_SEARCHED = """
SELECT pg_catalog.current_setting('search_path'), pg_catalog.array_to_string(ARRAY(
  SELECT pg_catalog.quote_ident(one) FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) one
), ', ')
"""
_SEARCH = "SELECT pg_catalog.set_config('search_path', %s, false)"
#: Whether the role `r` has our rights anyway: it may become us, the owner of the database, or a
#: superuser. That we may become it does not count.
_TRUSTED = """(
  pg_catalog.pg_has_role(r.oid, CURRENT_USER, 'MEMBER')
  OR pg_catalog.pg_has_role(r.oid, d.datdba, 'MEMBER')
  OR EXISTS (SELECT FROM pg_catalog.unnest(superusers.oids) s
             WHERE pg_catalog.pg_has_role(r.oid, s, 'MEMBER')))
"""
_FROM = """
FROM pg_catalog.pg_database d, pg_catalog.pg_namespace n, pg_catalog.pg_roles r, superusers
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
"""
#: The owner of a schema that has our role's name, unless it is a group that we belong to. A
#: superuser belongs to every group, so no group counts then.
_FOREIGN = f"""
  %s AND r.oid OPERATOR(pg_catalog.=) n.nspowner
  AND n.nspname OPERATOR(pg_catalog.=) CURRENT_USER
  AND NOT {_TRUSTED}
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_roles own
    WHERE own.rolname OPERATOR(pg_catalog.=) CURRENT_USER AND NOT own.rolsuper
      AND NOT r.rolcanlogin AND pg_catalog.pg_has_role(own.oid, r.oid, 'MEMBER'))
"""
#: Another role that may connect, if everybody may create.
_CREATOR = f"""
  pg_catalog.has_schema_privilege('public', n.oid, 'CREATE')
  AND r.rolcanlogin
  AND pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')
  AND NOT pg_catalog.pg_has_role(r.oid, n.nspowner, 'MEMBER')
  AND NOT {_TRUSTED}
"""
#: A role that nobody named as one who may create.
_NOBODY = f"""
  NOT pg_catalog.pg_has_role(r.oid, n.nspowner, 'MEMBER')
  AND NOT {_TRUSTED}
  AND NOT EXISTS (
    SELECT FROM pg_catalog.aclexplode(n.nspacl) named
    WHERE named.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
      AND named.grantee OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
      AND pg_catalog.pg_has_role(r.oid, named.grantee, 'MEMBER'))
"""
#: What such a role has left there runs even if it can no longer connect.
_LEFT = f"""
  {_NOBODY} AND EXISTS (
    SELECT FROM (
      SELECT pronamespace, proowner FROM pg_catalog.pg_proc
      UNION ALL SELECT oprnamespace, oprowner FROM pg_catalog.pg_operator
    ) made (place, owner)
    WHERE made.place OPERATOR(pg_catalog.=) n.oid AND made.owner OPERATOR(pg_catalog.=) r.oid)
"""  # noqa: S608 - of our own words
#: All our tables: those of `tables.py` and `outbox_tables.py`, and Alembic's.
TABLES = "alembic_version deliveries events files hooks jobs leftovers limits moves"
#: A table of ours, or of somebody who made it before we could.
_OURS = f"""
  c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=)
  ANY (pg_catalog.string_to_array('{TABLES}', ' '))
"""
#: And whoever made our tables before we could may read and write all rows.
_MADE = f"""
  {_NOBODY} AND EXISTS (
    SELECT FROM pg_catalog.pg_class c
    WHERE {_OURS} AND c.relowner OPERATOR(pg_catalog.=) r.oid)
"""
#: Whoever may make a trigger on a table needs no schema for its function: there is `pg_temp`. And a
#: table that refers to ours has triggers of its own, which run when a row of ours is deleted.
_GRANTEE = f"""
  r.rolcanlogin AND granted.place OPERATOR(pg_catalog.=) n.oid AND {_NOBODY}
  AND (granted.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid
       OR pg_catalog.pg_has_role(r.oid, granted.grantee, 'MEMBER'))
"""
_NAME_OF_GRANTEE = """
CASE WHEN granted.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC'
     ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(granted.grantee)) END
"""
#: What such a role has left there runs even if it may make no more.
_TRIGGERED = f"""
  {_NOBODY} AND EXISTS (
    SELECT FROM pg_catalog.pg_class c, (
      SELECT t.tgrelid, p.proowner
      FROM pg_catalog.pg_trigger t, pg_catalog.pg_proc p
      WHERE p.oid OPERATOR(pg_catalog.=) t.tgfoid AND NOT t.tgisinternal
      UNION ALL SELECT k.confrelid, theirs.relowner
      FROM pg_catalog.pg_constraint k, pg_catalog.pg_class theirs
      WHERE theirs.oid OPERATOR(pg_catalog.=) k.conrelid
    ) made (place, owner)
    WHERE {_OURS} AND made.place OPERATOR(pg_catalog.=) c.oid
      AND made.owner OPERATOR(pg_catalog.=) r.oid)
"""  # noqa: S608 - of our own words
#: A function of the system's own may have been used by anybody: no trigger knows who made it.
_SYSTEMS = f"""
FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c, pg_catalog.pg_trigger t, pg_catalog.pg_proc p
WHERE n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false)) AND {_OURS}
  AND t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal
  AND p.oid OPERATOR(pg_catalog.=) t.tgfoid
  AND p.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
"""
#: Looked for once, and not for each role: a server may have a role for each of many customers.
_ONCE = f"""
WITH superusers AS MATERIALIZED (
  SELECT ARRAY(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper) AS oids),
granted AS MATERIALIZED (
  SELECT DISTINCT n.oid AS place, named.grantee
  FROM pg_catalog.pg_namespace n
  JOIN pg_catalog.pg_class c ON {_OURS}
  CROSS JOIN LATERAL (
    SELECT c.relacl
    UNION ALL SELECT a.attacl FROM pg_catalog.pg_attribute a
    WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
  ) rights (acl)
  CROSS JOIN LATERAL pg_catalog.aclexplode(rights.acl) named
  WHERE n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
    AND named.privilege_type OPERATOR(pg_catalog.=) ANY (ARRAY['TRIGGER', 'REFERENCES'])
    AND named.grantee OPERATOR(pg_catalog.<>) c.relowner)
"""  # noqa: S608 - of our own words


class _Question(NamedTuple):
    """What is asked, and whose name answers it; what that one does, and what helps.

    A name is quoted as SQL asks for it: it is to be copied, and somebody else chose it.
    """

    who: str
    asked: str
    does: str
    hint: str


def _of_each_role(which: str, does: str, hint: str) -> _Question:
    asked, does = f"{_FROM} AND {which}", f"the PostgreSQL role {{who}} {does}"
    return _Question("pg_catalog.quote_ident(r.rolname)", asked, does, hint)


_RUN = "in the schema {schema}, whose functions would run with all rights of {own}"
_FUNCTIONS = (
    "may create, or has left, functions in the schema {schema}, which would run with all rights of"
    " {own}"
)
_SHOWN = "; `\\df+ {schema}.*` in psql shows them"
_DROP = "drop them; `\\d {schema}.*` in psql shows them"
_QUESTIONS = (
    _of_each_role(_FOREIGN, _FUNCTIONS, "give that schema to {own}, or rename it" + _SHOWN),
    _of_each_role(
        _CREATOR,
        _FUNCTIONS,
        "as its owner, `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC`" + _SHOWN,
    ),
    _of_each_role(_LEFT, _FUNCTIONS, "drop them, with their operators" + _SHOWN),
    _of_each_role(
        _MADE,
        "owns tables in the schema {schema} that {own} would use, and may write all rows",
        "drop them; or, if it is to migrate them, `GRANT CREATE ON SCHEMA {schema} TO {who}`",
    ),
    _Question(
        _NAME_OF_GRANTEE,
        _FROM.replace("superusers", "superusers, granted") + f" AND {_GRANTEE}",
        f"the PostgreSQL role {{who}} may make triggers, or tables that refer to ours, {_RUN}",
        "`REVOKE TRIGGER, REFERENCES ON ALL TABLES IN SCHEMA {schema} FROM {who}`",
    ),
    _of_each_role(_TRIGGERED, f"has left triggers, or tables that refer to ours, {_RUN}", _DROP),
    _Question(
        "pg_catalog.quote_ident(t.tgname)",
        _SYSTEMS,
        "the trigger {who}, on a table in the schema {schema}, can keep {own} from writing rows",
        _DROP,
    ),
)
#: The first that is found, with the place of its question: a server may be far away, so all of them
#: are asked at once.
_REFUSED = _ONCE + " UNION ALL ".join(
    f"(SELECT {number}, {question.who}, pg_catalog.quote_ident(n.nspname),"
    f" pg_catalog.quote_ident(CURRENT_USER::pg_catalog.text) {question.asked} LIMIT 1)"
    for number, question in enumerate(_QUESTIONS)
)


class Searched:
    """What the connections of a process search for names: the schemas that it began with."""

    def __init__(self) -> None:
        self._path: str | None = None

    def only(self, connection: Any) -> None:
        """Let this connection, psycopg's, search no other schema.

        The first connection is looked at. Raises UsageError if another role may create something
        that it would run or use, or has created it already.
        """
        if self._path is not None:
            connection.execute(_SEARCH, (self._path,))
            return
        asked, path = connection.execute(_SEARCHED).fetchone()
        connection.execute(_SEARCH, (path,))
        if found := connection.execute(_REFUSED, ("$user" in asked,)).fetchone():
            raise _refusal(*found)
        self._path = path


def _refusal(number: int, *names: str) -> UsageError:
    words = dict(zip(("who", "schema", "own"), map(shown, names), strict=True))
    question = _QUESTIONS[number]
    return UsageError(question.does.format(**words), hint=question.hint.format(**words))
