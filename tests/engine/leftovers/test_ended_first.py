"""Nothing is sent to a model while a session of an earlier run, or of another job, may write there.

A proxy that stores and forwards may still have a PUT of such a session: once the session is ended,
nothing of it can replace what is sent from then on.
"""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.engine.conftest import Lab
from tests.engine.leftovers.ways import (
    WAYS,
    Way,
    asked_to_end,
    failed,
    interrupted,
    left,
    refuse,
    rescanned,
    some_ways,
    watched,
)
from uploader.core.job import Stage
from uploader.core.lifecycle import Verb
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.tables import leftovers

EVIL = "https://evil.example/upload?upload_id=1"


@pytest.mark.parametrize("then", WAYS)
@pytest.mark.parametrize("answers_503", [0, 3])
def test_every_session_is_ended_before_the_first_byte_is_sent(
    lab: Lab, then: Way, answers_503: int
) -> None:
    old = interrupted(lab)
    job_id = then(lab)
    if answers_503:
        lab.only = frozenset({job_id})  # so nobody else ends them either
        refuse(lab, 503, answers_503)
    seen = watched(lab, old)
    lab.run_until(lambda: lab.job(job_id).stage is Stage.READY)
    lab.assert_ready(job_id)
    assert len(seen) > 2
    assert all(seen)
    assert left(lab) == 0


def test_a_model_that_is_created_again_by_itself_waits_for_them_too(lab: Lab) -> None:
    """The service takes no more files for it, so the job deletes it, and creates it again."""
    old = interrupted(lab)
    claims = Claims(lab.engine, lab.clock.now)
    held = claims.claim("worker", lab.world.base_url, tuple(Stage), 60.0)
    assert held
    held.recreate("why")
    held.release()
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready()
    assert "recreated" in lab.kinds()
    assert len(seen) > 2
    assert all(seen)


def test_a_session_that_its_own_run_has_dropped_is_ended_by_the_next_one(lab: Lab) -> None:
    """It lives: the file has moved, or nothing was kept of what was sent on it."""
    old = interrupted(lab)
    claims = Claims(lab.engine, lab.clock.now)
    held = claims.claim("worker", lab.world.base_url, tuple(Stage), 60.0)
    assert held
    held.files.drop_session("a.bin", "why", bytes_sent=0, lives=True)
    held.release()
    rescanned(lab)
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready()
    assert all(seen)


def test_a_cancelled_job_ends_those_of_its_earlier_run(lab: Lab) -> None:
    old = interrupted(lab)
    rescanned(lab)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    assert [session.gone for session in old] == [499, 499]
    assert lab.kinds()[-1] == "closed"
    assert left(lab) == 0


def test_a_job_of_another_model_or_service_ends_none_of_them(lab: Lab) -> None:
    old = interrupted(lab)
    failed(lab)
    lab.jobs.remove(1, lab.clock.now())
    lab.enqueue(lab.model("other"))
    asked = asked_to_end(lab)
    lab.run()
    assert asked == []
    assert [session.gone for session in old] == [None, None]
    assert left(lab) == 2


@some_ways
def test_a_worker_with_a_secret_ends_them_too(lab: Lab, then: Way) -> None:
    lab.use(Seal(b"s" * 32))
    old = interrupted(lab)
    job_id = then(lab)
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready(job_id)
    assert all(seen)


@pytest.mark.parametrize("column", ["session_uri", "path", "job_id", "address_seal"])
def test_an_address_without_its_seal_is_asked_for_nothing(lab: Lab, column: str) -> None:
    """Somebody else wrote it: no worker asks there, and the history says so."""
    lab.use(Seal(b"s" * 32))
    interrupted(lab)
    rescanned(lab)
    evil = {"session_uri": EVIL, "path": "c.bin", "job_id": 9, "address_seal": None}
    with lab.engine.begin() as connection:
        connection.execute(update(leftovers).values({column: evil[column]}))
    asked = asked_to_end(lab)
    lab.run()
    lab.assert_ready()
    assert asked == []
    assert "left_open" in lab.kinds()
    assert left(lab) == 0
