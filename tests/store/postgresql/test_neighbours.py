"""A role without any right on our tables gets none by what it creates in a schema we search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from tests.postgresql import Cluster
from uploader.core.errors import UsageError
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine

OPERATOR = """
CREATE FUNCTION public.eqv(a varchar, b varchar) RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN
  RAISE EXCEPTION 'it ran as %', current_user;
END $f$;
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.eqv);
"""


@contextlib.contextmanager
def shared(cluster: Cluster, *statements: str) -> Iterator[str]:
    """The URL of a database that `owns` owns, on whose server `bob` has a role, too."""
    for role in ("owns", "bob", "group_of_both"):
        login = "NOLOGIN" if role == "group_of_both" else "LOGIN"
        cluster.run(f"CREATE ROLE {role} {login} PASSWORD 'canary'")
    try:
        with cluster.database("OWNER owns") as name:
            for statement in statements:
                cluster.run(statement, name)
            yield cluster.url(name, user="owns", password="canary")
    finally:
        cluster.run("DROP ROLE owns, bob, group_of_both")


def opened(url: str) -> None:
    engine = open_engine(url)
    try:
        if migrate.current_version(engine) is None:
            migrate.upgrade(engine)
        migrate.require_head(engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "given",
    [
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO bob",
        "CREATE SCHEMA owns AUTHORIZATION owns; GRANT CREATE ON SCHEMA owns TO bob",
        "GRANT group_of_both TO bob; GRANT CREATE ON SCHEMA public TO group_of_both",
    ],
    ids=["as before 15", "a role", "a schema of ours", "a group"],
)
def test_a_schema_in_which_another_role_may_create_is_refused(
    postgresql: Cluster, given: str
) -> None:
    with shared(postgresql, given) as url:
        with pytest.raises(UsageError, match="may create functions in the schema") as refused:
            opened(url)
        assert "REVOKE CREATE ON SCHEMA" in refused.value.hint


def test_what_such_a_role_has_created_does_not_run(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        bobs = url.replace("owns:", "bob:")
        with psycopg.connect(bobs, autocommit=True) as bob:
            bob.execute(OPERATOR)
        with pytest.raises(UsageError, match="may create functions"):
            opened(url)


@pytest.mark.parametrize(
    "given",
    [
        "SELECT 1",
        "GRANT CREATE ON SCHEMA public TO owns",
        "GRANT bob TO owns; GRANT CREATE ON SCHEMA public TO bob",
        "GRANT owns TO bob; GRANT CREATE ON SCHEMA public TO bob",
        "ALTER SCHEMA public OWNER TO bob; GRANT ALL ON SCHEMA public TO owns",
        "CREATE SCHEMA other; GRANT CREATE ON SCHEMA other TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO group_of_both",
    ],
    ids=["since 15", "ours", "we are it", "it is us", "the schema's owner", "not searched", "none"],
)
def test_roles_that_are_trusted_anyway_may_create(postgresql: Cluster, given: str) -> None:
    with shared(postgresql, given) as url:
        opened(url)


def test_nor_does_it_matter_who_cannot_connect(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        postgresql.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        opened(url)
