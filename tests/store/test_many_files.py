"""A job of many files: what is written of it keeps other jobs waiting no longer than of any other.

How long others wait is counted in the instructions of SQLite's longest write transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, func, select, update

from tests.store.conftest import BASE_URL, NOW
from uploader.core.errors import StoreError
from uploader.core.events import EventKind
from uploader.core.job import NewJob, Stage, Status
from uploader.core.redact import SessionUri
from uploader.core.resumable import UploadUrl, read_url
from uploader.core.seal import NO_SEAL, Seal
from uploader.store import file_updates, history, outbox
from uploader.store.claims import Claims
from uploader.store.database.dialect import open_engine
from uploader.store.database.sqlite import BEGIN
from uploader.store.held import Held
from uploader.store.held_files import NewSession
from uploader.store.history import History, Rows
from uploader.store.jobs import Jobs
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox import Outbox
from uploader.store.tables import files, leftovers

FEW, MANY = 200, 2000
#: What may differ between many files and few.
FLAT = 1.2
SEAL = Seal(b"s" * 32)
HOOK = {"mail": [EventKind.READY]}


def names(count: int) -> list[str]:
    return [f"{number:06}.txt" for number in range(count)]


@pytest.fixture
def store_of(template: Path, tmp_path: Path, new: Callable[..., NewJob]) -> Callable[..., Engine]:
    """A store with one job of so many files."""

    def make(count: int, seal: Seal = NO_SEAL) -> Engine:
        path = tmp_path / f"{count}-{seal is SEAL}.db"
        path.write_bytes(template.read_bytes())
        engine = open_engine(f"sqlite:///{path}")
        Jobs(engine, seal=seal).enqueue(new(sizes=dict.fromkeys(names(count), 1)), NOW)
        return engine

    return make


def longest_write(engine: Engine, act: Callable[[], object]) -> int:
    count, began, longest = [0], [0], [0]

    def step() -> int:
        count[0] += 1
        return 0

    def watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(step, 1)

    def begin(connection: Connection) -> None:
        writes = BEGIN in connection.get_execution_options()
        began[0] = count[0] if writes else -1

    def commit(_: Connection) -> None:
        if began[0] >= 0:
            longest[0] = max(longest[0], count[0] - began[0])

    engine.dispose()
    listeners: dict[str, Callable[..., object]] = {
        "connect": watch,
        "begin": begin,
        "commit": commit,
    }
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        act()
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
        engine.dispose()
    assert longest[0]
    return longest[0]


def urls(count: int) -> dict[str, UploadUrl]:
    signed = "X-Goog-Signature=a&X-Goog-SignedHeaders=host%3Bx-goog-resumable"
    return {name: read_url(f"https://s.example/b/{name}?{signed}") for name in names(count)}


def test_a_map_of_many_urls_is_written_in_portions(
    store_of: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_updates, "_PORTION", 50)

    def work(count: int) -> int:
        engine = store_of(count)
        held = Claims(engine, lambda: NOW).claim("w", BASE_URL, tuple(Stage), 60)
        assert held
        files = held.files
        return longest_write(engine, lambda: files.keep_urls(urls(count), NOW))

    assert work(MANY) <= FLAT * work(FEW)


def test_what_has_no_seal_of_many_files_takes_few_statements(
    store_of: Callable[..., Engine],
) -> None:
    """As after an upgrade: their seals are those of an earlier version."""
    engine = store_of(MANY, SEAL)
    claims = Claims(engine, lambda: NOW, seal=SEAL)
    held = claims.claim("w", BASE_URL, tuple(Stage), 60)
    assert held
    held.enter_upload(created=True)
    opened = [NewSession(one, SessionUri(f"https://s.example/{one}"), one) for one in names(MANY)]
    held.files.open_sessions(opened)
    held.release()
    with engine.begin() as connection:
        for one in opened:
            earlier = SEAL.address(1, one.path, one.uri.reveal())
            of = update(files).where(files.c.path == one.path)
            connection.execute(of.values(address_seal=earlier))
    count = [0]

    def counted(*_: object) -> None:
        count[0] += 1

    event.listen(engine, "before_cursor_execute", counted)
    assert claims.claim("w", BASE_URL, tuple(Stage), 60)
    event.remove(engine, "before_cursor_execute", counted)
    assert count[0] < 100
    with engine.connect() as connection:
        left = connection.scalar(select(func.count()).select_from(leftovers))
        session = connection.scalar(select(func.count()).where(files.c.session_uri.is_not(None)))
    assert (left, session) == (MANY, 0)
    told = [one for one in Jobs(engine, seal=SEAL).events(1) if one.kind == "session_dropped"]
    assert len(told) < 30
    assert f"{MANY - len(told) + 1} more of its files" in told[-1].message


def test_a_map_of_which_only_a_part_was_written_counts_as_none(
    engine: Engine,
    jobs: Jobs,
    claimed: Callable[..., Held],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_updates, "_PORTION", 1)
    held = claimed(sizes=dict.fromkeys(names(3), 1))

    def refuse(*args: object) -> None:
        if "urls_until" in str(args[2]):
            raise StoreError("gone")

    event.listen(engine, "before_cursor_execute", refuse)
    try:
        with pytest.raises(StoreError, match="gone"):
            held.files.keep_urls(urls(3), NOW)
    finally:
        event.remove(engine, "before_cursor_execute", refuse)
    assert [file.url is not None for file in jobs.files(1)] == [True, True, False]
    assert jobs.job(1).urls_until is None
    assert all(file.url for file in held.files.keep_urls(urls(3), NOW))
    assert jobs.job(1).urls_until == NOW


def test_the_seals_of_many_files_are_looked_at_before_others_have_to_wait(
    store_of: Callable[..., Engine],
) -> None:
    def work(seal: Seal) -> int:
        engine = store_of(MANY, seal)
        claims = Claims(engine, lambda: NOW, seal=seal)
        return longest_write(engine, lambda: claims.claim("w", BASE_URL, tuple(Stage), 60))

    assert work(SEAL) <= FLAT * work(NO_SEAL)


def test_what_hooks_are_told_of_many_files_is_read_before_others_have_to_wait(
    store_of: Callable[..., Engine],
) -> None:
    def work(count: int) -> int:
        engine = store_of(count)
        Outbox(engine).fill(HOOK, NOW)
        happen(engine)
        return longest_write(engine, lambda: Outbox(engine).fill(HOOK, NOW))

    assert work(MANY) <= FLAT * work(FEW)


def happen(engine: Engine) -> None:
    with Journal(engine, no_listener).writing(NOW) as transaction:
        transaction.add_event(1, EventKind.READY, "words")


def test_of_two_who_fill_an_outbox_at_once_one_writes(
    engine: Engine, enqueue: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    one, other, real = Outbox(engine), Outbox(engine), outbox._page_of
    one.fill(HOOK, NOW)
    happen(engine)
    filled = []

    def while_another_fills(*args: object) -> object:
        monkeypatch.setattr(outbox, "_page_of", real)
        page = real(*args)  # type: ignore[arg-type]
        filled.append(other.fill(HOOK, NOW))
        return page

    monkeypatch.setattr(outbox, "_page_of", while_another_fills)
    assert one.fill(HOOK, NOW) == 0
    assert filled == [1]
    assert one.states(["mail"])[0].waiting == 1


def test_large_documents_are_written_a_few_at_a_time(
    engine: Engine, enqueue: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_MOST_CHARS", 10)
    enqueue()
    told = Outbox(engine)
    told.fill(HOOK, NOW)
    for _ in range(3):
        happen(engine)
    assert [told.fill(HOOK, NOW) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_a_step_of_forgetting_takes_few_jobs_if_they_have_many_files(
    engine: Engine,
    enqueue: Callable[..., int],
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "_STEP_FILES", 3)
    for number in range(5):
        put(enqueue(f"m{number}"), status=Status.DONE)
    steps = []
    while (gone := History(engine).prune(NOW.replace(year=2100), NOW)) != Rows():
        steps.append((gone.jobs, gone.files))
    assert steps == [(2, 4), (2, 4), (1, 2)]
