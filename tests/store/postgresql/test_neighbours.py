"""A role without any right on our tables gets none by what it creates in a schema we search."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tests.postgresql import Cluster
from tests.store.conftest import NOW
from uploader.core.errors import UsageError
from uploader.core.job import NewJob
from uploader.store.database import migrate, neighbours
from uploader.store.database import postgresql as postgresql_room
from uploader.store.database.dialect import ChangeWatch, connected_workers, open_engine
from uploader.store.jobs import Jobs
from uploader.store.outbox_tables import deliveries
from uploader.store.tables import jobs

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


def as_bob(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("owns:", "bob:"), autocommit=True) as bob:
        for statement in statements:
            bob.execute(statement.encode())


@pytest.mark.parametrize(
    "given",
    [
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "CREATE SCHEMA owns AUTHORIZATION owns; GRANT CREATE ON SCHEMA owns TO PUBLIC",
        "CREATE SCHEMA owns AUTHORIZATION owns; GRANT CREATE ON SCHEMA public TO PUBLIC",
    ],
    ids=["as before 15", "a schema of ours", "another that is searched"],
)
def test_a_schema_in_which_everybody_may_create_is_refused(postgresql: Cluster, given: str) -> None:
    with shared(postgresql, given) as url:
        with pytest.raises(UsageError, match="functions in the schema") as refused:
            opened(url)
        assert "REVOKE CREATE ON SCHEMA" in refused.value.hint
        postgresql.run(f"{refused.value.hint.split('`')[1]}", url.rpartition("/")[2])
        opened(url)


def test_what_such_a_role_has_created_does_not_run(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        as_bob(url, OPERATOR)
        with pytest.raises(UsageError, match="functions in the schema"):
            opened(url)


def test_nor_does_it_once_it_may_create_no_more(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        as_bob(url, OPERATOR)
        postgresql.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
        with pytest.raises(UsageError, match=r"bob .*has left, functions in the schema public"):
            opened(url)
        postgresql.run("DROP OPERATOR public.= (varchar, varchar)", name)
        with pytest.raises(UsageError, match=r"bob .*has left, functions in the schema public"):
            opened(url)
        postgresql.run("DROP FUNCTION public.eqv", name)
        opened(url)


def test_nor_once_it_may_connect_no_more(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        as_bob(url, OPERATOR)
        postgresql.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        with pytest.raises(UsageError, match=r"bob .*has left, functions in the schema public"):
            opened(url)


def test_tables_that_it_has_made_in_our_place_are_not_used(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        as_bob(url, "CREATE TABLE public.jobs ()", "GRANT ALL ON public.jobs TO owns")
        postgresql.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", name)
        with pytest.raises(UsageError, match="bob owns tables in the schema public") as refused:
            opened(url)
        postgresql.run("DROP TABLE public.jobs", name)
        opened(url)
        postgresql.run("CREATE TABLE public.others ()", name)
        postgresql.run("ALTER TABLE public.others OWNER TO bob", name)
        opened(url)
    assert "`GRANT CREATE ON SCHEMA public TO bob`" in refused.value.hint


@pytest.mark.parametrize("who", ["bob", "PUBLIC", "group_of_both"])
def test_who_may_make_triggers_on_our_tables_is_refused(postgresql: Cluster, who: str) -> None:
    """Its function may be in `pg_temp`, and runs with our rights."""
    with shared(postgresql, "GRANT group_of_both TO bob") as url:
        name = url.rpartition("/")[2]
        opened(url)
        postgresql.run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {who}", name)
        with pytest.raises(UsageError, match=f"role {who} may make triggers") as refused:
            opened(url)
        postgresql.run(refused.value.hint.split("`")[1], name)
        opened(url)


@pytest.mark.parametrize(
    "given", ["GRANT TRIGGER ON public.jobs TO {}", "ALTER TABLE public.jobs OWNER TO {}"]
)
def test_no_name_in_a_hint_is_more_than_a_name(postgresql: Cluster, given: str) -> None:
    """The hint is to be copied, and whoever may create roles has chosen it."""
    role = '"bob, owns; CREATE TABLE theirs (); SELECT \'"'
    with shared(postgresql) as url:
        opened(url)
        database = url.rpartition("/")[2]
        postgresql.run(f"CREATE ROLE {role} LOGIN")
        try:
            postgresql.run(given.format(role), database)
            with pytest.raises(UsageError) as refused:
                opened(url)
            assert role in refused.value.message
            postgresql.run(refused.value.hint.split("`")[1], database)
            with pytest.raises(psycopg.errors.UndefinedTable):
                postgresql.run("DROP TABLE theirs", database)
        finally:
            postgresql.run("ALTER TABLE public.jobs OWNER TO owns", database)
            postgresql.run(f"DROP OWNED BY {role}", database)
            postgresql.run(f"DROP ROLE {role}")


def test_nor_are_triggers_used_that_it_has_left(postgresql: Cluster) -> None:
    with shared(postgresql) as url:
        name = url.rpartition("/")[2]
        opened(url)
        postgresql.run("GRANT TRIGGER ON public.events TO bob", name)
        with psycopg.connect(url.replace("owns:", "bob:"), autocommit=True) as bob:
            bob.execute(
                "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RETURN new; END'"
            )
            bob.execute(
                "CREATE TRIGGER t BEFORE INSERT ON public.events"
                " FOR EACH ROW EXECUTE FUNCTION pg_temp.f()"
            )
            postgresql.run("REVOKE TRIGGER ON public.events FROM bob", name)
            with pytest.raises(UsageError, match="bob has left triggers"):
                opened(url)
            postgresql.run("DROP TRIGGER t ON public.events", name)
            opened(url)


@pytest.mark.parametrize("right", ["REFERENCES", "REFERENCES (id)"])
def test_nor_is_a_table_that_refers_to_ours(postgresql: Cluster, right: str) -> None:
    """Its triggers run when a row of ours is deleted."""
    with shared(postgresql, "CREATE SCHEMA bobs AUTHORIZATION bob") as url:
        name = url.rpartition("/")[2]
        opened(url)
        postgresql.run(f"GRANT {right} ON public.jobs TO bob", name)
        with pytest.raises(UsageError, match="bob may make triggers") as refused:
            opened(url)
        as_bob(url, "CREATE TABLE bobs.t (a int REFERENCES public.jobs ON DELETE CASCADE)")
        postgresql.run(f"REVOKE {right} ON public.jobs FROM bob", name)
        with pytest.raises(UsageError, match="bob has left triggers, or tables that refer"):
            opened(url)
        postgresql.run("DROP TABLE bobs.t", name)
        opened(url)
    assert "REFERENCES" in refused.value.hint


ANY_TRIGGER = """
CREATE TRIGGER t BEFORE UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION {}()
"""


def test_triggers_of_who_may_do_all_anyway_are_used(postgresql: Cluster) -> None:
    """An administrator's own, as of an audit."""
    with shared(postgresql) as url:
        name = url.rpartition("/")[2]
        opened(url)
        postgresql.run(
            "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
            name,
        )
        postgresql.run(ANY_TRIGGER.format("audit"), name)
        opened(url)


