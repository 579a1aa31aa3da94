"""Verbs of users, several workers, and what a worker leaves behind when it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.fast import FastLab
from uploader.core.errors import UsageError
from uploader.core.job import Lease, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.engine.job_run import JobRun
from uploader.store.claims import Claims
from uploader.store.database.workers import WorkerLock

SIZE = 40 * GRANULE


def sending(lab: Lab) -> bool:
    return any(entry["persisted"] for entry in lab.world.report()["objects"].values())


@pytest.fixture(params=[Lab, FastLab])
def any_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Also with real threads: what two writers at once would spoil."""
    laboratory: Lab = request.param(tmp_path)
    yield laboratory
    laboratory.close()


def slow_job(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE / 20  # so that nobody is too late to act
    lab.enqueue(lab.model(a_bin=SIZE))


def act_while_sending(lab: Lab, act: Callable[[], object], reached: Callable[[], bool]) -> None:
    acted: list[object] = []

    def look() -> bool:
        if not acted and sending(lab):
            acted.append(act())
        return bool(acted) and reached()

    lab.run_until(look)


def test_pause_lets_go_at_once_and_resume_goes_on_at_the_byte(lab: Lab) -> None:
    slow_job(lab)
    pause = lambda: lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())  # noqa: E731
    act_while_sending(lab, pause, lambda: lab.job().lease is None)
    assert lab.job().status is Status.PAUSED
    held = lab.object()["persisted"]
    lab.run()  # idle: a paused job is not active
    assert lab.object()["persisted"] == held
    lab.bytes_per_s = None
    lab.jobs.apply(1, Verb.RESUME, lab.clock.now())
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 1
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE


def test_pause_and_resume_at_once_never_make_two_writers(any_lab: Lab) -> None:
    lab = any_lab
    slow_job(lab)

    def twice() -> None:
        lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
        lab.jobs.apply(1, Verb.RESUME, lab.clock.now())
        lab.bytes_per_s = None

    act_while_sending(lab, twice, lambda: lab.job().status is Status.ACTIVE)
    lab.run()
    lab.assert_ready()


def test_cancel_ends_the_session_remotely(lab: Lab) -> None:
    slow_job(lab)
    cancel = lambda: lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())  # noqa: E731
    act_while_sending(lab, cancel, lambda: "closed" in lab.kinds())
    assert lab.job().status is Status.CANCELLED
    assert lab.file().session is None
    assert [session.gone for session in lab.world.sessions.values()] == [499]
    assert lab.world.report()["models"] == {"accounts/sandbox/models/model": "UPLOADING"}


def test_cancel_deletes_a_model_this_job_created_if_asked(lab: Lab) -> None:
    slow_job(lab)

    def cancel() -> None:
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)

    act_while_sending(lab, cancel, lambda: "closed" in lab.kinds())
    assert lab.world.report()["models"] == {}
    told = lab.kinds()
    cancel()  # said twice, done once
    assert lab.kinds() == told
    assert not lab.job().delete_on_cancel


def test_a_cancelled_job_is_cleaned_up_by_the_next_worker(lab: Lab) -> None:
    slow_job(lab)
    lab.run_until(lambda: sending(lab))
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.world.script.add([{"on": "cancel", "do": "status", "status": 503, "times": 2}])
    lab.run_until(lambda: "closed" in lab.kinds())
    assert lab.file().session is None
    lab.jobs.remove(1, lab.clock.now())
    assert lab.jobs.jobs() == []


def test_a_model_of_somebody_else_is_never_deleted(lab: Lab) -> None:
    lab.enqueue(lab.model())
    with pytest.raises(UsageError):
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)


def test_a_drained_worker_gives_its_leases_back_and_writes_where_it_stands(lab: Lab) -> None:
    slow_job(lab)
    lab.run_until(lambda: sending(lab))
    assert lab.job().lease is None
    assert lab.job().status is Status.ACTIVE
    assert lab.file().mark.offset >= lab.object()["persisted"]


def test_leases_of_a_dead_worker_are_void_at_once(lab: Lab) -> None:
    lab.enqueue(lab.model())
    claims = Claims(lab.engine, lab.clock.now)
    with WorkerLock(lab.state) as dead:
        stages = (Stage.CREATE,)
        assert claims.claim(dead.owner, lab.world.base_url, stages, 1e9)
    lab.run()
    lab.assert_ready()
    assert "rescued" in lab.kinds()


