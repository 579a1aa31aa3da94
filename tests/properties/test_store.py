"""Any order of claims, crashes, clock steps, users' and workers' verbs: the rows stay right."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, event, text, update

from tests.properties.replay import Snapshot, assert_follows, assert_whole
from tests.properties.verbs import BASE_URL, FILE_WRITES, SIZES, WRITES, Write, new_job, soon
from tests.sqlite import sqlite_url
from tests.store.conftest import mark_stored
from uploader.core.errors import LeaseLost, StoreError, UsageError, VerbRefused
from uploader.core.job import UNKNOWN_ACCOUNT, FileState, Job, Lease, PrefixCrc, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.held import Held
from uploader.store.held_files import FileProgress
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs as jobs_table

SEAL = Seal(b"s" * 32)
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
#: A wait longer than that was written under another clock.
LONGEST_WAIT_S = 2 * 86_400.0
_OF_A_CANCELLED_JOB = [
    WRITES[name] for name in ("clean_up_after", "close", "end_model", "leave_sessions")
]


class Store(RuleBasedStateMachine):
    """Workers live as long as their lock is held, whatever the clock says."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.engine = self._open()
        self.jobs = Jobs(self.engine, seal=SEAL)
        self.now = NOON
        self.claims = Claims(self.engine, lambda: self.now, seal=SEAL)
        self.born = 0
        self.alive: set[str] = set()
        #: Every job ever claimed, and the leases that hold.
        self.given: list[Held] = []
        self.live: dict[int, Lease] = {}
        self.may_advance = False
        self.before = self._look()

    def _open(self) -> Engine:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "uploader.db"
        shutil.copy(self.template, path)
        engine = open_engine(sqlite_url(path))
        event.listen(engine, "connect", _in_a_hurry)
        return engine

    def teardown(self) -> None:
        self.engine.dispose()
        self._folder.cleanup()

    def _outlive(self, dead: set[int]) -> None:
        """Wait until nobody doubts that the holders of these jobs are gone: no time at all."""

    def _look(self) -> Snapshot:
        jobs = {job.id: self.jobs.job(job.id) for job in self.jobs.jobs()}
        files = {(file.job_id, file.path): file for id_ in jobs for file in self.jobs.files(id_)}
        return Snapshot(jobs, files, self.jobs.events())

    # -- the world -------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.start_worker()
        self.enqueue("one", "acme", "/models/one")
        self.before = self._look()
        self.claim(0)
        self.before = self._look()

    @rule(hours=st.sampled_from((-48.1, -24.0, -0.1, 0.0001, 0.02, 1.0, 24.0)))
    def the_clock_moves(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: len(self.alive) < 3)
    @rule()
    def start_worker(self) -> None:
        self.born += 1
        self.alive.add(f"worker-{self.born}")

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0, 99))
    def crash(self, pick: int) -> None:
        """Its leases stay in the rows until somebody looks at its lock."""
        self.alive.discard(_one_of(sorted(self.alive), pick))

    # -- users -----------------------------------------------------------------------------

    @rule(
        model_id=st.sampled_from(("one", "two")),
        account=st.sampled_from(("acme", UNKNOWN_ACCOUNT)),
        root=st.sampled_from(("/models/one", "/models/two")),
    )
    def enqueue(self, model_id: str, account: str, root: str) -> None:
        with contextlib.suppress(UsageError):
            job_id, created = self.jobs.enqueue(new_job(model_id, account, root), self.now)
            assert created == (job_id not in self.before.jobs)

    @precondition(lambda self: self.before.jobs)
    @rule(
        pick=st.integers(0, 99),
        verb=st.sampled_from((Verb.PAUSE, Verb.RESUME, Verb.CANCEL, Verb.RETRY)),
        delete_remote=st.booleans(),
    )
    def user_verb(self, pick: int, verb: Verb, delete_remote: bool) -> None:
        job_id = _one_of(sorted(self.before.jobs), pick)
        with contextlib.suppress(UsageError, VerbRefused):
            self.jobs.apply(job_id, verb, self.now, delete_remote=delete_remote)

    @precondition(lambda self: self.before.jobs)
    @rule(pick=st.integers(0, 99), replace=st.booleans())
    def restart(self, pick: int, replace: bool) -> None:
        job = self.before.jobs[_one_of(sorted(self.before.jobs), pick)]
        new = new_job(job.model_id, job.account, job.path)
        try:
            after = self.jobs.restart(self.jobs.sealed(job), new, self.now, replace=replace)
        except (UsageError, VerbRefused):
            return
        assert after.run_number == job.run_number + 1
        assert job.id not in self.live

    @precondition(lambda self: len(self.before.jobs) > 1)
    @rule(pick=st.integers(0, 99))
    def remove(self, pick: int) -> None:
        job_id = _one_of(sorted(self.before.jobs), pick)
        try:
            self.jobs.remove(job_id, self.now)
        except (UsageError, VerbRefused):
            return
        assert job_id not in self.live

    # -- workers ---------------------------------------------------------------------------

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0, 99))
    def claim(self, pick: int) -> None:
        if pick % 3:  # as the loop does: look after the dead first
            self.reap()
            self.before = self._look()
        owner = _one_of(sorted(self.alive), pick)
        wanted = [job for job in self.before.jobs.values() if self._claimable(job)]
        held = self.claims.claim(owner, BASE_URL, tuple(Stage), 60)
        assert (held is None) == (not wanted)
        if held is not None:
            assert held.job.id in {each.id for each in wanted}
            self._took(held, owner)

    def _claimable(self, job: Job) -> bool:
        wait_s = (job.not_before - self.now).total_seconds() if job.not_before else 0.0
        due = wait_s <= 0 or wait_s > LONGEST_WAIT_S
        return job.status is Status.ACTIVE and job.lease is None and due

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0, 99))
    def claim_cancelled(self, pick: int) -> None:
        owner = _one_of(sorted(self.alive), pick)
        held = self.claims.claim_cancelled(owner, BASE_URL, 60)
        if held is not None:
            assert held.job.status is Status.CANCELLED
            self._took(held, owner)

    def _took(self, held: Held, owner: str) -> None:
        assert held.job.id not in self.live, "a double claim"
        assert held.job.lease == held.lease
        assert held.lease.owner == owner
        assert held.lease not in {earlier.lease for earlier in self.given}
        self.given.append(held)
        self.live[held.job.id] = held.lease

    @precondition(lambda self: self.alive)
    @rule()
    def reap(self) -> None:
        dead = {id_ for id_, lease in self.live.items() if lease.owner not in self.alive}
        self._outlive(dead)
        assert self.claims.reap(self.alive.__contains__) == sorted(dead)
        for job_id in dead:
            del self.live[job_id]

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0, 99))
    def renew(self, pick: int) -> None:
        owner = _one_of(sorted(self.alive), pick)
        mine = {lease for lease in self.live.values() if lease.owner == owner}
        assert self.claims.renew(owner, 60) == mine
        assert self.claims.leases_of(owner).keys() == mine

    @rule()
    def heal(self) -> None:
        self.claims.heal(BASE_URL)

    @precondition(lambda self: self.given)
    @rule(pick=st.integers(0, 99), name=st.sampled_from(sorted(WRITES)))
    def transition(self, pick: int, name: str) -> None:
        self._write(_one_of(self.given, pick), WRITES[name])

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0, 99), steps=st.integers(1, 5))
    def go_on(self, pick: int, steps: int) -> None:
        """What a worker would do next: without it chance seldom gets as far as READY."""
        owner = _one_of(sorted(self.alive), pick)
        live = self.live.values()
        mine = [held for held in self.given if held.lease in live and held.lease.owner == owner]
        if not mine:
            self.claim(pick)
        for held in mine[:1]:
            for _ in range(steps):
                self._next_step(held)
                self.the_store_is_right()

    def _next_step(self, held: Held) -> None:
        job = self.before.jobs[held.job.id]
        unstored = [file for file in self._files_of(job) if not file.stored]
        if job.stage is Stage.CREATE:
            self._write(held, WRITES["enter_upload"])
        elif unstored:
            self._store(held, unstored[0].path)
        else:
            self._write(held, WRITES["enter_validate" if job.stage is Stage.UPLOAD else "finish"])

    def _files_of(self, job: Job) -> list[FileState]:
        return [file for file in self.before.files.values() if file.job_id == job.id]

    @precondition(lambda self: self.given)
    @rule(pick=st.integers(0, 99))
    def poll_again(self, pick: int) -> None:
        held = _one_of(self.given, pick)
        job = self.before.jobs.get(held.job.id)
        if job is not None and job.stage is Stage.VALIDATE:
            self._write(held, lambda _, now: held.poll_again(soon(now), 1.0, "wait"))

    # -- files -----------------------------------------------------------------------------

    @precondition(lambda self: self.given)
    @rule(
        pick=st.integers(0, 99),
        path=st.sampled_from(sorted(SIZES)),
        name=st.sampled_from(sorted(FILE_WRITES)),
    )
    def file_write(self, pick: int, path: str, name: str) -> None:
        held = _one_of(self.given, pick)
        sent = self._sent(held, path)
        self._write(held, lambda _, now: FILE_WRITES[name](held, path, sent, now))

    @precondition(lambda self: self.given)
    @rule(
        pick=st.integers(0, 99),
        path=st.sampled_from(sorted(SIZES)),
        shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        late=st.integers(0, 1),
    )
    def progress(self, pick: int, path: str, shares: tuple[float, float], late: int) -> None:
        held = _one_of(self.given, pick)
        file = self.before.files.get((held.job.id, path))
        sessions = file.sessions - late if file else 0
        offset, mark = sorted(int(share * SIZES[path]) for share in shares)
        sent = self._sent(held, path) + 1
        row = FileProgress(
            path, sessions, PrefixCrc(offset, 1), PrefixCrc(mark, 2), sent, advanced=True
        )
        self.may_advance = not late
        self._write(held, lambda *_: held.files.report_progress([row], 1.0))

    @precondition(lambda self: self.given)
    @rule(pick=st.integers(0, 99), path=st.sampled_from(sorted(SIZES)))
    def file_stored(self, pick: int, path: str) -> None:
        self._store(_one_of(self.given, pick), path)

    def _store(self, held: Held, path: str) -> None:
        sent = self._sent(held, path)
        self.may_advance = True
        self._write(held, lambda *_: mark_stored(held, path, 5, bytes_sent=sent, verified=True))

    def _sent(self, held: Held, path: str) -> int:
        file = self.before.files.get((held.job.id, path))
        return file.bytes_sent if file else 0

    def _write(self, held: Held, write: Write) -> None:
        """One worker write: all or nothing, and nothing at all under a stale token."""
        holds = self.live.get(held.job.id) == held.lease
        try:
            write(held, self.now)
        except LeaseLost:
            assert self._look() == self.before, "a refused write changed something"
            status = self.before.jobs[held.job.id].status if holds else None
            assert status is not Status.ACTIVE or write in _OF_A_CANCELLED_JOB
        except (ValueError, UsageError, StoreError) as error:
            early = self._is_early(held, error)
            if isinstance(error, StoreError) and not (error.is_about_rows or early):
                raise
            # The database itself refuses to take a stored file for one without its bytes.
            assert holds or early
            assert self._look() == self.before, "a refused write changed something"
        else:
            assert holds, "a stale token wrote"
            if write is WRITES["release"]:
                del self.live[held.job.id]

    # -- what always holds -----------------------------------------------------------------

    def _is_early(self, held: Held, error: Exception) -> bool:
        """Not every file is stored, by its seal: that is found out without the lease."""
        ours = [file for file in self.before.files.values() if file.job_id == held.job.id]
        unstored = len(ours) < held.job.files_total or not all(file.stored for file in ours)
        return unstored and isinstance(error, StoreError) and error.code is Code.UNSEALED

    @invariant()
    def the_store_is_right(self) -> None:
        now = self._look()
        assert_whole(now)
        assert all(map(SEAL.holds_job, now.jobs.values()))
        for file in now.files.values():
            run = SEAL.run_of(now.jobs[file.job_id])
            assert run.holds_file(file)
            assert run.holds_standing(file)
        assert_follows(self.before, now, may_advance=self.may_advance)
        leases = {job.id: job.lease for job in now.jobs.values() if job.lease is not None}
        assert leases == self.live, "at most one live lease per job, and it is the one given"
        self.before, self.may_advance = now, False


