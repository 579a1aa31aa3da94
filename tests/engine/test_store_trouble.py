"""A job table that can be read but not written: a full disk, a PostgreSQL that is a standby now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import StoreError
from uploader.core.job import Stage
from uploader.core.store_reasons import StoreCode
from uploader.engine.worker import STORE_PATIENCE_S, Worker
from uploader.store.journal import Journal

SIZE = 400 * GRANULE


class Trouble:
    """While it ``lasts`` nothing is written; everything can be read."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lasts, self._lab, works = False, lab, Journal.writing

        def writing(journal: Journal, now: datetime) -> Any:
            if self.lasts:
                raise StoreError("no space left on its disk", code=StoreCode.DISK_FULL)
            return works(journal, now)

        monkeypatch.setattr(Journal, "writing", writing)

    def begins(self) -> None:
        self.lasts, self.began_s = True, self._lab.clock.boot_s()

    def since_s(self) -> float:
        return self._lab.clock.boot_s() - self.began_s


@pytest.fixture
def trouble(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(lab, monkeypatch)


def sent_something(lab: Lab) -> bool:
    return lab.job().stage is Stage.UPLOAD and lab.file().checkpoint.offset > 0


def test_a_worker_that_can_only_read_ends_after_a_minute(lab: Lab, trouble: Trouble) -> None:
    """Although it always finds, by reading, that there is nothing else to claim."""
    lab.bytes_per_s = float(GRANULE)
    lab.enqueue(lab.model(a_bin=SIZE))
    ended: list[tuple[StoreCode | str, float]] = []
    with lab.worker() as worker:

        def run() -> None:
            try:
                worker.run()
            except StoreError as error:
                ended.append((error.code, trouble.since_s()))

        def watch() -> None:
            lab.until(lambda: sent_something(lab))
            trouble.begins()
            lab.until(lambda: bool(ended) or trouble.since_s() > 5 * STORE_PATIENCE_S)
            worker.drain()

        lab.finish(run, watch)
    assert [code for code, _ in ended] == [StoreCode.DISK_FULL]
    assert ended[0][1] < 2 * STORE_PATIENCE_S


def test_a_worker_that_can_write_again_goes_on_as_if_nothing_had_been(
    lab: Lab, trouble: Trouble
) -> None:
    """Two troubles of most of a minute, with less than a minute in between, are no longer one."""
    lab.bytes_per_s = float(GRANULE)
    lab.enqueue(lab.model(a_bin=SIZE))
    with lab.worker() as worker:

        def watch() -> None:
            for _ in range(3):
                lab.until(lambda: sent_something(lab) and worker.running == 1)
                trouble.begins()
                lab.until(lambda: worker.store_broken)
                lab.until(lab.passed(0.9 * STORE_PATIENCE_S))
                assert worker.store_broken
                trouble.lasts = False
                lab.until(lambda: not worker.store_broken)
            lab.bytes_per_s = None
            worker.follow_limits()
            lab.until(lambda: lab.job().stage is Stage.READY)
            worker.drain()

        lab.finish(worker.run, watch)
    lab.assert_ready()


def test_what_has_changed_in_a_turn_that_failed_is_followed_by_the_next(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lab.worker() as worker:
        turn(worker)
        lab.max_jobs = 1
        lab.enqueue(lab.model())  # whatever somebody has committed
        with monkeypatch.context() as broken:
            broken.setattr(Worker, "_watch", refuse)
            turn(worker)
        assert told(worker) == ("broken", 2)
        turn(worker)
        assert told(worker) == ("sound", 1)


def refuse(*_: object) -> None:
    raise StoreError("no space left on its disk", code=StoreCode.DISK_FULL)


def turn(worker: Worker) -> None:
    worker._context.clock.wait(worker.wake, 1.0)
    worker._turn(claim=False, until_idle=False)


def told(worker: Worker) -> tuple[str, int]:
    return "broken" if worker.store_broken else "sound", worker._steering.max_jobs
