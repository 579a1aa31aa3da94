"""The worker: its loop, its starts and stops, and what a blocked or failed job does meanwhile."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from tests.engine.conftest import DEADLINE_S, GRANULE, Lab
from uploader.core.errors import NoThread, StoreError, UsageError
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.store_reasons import StoreCode
from uploader.engine.job_run import JobRun
from uploader.engine.worker import Worker
from uploader.store.claims import Claims
from uploader.store.held import Held

SIZE = 40 * GRANULE
DAY_S = 86_400.0
#: The key is looked at so often.
HEALING_S = 60.0


def break_times(
    monkeypatch: pytest.MonkeyPatch, kind: type[Claims | Held], verb: str, calls: range
) -> None:
    """The store refuses ``verb`` at those of its calls."""
    works, made = getattr(kind, verb), iter(range(1_000_000))

    def refuse(*of: Any, **facts: Any) -> Any:
        if next(made) in calls:
            raise StoreError(
                "the state store has no space left on its disk", code=StoreCode.DISK_FULL
            )
        return works(*of, **facts)

    monkeypatch.setattr(kind, verb, refuse)


def needs_urls_twice(lab: Lab, path: str = "b.bin") -> None:
    """The start of ``path`` fails, and when it is tried again the URLs are too old."""
    lab.world.config.url_life_s = 8
    late = {"on": "start", "match": path, "do": "status", "status": 503, "retry_after": 20}
    lab.world.script.add([late])


def counting(lab: Lab, wanted: str) -> list[str]:
    seen: list[str] = []
    lab.boundary = lambda name: seen.append(name) if name == wanted else None
    return seen


# -- the worker ----------------------------------------------------------------------------


def test_a_drain_in_a_signal_handler_takes_no_lock_of_the_thread_it_interrupts(lab: Lab) -> None:
    with lab.worker() as worker:
        with worker.wake._cond:  # type: ignore[attr-defined] # where a signal may come
            drain = threading.Thread(target=worker.drain, daemon=True)
            drain.start()
            drain.join(DEADLINE_S)
            assert not drain.is_alive()
        assert worker.run() is False


def test_an_upload_that_ends_while_the_worker_looks_is_not_an_error(lab: Lab) -> None:
    lab.enqueue(lab.model())
    claims = Claims(lab.engine, lab.clock.now)
    held = claims.claim("me", lab.world.base_url, (Stage.CREATE,), 1)
    assert held is not None
    looks: Iterator[Any] = iter(())

    class Ending(JobRun):
        _upload = property(lambda _: next(looks), lambda *_: None)

    with lab.worker() as worker:
        run = Ending(worker._context, held, math.inf)
        verbs = {"stop": lambda: run.stop(0.0), "cut": run.cut}
        for verb, tell in verbs.items():
            called: list[str] = []
            stub = type("Stub", (), {verb: lambda *_, c=called, v=verb: c.append(v)})()
            looks = iter([stub, None])
            tell()
            assert called == [verb]


def test_a_store_that_hiccups_at_the_last_look_does_not_end_the_run(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_times(monkeypatch, Claims, "any_open", range(2))
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def test_a_store_that_hiccups_while_healing_is_asked_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_times(monkeypatch, Claims, "heal", range(1, 2))
    lab.key = "fw_wrong_key_000000"
    lab.enqueue(lab.model())

    def cure() -> bool:
        if lab.job().status is Status.BLOCKED:
            lab.key = lab.world.config.api_key
        return lab.job().status is Status.DONE

    lab.run_until(cure)


def test_a_bug_while_looking_after_the_key_does_not_end_that(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.enqueue(lab.model())
    with lab.worker() as worker:
        bugs = iter([OverflowError("CANARY")])

        def tidy() -> None:
            for bug in bugs:
                raise bug

        worker._healing._context = replace(worker._context, tidy=tidy)
        worker._healing.look()
        worker._healing.look()
    assert caplog.messages == ["looking after the key: unexpected error"]


def test_a_key_that_nobody_can_read_to_an_end_holds_up_one_thread(lab: Lab) -> None:
    with lab.worker() as worker:
        begun: list[Callable[[], object]] = []

        def spawn(name: str, run: Callable[[], object]) -> None:
            assert name == "key"
            begun.append(run)

        worker._healing._context = replace(worker._context, spawn=spawn)
        worker._duties.healing.interval_s = 0.0
        for _ in range(3):
            worker._housekeep()
        assert len(begun) == 1
        begun[0]()
        worker._housekeep()
        assert len(begun) == 2


def test_a_key_that_no_thread_could_look_after_is_looked_after_later(lab: Lab) -> None:
    with lab.worker() as worker:
        tries = Mock(side_effect=[NoThread("no", hint=""), None])
        worker._healing._context = replace(worker._context, spawn=tries)
        worker._duties.healing.interval_s = 0.0
        for _ in range(3):
            worker._housekeep()
        assert tries.call_count == 2


def test_a_key_that_was_away_and_comes_back_heals_too(lab: Lab) -> None:
    lab.world.config.key_valid = False
    lab.enqueue(lab.model())
    with lab.worker() as worker:

        def take_the_key_away() -> None:
            lab.until(lambda: lab.job().status is Status.BLOCKED)
            lab.key_is_there = False
            lab.until(lab.passed(2 * HEALING_S))
            lab.world.config.key_valid = lab.key_is_there = True
            lab.until(lambda: lab.job().status is Status.DONE)
            worker.drain()

        lab.finish(worker.run, take_the_key_away)
    assert lab.kinds().count("healed") == 1


def test_a_clock_that_is_set_back_a_day_makes_nobody_wait_a_day(lab: Lab) -> None:
    fault = {"do": "status", "status": 503, "retry_after": 20}
    lab.world.script.add([{"on": "create", **fault}, {"on": "put", **fault}])
    lab.enqueue(lab.model())

    def set_back() -> bool:
        waits = (lab.job().not_before, lab.file().not_before)
        if any(at is not None and at > lab.clock.now() for at in waits):
            lab.sim.stepped_s -= DAY_S
        return lab.job().status is not Status.ACTIVE

    lab.run_until(set_back)
    lab.assert_ready()
    assert lab.sim.stepped_s < -DAY_S


@pytest.mark.parametrize("on", ["create", "put"])
def test_a_clock_that_was_set_back_before_a_start_makes_nobody_wait_a_day(
    lab: Lab, on: str
) -> None:
    lab.world.script.add([{"on": on, "do": "status", "status": 503, "retry_after": 20}])
    lab.enqueue(lab.model())
    lab.sim.stepped_s += DAY_S
    lab.run_until(lambda: bool(lab.job().failures or lab.file().failures))
    lab.sim.stepped_s -= DAY_S
    began_s = lab.clock.boot_s()
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() - began_s < 120.0


def test_what_is_left_of_transfers_is_swept_as_long_as_a_worker_lives(lab: Lab) -> None:
    old, young = (lab.state / "marks" / (digit * 32) for digit in "ab")
    for mark, age_s in (old, 9 * DAY_S), (young, DAY_S):
        mark.touch()
        os.utime(mark, (lab.clock.now().timestamp() - age_s,) * 2)
    with lab.worker() as worker:

        def live_for_an_hour() -> None:
            lab.until(lab.passed(60))
            lab.sim.suspend(3600)
            lab.until(lab.passed(60))
            worker.drain()

        lab.finish(worker.run, live_for_an_hour)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("error", [OSError(5, "broken"), UsageError("others may write it")])
def test_a_folder_of_marks_that_cannot_be_swept_does_no_harm(lab: Lab, error: Exception) -> None:
    with lab.worker() as worker:
        marks = Mock(wraps=lab.marks, sweep=Mock(side_effect=error))
        worker._context = replace(worker._context, marks=marks)
        worker._duties.sweeping.interval_s = 0.0
        worker._housekeep()
    marks.sweep.assert_called_once()


def test_a_worker_does_not_wait_for_ever_for_what_a_cancelled_job_may_not_delete(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE / 2
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().created_remotely)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
    lab.world.config.key_valid = False
    lab.run()
    lab.world.config.key_valid = True
    lab.sim.suspend(3600)
    lab.run()
    assert lab.world.report()["models"] == {}


# -- starting and stopping -----------------------------------------------------------------


def test_a_start_that_fails_gives_its_place_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.world.script.add([{"on": "urls", "do": "status", "status": 403, "times": 5}])
    break_times(monkeypatch, Held, "block", range(5))
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def test_a_thread_that_cannot_be_started_holds_nothing_up(lab: Lab) -> None:
    start, refused = lab.spawn, iter(range(5))

    def spawn(name: str, run: Callable[[], None]) -> None:
        if name.endswith("a.bin") and next(refused, None) is not None:
            raise NoThread("no more")
        start(name, run)

    lab.spawn = spawn
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def while_in(lab: Lab, boundary: str, act: Callable[[Worker], None]) -> None:
    """Act once, in the thread of a worker's run that is in the middle of an exchange."""
    acted: list[bool] = []
    with lab.worker() as worker:

        def once(name: str) -> None:
            if name == boundary and not acted:
                acted.append(True)
                act(worker)
                lab.until(lambda: all(run._stop.stopped for run in worker._runs.values()))

        lab.boundary = once
        lab.drive(worker, lambda: bool(acted) and not worker._runs)


