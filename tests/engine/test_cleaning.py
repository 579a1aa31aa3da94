"""What is left open remotely after a cancel is ended alongside the work on other jobs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.why import sentences
from uploader.engine.leftovers import CLEANING_S
from uploader.store.held import Held
from uploader.store.tables import leftovers

FILES: Any = {f"f{number:02}_bin": 9 * GRANULE for number in range(20)}
#: How long storage takes to end one session.
SLOW_S = 25.0


def left(lab: Lab, *ids: int) -> int:
    """Sessions that these jobs still have."""
    with lab.engine.connect() as connection:
        to_end = select(func.count()).where(leftovers.c.job_id.in_(ids))
        count: int = connection.execute(to_end).scalar_one()
    return count + sum(bool(file.session) for job_id in ids for file in lab.jobs.files(job_id))


def given_up(lab: Lab, *names: str, delete_remote: bool = False, **sizes: int) -> list[int]:
    """Jobs that were cancelled once all of their sessions were open."""
    lab.max_jobs = len(names)
    lab.bytes_per_s = GRANULE / 20  # so that nothing is stored by then
    ids = [lab.enqueue(lab.model(name, **(sizes or FILES))) for name in names]
    lab.run_until(lambda: left(lab, *ids) == len(ids) * len(sizes or FILES))
    lab.bytes_per_s = None
    for job_id in ids:
        lab.jobs.apply(job_id, Verb.CANCEL, lab.clock.now(), delete_remote=delete_remote)
    lab.max_jobs = 2
    return ids


@pytest.fixture
def slow(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr("uploader.engine.leftovers._AT_ONCE", 1)  # so it takes several turns
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": SLOW_S, "times": 0}])
    return lab


def test_cancelled_jobs_hold_no_place_of_those_at_work(slow: Lab) -> None:
    cancelled = given_up(slow, "one", "two")
    other = slow.enqueue(slow.model("other"))
    began_s = slow.clock.boot_s()
    slow.run_until(lambda: slow.job(other).stage is Stage.READY)
    assert left(slow, *cancelled)
    assert slow.clock.boot_s() - began_s < 120


@pytest.mark.long
def test_whatever_storage_takes_to_end_sessions_each_cancelled_job_has_its_turn(slow: Lab) -> None:
    cancelled = given_up(slow, *"abcde")
    (last,) = given_up(slow, "last", x_bin=9 * GRANULE)
    began_s = slow.clock.boot_s()
    slow.run_until(lambda: "closed" in slow.kinds(last))
    assert left(slow, *cancelled) > 4 * len(FILES)
    assert slow.clock.boot_s() - began_s < 3 * (CLEANING_S + SLOW_S)


def test_no_session_is_ended_twice_however_many_turns_that_takes(slow: Lab) -> None:
    (cancelled,) = given_up(slow, "one")
    crossed: list[str] = []
    slow.boundary = lambda name: crossed.append(name) if name == "cancel before" else None
    slow.run()
    assert "closed" in slow.kinds(cancelled)
    assert (left(slow, cancelled), len(crossed)) == (0, len(FILES))
    assert len(FILES) * SLOW_S > 3 * CLEANING_S, "it took several turns"


def test_a_session_that_cannot_be_ended_keeps_no_other_one_open_and_ends_by_itself(
    lab: Lab,
) -> None:
    (cancelled,) = given_up(lab, "one")
    refused = {"on": "cancel", "match": "f00", "do": "status", "status": 503, "times": 0}
    lab.world.script.add([refused])
    lab.run_until(lambda: left(lab, cancelled) == 1)
    lab.run_until(lab.passed(600.0))
    assert "closed" not in lab.kinds(cancelled)
    lab.sim.suspend(SESSION_LIFE_S)
    lab.run()
    assert "closed" in lab.kinds(cancelled)


@pytest.mark.parametrize("refused", ["f03", "f0", "bin"])
def test_sessions_that_the_service_refuses_to_end_keep_nothing_else_there(
    lab: Lab, refused: str
) -> None:
    """Every other one is ended, the model is deleted, and the history says what was refused."""
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add(
        [{"on": "cancel", "match": refused, "do": "status", "status": 400, "times": 0}]
    )
    asked: list[str] = []
    lab.boundary = lambda name: asked.append(name) if name == "cancel before" else None
    lab.run()
    assert left(lab, cancelled) == 0
    assert len(asked) == len(FILES)
    assert lab.world.report()["models"] == {}
    told = [event.path for event in lab.jobs.events(cancelled) if event.kind == "left_open"]
    assert told == [file.path for file in lab.jobs.files(cancelled) if refused in file.path]
    assert "closed" in lab.kinds(cancelled)


@pytest.mark.parametrize("status", [400, 503])
def test_a_model_that_is_not_deleted_keeps_no_session_open(lab: Lab, status: int) -> None:
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add([{"on": "delete", "do": "status", "status": status, "times": 0}])
    lab.run()
    assert left(lab, cancelled) == 0
    is_over = status == 400
    reason = lab.job(cancelled).reason
    assert (reason is None) == is_over
    assert is_over or (reason and "503" in reason.message)
    assert ("left_open" in lab.kinds(cancelled)) == ("closed" in lab.kinds(cancelled)) == is_over
    assert lab.job(cancelled).delete_on_cancel == (not is_over)


@pytest.mark.parametrize("first", [400, 503])
def test_what_may_pass_is_tried_again_whatever_else_was_refused(lab: Lab, first: int) -> None:
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add(
        [
            {"on": "cancel", "match": match, "do": "status", "status": status, "times": 0}
            for match, status in (("f00", first), ("f19", 903 - first))
        ]
    )
    lab.run_until(lab.passed(600.0))
    assert left(lab, cancelled) == 1
    assert lab.world.report()["models"] == {}
    assert "closed" not in lab.kinds(cancelled)


@pytest.mark.parametrize("fault", ["503", "late", "none", "403"])
def test_a_model_that_a_later_job_makes_its_own_is_not_deleted(lab: Lab, fault: str) -> None:
    """However late the clean-up comes; if it comes in time, the later job makes a model anew."""
    faults: dict[str, list[dict[str, Any]]] = {
        "late": [{"on": "cancel", "do": "latency", "seconds": SLOW_S, "times": 0}],
        "503": [{"on": "delete", "do": "status", "status": 503, "times": 1}],
        "403": [{"on": "delete", "do": "status", "status": 403, "times": 3}],
        "none": [],
    }
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add(faults[fault])
    later = lab.enqueue(lab.folder / "one")
    lab.run_until(lambda: lab.job(later).stage is Stage.READY)
    lab.run_until(lab.passed(3600.0))
    lab.assert_ready(later)
    assert ("model_kept" in lab.kinds(cancelled)) == (fault in ("503", "403"))
    assert not lab.job(cancelled).delete_on_cancel
    assert lab.job(cancelled).reason is None


def test_a_table_that_was_restored_does_not_delete_what_a_later_job_made_ready(lab: Lab) -> None:
    """The copy is of the time when the model was still to be deleted."""
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.models["sandbox", "one"].state = "READY"
    lab.run()
    assert lab.world.report()["models"] == {"accounts/sandbox/models/one": "READY"}
    assert "left_open" in lab.kinds(cancelled)
    assert "closed" in lab.kinds(cancelled)
    assert not lab.job(cancelled).delete_on_cancel


@pytest.mark.parametrize("lost", [0, 1])
def test_the_key_of_another_account_deletes_nothing_and_the_right_one_does_later(
    lab: Lab, lost: int
) -> None:
    """To such a key the model looks as if it were gone already; also if one answer is lost."""
    own = lab.world.config.account_id
    lab.account = None
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.config.account_id = "beta"
    lab.world.script.add([{"on": "verify", "do": "status", "status": 503, "times": 1}] * lost)
    lab.run_until(lab.passed(200.0))
    assert left(lab, cancelled) == 0
    assert lab.job(cancelled).delete_on_cancel
    assert "closed" not in lab.kinds(cancelled)
    reason = lab.job(cancelled).reason
    assert reason
    assert "account" in reason.hint, "who reads it has something to do"
    lab.world.config.account_id = own
    lab.run_until(lambda: "closed" in lab.kinds(cancelled))
    assert lab.world.report()["models"] == {}


@pytest.mark.parametrize("deletes", [True, False])
def test_a_later_job_sends_nothing_while_sessions_of_a_cancelled_one_are_open(
    slow: Lab, deletes: bool
) -> None:
    """What was on its way on one of them would replace what the later job has sent."""
    (cancelled,) = given_up(slow, "one", delete_remote=deletes)
    later = slow.enqueue(slow.folder / "one")
    slow.run_until(slow.passed(2 * SLOW_S))
    reason = slow.job(later).reason
    assert reason
    assert reason.code == "cleaning_first"
    open_then: list[int] = []
    slow.boundary = lambda name: (
        open_then.append(left(slow, cancelled)) if name == "start before" else None
    )
    slow.run()
    slow.assert_ready(later)
    assert slow.job(later).reason is None
    assert open_then[0] == 0


def test_whoever_waits_for_that_asks_its_own_table_ever_less_often_and_the_service_for_nothing(
    slow: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: Any = dict.fromkeys([*FILES][:8], 9 * GRANULE)
    (cancelled,) = given_up(slow, "one", **some)
    later = slow.enqueue(slow.folder / "one")
    asked: list[str] = []
    asked_s: list[float] = []
    slow.boundary = asked.append
    take_name = Held.take_name

    def counted(held: Held, account: str) -> Any:
        asked_s.append(slow.clock.boot_s())
        return take_name(held, account)

    monkeypatch.setattr(Held, "take_name", counted)
    slow.run_until(lambda: left(slow, cancelled) == 0)
    assert "verify before" not in asked
    waits = [then - now for now, then in pairwise(asked_s)]
    assert 2 < len(waits) < 20
    assert waits[0] < 4
    assert 30 < max(waits) < 62
    slow.run()
    slow.assert_ready(later)


@pytest.mark.parametrize("set_back_s", [0.0, 86_400.0])
def test_a_job_waits_for_no_clean_up_that_no_worker_does(lab: Lab, set_back_s: float) -> None:
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.sim.stepped_s -= set_back_s
    later = lab.enqueue(lab.folder / "one")
    lab.only = frozenset({later})
    too_late = lab.passed(600.0)
    lab.run_until(lambda: lab.job(later).stage is Stage.READY or too_late())
    lab.assert_ready(later)
    lab.only = None
    lab.run()
    lab.assert_ready(later)
    assert "model_kept" in lab.kinds(cancelled)


def test_a_model_that_somebody_else_creates_meanwhile_is_not_deleted(lab: Lab) -> None:
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add([{"on": "cancel", "do": "status", "status": 503, "nth": 1, "times": 1}])
    lab.run_until(lambda: not lab.world.report()["models"])
    assert left(lab, cancelled)
    lab.enqueue(lab.folder / "one")
    lab.run_until(lab.passed(600.0))
    assert "closed" in lab.kinds(cancelled)
    assert lab.world.report()["models"] == {"accounts/sandbox/models/one": "READY"}


def test_a_service_that_is_down_is_not_asked_about_all_sessions_again_and_again(lab: Lab) -> None:
    given_up(lab, "one")
    lab.world.script.add([{"on": "cancel", "do": "status", "status": 503, "times": 0}])
    asked: list[str] = []
    lab.boundary = lambda name: asked.append(name) if name == "cancel before" else None
    lab.run_until(lab.passed(595.0))
    assert 0 < len(asked) <= 10 * 10, "ten a minute"


# -- a worker until idle ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"do": "reset-before"}, "failed"),
        ({"do": "status", "status": 503}, "503"),
        ({"do": "middle-box", "status": 403}, "403"),
    ],
    ids=["no answer", "503", "proxy"],
)
def test_until_idle_no_session_that_cannot_be_ended_now_is_waited_for(
    lab: Lab, fault: dict[str, Any], said: str
) -> None:
    """The job says so, once, and when it is tried again; a later worker does."""
    (cancelled,) = given_up(lab, "one", delete_remote=True)
    lab.world.script.add([{"on": "cancel", "times": 0, **fault}])
    began_s = lab.clock.boot_s()
    lab.run()
    assert lab.clock.boot_s() - began_s < CLEANING_S
    assert left(lab, cancelled) == len(FILES)
    assert lab.world.report()["models"] == {}, "neither waits for the other"
    job = lab.job(cancelled)
    assert job.reason
    assert (job.status, job.reason.code) == (Status.CANCELLED, "cleaning_up")
    assert said in job.reason.message
    told = " ".join(sentences(job, lab.jobs.files(cancelled), job.base_url, lab.clock.now()))
    assert job.reason.message in told
    assert "A worker tries again after" in told
    lab.run()  # it is too early for another try
    lab.sim.suspend(3600.0)
    lab.run()
    assert left(lab, cancelled) == len(FILES)
    assert lab.kinds(cancelled).count("retrying") == 1
    lab.world.script.clear()
    lab.sim.suspend(3600.0)
    lab.run()
    assert left(lab, cancelled) == 0
    assert "closed" in lab.kinds(cancelled)
    assert lab.job(cancelled).reason is None


def test_what_has_ended_by_itself_is_no_longer_told_of_whoever_else_looks_at_it_first(
    lab: Lab,
) -> None:
    (cancelled,) = given_up(lab, "one")
    lab.world.script.add([{"on": "cancel", "do": "status", "status": 503, "times": 0}])
    lab.run()
    lab.sim.suspend(SESSION_LIFE_S)
    other = lab.enqueue(lab.model("other"))
    lab.jobs.apply(other, Verb.CANCEL, lab.clock.now())
    lab.jobs.remove(other, lab.clock.now())
    lab.run()
    assert lab.job(cancelled).reason is None
    assert "closed" in lab.kinds(cancelled)