def test_one_of_a_function_that_everybody_may_use_is_refused(postgresql: Cluster) -> None:
    """Who had the right to make triggers may have left it: it keeps rows from being written."""
    with shared(postgresql) as url:
        name = url.rpartition("/")[2]
        opened(url)
        postgresql.run(ANY_TRIGGER.format("suppress_redundant_updates_trigger"), name)
        with pytest.raises(UsageError, match=r"trigger t, .*public, can keep owns") as refused:
            opened(url)
        postgresql.run("DROP TRIGGER t ON public.events", name)
        opened(url)
    assert "drop" in refused.value.hint


def test_tables_of_who_was_named_are_used(postgresql: Cluster) -> None:
    """A role that migrates, and ours, which has no right to create."""
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO bob") as url:
        opened(url.replace("owns:", "bob:"))
        rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
        as_bob(url, f"GRANT {rights} TO owns")
        opened(url)


def test_all_our_tables_are_known() -> None:
    assert deliveries.metadata is jobs.metadata
    assert sorted([*jobs.metadata.tables, "alembic_version"]) == neighbours.TABLES.split()


def test_what_was_left_by_who_was_named_is_used(postgresql: Cluster) -> None:
    given = "GRANT group_of_both TO bob; GRANT CREATE ON SCHEMA public TO group_of_both"
    with shared(postgresql, given) as url:
        as_bob(url, "CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        opened(url)


def test_nor_an_operator_whose_function_is_elsewhere(postgresql: Cluster) -> None:
    given = "GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE SCHEMA bobs AUTHORIZATION bob"
    with shared(postgresql, given) as url:
        as_bob(url, OPERATOR.replace("public.eqv", "bobs.eqv"))
        postgresql.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", url.rpartition("/")[2])
        with pytest.raises(UsageError, match=r"bob .*has left, functions in the schema public"):
            opened(url)


@pytest.mark.parametrize("how", ["superuser", "member"])
def test_that_we_may_become_it_makes_no_role_a_trusted_one(postgresql: Cluster, how: str) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        postgresql.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        postgresql.run(f"GRANT CONNECT ON DATABASE {name} TO bob, owns")
        postgresql.run("GRANT bob TO owns")
        with pytest.raises(UsageError, match="bob may create"):
            opened(postgresql.url(name) if how == "superuser" else url)


def test_the_name_of_a_table_makes_nobody_its_owner(postgresql: Cluster) -> None:
    given = "CREATE SCHEMA owns AUTHORIZATION owns; GRANT CREATE ON SCHEMA public TO PUBLIC"
    with shared(postgresql, given) as url:
        as_bob(url, "CREATE TABLE public.jobs ()", "CREATE TABLE public.alembic_version ()")
        with pytest.raises(UsageError, match="functions in the schema public"):
            opened(url)


IN_OURS = OPERATOR.replace("public.", "owns.")


def test_a_schema_of_our_name_that_is_not_ours_is_refused(postgresql: Cluster) -> None:
    with shared(postgresql) as url:
        opened(url)
        postgresql.run(f"GRANT ALL ON DATABASE {url.rpartition('/')[2]} TO bob")
        as_bob(url, "CREATE SCHEMA owns", "GRANT USAGE ON SCHEMA owns TO PUBLIC", IN_OURS)
        with pytest.raises(UsageError, match=r"bob may create.* in the schema owns"):
            opened(url)
        opened(f"{url}?options=-csearch_path%3Dpublic")


def test_nor_is_it_searched_by_a_process_that_began_before(
    postgresql: Cluster, new: Callable[..., NewJob]
) -> None:
    with shared(postgresql) as url:
        opened(url)
        postgresql.run(f"GRANT ALL ON DATABASE {url.rpartition('/')[2]} TO bob")
        engine = open_engine(url)
        table = Jobs(engine)
        job_id, _ = table.enqueue(new(), NOW)
        as_bob(url, "CREATE SCHEMA owns", "GRANT USAGE ON SCHEMA owns TO PUBLIC", IN_OURS)
        for _ in range(2):  # a connection of before, and one of now
            assert table.same_as(new()) == job_id
            engine.dispose()


@pytest.mark.parametrize(
    "given",
    [
        "SELECT 1",
        "GRANT CREATE ON SCHEMA public TO owns",
        "GRANT bob TO owns; GRANT CREATE ON SCHEMA public TO bob",
        "ALTER SCHEMA public OWNER TO bob; GRANT ALL ON SCHEMA public TO owns",
        "CREATE SCHEMA other; GRANT CREATE ON SCHEMA other TO PUBLIC",
        "GRANT group_of_both TO bob, owns; ALTER SCHEMA public OWNER TO group_of_both",
        "GRANT group_of_both TO bob, owns; CREATE SCHEMA owns AUTHORIZATION group_of_both",
        "CREATE SCHEMA owns AUTHORIZATION uploader; GRANT ALL ON SCHEMA owns TO owns",
    ],
    ids=[
        *("since 15", "ours", "we are it", "the schema's owner", "not searched", "a group"),
        *("a group's schema of our name", "a superuser's"),
    ],
)
def test_roles_that_were_named_and_owners_may_create(postgresql: Cluster, given: str) -> None:
    with shared(postgresql, given) as url:
        opened(url)


@pytest.mark.parametrize(
    "given",
    [
        "GRANT owns TO bob",
        "GRANT group_of_both TO bob, owns; ALTER DATABASE {} OWNER TO group_of_both",
    ],
    ids=["it is us", "of the database's owners"],
)
def test_nor_does_it_matter_who_has_our_rights_anyway(postgresql: Cluster, given: str) -> None:
    """All roles that may log in: as with `owns` alone, but for those of other tests."""
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        postgresql.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        postgresql.run(f"GRANT CONNECT ON DATABASE {name} TO bob, owns")
        with pytest.raises(UsageError, match="bob may create"):
            opened(url)
        for statement in given.format(name).split(";"):
            postgresql.run(statement)
        opened(url)


def test_nor_does_it_matter_who_cannot_connect(postgresql: Cluster) -> None:
    with shared(postgresql, "GRANT CREATE ON SCHEMA public TO PUBLIC") as url:
        name = url.rpartition("/")[2]
        postgresql.run(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        opened(url)


ROLES = 1000


def test_a_server_with_a_role_for_each_of_many_customers_is_not_read_once_for_each(
    postgresql: Cluster,
) -> None:
    """By what PostgreSQL itself says that it has read."""
    with shared(postgresql) as url:
        each = f"FOR number IN 1..{ROLES} LOOP EXECUTE 'CREATE ROLE customer_' || number; END LOOP"
        postgresql.run(f"DO $$ BEGIN {each}; END $$")
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                asked = neighbours._REFUSED.replace("%s", "true")
                query = f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}"
                found = connection.execute(query.encode()).fetchone()
        finally:
            gone = each.replace("CREATE ROLE", "DROP ROLE")
            postgresql.run(f"DO $$ BEGIN {gone}; END $$")
    assert found is not None
    assert ROLES < rows_read(found[0][0]["Plan"]) < 100 * ROLES


def rows_read(plan: dict[str, Any]) -> int:
    at_once: float = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    mine = at_once * plan["Actual Loops"] if "Relation Name" in plan else 0
    return round(mine) + sum(map(rows_read, plan.get("Plans", [])))


def test_who_may_not_write_the_table_is_no_worker_of_it(postgresql: Cluster) -> None:
    """Anybody who may connect can hold the lock: `upload` would wait for ever."""
    with shared(postgresql) as url:
        opened(url)
        engine = open_engine(url)
        with engine.connect() as connection:
            table = connection.scalar(text("SELECT 'alembic_version'::regclass::oid"))
        with psycopg.connect(url.replace("owns:", "bob:"), autocommit=True) as bob:
            bob.execute("SET application_name = 'uploader worker x'")
            bob.execute(
                f"SELECT pg_advisory_lock_shared({postgresql_room._OURS}, {table})".encode()
            )
            with contextlib.closing(ChangeWatch(engine, "ours")):
                assert connected_workers(engine).keys() == {"ours"}
        engine.dispose()


@pytest.mark.parametrize("inherits", ["INHERIT", "NOINHERIT"])
def test_a_member_of_the_role_that_owns_the_table_is_a_worker_of_it(
    postgresql: Cluster, inherits: str
) -> None:
    with shared(postgresql, "GRANT owns TO bob", f"ALTER ROLE bob {inherits}") as url:
        opened(url)
        postgresql.run("ALTER ROLE bob SET role TO owns")
        engine = open_engine(url.replace("owns:", "bob:"))
        with contextlib.closing(ChangeWatch(engine, "his")):
            assert connected_workers(engine).keys() == {"his"}
        engine.dispose()
