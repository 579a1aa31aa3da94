"""Some jobs brought to their ends without a daemon, or alongside one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import ProgramEnds, StoreError, UsageError
from uploader.core.job import Job, Scope, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.seal import Seal
from uploader.engine.oneshot import work_on
from uploader.engine.worker import Worker
from uploader.store.database.workers import WorkerLock, living
from uploader.store.jobs import Jobs

Show = Callable[[Sequence[Job]], None]
SEAL = Seal(b"s" * 32)


class OneShot:
    """What a caller sees of `work_on`, second by second."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.jobs = Jobs(lab.engine, living=lambda: living(lab.state), seal=lab.seal)
        self.shown: list[list[Job]] = []
        self.started = 0
        self.ended: list[Job] = []
        self.error: BaseException | None = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Worker]:
        self.started += 1
        with self.lab.worker() as worker:
            yield worker

    def call(self, *ids: int, show: Show = lambda _: None) -> Callable[[], None]:
        """The call, in a thread of its own."""
        self.lab.only = frozenset(ids)

        def seen(found: Sequence[Job]) -> None:
            self.shown.append([*found])
            show(found)

        def run() -> None:
            clock, spawn = self.lab.clock, self.lab.spawn
            try:
                self.ended = work_on(self.jobs, ids, clock, spawn, self._opened, show=seen)
            except BaseException as error:  # noqa: BLE001 - also what a signal raises
                self.error = error

        return run


@pytest.fixture
def shot(lab: Lab) -> OneShot:
    return OneShot(lab)


def _untouched(lab: Lab, job_id: int) -> tuple[Job, list[str]]:
    return lab.job(job_id), lab.kinds(job_id)


def test_just_those_jobs_are_brought_to_ready(lab: Lab, shot: OneShot) -> None:
    ids = [lab.enqueue(lab.model(name)) for name in ("one", "other", "two", "stuck")]
    lab.jobs.apply(ids[3], Verb.CANCEL, lab.clock.now())
    before = [_untouched(lab, job_id) for job_id in (ids[1], ids[3])]
    lab.finish(shot.call(ids[2], ids[0]))
    assert [(job.id, job.status) for job in shot.ended] == [(3, Status.DONE), (1, Status.DONE)]
    lab.assert_ready(1)
    lab.assert_ready(3)
    assert [_untouched(lab, job_id) for job_id in (ids[1], ids[3])] == before
    assert shot.started == 1
    assert living(lab.state) == {}
    assert not any(
        job.unattended for jobs in shot.shown for job in jobs if job.status is Status.ACTIVE
    )


def test_a_job_that_is_done_costs_nothing(lab: Lab, shot: OneShot) -> None:
    lab.enqueue(lab.model())
    lab.run()
    lab.finish(shot.call(1))
    assert (shot.started, len(shot.shown)) == (0, 1)


def test_alongside_a_worker_nothing_is_sent_from_here(lab: Lab, shot: OneShot) -> None:
    lab.enqueue(lab.model())
    with lab.worker() as daemon:
        lab.finish(shot.call(1), lambda: daemon.run(until_idle=True))
    assert shot.started == 0
    lab.assert_ready()


@pytest.mark.parametrize(
    ("scope", "waits"),
    [
        (Scope(), True),
        (Scope("http://127.0.0.1:1"), True),
        (Scope("http://127.0.0.1:1", secret=False), True),
        (Scope("http://127.0.0.1:1", frozenset({1, 7})), True),
        (Scope("http://127.0.0.1:1", frozenset({7})), False),
        (Scope("https://elsewhere"), False),
    ],
    ids=["unknown", "all", "all without seals", "this one", "others only", "elsewhere"],
)
def test_a_worker_that_dies_is_replaced_within_seconds(
    lab: Lab, shot: OneShot, scope: Scope, waits: bool
) -> None:
    lab.enqueue(lab.model())
    lock = WorkerLock(lab.state, scope)

    def die() -> None:
        lab.until(lab.passed(20))
        assert shot.started == (0 if waits else 1)
        lock.close()

    began_s = lab.clock.boot_s()
    lab.finish(shot.call(1), die)
    lab.assert_ready()
    if waits:
        begun = next(i for i, jobs in enumerate(shot.shown) if jobs[0].stage is not Stage.CREATE)
        assert 20 <= begun <= 24
    assert shot.started == 1
    assert lab.clock.boot_s() - began_s < 120


def test_a_sealed_job_does_not_wait_for_a_worker_without_the_secret(lab: Lab) -> None:
    lab.use(SEAL)
    shot = OneShot(lab)
    lab.enqueue(lab.model())
    with WorkerLock(lab.state, Scope("http://127.0.0.1:1", secret=False)):
        lab.finish(shot.call(1))
    lab.assert_ready()
    assert shot.started == 1


