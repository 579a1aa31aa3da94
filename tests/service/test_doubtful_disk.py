"""A disk that may only look like one matters if the job table is there, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from uploader import mounts, wiring
from uploader.core.doctor_documents import Health
from uploader.core.errors import StoreError
from uploader.core.store_reasons import StoreCode
from uploader.service.doctor import setup
from uploader.settings.load import load
from uploader.settings.schema import Settings
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is on a disk of a kind that nobody knows; all others are on a local one."""
    folder = tmp_path / "odd"
    folder.mkdir(0o700)

    def kind(path: Path, *_: object) -> str:
        real = os.path.realpath(path)
        return "fuse.odd" if real == str(folder) or real.startswith(f"{folder}/") else "ext4"

    monkeypatch.setattr(mounts, "file_system", kind)
    return folder


@pytest.fixture(params=["state folder", "database_url", "link"])
def table_there(request: pytest.FixtureRequest, odd: Path, tmp_path: Path) -> Settings:
    state = odd / "state" if request.param == "state folder" else tmp_path / "state"
    state.mkdir(0o700)
    environ = {"UPLOADER_STATE_DIR": str(state)}
    if request.param == "database_url":
        environ["UPLOADER_DATABASE_URL"] = f"sqlite:///{odd}/jobs.db"
    if request.param == "link":
        (odd / "uploader.db").touch(0o600)
        (state / "uploader.db").symlink_to(odd / "uploader.db")
    return load(environ=environ)


@pytest.fixture
def engine(table_there: Settings) -> Iterator[Engine]:
    engine = open_engine(table_there.database_url)
    migrate.ensure(engine, table_there.locks_dir)
    yield engine
    engine.dispose()


def test_a_table_there_is_warned_of(table_there: Settings, engine: Engine) -> None:
    assert "fuse.odd" in "".join(wiring.concerns(table_there, engine))


def test_a_damaged_table_there_starts_no_worker(table_there: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.exec_driver_sql("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'jobs'")
    engine.dispose()
    with pytest.raises(StoreError) as raised:
        list(wiring.concerns(table_there, engine))
    assert raised.value.code == StoreCode.CORRUPT


def test_doctor_warns_of_a_table_there(table_there: Settings) -> None:
    (check,) = (one for one in setup._state_folder(table_there) if one.name == "file_system")
    assert (check.status, "fuse.odd" in check.message) == (Health.WARN, True)


def test_a_table_elsewhere_is_not_warned_of(odd: Path, tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/here/jobs.db", "postgresql://u@127.0.0.1:9/d"):
        settings = load(
            environ={"UPLOADER_STATE_DIR": str(odd / "state"), "UPLOADER_DATABASE_URL": url}
        )
        engine = open_engine(settings.database_url)
        said = "".join(wiring.concerns(settings, engine))
        engine.dispose()
        assert "fuse.odd" not in said
        (check,) = (one for one in setup._state_folder(settings) if one.name == "file_system")
        assert check.status is Health.OK
