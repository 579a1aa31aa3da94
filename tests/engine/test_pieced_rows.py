"""Rows that somebody without the secret of the job table has put together from sealed ones.

None of them makes wrong bytes READY: neither a mixture of two versions of a file, nor a file that
this run has not stored.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from sqlalchemy import delete, func, select, text, update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_late_validation import assert_refused, late, unanswered
from tests.engine.test_new_life import SIZE, interrupted, rescan, rewrite
from uploader.cli.receipt import _sealed
from uploader.core.errors import Differs
from uploader.core.job import FileState, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.seal import NO_SEAL, Seal
from uploader.engine.hashing import Digests
from uploader.intake.kept import unchanged, worth_reading
from uploader.model.links import NOTHING
from uploader.sandbox.script import Script
from uploader.store.jobs import Jobs
from uploader.store.tables import files, jobs, leftovers

SEAL = Seal(b"s" * 32)
PROGRESS = ["session_uri", "session_at", "object_path", "mode", "sessions", "reached", "gap"]
PROGRESS += ["offset", "offset_crc32c", "mark_bytes", "mark_crc32c", "bytes_sent", "address_seal"]


@pytest.fixture(autouse=True)
def sealed(lab: Lab) -> None:
    lab.use(SEAL)


def write(lab: Lab, *statements: Any) -> None:
    """As somebody who may write the database."""
    with lab.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def row(lab: Lab, path: str = "a.bin") -> dict[str, Any]:
    with lab.engine.connect() as connection:
        query = text("SELECT * FROM files WHERE path = :path")
        return dict(connection.execute(query, {"path": path}).mappings().one())


def put_row(lab: Lab, known: dict[str, Any], names: list[str], path: str = "a.bin") -> None:
    sets = ", ".join(f'"{name}" = :{name}' for name in names)
    values = {name: known[name] for name in names}
    with lab.engine.begin() as connection:
        connection.execute(text(f"UPDATE files SET {sets} WHERE path = '{path}'"), values)


def stored_object(lab: Lab, path: str = "a.bin") -> bytes:
    return (lab.folder / "objects" / "sandbox" / "model" / path).read_bytes()


def refused(lab: Lab) -> bool:
    job = lab.job()
    return (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")


def is_ready(lab: Lab) -> bool:
    return bool(lab.world.report()["models"].get("accounts/sandbox/models/model") == "READY")


def test_no_word_for_its_calls_makes_a_job_done_by_the_validation_of_an_earlier_run(
    lab: Lab,
) -> None:
    folder = unanswered(lab, Verb.PAUSE)
    rescan(lab, folder)
    write(lab, update(jobs).values(validating_since=None))
    late(lab, 1)
    assert_refused(lab, 1)


def test_where_the_object_of_a_session_is_has_a_seal(lab: Lab) -> None:
    interrupted(lab)
    write(lab, update(files).values(object_path="made.up/by/somebody"))
    lab.run()
    lab.assert_ready()
    assert "session_dropped" in lab.kinds()
    assert str(lab.file().object_path).endswith("/sandbox/model/a.bin")


# -- a session and what is known of it ---------------------------------------------------------


def test_the_session_of_an_earlier_run_is_not_that_of_a_later_one(lab: Lab) -> None:
    folder = interrupted(lab)
    earlier = row(lab)
    rewrite(folder / "a.bin", SIZE)
    lab.run(digests=Digests.ON)
    assert lab.job().status is Status.FAILED
    rescan(lab, folder)
    write(lab, delete(leftovers))
    put_row(lab, earlier, PROGRESS)
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert lab.kinds().count("session_opened") == 2


@pytest.mark.parametrize("bytes_sent", [0, SIZE])
def test_no_made_up_prefix_takes_another_version_for_the_one_that_was_sent(
    lab: Lab, bytes_sent: int
) -> None:
    """One pair agrees with the file as it is now, another with what its session holds."""
    folder = interrupted(lab)
    sent, (held,) = (folder / "a.bin").read_bytes(), lab.world.sessions.values()
    offset = held.part.persisted
    assert 0 < offset < SIZE - GRANULE
    rewrite(folder / "a.bin", SIZE)
    now, beyond = (folder / "a.bin").read_bytes(), offset + GRANULE
    made_up = {
        "offset": offset,
        "offset_crc32c": google_crc32c.value(sent[:offset]),
        "mark_bytes": beyond,
        "mark_crc32c": google_crc32c.value(now[:beyond]),
        "bytes_sent": bytes_sent,
    }
    write(lab, update(files).values(made_up))
    shutil.rmtree(lab.state / "marks")  # another machine of the same job table
    lab.marks.sweep(lab.clock.now())
    lab.run()
    if lab.job().status is Status.DONE:
        lab.assert_ready()
    else:
        assert not is_ready(lab)
    assert "session_dropped" in lab.kinds()


def test_a_file_that_was_touched_keeps_its_session(lab: Lab) -> None:
    folder = interrupted(lab)
    os.utime(folder / "a.bin", ns=(1, 1))
    lab.bytes_per_s = float(GRANULE)
    lab.run_until(lambda: "session_resumed" in lab.kinds() and lab.file().mark.offset > 4 * GRANULE)
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()
    assert lab.kinds().count("session_opened") == 1
    assert "session_dropped" not in lab.kinds()


def test_a_session_that_an_older_version_sealed_is_left_over_and_begun_again(lab: Lab) -> None:
    """Its seal was over its address alone; it is still ended before others send to the model."""
    interrupted(lab)
    known, before = lab.file(), list(lab.world.sessions.values())
    assert known.session
    older = SEAL.address(1, "a.bin", known.session.reveal())
    write(lab, update(files).values(address_seal=older))
    lab.run_until(lambda: "session_dropped" in lab.kinds())
    with lab.engine.connect() as connection:
        left = connection.execute(select(leftovers.c.session_uri)).scalars().all()
    assert left == [known.session.reveal()]
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    assert "left_open" not in lab.kinds()
    assert [one.gone for one in before] == [499]


# -- what counts as stored ---------------------------------------------------------------------


def half_stored(lab: Lab) -> Path:
    """The folder of a failed job of which `b.bin` is stored, and changed since."""
    folder = interrupted(lab, a_bin=SIZE, b_bin=GRANULE + 5)
    lab.world.script.add([{"on": "put", "match": "a.bin", "do": "status", "status": 403,
                           "times": 0}])  # fmt: skip
    lab.run_until(lambda: lab.file("b.bin").stored)
    lab.world.script = Script()
    for path in ("a.bin", "b.bin"):
        rewrite(folder / path, (folder / path).stat().st_size)
    lab.run()
    assert lab.job().status is Status.FAILED, lab.dump()
    return folder


STORED = ["stored", "verified", "crc32c", "generation", "sha256", "sha256_as_sent", *PROGRESS]


@pytest.mark.parametrize("with_seal", [False, True])
def test_a_file_that_an_earlier_run_stored_is_not_stored_in_a_later_one(
    lab: Lab, *, with_seal: bool
) -> None:
    folder = half_stored(lab)
    earlier = row(lab, "b.bin")
    rescan(lab, folder)
    put_row(lab, earlier, STORED if with_seal else STORED[:-1], "b.bin")
    lab.run()
    lab.assert_ready()


def test_nothing_is_kept_that_only_a_made_up_row_calls_stored(lab: Lab) -> None:
    folder = half_stored(lab)
    crc32c = google_crc32c.value((folder / "b.bin").read_bytes())
    write(lab, update(files).where(files.c.path == "b.bin").values(crc32c=crc32c, sha256=None))
    found: list[FileState] = worth_reading(
        lab.job(), lab.jobs.files(1), lab.new_job(folder).manifest
    )
    kept = list(unchanged(found, lab.new_job(folder).manifest, NOTHING))
    assert [file.path for file in kept] == ["b.bin"]
    rescan(lab, folder, kept=kept)
    assert not lab.file("b.bin").stored
    lab.run()
    lab.assert_ready()


def test_what_is_kept_stays_stored(lab: Lab) -> None:
    folder = interrupted(lab, a_bin=SIZE, b_bin=5)
    lab.run_until(lambda: lab.file("b.bin").stored)
    rewrite(folder / "a.bin", SIZE)
    manifest = lab.new_job(folder).manifest
    kept = list(unchanged(worth_reading(lab.job(), lab.jobs.files(1), manifest), manifest, NOTHING))
    rescan(lab, folder, kept=kept)
    lab.run()
    lab.assert_ready()
    assert lab.file("b.bin").sessions == 0


@pytest.mark.parametrize("stored", [False, True])
def test_no_word_for_its_stage_makes_a_job_valid_before_its_files_are_stored(
    lab: Lab, *, stored: bool
) -> None:
    folder = half_stored(lab)
    rescan(lab, folder)
    write(lab, update(jobs).values(stage=Stage.VALIDATE, model_exists=True))
    if stored:
        whole = {"stored": True, "verified": True, "crc32c": 1, "offset": files.c.size_bytes}
        write(lab, update(files).values(whole))
    lab.run()
    assert refused(lab), lab.dump()
    assert not is_ready(lab)
    assert lab.world.report()["early_validations"] == 0


@pytest.mark.parametrize("how", ["files lost", "stored"])
def test_what_is_turned_after_the_claim_validates_nothing(lab: Lab, how: str) -> None:
    lab.enqueue(lab.model(a_bin=9 * GRANULE, b_bin=5))
    turned: list[str] = []

    def turn(name: str) -> None:
        if name == "put after" and not turned:
            turned.append(name)
            if how == "stored":
                whole = {"stored": True, "verified": True, "crc32c": 1}
                write(lab, update(files).values(whole | {"offset": files.c.size_bytes}))
            else:
                write(lab, delete(files).where(files.c.path == "b.bin"))

    lab.boundary = turn
    lab.run()
    assert turned
    assert not is_ready(lab), lab.dump()


def test_a_model_that_others_made_ready_is_not_this_jobs_by_a_word(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=5))
    lab.run()
    lab.assert_ready()
    write(
        lab,
        update(jobs).values(stage=Stage.VALIDATE, status=Status.ACTIVE),
        update(files).values(stored=False, offset=0),
    )
    lab.run()
    assert refused(lab), lab.dump()


def test_a_strange_address_is_not_left_over(lab: Lab) -> None:
    interrupted(lab)
    write(lab, update(files).values(session_uri="https://evil.example/upload?upload_id=1"))
    lab.run()
    lab.assert_ready()
    with lab.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(leftovers)).scalar_one() == 0


def test_without_a_secret_no_stage_is_believed_either(lab: Lab) -> None:
    lab.use(NO_SEAL)
    half_stored(lab)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    write(lab, update(jobs).values(stage=Stage.VALIDATE))
    lab.run_until(lambda: lab.job().attempts > 0 or lab.job().status is not Status.ACTIVE)
    assert lab.world.report()["validate_calls"] == 0


@pytest.mark.parametrize(
    "statement",
    [
        update(jobs).values(model_id="other"),
        update(jobs).values(account="other"),
        update(jobs).values(base_url="https://other.example"),
        delete(files).where(files.c.path == "b.bin"),
    ],
    ids=["model", "account", "service", "file"],
)
def test_a_job_proves_nothing_of_another_model_nor_of_a_part_of_its_own(
    lab: Lab, statement: Any
) -> None:
    lab.enqueue(lab.model(a_bin=5, b_bin=6))
    lab.run()
    lab.assert_ready()
    known = Jobs(lab.engine, seal=SEAL)
    assert len(_sealed(known, known.job(1))) == 2
    write(lab, statement)
    with pytest.raises(Differs, match="nothing can be proven"):
        _sealed(known, known.job(1))
