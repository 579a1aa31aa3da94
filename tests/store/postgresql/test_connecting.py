"""Connecting: its names, its driver and its settings; a backup is the business of its own tools."""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from tests.postgresql import Cluster
from tests.store.postgresql.conftest import store_at
from uploader.core.distribution import install
from uploader.core.errors import UsageError
from uploader.store.database import migrate, postgresql
from uploader.store.database.dialect import open_engine


@pytest.mark.parametrize("name", postgresql.NAMES)
def test_each_way_to_write_its_name_is_understood(postgresql_url: str, name: str) -> None:
    with store_at(postgresql_url.replace("postgresql", name, 1)) as jobs:
        assert jobs.jobs() == []


def test_without_its_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError) as raised:
        open_engine("postgresql://u:hunter2@h/db")
    assert raised.value.hint == install("postgresql")
    assert "hunter2" not in raised.value.message


def test_what_the_url_says_wins_over_our_defaults(postgresql_url: str) -> None:
    engine = open_engine(f"{postgresql_url}?application_name=mine&connect_timeout=3")
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW application_name")) == "mine"
    engine.dispose()


def test_who_listens_at_the_other_address_of_localhost_hears_nothing(
    postgresql: Cluster, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = socket.getaddrinfo

    def other_first(name: str, *args: Any, **kwargs: Any) -> list[Any]:
        there = ["127.0.0.2", "127.0.0.1"] if name == "localhost" else [name]
        return [one for place in there for one in resolved(place, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", other_first)
    with socket.create_server(("127.0.0.2", postgresql.port)) as stranger:
        url = make_url(postgresql_url).set(host="localhost").render_as_string(hide_password=False)
        with store_at(f"{url}?connect_timeout=2") as jobs:
            assert jobs.jobs() == []
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_settings_of_every_connection(engine: Engine) -> None:
    wanted = {
        "lock_timeout": "30s",
        "idle_in_transaction_session_timeout": "10s",
        "synchronous_commit": "on",
        "tcp_keepalives_idle": "10",
        "tcp_user_timeout": "30000",
        "transaction_isolation": "repeatable read",
    }
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = {name: connection.scalar(text(f"SHOW {name}")) for name in wanted}
            assert found == wanted


def test_times_are_read_however_the_database_writes_dates(
    postgresql: Cluster, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgresql.run(f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")
    engine = open_engine(postgresql_url)
    noon = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    with engine.begin() as connection:
        found = connection.scalar(text("SELECT CAST(:noon AS timestamptz)"), {"noon": noon})
    assert found == noon
    engine.dispose()


def test_commits_are_durable_whatever_the_databases_default(
    postgresql: Cluster, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgresql.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine = open_engine(postgresql_url)
    with engine.begin() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
    engine.dispose()


def test_a_backup_is_its_own_tools_business(engine: Engine, tmp_path: Path) -> None:
    for path in (None, tmp_path / "copy"):
        with pytest.raises(UsageError) as raised:
            migrate.save(engine, tmp_path, path)
        assert "pg_dump" in raised.value.hint
    assert list(tmp_path.iterdir()) == []
