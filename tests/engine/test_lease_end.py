"""Where leases end by themselves (PostgreSQL): what a holder does at its lease's end.

The holder's clock is the laboratory's, simulated; the database's is real, so that no lease ends
there unless a test says so in SQL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from tests.engine.conftest import GRANULE, LIMITS, Lab
from tests.postgresql import Cluster
from uploader.core.errors import StoreError
from uploader.core.job import Stage, Status
from uploader.engine.context import Limits, WorkerContext
from uploader.engine.job_run import JobRun
from uploader.engine.progress import Progress
from uploader.remote.fireworks import Fireworks
from uploader.remote.storage import Storage
from uploader.runtime import StopToken
from uploader.sandbox.adapter import InProcessAdapter
from uploader.sources.local import LocalFile
from uploader.store.claims import Claims
from uploader.store.database.workers import WorkerLock
from uploader.store.held import Held

SIZE = 24 * GRANULE
SUSPENDED_S = 3600.0


class _Stoppable(InProcessAdapter):
    """As the production transport: it asks its stop token before each request."""

    stop: StopToken

    def send(self, *of: Any, **options: Any) -> requests.Response:
        self.stop.check()
        return super().send(*of, **options)


class PostgresqlLab(Lab):
    """Several laboratories may share one database."""

    def context(
        self, lock: WorkerLock, changed: Callable[[], bool], limits: Limits
    ) -> WorkerContext:
        context = super().context(lock, changed, limits)

        def stoppable(client: Any, stop: StopToken) -> Any:
            for adapter in client._session.adapters.values():
                adapter.__class__, adapter.stop = _Stoppable, stop
            return client

        def control(stop: StopToken) -> Fireworks:
            client: Fireworks = stoppable(context.control(stop), stop)
            return client

        def storage(stop: StopToken) -> Storage:
            client: Storage = stoppable(context.storage(stop), stop)
            return client

        return replace(context, control=control, storage=storage)


@pytest.fixture
def lab(tmp_path: Path, postgresql_url: str) -> Iterator[PostgresqlLab]:
    laboratory = PostgresqlLab(tmp_path, database_url=postgresql_url)
    yield laboratory
    laboratory.close()


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Claims that found a job and blocks handed to the socket, in their order."""
    log: list[str] = []
    claim, read = Claims.claim, Progress.read

    def noted_claim(*of: Any, **facts: Any) -> Held | None:
        held = claim(*of, **facts)
        if held is not None:
            log.append("claim")
        return held

    def noted_block(*of: Any) -> None:
        log.append("block")
        read(*of)

    monkeypatch.setattr(Claims, "claim", noted_claim)
    monkeypatch.setattr(Progress, "read", noted_block)
    return log


def _stuck_renewals(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, once: Callable[[], bool]
) -> tuple[threading.Event, threading.Event]:
    """From ``once`` on the first renewal hangs, as on a dead network: (it hangs, let it go)."""
    hangs, let_go, renew = threading.Event(), threading.Event(), Claims.renew

    def stuck(*of: Any, **facts: Any) -> Any:
        if once() and not let_go.is_set():
            hangs.set()
            lab.until(let_go.is_set)
        return renew(*of, **facts)

    monkeypatch.setattr(Claims, "renew", stuck)
    return hangs, let_go


@pytest.mark.parametrize("moment", ["put block", "disk", "put before", "start before"])
def test_after_its_lease_ended_a_holder_sends_nothing_though_nobody_tells_it_to_stop(
    lab: PostgresqlLab, monkeypatch: pytest.MonkeyPatch, happened: list[str], moment: str
) -> None:
    """The machine is suspended at ``moment`` while the worker's loop hangs in the store."""
    begun: list[bool] = []
    hangs, let_go = _stuck_renewals(lab, monkeypatch, lambda: bool(begun))
    blocks_before = 0 if "before" in moment else 3
    read_block = LocalFile.block

    def suspend(name: str) -> None:
        if name != moment or happened.count("block") < blocks_before or "suspended" in happened:
            return
        begun.append(True)
        lab.until(hangs.is_set)
        happened.append("suspended")
        lab.sim.suspend(SUSPENDED_S)

    def block(self: LocalFile, start: int, count: int) -> bytes:
        found = read_block(self, start, count)
        suspend("disk")
        return found

    monkeypatch.setattr(LocalFile, "block", block)
    lab.boundary = suspend
    lab.enqueue(lab.model(a_bin=SIZE))

    def recovered() -> bool:
        if "suspended" in happened and lab.job().lease is None:
            let_go.set()
        return lab.job().status is Status.DONE

    lab.run_until(recovered)
    lab.assert_ready()
    after = happened[happened.index("suspended") + 1 :]
    assert after[0] == "claim", "nothing leaves before the job is claimed anew"
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE


