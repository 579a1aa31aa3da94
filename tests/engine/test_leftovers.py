"""Nothing is sent to a model while a session of an earlier run, or of another job, may write there.

A proxy that stores and forwards may still have a PUT of such a session: once the session is ended,
nothing of it can replace what is sent from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import NoThread, RemoteError
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.seal import Seal
from uploader.core.verdict import Call, Verdict
from uploader.engine.leftovers import CLEANING_S, Ending
from uploader.runtime import StopToken
from uploader.sandbox.world import Session
from uploader.store.claims import Claims
from uploader.store.leftovers import Leftover
from uploader.store.tables import jobs, leftovers

FILES: Any = {"a_bin": 2 * GRANULE, "b_bin": 2 * GRANULE}
_Way = Callable[[Lab], int]
EVIL = "https://evil.example/upload?upload_id=1"


def interrupted(lab: Lab, **sizes: int) -> list[Session]:
    """The open sessions of job 1, whose worker is gone."""
    lab.bytes_per_s = GRANULE / 20
    lab.enqueue(lab.model(**(sizes or FILES)))
    lab.run_until(lambda: all(file.session for file in lab.jobs.files(1)))
    lab.bytes_per_s = None
    return list(lab.world.sessions.values())


def new_run(lab: Lab, *, replace: bool) -> int:
    new = lab.new_job(lab.folder / "model")
    lab.jobs.restart(lab.sealed(), new, lab.clock.now(), replace=replace)
    return 1


def rescanned(lab: Lab) -> int:
    return new_run(lab, replace=False)


def replaced(lab: Lab) -> int:
    return new_run(lab, replace=True)


def cancelled(lab: Lab) -> int:
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    return lab.enqueue(lab.folder / "model")


def failed(lab: Lab) -> None:
    with lab.engine.begin() as connection:
        connection.execute(update(jobs).values(status=Status.FAILED))


def removed(lab: Lab) -> int:
    lab.jobs.remove(1, lab.clock.now())
    return lab.enqueue(lab.folder / "model")


def failed_and_cancelled(lab: Lab) -> int:
    failed(lab)
    return cancelled(lab)


def failed_and_removed(lab: Lab) -> int:
    failed(lab)
    return removed(lab)


def cancelled_and_removed(lab: Lab) -> int:
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    return removed(lab)


def rescanned_and_cancelled(lab: Lab) -> int:
    rescanned(lab)
    return cancelled(lab)


def rescanned_twice(lab: Lab) -> int:
    rescanned(lab)
    return rescanned(lab)


#: What a user does after an interrupted upload; the id of the job that sends next.
WAYS: list[_Way] = [
    rescanned,
    replaced,
    cancelled,
    failed_and_cancelled,
    failed_and_removed,
    cancelled_and_removed,
    rescanned_and_cancelled,
    rescanned_twice,
]
some_ways = pytest.mark.parametrize("then", [rescanned, cancelled, failed_and_removed])


def watched(lab: Lab, old: list[Session]) -> list[bool]:
    """Of each start and each PUT from now on: were those sessions ended by then?"""
    seen: list[bool] = []
    lab.boundary = lambda name: (
        seen.append(all(session.gone for session in old))
        if name in ("start before", "put before")
        else None
    )
    return seen


def asked_to_end(lab: Lab) -> list[str]:
    asked: list[str] = []
    lab.boundary = lambda name: asked.append(name) if name == "cancel before" else None
    return asked


def left(lab: Lab) -> int:
    with lab.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(leftovers)).scalar_one()


def refuse(lab: Lab, status: int, times: int = 0, match: str = "bin") -> None:
    fault = {"on": "cancel", "match": match, "do": "status", "status": status, "times": times}
    lab.world.script.add([fault])


@pytest.mark.parametrize("then", WAYS)
@pytest.mark.parametrize("answers_503", [0, 3])
def test_every_session_is_ended_before_the_first_byte_is_sent(
    lab: Lab, then: _Way, answers_503: int
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


@some_ways
def test_one_that_the_service_refuses_to_end_is_told_and_keeps_nobody(lab: Lab, then: _Way) -> None:
    interrupted(lab)
    job_id = then(lab)
    lab.only = frozenset({job_id})
    refuse(lab, 400, match="a.bin")
    asked = asked_to_end(lab)
    lab.run()
    lab.assert_ready(job_id)
    assert len(asked) == len(FILES)
    told = [event.path for event in lab.jobs.events(job_id) if event.kind == "left_open"]
    assert told == ["a.bin"]
    assert left(lab) == 0


@some_ways
@pytest.mark.parametrize("status", [200, 503, 400])
def test_one_that_is_older_than_any_lives_is_asked_about_once(
    lab: Lab, then: _Way, status: int
) -> None:
    """The clock may have been set ahead."""
    interrupted(lab)
    job_id = then(lab)
    lab.only = frozenset({job_id})
    lab.sim.suspend(SESSION_LIFE_S)
    if status != 200:
        refuse(lab, status)
    asked = asked_to_end(lab)
    lab.run()
    lab.assert_ready(job_id)
    assert len(asked) == len(FILES)
    assert "left_open" not in lab.kinds(job_id)
    assert left(lab) == 0


@some_ways
def test_no_clock_that_is_far_ahead_forgets_one_without_an_answer(lab: Lab, then: _Way) -> None:
    """TLS finds no certificate valid then, and the clock is set right later."""
    interrupted(lab)
    job_id = then(lab)
    lab.only = frozenset({job_id})
    lab.sim.suspend(SESSION_LIFE_S)
    lab.world.script.add([{"on": "cancel", "match": "bin", "do": "reset-before", "times": 0}])
    lab.run_until(lab.passed(600.0))
    assert left(lab) == len(FILES)
    assert lab.job(job_id).status is Status.ACTIVE
    lab.run()  # a host that is gone for good keeps nobody
    lab.assert_ready(job_id)


def test_only_an_hour_without_any_answer_lets_a_host_count_as_gone() -> None:
    clock, answers = SimpleNamespace(now_s=0.0), [False]

    def end(_: SessionUri) -> None:
        if not answers[0]:
            raise RemoteError(Verdict.TRANSIENT, Call.END, "no network", code=Code.UNAVAILABLE)

    context: Any = SimpleNamespace(
        clock=SimpleNamespace(boot_s=lambda: clock.now_s),
        storage=lambda _: SimpleNamespace(end=end, close=lambda: None),
        unheard_s={},
    )
    held: Any = SimpleNamespace(end_leftovers=lambda *_: None)
    old = Leftover(1, 1, "a.bin", SessionUri("https://s/o?upload_id=1"), is_over=True)
    young = replace(old, is_over=False)

    def ends(at_s: float, one: Leftover, *, answered: bool) -> bool:
        clock.now_s, answers[0] = at_s, answered
        return Ending(context, held, StopToken()).end([one])

    assert not ends(0, old, answered=False)
    assert ends(1800, young, answered=True)
    assert not ends(3700, old, answered=False)
    assert not ends(3700 + 3599, young, answered=False)
    assert ends(3700 + 3600, old, answered=False)


@some_ways
def test_the_job_says_what_it_waits_for(lab: Lab, then: _Way) -> None:
    interrupted(lab)
    job_id = then(lab)
    refuse(lab, 503)
    seen = watched(lab, [])
    lab.run_until(lab.passed(200.0))
    job = lab.job(job_id)
    assert job.reason
    assert job.reason.code == "cleaning_first"
    assert "503" in job.reason.message
    assert job.not_before
    assert (job.status, job.stage, seen) == (Status.ACTIVE, Stage.CREATE, [])
    assert lab.kinds(job_id).count("retrying") == 1, "it says so once"
    lab.sim.suspend(SESSION_LIFE_S)
    lab.run()
    lab.assert_ready(job_id)


def test_it_says_so_while_it_ends_them(lab: Lab) -> None:
    interrupted(lab)
    rescanned(lab)
    said: list[object] = []

    def look(name: str) -> None:
        if name == "cancel before":
            reason = lab.job().reason
            said.append(reason and reason.code)

    lab.boundary = look
    lab.run()
    assert said == ["cleaning_first"] * len(FILES)
    assert lab.job().reason is None


def test_a_job_waits_for_no_worker_that_was_killed(lab: Lab) -> None:
    """The job that it had is cancelled, and no other worker is for that one."""
    old = interrupted(lab)
    claims = Claims(lab.engine, lab.clock.now)
    assert claims.claim("killed", lab.world.base_url, tuple(Stage), 60.0)
    job_id = cancelled(lab)
    lab.only = frozenset({job_id})
    seen = watched(lab, old)
    lab.run()
    lab.assert_ready(job_id)
    assert all(seen)


def test_a_job_waits_for_the_worker_that_may_still_send_for_a_cancelled_one(lab: Lab) -> None:
    lab.enqueue(lab.model(**FILES))
    claims = Claims(lab.engine, lab.clock.now)
    sender = claims.claim("sender", lab.world.base_url, tuple(Stage), 60.0)
    assert sender
    job_id = cancelled(lab)
    later = claims.claim("later", lab.world.base_url, tuple(Stage), 60.0)
    assert later
    assert later.job.id == job_id
    assert later.take_name("sandbox") is None
    sender.release()
    assert later.take_name("sandbox") == []


def test_a_proxy_that_forbids_to_end_sessions_keeps_a_job_for_minutes_only(lab: Lab) -> None:
    interrupted(lab)
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "middle-box", "status": 403, "times": 0}])
    began_s = lab.clock.boot_s()
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() - began_s < 3600.0
    assert lab.kinds().count("left_open") == len(FILES)


def test_a_service_that_is_down_is_not_asked_about_all_of_them_again_and_again(lab: Lab) -> None:
    interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(15)})
    rescanned(lab)
    refuse(lab, 503)
    asked = asked_to_end(lab)
    lab.run_until(lab.passed(120.0))
    assert 0 < len(asked) <= 10 * lab.job().attempts


def test_several_of_them_are_ended_at_once(lab: Lab) -> None:
    many = 24
    old = interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(many)})
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": 2.0, "times": 0}])
    asked_s: list[float] = []
    lab.boundary = lambda name: (
        asked_s.append(lab.clock.boot_s()) if name == "cancel before" else None
    )
    lab.run()
    lab.assert_ready()
    assert len(asked_s) == many
    assert all(session.gone for session in old)
    assert max(asked_s) - min(asked_s) < many * 2.0 / 4


def test_without_another_thread_they_are_ended_one_after_the_other(lab: Lab) -> None:
    old = interrupted(lab)
    rescanned(lab)
    usual, refused = lab.spawn, list[str]()

    def spawn(name: str, run: Callable[[], None]) -> None:
        if name.endswith(" leftovers"):
            refused.append(name)
            raise NoThread("no thread can be started")
        usual(name, run)

    lab.spawn = spawn
    lab.run()
    lab.assert_ready()
    assert refused
    assert all(session.gone for session in old)


def test_a_job_with_many_of_them_lets_others_have_its_turn(lab: Lab) -> None:
    interrupted(lab, **{f"f{number:02}_bin": 2 * GRANULE for number in range(40)})
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "latency", "seconds": 25.0, "times": 0}])
    lab.max_jobs = 1
    other = lab.enqueue(lab.model("other"))
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.job(other).stage is Stage.READY)
    assert lab.clock.boot_s() - began_s < 3 * CLEANING_S
    lab.run()
    lab.assert_ready()


def test_there_may_be_more_of_them_than_are_read_at_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._PORTION", 3)
    old = interrupted(lab, **{f"f{number}_bin": 2 * GRANULE for number in range(7)})
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


def test_what_is_too_old_is_forgotten_though_nobody_sends_to_its_model(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._MOST_OLD", 0)
    interrupted(lab)
    failed(lab)
    lab.jobs.remove(1, lab.clock.now())
    lab.sim.suspend(SESSION_LIFE_S)
    other = lab.enqueue(lab.model("other"))
    lab.jobs.apply(other, Verb.CANCEL, lab.clock.now())
    lab.jobs.remove(other, lab.clock.now())
    assert left(lab) == 0


def test_nobody_waits_and_nothing_is_asked_if_none_was_left_open(lab: Lab) -> None:
    lab.enqueue(lab.model(**FILES))
    asked = asked_to_end(lab)
    lab.run()
    lab.assert_ready()
    assert asked == []


# -- a job table with a secret ---------------------------------------------------------------------


@some_ways
def test_a_worker_with_a_secret_ends_them_too(lab: Lab, then: _Way) -> None:
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
