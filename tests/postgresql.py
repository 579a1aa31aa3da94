"""A private PostgreSQL for tests: its own cluster on loopback, a fresh database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine

#: Where it must not be missing, as in CI.
REQUIRED = os.environ.get("UPLOADER_TEST_POSTGRESQL") == "required"
PASSWORD = "canary-of-the-database"
_DEADLINE_S = 60.0


def binaries() -> Path | None:
    """The newest installation's programs, Debian's or whatever is on the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    found = shutil.which("initdb")
    return debian[-1] if debian else Path(found).parent if found else None


class Cluster:
    """One server with a superuser of ours; it keeps nothing through a power cut."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        # initdb refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._initialise()
        for _ in range(3):  # somebody else may have the port by the time it is bound
            self.port = _free_port()
            if self._starts():
                return
        raise AssertionError(self._log.read_text())

    def _initialise(self) -> None:
        word = self._folder / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        how = ["-U", "uploader", "-A", "scram-sha-256", f"--pwfile={word}", "-E", "UTF8"]
        initdb, where = str(self._programs / "initdb"), ["-D", str(self._data)]
        command = [initdb, *where, *how, "--locale=C", "--no-sync"]
        done = subprocess.run(
            command, user=self._user, capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stderr

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def start(self) -> None:
        """On the port it had. Raises AssertionError if it ends, or does not answer in time."""
        assert self._starts(), self._log.read_text()

    def _starts(self) -> bool:
        """False if it ended by itself. Raises AssertionError if it does not answer in time."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *words],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        pause, give_up = threading.Event(), time.monotonic() + _DEADLINE_S
        while not self._answers():
            if self._process.poll() is not None:
                self._process = None
                return False
            assert time.monotonic() < give_up, "PostgreSQL does not start"
            pause.wait(0.05)
        return True

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.run("SELECT 1")
            return True
        return False

    def stop(self) -> None:
        """At once; every session ends."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown
            self._process.wait()
            self._process = None

    def url(self, database: str, user: str = "uploader", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> None:
        """As the superuser, outside a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextlib.contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The name of a fresh database, dropped afterwards."""
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} {options}")
        try:
            yield name
        finally:
            if self._process is not None:
                self.run(f"DROP DATABASE {name} WITH (FORCE)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _private() -> Iterator[Cluster]:
    programs = binaries()
    if programs is None:
        reason = "no PostgreSQL is installed (Debian: apt install postgresql)"
        assert not REQUIRED, reason
        pytest.skip(reason)
    # Not pytest's folder: the server's user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="uploader-pg-", dir="/tmp") as folder:
        cluster = Cluster(programs, Path(folder))
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A server for the tests of this process, skipped if none is installed."""
    with _private() as cluster:
        yield cluster


@pytest.fixture
def own_postgresql() -> Iterator[Cluster]:
    """A server to be stopped and broken."""
    with _private() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a migrated, empty database to be copied."""
    with postgresql.database() as name:
        engine = open_engine(postgresql.url(name))
        migrate.ensure(engine, tmp_path_factory.mktemp("template"))
        engine.dispose()
        yield name


@pytest.fixture
def postgresql_url(postgresql: Cluster, migrated: str) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with postgresql.database(f"TEMPLATE {migrated}") as name:
        yield postgresql.url(name)
