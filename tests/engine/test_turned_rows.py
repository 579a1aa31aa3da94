"""What a job's own row says of its run has a seal: its stage, its run, its model, its end.

Somebody without the secret of the job table turns it; the job fails, and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_adopting import adapter, given_up, options
from tests.engine.test_gone import gone, in_stage, make_another
from tests.engine.test_kept import kept
from tests.engine.test_new_life import interrupted, rescan
from tests.engine.test_pieced_rows import SEAL, is_ready, put_row, row, write
from uploader.cli.receipt import _sealed
from uploader.core.errors import Differs, StoreError, UsageError
from uploader.core.job import NewJob, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.intake.receipt import require_proof
from uploader.store.jobs import Jobs
from uploader.store.tables import files, jobs


@pytest.fixture(autouse=True)
def sealed(lab: Lab) -> None:
    lab.use(SEAL)


def turn(lab: Lab, columns: dict[str, Any], job_id: int = 1) -> None:
    write(lab, update(jobs).where(jobs.c.id == job_id).values(columns))


def refused(lab: Lab, job_id: int = 1) -> bool:
    job = lab.job(job_id)
    return (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")


PLANS: dict[str, Callable[[Lab], tuple[NewJob, NewJob]]] = {
    "public": lambda lab: (options(lab, public=True), options(lab)),
    "adapter": lambda lab: (adapter(lab, "accounts/f/models/a", 8),
                            adapter(lab, "accounts/f/models/b", 16)),
}  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
def test_no_word_for_its_stage_sends_a_job_to_a_model_that_it_never_looked_at(
    lab: Lab, plan: str
) -> None:
    left, new = PLANS[plan](lab)
    given_up(lab, left)
    lab.run_until(lambda: lab.job().lease is None)
    lab.jobs.enqueue(new, lab.clock.now())
    turn(lab, {"stage": Stage.UPLOAD, "model_exists": True}, 2)
    lab.run_until(lambda: lab.job(2).status is not Status.ACTIVE)
    assert refused(lab, 2), lab.dump()
    assert (lab.world.report()["objects"], lab.job(2).bytes_sent) == ({}, 0)


@pytest.mark.parametrize("stage", [Stage.UPLOAD, Stage.VALIDATE])
def test_a_model_that_is_gone_does_not_come_back_by_a_word(lab: Lab, stage: Stage) -> None:
    gone(lab, stage)
    model = make_another(lab, "READY" if stage is Stage.VALIDATE else "UPLOADING")
    turn(lab, {"model_exists": True, "status": Status.ACTIVE})
    lab.run()
    assert refused(lab), lab.dump()
    assert model.state == ("READY" if stage is Stage.VALIDATE else "UPLOADING")


def test_nor_is_a_file_of_it_kept_by_a_new_run(lab: Lab) -> None:
    folder = gone(lab, Stage.VALIDATE)
    turn(lab, {"model_exists": True})
    with pytest.raises(UsageError, match="no seal"):
        rescan(lab, folder, kept=kept(lab, folder))


@pytest.mark.parametrize("stage", [Stage.UPLOAD, Stage.VALIDATE])
def test_a_cancelled_job_is_not_done_with_the_model_of_a_later_one(lab: Lab, stage: Stage) -> None:
    folder = in_stage(lab, stage)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.world.config.landing_polls = 0
    lab.run()
    for path in folder.iterdir():
        path.write_bytes(b"another one")
    lab.enqueue(folder)
    lab.sim.suspend(600)
    lab.run()
    assert lab.job(2).status is Status.DONE, lab.dump()
    turn(lab, {"status": Status.ACTIVE})
    lab.run()
    assert refused(lab), lab.dump()


@pytest.mark.parametrize(
    "columns", [{"status": Status.DONE}, {"status": Status.DONE, "stage": Stage.READY}]
)
def test_no_word_makes_a_receipt_for_what_never_became_ready(
    lab: Lab, columns: dict[str, Any]
) -> None:
    in_stage(lab, Stage.VALIDATE)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.run()
    assert lab.job().files_stored == lab.job().files_total
    turn(lab, columns)
    known = Jobs(lab.engine, seal=SEAL)
    job = known.job(1)
    with pytest.raises(Differs, match="nothing can be proven"):
        require_proof(job, _sealed(known, job))
    assert not is_ready(lab)


def test_a_cancel_that_somebody_has_written_before_is_one_if_its_user_asks_for_it(
    lab: Lab,
) -> None:
    """Else the row would go on once it is turned back, after another job has its model."""
    interrupted(lab)
    turn(lab, {"status": Status.CANCELLED})
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    assert "cancelled" in lab.kinds()
    turn(lab, {"status": Status.ACTIVE})
    lab.run()
    assert refused(lab), lab.dump()


def test_the_model_of_a_cancelled_job_is_deleted_once(lab: Lab) -> None:
    interrupted(lab)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run()
    assert ("sandbox", "model") not in lab.world.models
    theirs = make_another(lab, "UPLOADING")
    turn(lab, {"delete_on_cancel": True})
    lab.run()
    assert lab.world.models["sandbox", "model"] is theirs


def test_a_job_that_somebody_cancels_in_its_row_has_its_model_left_alone(lab: Lab) -> None:
    interrupted(lab)
    turn(lab, {"status": Status.CANCELLED, "delete_on_cancel": True})
    lab.run_until(lambda: lab.kinds()[-1] == "left_open")
    lab.run()
    assert ("sandbox", "model") in lab.world.models


@pytest.mark.parametrize(
    "columns",
    [{"run_number": 2}, {"created_remotely": False}, {"stage": Stage.CREATE}],
    ids=lambda one: next(iter(one)),
)
def test_whatever_is_turned_of_its_run_fails_it(lab: Lab, columns: dict[str, Any]) -> None:
    interrupted(lab)
    turn(lab, columns)
    lab.run()
    assert refused(lab), lab.dump()
    assert not is_ready(lab)


def test_nor_is_another_name_that_of_a_file_which_the_model_has(lab: Lab) -> None:
    """The names of its files are fixed, and what says them is a row of each."""
    folder = interrupted(lab)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    (folder / "a.bin").rename(folder / "b.bin")
    write(lab, update(files).where(files.c.path == "a.bin").values(path="b.bin"))
    with pytest.raises(UsageError, match="no seal"):
        rescan(lab, folder)


def test_nor_is_a_file_of_an_earlier_run_put_in_the_place_of_one_of_this_run(lab: Lab) -> None:
    """Nothing of it was sent, so nothing but its membership was sealed."""
    folder = lab.model("model", a_bin=5, b_bin=7)
    lab.enqueue(folder)
    earlier = row(lab, "b.bin")
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    (folder / "b.bin").rename(lab.folder / "aside")
    (folder / "c.bin").write_bytes(b"another")
    rescan(lab, folder, replace=True)
    put_row(lab, earlier, ["path", "fingerprint", "seal"], "c.bin")
    (lab.folder / "aside").rename(folder / "b.bin")
    lab.run()
    assert refused(lab), lab.dump()
    assert not is_ready(lab)


@pytest.mark.parametrize("replace", [True, False])
def test_nor_is_a_model_kept_or_replaced_by_a_word(lab: Lab, *, replace: bool) -> None:
    folder = interrupted(lab)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    rescan(lab, folder, replace=replace)
    turn(lab, {"replace_first": not replace})
    theirs = lab.world.models["sandbox", "model"]
    lab.run()
    assert refused(lab), lab.dump()
    assert lab.world.models["sandbox", "model"] is theirs
    assert not is_ready(lab)


@pytest.mark.parametrize(
    "columns", [{"stage": Stage.CREATE}, {"stage": Stage.VALIDATE}, {"model_exists": False}]
)
def test_what_is_turned_after_the_claim_is_not_sealed(lab: Lab, columns: dict[str, Any]) -> None:
    lab.enqueue(lab.model(a_bin=9 * GRANULE))
    turned: list[str] = []

    def at(name: str) -> None:
        if name == "put after" and not turned:
            turned.append(name)
            turn(lab, columns)

    lab.boundary = at
    lab.run()
    assert turned
    assert refused(lab), lab.dump()
    assert not is_ready(lab)


def test_no_word_for_a_plain_put_opens_sessions_without_an_end(lab: Lab) -> None:
    lab.world.config.url_life_s = 3600
    lab.world.script.add([{"on": "start", "do": "status", "status": 503}])
    lab.enqueue(lab.model(a_bin=5, b_bin=6, c_bin=7))
    lab.run_until(lambda: "file_failed" in lab.kinds())
    turn(lab, {"plain_put": True})
    lab.run()
    lab.assert_ready()
    assert sum(one["sessions_started"] for one in lab.world.report()["objects"].values()) < 10


def test_a_user_without_the_secret_pauses_a_job_and_seals_nothing(lab: Lab) -> None:
    interrupted(lab)
    before = lab.job().seal
    other = Jobs(lab.engine)
    for verb in (Verb.PAUSE, Verb.RESUME):
        other.apply(1, verb, lab.clock.now())
        assert lab.job().seal == before
    lab.run()
    lab.assert_ready()


def test_a_turned_row_is_not_sealed_by_a_verb_of_its_user(lab: Lab) -> None:
    interrupted(lab)
    turn(lab, {"run_number": 7})
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.run()
    assert ("sandbox", "model") in lab.world.models
    with pytest.raises(StoreError, match="no seal"):
        Jobs(lab.engine, seal=SEAL, wary=True).job(1)
