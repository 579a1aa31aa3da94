"""docs/invariants.md §10: a reader of any table goes on past a row that no version ever wrote.

`test_strange_words.py` shows it of the jobs, `test_believed.py` of their files.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta

import pytest
from sqlalchemy import Engine, Table, exc, func, insert, select

from tests.store.conftest import BASE_URL, NOW
from uploader.core.documents import event_json
from uploader.core.events import EventKind
from uploader.core.job import Status
from uploader.core.limits import Move
from uploader.store.held import Held
from uploader.store.history import History, Rows
from uploader.store.jobs import Jobs
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox import Delivery, Outbox
from uploader.store.outbox_tables import deliveries, hooks
from uploader.store.tables import events, leftovers, limits, metadata, moves

#: As SQL.
WORDS = (
    "NULL",
    "'novel'",
    "''",
    f"'{'a' * 300}'",
    "'../outside'",
    """'{"a": "\\ud800"}'""",
    "'2026-11-23 0'",
    "'infinity'",
    "'-infinity'",
    "'4000-01-01 00:00:00 BC'",
    "5",
    "-1",
    "2147483647",
    "9223372036854775807",
)
#: A file keeps any value in any column.
IN_A_FILE = (
    "CAST(x'ff' AS TEXT)",  # half a character
    "x'ff00'",
    "'a' || char(0) || 'b'",
    "0.5",
    "9e99",
    "'tomorrow'",
)
#: Whoever writes events by hand takes numbers that no event gets any more: SECURITY.md.
KEYS = {"id", "seq"}


def columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in KEYS]


def loosened(file: str) -> Iterator[Callable[[str], None]]:
    """Of its columns, none must have a value any more, as in a table that was copied."""
    with closing(sqlite3.connect(file, isolation_level=None)) as raw:
        raw.execute("PRAGMA writable_schema = ON")
        loose = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'"
        raw.execute(loose)
        raw.execute("PRAGMA writable_schema = RESET")

        def run(sql: str) -> None:
            with suppress(sqlite3.Error):
                raw.execute(sql)

        yield run


@pytest.fixture
def sql(engine: Engine) -> Iterator[Callable[[str], None]]:
    """Runs a statement, unless the database refuses it."""
    if file := engine.url.database if engine.dialect.name == "sqlite" else None:
        yield from loosened(file)
        return
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:

        def run(sql: str) -> None:
            with suppress(exc.DBAPIError):
                connection.exec_driver_sql(sql)

        yield run


@pytest.fixture
def spoil(engine: Engine, sql: Callable[[str], None]) -> Callable[[Table, str], int]:
    """Copies the only row of a table once for each word, with that word in that column."""

    def write(table: Table, column: str) -> int:
        (key,) = table.primary_key.columns
        others = [one for one in table.columns if one.name != column and one is not key]
        named = key.name not in KEYS
        words = WORDS if engine.dialect.name == "postgresql" else WORDS + IN_A_FILE
        for number, word in enumerate(words):
            into = [f'"{column}"', *(f'"{one.name}"' for one in others)]
            values = [word, *into[1:]]
            if named and column != key.name:
                into, values = [*into, f'"{key.name}"'], [*values, f"'odd-{number}'"]
            first = f'"{key.name}" = (SELECT min("{key.name}") FROM {table.name})'
            chosen = f"SELECT {', '.join(values)} FROM {table.name} WHERE {first}"
            sql(f"INSERT INTO {table.name} ({', '.join(into)}) {chosen}")
        with engine.connect() as connection:
            count = connection.scalar(select(func.count()).select_from(table)) or 0
        assert count > 1 or engine.dialect.name == "postgresql"
        return count

    return write


def test_no_table_is_left_out() -> None:
    shown = {events, deliveries, hooks, leftovers, limits, moves}
    assert {table.name for table in shown} | {"jobs", "files"} == set(metadata.tables)


def happen(engine: Engine, job_id: int, kind: EventKind) -> None:
    with Journal(engine, no_listener).writing(NOW) as transaction:
        transaction.add_event(job_id, kind, "words")


def taken(outbox: Outbox, *names: str) -> list[Delivery]:
    """Everything that those hooks are told, each at once."""
    found = []
    while delivery := outbox.take(names, NOW, 60):
        found.append(delivery)
        outbox.mark_delivered(delivery, NOW)
        assert len(found) < 500
    return found


@pytest.mark.parametrize("column", columns(events))
def test_no_event_hides_the_others(
    engine: Engine,
    jobs: Jobs,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    spoil: Callable[[Table, str], int],
    column: str,
) -> None:
    wanted = {"h": {EventKind.READY, EventKind.ENQUEUED}}
    outbox, job_id = Outbox(engine), enqueue("m")
    outbox.fill(wanted, NOW)
    count = spoil(events, column)
    happen(engine, job_id, EventKind.READY)
    found = jobs.events()
    assert [event.seq for event in found] == sorted({event.seq for event in found})
    assert (len(found), found[0].kind, found[-1].kind) == (count + 1, "enqueued", "ready")
    for event in found:
        json.dumps(event_json(event)).encode()
    paged = jobs.events(limit=7)
    while page := jobs.events(since=paged[-1].seq, limit=7):
        paged += page
    assert paged == found
    assert [event.kind for event in jobs.last_events(job_id, 1)] == ["ready"]
    assert jobs.events(job_id)[-1] == jobs.last_events(job_id, 5)[-1] == found[-1]
    outbox.fill(wanted, NOW)
    assert taken(outbox, "h")[-1].kind == "ready"
    put(job_id, status=Status.DONE, updated_at=NOW - timedelta(days=9))
    assert History(engine).count(NOW - timedelta(days=1), ["h"]).jobs == 1
    assert History(engine).prune_all(NOW - timedelta(days=1), NOW, ["h"]).jobs == 1


@pytest.mark.parametrize("column", columns(deliveries))
def test_no_delivery_silences_a_hook(
    engine: Engine,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    spoil: Callable[[Table, str], int],
    caplog: pytest.LogCaptureFixture,
    column: str,
) -> None:
    wanted = {"h": {EventKind.READY}}
    outbox, (first, second, old) = Outbox(engine), (enqueue(name) for name in "abc")
    outbox.fill(wanted, NOW)
    happen(engine, first, EventKind.READY)
    outbox.fill(wanted, NOW)
    spoil(deliveries, column)
    happen(engine, second, EventKind.READY)
    outbox.fill(wanted, NOW)
    assert outbox.behind(["h"])
    for _, why, failures in outbox.undelivered(first):
        assert (type(why), type(failures)) == (str, int)
    put(old, status=Status.DONE, updated_at=NOW - timedelta(days=9))
    assert History(engine).prune(NOW - timedelta(days=1), NOW, ["h"]) == Rows(1, 2, 1)
    told = taken(outbox, "h")
    assert (told[0].job_id, told[-1].job_id) == (first, second)
    for delivery in told:
        json.dumps(delivery.document).encode()
        assert delivery.message_id.isascii()
        assert delivery.kind.isprintable()
    assert outbox.states(["h"])[0].waiting == 0
    if column == "document":
        assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("column", "word"),
    [("kind", "--config=/evil"), ("document", '{"id": "--config=/evil"}')],
)
def test_no_delivery_gives_a_command_a_word_of_its_own(
    engine: Engine,
    enqueue: Callable[..., int],
    sql: Callable[[str], None],
    column: str,
    word: str,
) -> None:
    outbox, job_id = Outbox(engine), enqueue("m")
    outbox.fill({"h": {EventKind.READY}}, NOW)
    happen(engine, job_id, EventKind.READY)
    outbox.fill({"h": {EventKind.READY}}, NOW)
    sql(f"UPDATE deliveries SET {column} = '{word}'")
    assert taken(outbox, "h") == []


@pytest.mark.parametrize("column", columns(hooks))
def test_no_row_of_a_hook_silences_it_or_another(
    engine: Engine,
    enqueue: Callable[..., int],
    spoil: Callable[[Table, str], int],
    column: str,
) -> None:
    outbox, job_id = Outbox(engine), enqueue("m")
    outbox.fill({"good": ()}, NOW)
    spoil(hooks, column)
    names = ["good", *(f"odd-{number}" for number in range(len(WORDS + IN_A_FILE)))]
    wanted = {name: {EventKind.READY} for name in names}
    outbox.states(names)
    outbox.fill(wanted, NOW)
    happen(engine, job_id, EventKind.READY)
    outbox.fill(wanted, NOW)
    states = outbox.states(names)
    told = {delivery.hook for delivery in taken(outbox, *names)}
    assert "good" in told
    assert told == {state.name for state in states if not state.off}


@pytest.mark.parametrize("column", columns(leftovers))
def test_no_leftover_keeps_a_job_from_its_model(
    engine: Engine,
    claimed: Callable[..., Held],
    spoil: Callable[[Table, str], int],
    column: str,
) -> None:
    held = claimed()
    row = {"job_id": 1, "base_url": BASE_URL, "account": "acme", "model_id": "m"}
    row |= {"session_uri": "https://storage.example/s", "session_at": NOW}
    with engine.begin() as connection:
        connection.execute(insert(leftovers).values(path="first", **row))
    spoil(leftovers, column)
    with engine.begin() as connection:
        connection.execute(insert(leftovers).values(path="last", **row))
    paths = []
    while found := held.take_name("acme"):
        paths += [one.path for one in found]
        held.end_leftovers(found)
    assert (paths[0], paths[-1]) == ("first", "last")


@pytest.mark.parametrize("column", columns(limits))
def test_no_limit_hides_another(
    jobs: Jobs, spoil: Callable[[Table, str], int], column: str
) -> None:
    jobs.limits.choose({"jobs": "3"}, NOW)
    spoil(limits, column)
    jobs.limits.choose({"files": "4"}, NOW)
    found = jobs.limits.chosen()
    assert (found["jobs"], found["files"]) == ("3", "4")
    if column == "value":
        assert found.get("odd-5", "") == WORDS[5].strip("'")
    jobs.limits.choose({"jobs": None, "files": None}, NOW)
    assert not {"jobs", "files"} & jobs.limits.chosen().keys()


@pytest.mark.parametrize("column", columns(moves))
def test_no_move_hides_the_others(
    jobs: Jobs, spoil: Callable[[Table, str], int], column: str
) -> None:
    jobs.limits.add_move("me", Move(NOW, 1, "first"))
    spoil(moves, column)
    jobs.limits.add_move("me", Move(NOW, 2, "last"))
    found = jobs.limits.moves("me", 100)
    assert (found[0].message, found[-1].message) == ("first", "last")
    assert all(type(move.files) is int and move.at for move in found)


def test_one_limit_in_two_rows_is_not_a_limit(jobs: Jobs, engine: Engine) -> None:
    """SQLite keeps a name once as text and once as bytes."""
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL keeps texts only")
    jobs.limits.choose({"jobs": "3"}, NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO limits (name, value) VALUES (x'6a6f6273', '5')")
    assert jobs.limits.chosen() == {"jobs": ""}