def _in_a_hurry(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _one_of(candidates: list[Any], pick: int) -> Any:
    """The later ones more often: what is recent is more often alive."""
    return candidates[-1 - pick % len(candidates)]


@pytest.fixture
def machine(tmp_path: Path) -> type[Store]:
    engine = open_engine(sqlite_url(tmp_path / "uploader.db"))
    migrate.ensure(engine, tmp_path)
    engine.dispose()
    return type("StoreOfThisTest", (Store,), {"template": tmp_path / "uploader.db"})


def test_any_order_of_verbs_crashes_and_clock_steps(machine: type[Store]) -> None:
    # Unshrunk: every run finds the same failure, and to shrink one outlasts any time limit.
    bounded = settings(max_examples=25, stateful_step_count=50, phases=[Phase.generate])
    run_state_machine_as_test(machine, settings=bounded)


class PostgresqlStore(Store):
    """There the leases of the dead end by the database's clock, ten seconds late."""

    shared: Engine

    def _open(self) -> Engine:
        with self.shared.begin() as connection:
            connection.execute(text("TRUNCATE jobs, files, events RESTART IDENTITY"))
        return self.shared

    def teardown(self) -> None:
        """The next example empties it."""

    def _outlive(self, dead: set[int]) -> None:
        overdue = text("clock_timestamp() - interval '11 seconds'")
        statement = update(jobs_table).where(jobs_table.c.id.in_(dead))
        with self.engine.begin() as connection:
            connection.execute(statement.values(lease_expires_at=overdue))


@pytest.mark.long
def test_any_order_of_verbs_crashes_and_clock_steps_on_postgresql(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    machine = type("StoreOfThisTest", (PostgresqlStore,), {"shared": engine})
    bounded = settings(max_examples=25, stateful_step_count=50, phases=[Phase.generate])
    run_state_machine_as_test(machine, settings=bounded)
    engine.dispose()