def test_no_file_starts_once_the_job_was_asked_to_stop(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=SIZE))

    def pause(_: Worker) -> None:
        lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())

    while_in(lab, "urls after", pause)
    assert lab.world.sessions == {}
    assert lab.job().status is Status.PAUSED


def test_a_model_created_while_the_worker_drains_is_known_to_be_ours(lab: Lab) -> None:
    lab.enqueue(lab.model())
    while_in(lab, "create after", lambda worker: worker.drain())
    assert lab.job().created_remotely
    lab.boundary = lambda _: None
    lab.run()
    lab.assert_ready()


# -- blocked, failed, and the verbs meanwhile ----------------------------------------------


def test_a_healed_job_starts_files_again_while_its_live_sessions_go_on(lab: Lab) -> None:
    needs_urls_twice(lab)
    lab.bytes_per_s = GRANULE / 4
    lab.world.script.add([{"on": "urls", "do": "status", "status": 403, "nth": 2}])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=GRANULE))

    def cure() -> bool:
        if lab.job().status is Status.BLOCKED:
            lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
        return lab.file("b.bin").stored

    lab.run_until(cure)
    assert not lab.file("a.bin").stored
    assert lab.object("a.bin")["sessions_started"] == 1


def test_a_failure_from_before_a_retry_does_not_undo_it(lab: Lab) -> None:
    folder = lab.model(a_bin=5, b_bin=5)
    lab.enqueue(folder)
    away = folder.rename(folder.with_name("away"))
    folder.mkdir()
    with lab.worker() as worker:

        class Events(list[str]):
            def append(self, kind: str) -> None:
                if kind == "failed" and away.exists():
                    (run,) = worker._runs.values()
                    assert run._upload is not None
                    errands = run._upload._crew._errands
                    lab.until(lambda: all(errand.ended for errand in errands))
                    folder.rmdir()
                    away.rename(folder)
                    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())

        lab.events = Events()
        lab.finish(lambda: worker.run(until_idle=True))
    lab.assert_ready()


def test_refused_urls_wait_for_a_live_session_that_was_cut(lab: Lab) -> None:
    needs_urls_twice(lab)
    lab.bytes_per_s = 4.0 * GRANULE / 10
    cut = {"on": "put", "match": "a.bin", "nth": 3, "do": "status", "status": 503}
    cut["retry_after"] = 60
    refused = {"on": "urls", "do": "status", "status": 409, "nth": 2, "times": 0}
    lab.world.script.add([cut, refused])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=GRANULE))
    lab.run(recreate=False)
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "urls_refused"
    assert lab.file("a.bin").stored


def test_progress_of_this_very_run_counts_when_it_ends_in_an_unexpected_error(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 6}])
    broken = iter([ValueError("a bug")])

    def fail_once(*_: object) -> None:
        for error in broken:
            raise error

    monkeypatch.setattr("uploader.engine.job_run.check_sources", fail_once)
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
