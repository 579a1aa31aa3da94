"""The file with the secret of a job table: what is read from it, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import home, sql, store, template
from tests.model.build import BASE, folder
from uploader import wiring
from uploader.core.errors import UsageError
from uploader.core.lifecycle import Verb
from uploader.core.seal import NO_SEAL, Seal
from uploader.intake.plan import planned
from uploader.intake.request import EnqueueRequest
from uploader.settings.load import load
from uploader.settings.schema import Settings
from uploader.store.jobs import Jobs
from uploader.wiring.stores import refuse_sealed, seal

__all__ = ["home", "sql", "store", "template"]
SECRET = "5" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return file


def settings_with(file: Path) -> Settings:
    return load(None, {"UPLOADER_DATABASE_SECRET_FILE": str(file)})


def test_the_secret_is_the_word_in_the_file(file: Path) -> None:
    assert seal(settings_with(file)) == Seal(SECRET.encode())
    assert seal(load(None, {})) is NO_SEAL


def test_a_secret_that_is_mounted_for_a_group_is_taken(file: Path) -> None:
    file.chmod(0o440)
    assert seal(settings_with(file)).secret


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602, 0o644])
def test_a_secret_that_others_may_read_or_replace_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UsageError, match="by others") as refused:
        seal(settings_with(file))
    assert refused.value.hint == f"`chmod g-w,o= {file}`", "a new secret would disown every job"


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "x" * 5000, "\n" * 40])
def test_a_secret_of_another_length_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="32 to 4096"):
        seal(settings_with(file))


def test_a_secret_that_is_not_there_is_to_be_copied_first_of_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there") as refused:
        seal(settings_with(tmp_path / "none"))
    assert refused.value.hint.startswith("copy it from a machine that has it")


def test_a_secret_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        seal(settings_with(tmp_path))


def test_the_secret_is_never_sent(file: Path) -> None:
    assert file in settings_with(file).private_paths


@pytest.fixture
def sealed(
    store: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Settings, Jobs]]:
    """A job that was enqueued with the secret, seen by a command without it."""
    assert store.exists()
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(file))
    now, request = wiring.clock().now(), EnqueueRequest(path=folder(tmp_path / "model", BASE))
    with wiring.Store(load()) as opened:
        jobs = opened.create()
        planned(request, load(), jobs, now).enqueue(jobs, now)
    monkeypatch.delenv("UPLOADER_DATABASE_SECRET_FILE")
    with wiring.Store(load()) as opened:
        yield load(), opened.need()


def test_a_worker_without_the_secret_says_at_its_start_what_it_does_not_take(
    sealed: tuple[Settings, Jobs], caplog: pytest.LogCaptureFixture
) -> None:
    settings, _ = sealed
    for only in ([7], None):
        assert "seal" not in caplog.text
        with wiring.worker(settings, lambda _: None, only):
            pass
    assert "job 1 has a seal, and no worker without the secret takes it (set data" in caplog.text


def test_an_upload_that_needs_the_secret_says_so_instead_of_waiting_for_ever(
    sealed: tuple[Settings, Jobs],
) -> None:
    with pytest.raises(UsageError, match="job 1 has a seal") as refused:
        wiring.work_on(*sealed, [1], lambda _: None, timeout_s=30)
    assert "set database_secret_file" in refused.value.hint


def test_nor_does_it_keep_the_other_jobs_of_an_upload_waiting(
    sealed: tuple[Settings, Jobs], tmp_path: Path
) -> None:
    settings, jobs = sealed
    now, request = wiring.clock().now(), EnqueueRequest(path=folder(tmp_path / "own", BASE))
    own, _ = planned(request, settings, jobs, now).enqueue(jobs, now)
    refuse_sealed(settings, jobs, [1, own])
    jobs.apply(own, Verb.CANCEL, now)  # as if it were done
    with pytest.raises(UsageError, match="job 1 has a seal"):
        refuse_sealed(settings, jobs, [1, own])


def test_what_a_command_enqueues_is_sealed(
    store: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.exists()
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(file))
    settings, now = load(), wiring.clock().now()
    with wiring.Store(settings) as opened:
        jobs = opened.create()
        request = EnqueueRequest(path=folder(tmp_path / "model", BASE))
        job_id, _ = planned(request, settings, jobs, now).enqueue(jobs, now)
        job, own = jobs.job(job_id), seal(settings)
        assert own.holds_job(job)
        assert all(map(own.run_of(job).holds_file, jobs.files(job_id)))
        assert not own.holds_job(dataclasses.replace(job, path="/etc"))
