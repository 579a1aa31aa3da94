"""When a session is given up: refused, too old, or of a host that gave no answer for an hour."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.conftest import Lab
from tests.engine.leftovers.ways import (
    FILES,
    Way,
    asked_to_end,
    failed,
    interrupted,
    left,
    refuse,
    rescanned,
    some_ways,
)
from uploader.core.errors import RemoteError
from uploader.core.job import Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.redact import SessionUri
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.verdict import Call, Verdict
from uploader.engine.leftovers import Ending
from uploader.runtime import StopToken
from uploader.store.leftovers import Leftover


@some_ways
def test_one_that_the_service_refuses_to_end_is_told_and_keeps_nobody(lab: Lab, then: Way) -> None:
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
    lab: Lab, then: Way, status: int
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
def test_no_clock_that_is_far_ahead_forgets_one_without_an_answer(lab: Lab, then: Way) -> None:
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


def test_a_proxy_that_forbids_to_end_sessions_keeps_a_job_for_minutes_only(lab: Lab) -> None:
    interrupted(lab)
    rescanned(lab)
    lab.world.script.add([{"on": "cancel", "do": "middle-box", "status": 403, "times": 0}])
    began_s = lab.clock.boot_s()
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() - began_s < 3600.0
    assert lab.kinds().count("left_open") == len(FILES)


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
