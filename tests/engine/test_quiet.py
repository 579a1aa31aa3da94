"""A worker with nothing to do asks the store next to nothing, and misses nothing all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock

from sqlalchemy import event

from tests.engine.conftest import Lab
from tests.engine.test_lease_end import PostgresqlLab
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.store.claims import Claims

MINUTE_S = 60.0
#: Looking for dead workers and at its own leases every 5 s, claiming every 30 s: each is one
#: statement or two, or five. With PostgreSQL every 10 s, and so often the version is asked for.
#: Once a minute it looks for jobs that the key of another worker has blocked.
MAX_STATEMENTS_A_MINUTE, MAX_ON_POSTGRESQL = 40, 31


@contextmanager
def statements(lab: Lab) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(lab.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(lab.engine, "before_cursor_execute", note)


def test_a_minute_without_work_is_a_few_dozen_statements_and_no_write(lab: Lab) -> None:
    assert 0 < len(_a_minute_without_work(lab)) <= MAX_STATEMENTS_A_MINUTE


def test_with_postgresql_it_is_less_though_every_question_goes_to_a_server(
    tmp_path: Path, postgresql_url: str
) -> None:
    with closing(PostgresqlLab(tmp_path, database_url=postgresql_url)) as lab:
        assert 0 < len(_a_minute_without_work(lab)) <= MAX_ON_POSTGRESQL


def _a_minute_without_work(lab: Lab) -> list[str]:
    """What the store is asked meanwhile."""
    lab.enqueue(lab.model())
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    asked: list[str] = []
    with lab.worker() as worker:

        def sit_idle() -> None:
            lab.until(lab.passed(5))
            with statements(lab) as seen:
                began_s = lab.clock.boot_s()
                while lab.clock.boot_s() < began_s + MINUTE_S:
                    lab.clock.wait(worker.wake, MINUTE_S / 10)
            asked.extend(seen)
            worker.drain()

        lab.finish(worker.run, sit_idle)
    writes = ("INSERT", "DELETE", "UPDATE", "SELECT pg_advisory")
    assert not [one for one in asked if one.startswith(writes)]
    return asked


def test_a_job_that_waits_is_taken_when_it_is_due_though_nobody_writes(lab: Lab) -> None:
    """Long before the worker would look of its own accord."""
    lab.enqueue(lab.model())
    held = Claims(lab.engine, lab.clock.now).claim("w", lab.world.base_url, ["create"], 60)  # type: ignore[list-item]
    assert held is not None
    due = lab.clock.now() + timedelta(seconds=12)
    held.wait_until(due)
    held.release()
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.job().created_remotely)
    assert 12 <= lab.clock.boot_s() - began_s < 14


def test_a_verb_of_another_process_is_noticed_within_a_second(lab: Lab) -> None:
    lab.enqueue(lab.model())
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    with lab.worker() as worker:

        def resume() -> None:
            lab.until(lab.passed(20))
            lab.jobs.apply(1, Verb.RESUME, lab.clock.now())
            resumed_s = lab.clock.boot_s()
            lab.until(lambda: lab.job().lease is not None or lab.job().status is Status.DONE)
            assert lab.clock.boot_s() - resumed_s <= 1.0
            worker.drain()

        lab.finish(worker.run, resume)


def test_a_clock_that_was_set_ahead_forgets_nothing_for_an_hour(lab: Lab) -> None:
    pruned = Mock(return_value=False)
    context = lab.context
    lab.context = lambda *of: replace(context(*of), prune=pruned)  # type: ignore[method-assign]
    began_s = lab.clock.boot_s()

    def set_ahead() -> bool:
        if not lab.sim.stepped_s and lab.clock.boot_s() - began_s > 3000:
            lab.sim.stepped_s += 366 * 86400.0
        return bool(pruned.call_count)

    lab.run_until(set_ahead)
    assert lab.clock.boot_s() - began_s >= 3000 + 3600


def test_a_worker_for_as_long_as_there_is_work_prunes_at_its_end(lab: Lab) -> None:
    """From cron, none runs for an hour. Before it has done a job, its clock may be wrong."""
    done: list[bool] = []

    def prune() -> bool:
        done.append(lab.job().status is Status.DONE)
        return len(done) < 3

    context = lab.context
    lab.context = lambda *of: replace(context(*of), prune=prune)  # type: ignore[method-assign]
    lab.run()
    assert not done
    lab.enqueue(lab.model())
    lab.run()
    assert done == [True] * 3


def test_history_is_pruned_a_step_a_turn_and_then_once_an_hour_after_claims(lab: Lab) -> None:
    lab.enqueue(lab.model())
    more = iter([True, True, False, False])
    steps: list[tuple[float, bool]] = []

    def prune() -> bool:
        steps.append((lab.clock.boot_s(), lab.job().stage is Stage.CREATE and not lab.job().lease))
        return next(more, False)

    context = lab.context
    lab.context = lambda *of: replace(context(*of), prune=prune)  # type: ignore[method-assign]
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: len(steps) > 3)
    assert [waiting for _, waiting in steps] == [False] * 4, "the job was claimed before"
    first, second, third, fourth = (at_s for at_s, _ in steps)
    assert first - began_s >= 3600, "the clock may not be right yet"
    assert second - first < 1
    assert third - second < 1
    assert fourth - third >= 3600
