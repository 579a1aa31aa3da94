"""The job table may hold session URIs: whatever names it, no file of it is sent as a model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, home
from tests.cli.conftest import uploader as command
from tests.model.build import BASE, folder
from uploader.core.errors import StoreError, UsageError
from uploader.core.exits import Exit
from uploader.model.folder import SECRET_FILE
from uploader.model.links import Private
from uploader.settings.load import load
from uploader.store.database import dialect, migrate

__all__ = ["command", "home"]
PLACES = [
    "jobs.db",
    "./jobs.db",
    "jobs.db?timeout=5",
    "{root}/jobs.db?timeout=5",
    "{root}/jobs.db?a=/b?c",
    "{root}/job%73.db",
    "{root}//x/../jobs.db",
    "{root}/a%3Fb.db",
    "{root}/a#b.db",
    "{root}/link.db",
    "elsewhere/link.db",
    "elsewhere/way/jobs.db",
]


@pytest.fixture
def root(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder, in which commands are run."""
    root = folder(home / "model", BASE)
    root.chmod(0o700)
    (root / "x").mkdir()
    (root / "link.db").symlink_to("jobs.db")
    elsewhere = root / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "link.db").symlink_to(root / "jobs.db")
    (elsewhere / "way").symlink_to(root)
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("place", PLACES)
def test_every_file_of_the_job_table_is_private_whatever_names_it(place: str, root: Path) -> None:
    before = {path.name for path in root.iterdir()}
    if place.endswith("link.db"):
        (root / "jobs.db").touch(0o600)
    url = "sqlite:///" + place.format(root=root)
    settings = load(None, {"UPLOADER_DATABASE_URL": url, "UPLOADER_STATE_DIR": str(root / "x")})
    engine = dialect.open_engine(settings.database_url)
    try:
        migrate.ensure(engine, settings.state_dir)
        migrate.save(engine, settings.state_dir, None)
        with engine.connect():
            made = {path for path in root.rglob("*.db*") if path.name not in before}
            private = Private(settings.private_paths)
            names = {path.name for path in made if private.holds(path.stat())}
    finally:
        engine.dispose()
    assert names == {path.name for path in made}
    assert {"-wal", "-shm", "backup"} <= {name.partition(".db")[2].strip(".") for name in names}


@pytest.mark.parametrize("place", ["jobs.db", "{root}/jobs.db?timeout=5"])
def test_a_folder_with_the_job_table_is_refused_whatever_names_it(
    place: str, root: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_DATABASE_URL", "sqlite:///" + place.format(root=root))
    assert command("db", "upgrade").code == 0
    answer = command("enqueue", ".", "--json")
    assert answer.code == Exit.PREFLIGHT
    refused = [one for one in answer.json["findings"] if one["check"] == SECRET_FILE]
    assert "jobs.db" in str(refused)


def test_the_job_table_stays_where_it_was_when_the_settings_were_read(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(None, {"UPLOADER_DATABASE_URL": "sqlite:///jobs.db"})
    monkeypatch.chdir(home)
    assert dialect.place(settings.database_url) == str(root / "jobs.db")
    assert root / "jobs.db" in settings.private_paths


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_the_folder_of_what_a_link_leads_to_is_ours_alone(home: Path, mode: int) -> None:
    """SQLite takes the log that lies there for the table's own, whoever has put it there."""
    shared, state = home / "shared", home / "state"
    shared.mkdir()
    state.mkdir(mode=0o700)
    moved, link = shared / "jobs.db", state / "jobs.db"
    dialect.open_engine(f"sqlite:///{link}").dispose()
    link.rename(moved)
    link.symlink_to(moved)
    dialect.open_engine(f"sqlite:///{link}").dispose()
    shared.chmod(mode)
    with pytest.raises(UsageError, match="may be written by others"):
        dialect.open_engine(f"sqlite:///{link}")


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_log_that_others_may_write_is_refused_also_behind_a_link(home: Path, end: str) -> None:
    real, link = home / "real/jobs.db", home / "state/link.db"
    for path in (real, link):
        path.parent.mkdir(mode=0o700)
    dialect.open_engine(f"sqlite:///{real}").dispose()
    link.symlink_to(real)
    log = real.with_name(f"jobs.db{end}")
    log.touch()
    log.chmod(0o666)
    with pytest.raises(UsageError, match="may be written by others"):
        dialect.open_engine(f"sqlite:///{link}")


def test_a_link_that_leads_nowhere_makes_nothing(home: Path) -> None:
    """As a disk that is not mounted."""
    link = home / "state/link.db"
    link.parent.mkdir(mode=0o700)
    link.symlink_to(home / "disk/jobs.db")
    with pytest.raises(StoreError, match="is gone"):
        dialect.open_engine(f"sqlite:///{link}")
    assert not (home / "disk").exists()
