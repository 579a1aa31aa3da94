"""Workers of one job table whose keys change: each change counts once a minute, and to its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.test_two_keys import OLD, KeyLab
from uploader.engine.context import Limits, WorkerContext
from uploader.store.database.workers import WorkerLock


class PrintedLab(KeyLab):
    """What tells one key from another is not the key itself."""

    printed: Callable[[], str]

    def context(
        self, lock: WorkerLock, changed: Callable[[], bool], limits: Limits
    ) -> WorkerContext:
        return replace(super().context(lock, changed, limits), key_fingerprint=self.printed)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PrintedLab]:
    made = PrintedLab(tmp_path)
    yield made
    made.close()


def test_a_command_that_prints_another_key_each_time_tries_jobs_once_a_minute(
    lab: PrintedLab,
) -> None:
    numbers = itertools.count()
    lab.printed = lambda: f"key {next(numbers)}"
    lab.jobs_of(2)
    with lab.with_key([OLD]) as one, lab.with_key([OLD]) as two:

        def end() -> None:
            lab.until(lab.passed(600.0))
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, end)
    assert lab.count("blocked") < 60


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("later_s", [5.0, 90.0, 150.0])
def test_a_new_key_that_the_service_knows_only_later_is_tried_for_three_minutes(
    lab: PrintedLab, later_s: float, count: int
) -> None:
    printed = ["the old one"]
    lab.printed = lambda: printed[0]
    lab.jobs_of(count)
    keys: list[str | None] = [OLD]
    with lab.with_key(keys) as one, lab.with_key(keys) as two:

        def act() -> None:
            lab.until(lab.passed(300.0))
            printed[0] = "the new one"
            lab.until(lab.passed(later_s))
            keys[0] = lab.key
            lab.until(lambda: lab.statuses() == {"done"})
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, act)