def test_whatever_ends_it_early_leaves_rows_that_say_what_the_server_holds(
    lab: Lab, shot: OneShot
) -> None:
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=64 * GRANULE))

    def interrupt(found: Sequence[Job]) -> None:
        if found[0].bytes_sent > 2 * GRANULE:
            raise KeyboardInterrupt

    lab.finish(shot.call(1, show=interrupt))
    assert isinstance(shot.error, KeyboardInterrupt)
    assert lab.file().checkpoint.offset == lab.object()["persisted"] >= 2 * GRANULE
    assert (lab.job().status, lab.job().lease) == (Status.ACTIVE, None)
    assert living(lab.state) == {}
    lab.bytes_per_s, lab.only = None, None
    lab.run()
    lab.assert_ready()


def test_a_paused_job_is_waited_for_and_resumed_here(lab: Lab, shot: OneShot) -> None:
    lab.enqueue(lab.model())
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())

    def resume() -> None:
        lab.until(lab.passed(30))
        assert shot.started == 0
        lab.jobs.apply(1, Verb.RESUME, lab.clock.now())

    lab.finish(shot.call(1), resume)
    assert shot.started == 1
    lab.assert_ready()


def test_it_is_resumed_even_if_the_worker_had_become_idle(lab: Lab, shot: OneShot) -> None:
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=16 * GRANULE))

    def pause() -> None:
        lab.until(lambda: lab.job().bytes_sent > 0)
        lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
        lab.until(lambda: living(lab.state) == {})
        lab.jobs.apply(1, Verb.RESUME, lab.clock.now())

    lab.finish(shot.call(1), pause)
    assert shot.started == 2
    lab.assert_ready()


@pytest.mark.parametrize("why", ["key", "folder"])
def test_one_that_stands_still_is_tried_again_once(lab: Lab, shot: OneShot, why: str) -> None:
    folder = lab.model()
    lab.enqueue(folder)
    good, lab.key = lab.key, "wrong" if why == "key" else lab.key
    away = folder / "a.bin"
    if why == "folder":
        away.rename(lab.folder / "kept")
    for _ in range(2):
        lab.finish(shot.call(1))
        assert shot.ended[0].status == ("blocked" if why == "key" else "failed")
    lab.key = good
    if why == "folder":
        (lab.folder / "kept").rename(away)
    lab.finish(shot.call(1))
    lab.assert_ready()


def test_one_that_is_cancelled_leaves_nothing_open(lab: Lab, shot: OneShot) -> None:
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=16 * GRANULE))

    def cancel() -> None:
        lab.until(lambda: lab.job().bytes_sent > 0)
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())

    lab.finish(shot.call(1), cancel)
    assert shot.ended[0].status is Status.CANCELLED
    assert lab.file().session is None
    assert lab.kinds()[-1] == "closed"


@pytest.mark.parametrize("error", [UsageError("so"), StoreError("so"), RuntimeError("so")])
def test_what_keeps_the_worker_from_starting_is_raised_to_the_caller(
    lab: Lab, shot: OneShot, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> contextlib.AbstractContextManager[Worker]:
        raise error

    monkeypatch.setattr(shot, "_opened", broken)
    lab.enqueue(lab.model())
    lab.finish(shot.call(1))
    assert shot.error is error


@pytest.mark.parametrize(
    ("name", "stage", "within_s"),
    [
        ("worker", Stage.CREATE, 1),
        ("job 1", Stage.CREATE, 8),
        ("job 1 a.bin", Stage.UPLOAD, 8),
        ("job 1", Stage.VALIDATE, 40),  # a poll later
    ],
)
def test_in_a_program_that_ends_it_ends_and_the_job_is_kept(
    lab: Lab, shot: OneShot, name: str, stage: Stage, within_s: float
) -> None:
    """From then on Python starts no thread, and waiting changes nothing."""
    start, ending = lab.spawn, list[str]()

    def spawn(its_name: str, run: Callable[[], None]) -> None:
        if ending or (its_name == name and lab.job().stage is stage):
            ending.append(its_name)
            raise ProgramEnds("this program is ending")
        start(its_name, run)

    lab.spawn = spawn
    lab.world.config.landing_polls = 5
    lab.enqueue(lab.model(a_bin=2 * GRANULE))
    began_s = lab.clock.boot_s()
    lab.finish(shot.call(1))
    assert isinstance(shot.error, ProgramEnds)
    assert lab.clock.boot_s() - began_s < within_s
    assert (lab.job().status, lab.job().stage) == (Status.ACTIVE, stage)
    assert living(lab.state) == {}
    lab.spawn = start
    lab.run()
    lab.assert_ready()


def test_two_of_them_share_one_job(lab: Lab, shot: OneShot) -> None:
    lab.enqueue(lab.model())
    other = OneShot(lab)
    lab.finish(shot.call(1), other.call(1))
    assert [replace(job, updated_at=job.created_at) for job in shot.ended] == [
        replace(job, updated_at=job.created_at) for job in other.ended
    ]
    lab.assert_ready()
