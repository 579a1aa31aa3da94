"""The job table may hold session URIs: whatever names it, no file of it is sent as a model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command, home
from tests.cli.conftest import uploader as command
from tests.model.build import BASE, folder
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
