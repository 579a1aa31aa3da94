"""A PostgreSQL that keeps its connections and says nothing: whoever cannot wait gets an error."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg.waiting
import pytest
import typer

from tests.soak.proxy import Proxy, before
from uploader.cli import failures
from uploader.core.errors import StoreError, WaitTimedOut
from uploader.core.exits import Exit
from uploader.core.store_reasons import StoreCode
from uploader.runtime import SystemClock
from uploader.store import wait
from uploader.store.database.answers import answering_within
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

_DEADLINE_S = 30.0
_SHORT_S = 3.0
#: As many connections as one process has at most.
_POOL = 15


@pytest.fixture
def way(postgresql_url: str) -> Iterator[tuple[Proxy, Jobs]]:
    """A job table, and the way to it, which can be held up."""
    with before(postgresql_url) as (proxy, url):
        engine = open_engine(f"{url}?connect_timeout=2")
        yield proxy, Jobs(engine)
        engine.dispose()


def test_whoever_cannot_wait_gets_an_error_and_keeps_no_connection_from_others(
    way: tuple[Proxy, Jobs],
) -> None:
    proxy, jobs = way
    begun = threading.Barrier(_POOL)

    def ask() -> str:
        begun.wait(_DEADLINE_S)
        try:
            with answering_within(_SHORT_S):
                jobs.last_event()
        except StoreError as error:
            return error.code
        return ""

    with ThreadPoolExecutor(_POOL) as pool:

        def told() -> set[str]:
            asked = [pool.submit(ask) for _ in range(_POOL)]
            return {one.result(_DEADLINE_S) for one in asked}

        assert told() == {""}
        proxy.flowing.clear()
        try:
            assert told() == {StoreCode.UNREACHABLE.value}
        finally:
            proxy.flowing.set()
        assert told() == {""}


def test_a_wait_with_an_end_has_one_though_the_job_table_is_silent(
    way: tuple[Proxy, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "_ANSWERS_S", 1.0)
    proxy, jobs = way
    assert jobs.last_event() == 0
    proxy.flowing.clear()
    with ThreadPoolExecutor(1) as pool:
        try:
            waits = pool.submit(wait.wait_for, jobs, [1], SystemClock(), 0.5)
            with pytest.raises(StoreError):
                waits.result(_DEADLINE_S)
        finally:
            proxy.flowing.set()


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (WaitTimedOut("timed out"), Exit.TIMED_OUT),
        (SystemExit(Exit.TERMINATED), Exit.TERMINATED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_command_that_has_ended_does_not_ask_a_silent_job_table_what_was_found(
    way: tuple[Proxy, Jobs],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: BaseException,
    code: Exit,
) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 1.0)
    proxy, jobs = way
    assert jobs.last_event() == 0

    def command() -> None:
        with failures.reporting(lambda: {"events": jobs.last_event()}, as_json=True):
            raise end

    proxy.flowing.clear()
    with ThreadPoolExecutor(1) as pool:
        try:
            with pytest.raises(typer.Exit) as left:
                pool.submit(command).result(_DEADLINE_S)
        finally:
            proxy.flowing.set()
    assert left.value.exit_code == code
    assert json.loads(capsys.readouterr().out).keys() == {"error"}


_FORKED = """
import os, threading
from uploader.store.database import dialect
with dialect.store_errors():
    child = os.fork()
    if child == 0:
        os._exit(dialect.is_asked() or dialect.asks(threading.get_ident()))
    print(os.waitpid(child, 0)[1], dialect.is_asked())
"""


def test_a_child_that_is_forked_while_the_store_is_asked_asks_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True"]


def test_ctrl_c_comes_out_as_itself_though_the_interrupted_driver_fails_to_clean_up(
    way: tuple[Proxy, Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, jobs = way
    jobs.last_event()
    waits = psycopg.waiting.wait
    steps = []

    def wait(steps_of_it: Any, *how: Any, **more: Any) -> Any:
        steps.append(steps_of_it)
        if len(steps) == 2:  # the first one only asks whether the connection is idle
            next(steps_of_it)
            steps_of_it.throw(KeyboardInterrupt)
        return waits(steps_of_it, *how, **more)

    monkeypatch.setattr(psycopg.waiting, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        jobs.last_event()
    jobs.last_event()


def test_what_fails_once_ctrl_c_is_being_handled_is_an_error(way: tuple[Proxy, Jobs]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    proxy, jobs = way
    proxy.refuse()
    try:
        interrupted()
    except KeyboardInterrupt:
        with pytest.raises((StoreError, KeyboardInterrupt)) as raised:
            jobs.last_event()
        assert raised.type is StoreError
