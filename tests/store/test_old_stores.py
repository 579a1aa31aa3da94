"""A store of version 0001 with jobs in every stage and status is carried over and goes on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.simulation.sim import Sim
from tests.sqlite import sqlite_url
from tests.store.old_stores import Services, fill_postgresql, fill_sqlite
from uploader.core.job import Job, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

#: What a user does about a job that stands still.
CURES = {Status.PAUSED: Verb.RESUME, Status.FAILED: Verb.RETRY}
#: The old store was left within an hour of simulated time.
RESTARTED_S = 3600.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """The old store, opened by this program, with the folders and the services as they were."""
    (tmp_path / "state").mkdir(mode=0o700)
    services = Services()
    services.lay_out(tmp_path)
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = sqlite_url(tmp_path / "state" / "old.db")
            fill_sqlite(tmp_path / "state" / "old.db", tmp_path)
        else:
            cluster = request.getfixturevalue("postgresql")
            url = cluster.url(stack.enter_context(cluster.database()))
            fill_postgresql(url, tmp_path)
        laboratory = stack.enter_context(closing(Lab(tmp_path, Sim(1, None, RESTARTED_S), url)))
        services.restore(laboratory.world)
        yield laboratory


def by_name(lab: Lab) -> dict[str, Job]:
    return {job.model_id: job for job in lab.jobs.jobs()}


def test_the_old_store_has_jobs_in_every_stage_and_status(lab: Lab) -> None:
    found = {(job.stage, job.status) for job in lab.jobs.jobs()}
    standing = set(Status) - {Status.DONE}
    before_the_end = {Stage.CREATE, Stage.UPLOAD, Stage.VALIDATE}
    wanted = {(stage, status) for stage in before_the_end for status in standing}
    assert found == wanted | {(Stage.READY, Status.DONE)}
    assert any(job.lease for job in lab.jobs.jobs())


def test_columns_say_what_history_and_double_meanings_said(lab: Lab) -> None:
    jobs = by_name(lab)
    assert {name for name, job in jobs.items() if job.replace_first} == {
        "replace-due", "replace-paused", "replace-deleted",
    }  # fmt: skip
    assert {name for name, job in jobs.items() if job.delete_on_cancel} == {
        "upload-cancelled-model", "validate-cancelled",
    }  # fmt: skip
    second = ("second-", "replace")
    took_s = {one.job_id: one.took_s for one in lab.jobs.uploads(100)}
    for name, job in jobs.items():
        assert job.run_number == (2 if name.startswith(second) else 1), name
        unknown = job.stage is Stage.CREATE and not name.startswith(second)
        assert job.model_exists == (not unknown and name != "replace-deleted"), name
        assert (job.upload_started_at is None) == (job.stage is Stage.CREATE), name
        measured = job.stage in (Stage.VALIDATE, Stage.READY)
        assert (job.id in took_s) == measured, name
        if measured:  # at a granule a second
            assert took_s[job.id] == pytest.approx(job.bytes_total / GRANULE, rel=0.5), name
        for file in lab.jobs.files(job.id):
            assert re.fullmatch(r"local:1760000000123456789:\d+", file.fingerprint)


def test_every_job_goes_on_to_its_end_and_no_confirmed_byte_is_sent_again(lab: Lab) -> None:
    before, left = by_name(lab), bytes_left(lab)
    ours = sessions_of(lab)
    assert sum(0 < count < GRANULE for count in left.values()) > 5, "no session is half-way"
    for job in before.values():
        if cure := CURES.get(job.status):
            lab.jobs.apply(job.id, cure, lab.clock.now())
    lab.max_jobs = 4
    lab.run()
    report = lab.world.report()
    for name, job in before.items():
        if job.status is Status.CANCELLED:
            kept = job.created_remotely and not job.delete_on_cancel
            assert (job.model in report["models"]) == kept, name
            assert not [uri for uri in ours[name] if alive(lab, uri)], name
        else:
            lab.assert_ready(job.id)
            for file in lab.jobs.files(job.id):
                key = f"sandbox/{name}/{file.path}"
                assert report["objects"][key]["body_bytes_read"] == left[key], key


def bytes_left(lab: Lab) -> dict[str, int]:
    """What there is to send yet of each file, by the key of its object: what no session has."""
    persisted = Services().persisted
    left = {}
    for job in lab.jobs.jobs():
        for file in lab.jobs.files(job.id):
            key = f"sandbox/{job.model_id}/{file.path}"
            held = persisted[key] if file.session is not None else 0
            left[key] = 0 if file.stored else file.size_bytes - held
    return left


def sessions_of(lab: Lab) -> dict[str, list[SessionUri]]:
    """The sessions that each job knows; of an earlier run it knows none."""
    return {
        job.model_id: [file.session for file in lab.jobs.files(job.id) if file.session is not None]
        for job in lab.jobs.jobs()
    }


def alive(lab: Lab, uri: SessionUri) -> bool:
    session = lab.world.sessions.get(uri.reveal().partition("upload_id=")[2])
    return session is not None and session.gone is None


def test_base_urls_of_old_rows_are_spelled_as_workers_spell_them(tmp_path: Path) -> None:
    """Two rows that become the same open job stay apart; a worker names the one it passes by."""
    database = tmp_path / "state" / "old.db"
    database.parent.mkdir(mode=0o700)
    fill_sqlite(database, tmp_path)
    home = "https://api.fireworks.ai"
    spelled = {"/inference": home, ":443": home, "": home, "/team": f"{home}/team"}
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT model_id FROM jobs LIMIT 5")]
        for name, tail in zip(names, (*spelled, "/inference"), strict=True):
            put = "UPDATE jobs SET base_url = ?, account = 'a' WHERE model_id = ?"
            connection.execute(put, (home + tail, name))
        connection.execute(
            "UPDATE jobs SET model_id = ?, status = 'active' WHERE model_id = ?",
            (names[2], names[4]),
        )
        connection.execute("UPDATE jobs SET status = 'active' WHERE base_url = ?", (home,))
        connection.commit()
    engine = open_engine(sqlite_url(database))
    migrate.ensure(engine, database.parent)
    found = [job for job in Jobs(engine).jobs() if job.account == "a"]
    engine.dispose()
    assert [job.base_url for job in found] == [*spelled.values(), f"{home}/inference"]