def test_a_holder_that_waits_for_an_answer_at_its_leases_end_is_cut(
    lab: PostgresqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block is read then, so that nothing but the worker's loop can end the connection."""
    cut, real_cut, renew = threading.Event(), JobRun.cut, Claims.renew

    def noted_cut(run: JobRun) -> None:
        cut.set()
        real_cut(run)

    def refused(*of: Any, **facts: Any) -> Any:
        if not cut.is_set():
            raise StoreError("the state store is away")
        return renew(*of, **facts)

    def wait(name: str) -> None:
        if name == "put after" and not cut.is_set():
            lab.sim.suspend(LIMITS.lease_s)
            lab.until(cut.is_set)

    monkeypatch.setattr(JobRun, "cut", noted_cut)
    monkeypatch.setattr(Claims, "renew", refused)
    lab.boundary = wait
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().status is Status.DONE)
    assert cut.is_set()
    lab.assert_ready()


def test_renewals_keep_a_lease_for_as_long_as_it_takes(
    lab: PostgresqlLab, happened: list[str]
) -> None:
    lab.bytes_per_s = GRANULE
    began_s = lab.clock.boot_s()
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lambda: lab.job().stage is Stage.VALIDATE, lease_s=9.0)
    assert lab.clock.boot_s() - began_s > 2 * 9.0, "several leases long"
    assert happened.count("block") == SIZE / GRANULE
    sending = happened[: SIZE // GRANULE + 1]
    assert sending.count("claim") == 1, lab.dump()


def _take_away(lab: Lab, owner: str) -> Held:
    """As another machine does once the lease is overdue by the database's clock."""
    with lab.engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '11 seconds'")
        )
    claims = Claims(lab.engine, lab.clock.now)
    assert claims.reap(lambda _: True) == [1]
    held = claims.claim(owner, lab.world.base_url, tuple(Stage), 1e6)
    assert held is not None
    return held


def test_a_lease_that_was_taken_is_not_resumed_by_the_old_holder(lab: PostgresqlLab) -> None:
    lab.bytes_per_s = GRANULE / 2
    lab.enqueue(lab.model(a_bin=SIZE))
    taken: list[Held] = []
    with lab.worker() as worker:

        def steal() -> None:
            lab.until(lambda: lab.jobs.jobs()[0].bytes_marked > 0)
            taken.append(_take_away(lab, "another machine"))
            lab.until(lambda: not worker._runs)
            before, read = lab.jobs.events(1), lab.object()["body_bytes_read"]
            # Its loop goes on: it looks, renews and claims several times.
            lab.until(lab.passed(60))
            assert lab.job().lease == taken[0].lease
            assert lab.jobs.events(1) == before
            assert lab.object()["body_bytes_read"] == read
            worker.drain()

        lab.finish(worker.run, steal)
    taken[0].release()
    lab.bytes_per_s = None
    lab.run()
    lab.assert_ready()


def test_without_its_store_a_holder_sends_until_the_end_of_its_lease_and_goes_on_when_it_is_back(
    tmp_path: Path, own_postgresql: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_s = 10.0
    sent_s: list[float] = []
    read = Progress.read
    lab = PostgresqlLab(tmp_path, database_url=own_postgresql.url("postgres"))

    def noted(*of: Any) -> None:
        sent_s.append(lab.clock.boot_s())
        read(*of)

    monkeypatch.setattr(Progress, "read", noted)
    lab.bytes_per_s = 2 * GRANULE
    lab.enqueue(lab.model(a_bin=100 * GRANULE))
    with lab.worker(lease_s=lease_s) as worker:

        def take_the_store_away() -> None:
            lab.until(lambda: len(sent_s) > 8)
            own_postgresql.stop()
            gone_s = lab.clock.boot_s()
            lab.until(lab.passed(2 * lease_s))
            assert [at for at in sent_s if at > gone_s + lease_s] == []
            own_postgresql.start()
            lab.bytes_per_s = None
            lab.until(lambda: lab.job().status is Status.DONE)
            worker.drain()

        lab.finish(worker.run, take_the_store_away)
    lab.assert_ready()
    lab.close()
