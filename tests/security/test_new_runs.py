"""Who may write the job table without its secret, while a user asks for a new run of a job."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

import uploader
from tests.cli.conftest import Command, home, sql, store, template
from tests.cli.conftest import uploader as command
from tests.model.build import LORA, folder
from tests.service.conftest import Site
from tests.service.conftest import site as site_of_settings
from uploader.intake.inspect import uploaded_base
from uploader.sources.local import LocalFolder
from uploader.wiring.stores import seal

__all__ = ["command", "home", "site_of_settings", "sql", "store", "template"]
_FAILED = "UPDATE jobs SET status = 'failed', reason_code = 'source_changed', lease_token = NULL"
#: The reads of the job's row in one new run; one more finds nothing new.
_READS = 5


@pytest.fixture(autouse=True)
def secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = home / "secret"
    file.write_text("5" * 64)
    file.chmod(0o600)
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(file))
    return file


@pytest.fixture
def site(secret: Path, site_of_settings: Site) -> Site:
    assert secret in site_of_settings.settings.private_paths
    return site_of_settings


@pytest.fixture(params=["command line", "Python", "HTTP"])
def retry(request: pytest.FixtureRequest, command: Command, site: Site) -> Callable[[], object]:
    """Asks for a new run of job 1, which may be refused."""

    def by_python() -> None:
        with contextlib.suppress(uploader.UploaderError):
            uploader.retry(1, rescan=True)

    ways: dict[str, Callable[[], object]] = {
        "command line": lambda: command("retry", "1", "--rescan"),
        "Python": by_python,
        "HTTP": lambda: site.ask("/api/jobs/1/retry", {"rescan": True}),
    }
    return ways[request.param]


class Attacker:
    """Somebody who may write the rows of the job table."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def write(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self._database, timeout=0)) as connection, connection:
            connection.execute(statement, values)

    def let_it_be(self, path: Path, options: dict[str, Any]) -> None:
        row = (str(path), json.dumps(options))
        self.write("UPDATE jobs SET path = ?, options = ? WHERE id = 1", *row)

    @contextlib.contextmanager
    def turning(self, reads: int, turn: Callable[[], object]) -> Iterator[None]:
        """Meanwhile, ``turn`` is called as soon as jobs were read so many times."""
        left = [reads]

        def after(*of: Any) -> None:
            if "FROM jobs" in of[2]:
                left[0] -= 1
                if left[0] == 0:
                    with contextlib.suppress(sqlite3.OperationalError):  # it is being written to
                        turn()

        event.listen(Engine, "after_cursor_execute", after)
        try:
            yield
        finally:
            event.remove(Engine, "after_cursor_execute", after)


def enqueued(site: Site) -> Path:
    """The folder of job 1."""
    model = site.folder()
    assert site.ask("/api/jobs", {"path": str(model), "model_id": "m"}).status == 201
    return model


@pytest.mark.parametrize("first", ["the row of somebody else", "the row that was sealed"])
def test_nothing_is_sealed_that_was_not_read_with_its_seal(
    site: Site, store: Path, retry: Callable[[], object], first: str
) -> None:
    """Whatever is put into the row or back into it, and whenever."""
    model, private = enqueued(site), site.roots / "private"
    private.mkdir()
    (private / "letters.txt").write_text("no model")
    attacker, own = Attacker(store), seal(site.settings)
    good = dict(site.jobs.job(1).options)
    evil = {**good, "no-preflight": True, "include": ["*"], "public": True}
    rows = [(private, evil), (model, good)]
    before, then = rows if first == "the row of somebody else" else rows[::-1]
    for reads in range(1, _READS + 1):
        attacker.write(_FAILED)
        attacker.let_it_be(*before)
        with attacker.turning(reads, lambda: attacker.let_it_be(*then)):
            retry()
        job, files = site.jobs.job(1), site.jobs.files(1)
        if own.holds_job(job):
            assert (job.path, job.options, job.create_body["model"].get("public")) == (
                str(model),
                good,
                None,
            )
        assert not [file.path for file in files if file.path == "letters.txt"]


def test_a_sealed_job_gets_a_new_run(site: Site, store: Path, retry: Callable[[], object]) -> None:
    model = enqueued(site)
    Attacker(store).write(_FAILED)
    (model / "README.md").write_text("of another size")
    retry()
    job = site.jobs.job(1)
    assert (job.status, job.run_number) == ("active", 2)
    assert seal(site.settings).holds_job(job)


def test_no_folder_is_read_as_a_base_model_because_somebody_else_says_so(
    site: Site, store: Path, tmp_path: Path
) -> None:
    model, other = enqueued(site), site.folder("other")
    adapter = LocalFolder(folder(tmp_path / "adapter", LORA)).list()
    name = f"accounts/{site.jobs.job(1).account}/models/m"
    found = uploaded_base(adapter, name, site.jobs)
    assert found is not None
    assert found.root == model
    attacker = Attacker(store)
    attacker.write("DELETE FROM files")
    attacker.write("UPDATE jobs SET path = ?", str(other))
    assert uploaded_base(adapter, name, site.jobs) is None
