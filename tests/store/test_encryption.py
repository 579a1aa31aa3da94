"""A database on another machine is warned of unless TLS is asked for, as libpq reads the URL."""

from __future__ import annotations

import sys

import pytest
from sqlalchemy import make_url

from uploader.core.errors import UsageError
from uploader.store.database.dialect import doubts
from uploader.store.database.encryption import one_address
from uploader.store.database.postgresql import DRIVER

pytest.importorskip("psycopg")

FAR = "postgresql://u:secret@db.example/d"


@pytest.fixture(autouse=True)
def no_settings_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGSSLROOTCERT", "PGGSSENCMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        (FAR, "prefer"),
        (FAR.replace("postgresql:", "postgres:"), "prefer"),
        (FAR.replace("postgresql:", "postgresql+psycopg:"), "prefer"),
        (f"{FAR}?sslmode=disable", "disable"),
        (f"{FAR}?sslmode=allow", "allow"),
        ("postgresql:///d?host=10.0.0.7", "prefer"),
        ("postgresql://localhost/d?hostaddr=10.0.0.7", "prefer"),
        ("postgresql:///d?host=/run&host=db.example", "prefer"),
    ],
)
def test_a_far_database_without_tls_is_warned_of(url: str, mode: str) -> None:
    found = doubts(url)
    assert f"sslmode is {mode}" in found
    assert "secret" not in found


@pytest.mark.parametrize(
    "url",
    [
        f"{FAR}?sslmode=require",
        f"{FAR}?sslmode=verify-ca",
        f"{FAR}?sslmode=verify-full&sslrootcert=/ca.pem",
        f"{FAR}?sslrootcert=system",
        f"{FAR}?gssencmode=require",
        f"{FAR}?service=work",
        "postgresql:///d",
        "postgresql:///d?host=/run/postgresql",
        "postgresql://u@localhost/d?sslmode=disable",
        "postgresql://u@[::1]:5432/d",
        "postgresql://db.example/d?hostaddr=127.0.0.1",
        "sqlite:////tmp/jobs.db",
    ],
)
def test_a_near_database_and_tls_are_not(url: str) -> None:
    assert doubts(url) == ""


def test_a_password_that_a_slip_makes_a_part_of_the_mode_is_not_shown() -> None:
    found = doubts(f"{FAR}?sslmode=disable;password=secret")
    assert found
    assert "secret" not in found


@pytest.mark.parametrize(
    "twice", ["sslmode=require&sslmode=disable", "hostaddr=127.0.0.1&hostaddr=::1"]
)
def test_what_is_written_twice_asks_for_nothing(twice: str) -> None:
    assert doubts(f"{FAR}?{twice}")


def test_a_url_that_no_command_can_read_is_refused_here_too() -> None:
    with pytest.raises(UsageError) as caught:
        doubts(f"{FAR}?port=word")
    assert "word" not in caught.value.message


def test_what_the_url_leaves_open_is_as_libpq_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert doubts("postgresql:///d")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert doubts("postgresql:///d") == doubts(FAR) == ""
    assert doubts(f"{FAR}?sslmode=prefer")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:secret@localhost/d", "127.0.0.1"),
        ("postgresql://LOCALHOST.:5433/d", "127.0.0.1"),
        ("postgresql:///d?host=localhost:1&host=db.example:2", "127.0.0.1,"),
        ("postgresql://localhost/d?service=work", "127.0.0.1"),
        ("postgresql:///d?host=localhost&service=work", "127.0.0.1"),
        ("postgresql:///d?host=localhost,db.example&hostaddr=,10.0.0.7", "127.0.0.1,10.0.0.7"),
        ("postgresql://localhost/d?hostaddr=::1", None),
        ("postgresql:///d?host=localhost,db.example&hostaddr=10.0.0.7", None),
        ("postgresql:///d?service=work", None),
        ("postgresql://[::1]/d", None),
        ("postgresql:///d", None),
        (FAR, None),
    ],
)
def test_localhost_is_one_address(url: str, address: str | None) -> None:
    found = one_address(make_url(url).set(drivername=DRIVER))
    assert found == ({"hostaddr": address} if address else {})


def test_localhost_of_the_environment_is_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_url("postgresql:///d").set(drivername=DRIVER)
    monkeypatch.setenv("PGHOST", "localhost")
    monkeypatch.setenv("PGAPPNAME", "\udce9")  # no UTF-8, as libpq has it
    assert one_address(url) == {"hostaddr": "127.0.0.1"}
    monkeypatch.setenv("PGSERVICE", "work")
    assert one_address(url) == {}


def test_without_a_driver_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert doubts(FAR) == ""