def test_leases_of_a_living_worker_are_left_alone_whatever_the_clock_says(lab: Lab) -> None:
    lab.enqueue(lab.model())
    claims = Claims(lab.engine, lab.clock.now)
    with WorkerLock(lab.state) as other:
        held = claims.claim(other.owner, lab.world.base_url, (Stage.CREATE,), 1.0)
        assert held is not None
        lab.sim.suspend(86_400)
        began_s = lab.clock.boot_s()
        lab.run_until(lambda: lab.clock.boot_s() - began_s > 30)
        assert lab.job().lease == held.lease
        assert lab.world.report()["creates"] == 0


def test_two_workers_share_the_jobs_and_no_session(any_lab: Lab) -> None:
    lab = any_lab
    for number in range(6):
        lab.enqueue(lab.model(f"model-{number}", a_bin=6 * GRANULE, b_bin=GRANULE))
    with lab.worker() as one, lab.worker() as two:
        lab.finish(*(partial(worker.run, until_idle=True) for worker in (one, two)))
        assert one.seen | two.seen == set(range(1, 7))
    for job_id in range(1, 7):
        lab.assert_ready(job_id)
    assert lab.world.report()["creates"] == 6


def test_a_worker_that_lost_its_lease_writes_nothing_more(lab: Lab) -> None:
    slow_job(lab)
    thief = Lease(1, "thief", "t")

    def steal() -> None:
        lease = lab.job().lease
        assert lease is not None
        Claims(lab.engine, lab.clock.now).release([lease])
        lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())

    act_while_sending(lab, steal, lambda: lab.job().status is Status.PAUSED)
    before = lab.jobs.events(1)
    lab.run()
    assert lab.jobs.events(1) == before
    assert lab.job().lease != thief


def test_a_waiting_job_holds_no_place(lab: Lab) -> None:
    """Two jobs in backoff, and the third goes through in a worker with two places."""
    fault = {"on": "create", "do": "status", "status": 503, "retry_after": 900, "times": 0}
    lab.world.script.add([{**fault, "match": f"model-{number}"} for number in (0, 1)])
    for number in range(3):
        lab.enqueue(lab.model(f"model-{number}"))
    lab.run_until(lambda: lab.job(3).status is Status.DONE)
    assert {lab.job(1).stage, lab.job(2).stage} == {Stage.CREATE}


def test_jobs_being_validated_do_not_wait_for_long_uploads(lab: Lab) -> None:
    lab.world.config.landing_polls = 3
    lab.enqueue(lab.model("quick", a_bin=5))
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE)
    lab.bytes_per_s = GRANULE / 4
    for number in range(2):
        lab.enqueue(lab.model(f"slow-{number}", a_bin=SIZE), priority=9)
    lab.run_until(lambda: lab.job(1).status is Status.DONE)
    assert {lab.job(2).status, lab.job(3).status} == {Status.ACTIVE}


def test_a_bug_in_one_job_never_stops_another(lab: Lab) -> None:
    lab.enqueue(lab.model("bad"), create_body={"modelId": "bad"})
    lab.enqueue(lab.model("good"))
    lab.run()
    assert lab.job(1).status is Status.FAILED
    lab.assert_ready(2)


def test_a_job_of_which_nothing_can_be_written_is_tried_ever_less_and_stops_no_other(
    lab: Lab,
) -> None:
    lab.world.script.add([{"on": "create", "do": "status", "status": 503, "times": 100}])
    lab.enqueue(lab.model("bad"), priority=9)
    with lab.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE UPDATE OF attempts ON jobs WHEN OLD.id = 1"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    lab.run()
    assert lab.job(1).status is Status.ACTIVE
    assert lab.world.report()["creates"] <= 1
    assert lab.clock.boot_s() >= 10 + 20 + 40 + 80


def test_a_jobs_thread_that_dies_counts_as_a_failed_try(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.enqueue(lab.model("bad"), priority=9)
    lab.enqueue(lab.model("good"))
    drive, died = JobRun.drive, []

    def odd(run: JobRun) -> None:
        if run.held.job.id == 1:
            died.append(lab.clock.boot_s())
            raise OverflowError("CANARY")
        drive(run)

    monkeypatch.setattr(JobRun, "drive", odd)
    lab.run()
    lab.assert_ready(2)
    assert len(died) == 5
    assert [after - before >= 10 for before, after in pairwise(died)] == [True] * 4
