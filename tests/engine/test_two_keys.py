"""Several workers of one job table: the key of one does not stop what that of another may do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.engine.conftest import LIMITS, Lab
from tests.engine.fast import FastLab
from uploader.core.errors import RemoteError
from uploader.core.job import Reason, Scope, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey
from uploader.core.verdict import Call, Verdict
from uploader.engine.context import Limits, WorkerContext
from uploader.engine.healing import Healing
from uploader.engine.rest import Rest
from uploader.engine.worker import Worker
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.runtime import StopToken
from uploader.sandbox.adapter import InProcessAdapter
from uploader.store.database.workers import WorkerLock

OLD = "fw_an_old_key_000000"
#: Until the others have looked after blocked jobs, and until a pause is at most over.
LOOKED_S, RESTED_S = 70.0, 1000.0
BY_THE_KEY = {"key_rejected", "no_key", "other_account", "permission", "no_account"}


class KeyLab(Lab):
    """Each worker has a key of its own, which may change: the only item of its list."""

    def __init__(self, folder: Path, database_url: str | None = None) -> None:
        super().__init__(folder, database_url=database_url)
        self.own: list[str | None] = [self.key]
        self.asked = 0

        def count(name: str) -> None:
            self.asked += name == "verify before"

        self.boundary = count

    @contextlib.contextmanager
    def with_key(self, own: list[str | None], account: str | None = None) -> Iterator[Worker]:
        self.own, self.account = own, account
        with self.worker() as worker:
            yield worker

    def context(
        self, lock: WorkerLock, changed: Callable[[], bool], limits: Limits
    ) -> WorkerContext:
        own, context = self.own, super().context(lock, changed, limits)

        def key() -> ApiKey:
            if own[0] is None:
                raise RemoteError(Verdict.BLOCKED, Call.VERIFY, "no key", code=Code.NO_KEY)
            return ApiKey(own[0])

        def control(_: StopToken) -> Fireworks:
            adapter = InProcessAdapter(self.world, self._at_boundary)
            return Fireworks(self.world.base_url, key, self.clock, Gate(self.clock), adapter)

        return replace(context, control=control, key_fingerprint=lambda: own[0])

    def jobs_of(self, count: int, **facts: str) -> None:
        for number in range(count):
            self.enqueue(self.model(f"model-{number}", a_bin=9), **facts)

    def statuses(self) -> set[str]:
        return {job.status.value for job in self.jobs.jobs()}

    def count(self, kind: str) -> int:
        return [event.kind for event in self.jobs.events()].count(kind)


class FastKeyLab(KeyLab, FastLab):
    """The same with real threads."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[KeyLab]:
    with contextlib.closing(KeyLab(tmp_path)) as laboratory:
        yield laboratory


@pytest.fixture(params=["sqlite", "postgresql"])
def any_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KeyLab]:
    if request.param == "sqlite":
        made = KeyLab(tmp_path)
    else:
        made = FastKeyLab(tmp_path, request.getfixturevalue("postgresql_url"))
    with contextlib.closing(made):
        yield made


@pytest.mark.parametrize("bad", [OLD, None])
def test_a_worker_whose_key_is_refused_leaves_the_jobs_to_another(
    any_lab: KeyLab, bad: str | None
) -> None:
    lab = any_lab
    lab.jobs_of(8)
    with lab.with_key([bad]) as one, lab.with_key([lab.key]) as two:

        def end() -> None:
            lab.until(lambda: lab.statuses() == {"done"})
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, end)
    assert lab.count("blocked") == lab.count("healed")
    if not isinstance(lab, FastKeyLab):  # there a minute is over before all threads had their turn
        assert lab.count("blocked") < 8


def test_one_that_runs_until_idle_leaves_to_others_what_it_has_blocked(lab: KeyLab) -> None:
    lab.jobs_of(4)
    with lab.with_key([OLD]) as one, lab.with_key([lab.key]) as two:
        busy, full = two._busy, [True]
        two._busy = lambda pool: 99 if full else busy(pool)  # type: ignore[method-assign]

        def end() -> None:
            lab.until(lab.passed(3600.0))
            full.clear()
            lab.until(lambda: lab.statuses() == {"done"})
            two.drain()

        lab.finish(partial(one.run, until_idle=True), two.run, end)
    assert lab.count("blocked") < 40  # and not once a minute


@pytest.mark.long  # hours of simulated time
@pytest.mark.parametrize("verify", [200, 404])
def test_a_key_that_is_accepted_when_asked_and_refused_otherwise_rests_all_the_same(
    lab: KeyLab, verify: int
) -> None:
    """Some kinds of keys may not create; and not every service says whose a key is."""
    if verify == 404:
        lab.world.script.add([{"on": "verify", "do": "status", "status": 404, "times": 0}])
    lab.jobs_of(4)
    with lab.with_key([lab.key]) as bad, lab.with_key([lab.key]) as good:
        good._busy = lambda _: 99  # type: ignore[method-assign, assignment]
        refused = {"on": "create", "do": "status", "status": 401, "times": 0}
        lab.world.script.add([refused])

        def end() -> None:
            lab.until(lab.passed(2 * 3600.0))
            bad.drain()
            good.drain()

        lab.finish(bad.run, good.run, end)
    assert lab.count("blocked") < 60


def test_what_a_refused_key_has_blocked_goes_on_once_its_worker_has_gone(lab: KeyLab) -> None:
    lab.jobs_of(3)
    with lab.with_key([lab.key]) as good:
        for job in lab.jobs.jobs():
            lab.jobs.apply(job.id, Verb.PAUSE, lab.clock.now())

        def short() -> None:
            with lab.with_key([OLD]) as bad:
                for job in lab.jobs.jobs():
                    lab.jobs.apply(job.id, Verb.RESUME, lab.clock.now())
                ended = lab._start(bad.run)
                lab.until(lambda: "blocked" in lab.statuses())
                bad.drain()
                lab.clock.wait(ended, 60.0)
            assert "blocked" in lab.statuses()
            lab.until(lambda: lab.statuses() == {"done"})
            good.drain()

        lab.finish(good.run, short)


def test_a_rest_ends_once_the_key_has_changed_or_the_others_have_gone(lab: KeyLab) -> None:
    lab.jobs_of(1)
    own: list[str | None] = [OLD]
    with lab.with_key(own) as worker, contextlib.ExitStack() as another:
        another.enter_context(WorkerLock(lab.state, Scope(lab.world.base_url)))

        def act() -> None:
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.enqueue(lab.model("second", a_bin=9))
            lab.until(lab.passed(70.0))
            assert lab.kinds(2) == ["enqueued"]
            another.close()
            began_s = lab.clock.boot_s()
            lab.until(lambda: lab.job(2).status is Status.BLOCKED)
            assert lab.clock.boot_s() - began_s < 35.0  # a worker looks twice a minute
            another.enter_context(WorkerLock(lab.state, Scope(lab.world.base_url)))
            own[0] = lab.key
            lab.until(lambda: lab.statuses() == {"done"})
            assert lab.clock.boot_s() - began_s < 2 * LOOKED_S
            worker.drain()

        lab.finish(worker.run, act)


def test_workers_that_all_have_a_bad_key_block_all_jobs_and_end(lab: KeyLab) -> None:
    lab.jobs_of(9)
    began_s = lab.clock.boot_s()
    with lab.with_key([OLD]) as one, lab.with_key([OLD]) as two:
        lab.finish(*(partial(worker.run, until_idle=True) for worker in (one, two)))
    assert lab.statuses() == {"blocked"}
    assert lab.clock.boot_s() - began_s < 300


def test_a_rest_is_twice_as_long_each_time_if_others_try_what_it_has_blocked(
    lab: KeyLab,
) -> None:
    lab.jobs_of(2)
    rest = Rest(lab.clock, lambda: True)

    def pause_s() -> float:
        began_s = lab.clock.boot_s()
        while rest.is_on():
            lab.clock.wait(threading.Event(), 10.0)
        return lab.clock.boot_s() - began_s

    def refuse(job_id: int) -> float:
        rest.note("key_rejected", job_id)
        rest.note("key_rejected", job_id)  # of the jobs at work, each is refused
        assert rest.is_unsure
        assert rest.is_on()
        rest.begin()
        rest.be_sure()
        return pause_s()

    def act() -> None:
        assert [refuse(1) for _ in range(5)] == [120.0, 240.0, 480.0, 960.0, 960.0]
        lab.clock.wait(threading.Event(), 3600.0)
        assert refuse(1) == 120.0
        rest.note("key_rejected", 1)
        assert pause_s() == 60.0  # nobody has asked
        rest.note("key_rejected", 1)
        rest.be_sure()
        assert (pause_s(), rest.left()) == (0.0, [1])
        rest.begin()
        rest.wake()
        assert (pause_s(), rest.left()) == (0.0, [])
        rest.note("quota", 2)
        assert pause_s() == 0.0
        rest.note("other_account", 2)
        assert (rest.is_on(), rest.left()) == (False, [2])
        lab.clock.wait(threading.Event(), 120.0)
        assert rest.left() == []
        for job_id in range(3, 1103):
            rest.note("other_account", job_id)
        assert len(rest.left()) == 1000

    lab.finish(act)


@pytest.mark.parametrize("until_idle", [True, False])
def test_a_lone_worker_blocks_all_jobs_at_once_and_tries_them_more_and_more_seldom(
    lab: KeyLab, *, until_idle: bool
) -> None:
    """A service that knows the key and refuses all else makes it go round in no circle."""
    fault = {"on": "create", "do": "status", "status": 401, "times": 0}
    lab.world.script.add([fault])
    lab.jobs_of(9)
    with lab.with_key([lab.key]) as worker:
        if until_idle:
            began_s = lab.clock.boot_s()
            lab.finish(partial(worker.run, until_idle=True))
            assert lab.clock.boot_s() - began_s < LOOKED_S
        else:
            lab.drive(worker, lab.passed(3600.0))
    tried = 0 if until_idle else 4
    assert lab.statuses() == {"blocked"}
    assert (lab.count("blocked"), lab.count("healed")) == (9 + 9 * tried, 9 * tried)
    assert lab.asked == 9 + 10 * tried


@pytest.mark.parametrize(
    ("on", "answer", "words"),
    [
        ("create", {"status": 401, "body": {"code": 16, "message": "who?"}}, "was answered 401"),
        ("create", {"status": 403, "body": {"code": 7, "message": "no"}}, "was answered 403"),
        ("verify", {"status": 200, "body": {}}, "does not say which account"),
    ],
)
def test_a_wrong_answer_about_the_key_stops_a_lone_workers_jobs_for_a_minute_or_two(
    lab: KeyLab, on: str, answer: dict[str, object], words: str
) -> None:
    lab.jobs_of(3, account="-" if on == "verify" else "sandbox")
    lab.world.script.add([{"on": on, "do": "status", **answer, "times": 3}])
    began_s = lab.clock.boot_s()
    with lab.with_key([lab.key]) as worker:
        lab.drive(worker, lambda: lab.statuses() == {"done"})
    stopped = [event.message for event in lab.jobs.events() if event.kind == "blocked"]
    assert len(stopped) == 3
    assert all(words in message for message in stopped), stopped
    assert lab.clock.boot_s() - began_s < 2 * LOOKED_S


def test_what_the_key_has_stopped_is_tried_again_after_longer_and_longer_pauses(
    lab: KeyLab,
) -> None:
    lab.jobs_of(1)
    tried: list[int] = []
    with looking(lab, [lab.key]) as (context, healing):
        block(context, "permission")
        for minute in range(12 * 60):
            lab.finish(healing.look)
            if lab.job().status is Status.ACTIVE:
                tried.append(minute)
                block(context, "permission")
            lab.finish(lambda: lab.clock.wait(threading.Event(), 60.0))
    assert tried == [0, 1, 5, 21, 85, 325, 565]


def test_what_another_key_may_have_stopped_is_not_tried_each_minute_by_a_lone_worker(
    lab: KeyLab,
) -> None:
    """One job is refused in words about the key; others go well meanwhile."""
    lab.jobs_of(1)
    with looking(lab, [lab.key]) as (context, healing):
        for _ in range(20):
            if lab.job().status is Status.ACTIVE:
                block(context, "key_rejected")
            context.rest.accepted()
            lab.finish(healing.look)
            lab.finish(lambda: lab.clock.wait(threading.Event(), 60.0))
    assert lab.count("healed") == 3


@pytest.mark.long
def test_two_workers_whose_keys_are_refused_do_not_try_a_job_for_each_other_for_ever(
    lab: KeyLab,
) -> None:
    """The service says that it accepts the key, and refuses it all the same."""
    fault = {"on": "create", "do": "status", "status": 401, "times": 0}
    lab.world.script.add([fault])
    lab.jobs_of(1)
    hours = 3
    with lab.with_key([lab.key]) as one, lab.with_key([lab.key]) as two:

        def end() -> None:
            lab.until(lambda: lab.clock.boot_s() - began_s > hours * 3600.0)
            for worker in (one, two):
                worker.drain()

        began_s = lab.clock.boot_s()
        lab.finish(one.run, two.run, end)
    assert 1 <= lab.count("healed") <= 11  # for each other once, and each now and then for itself


def test_a_worker_that_is_configured_for_another_account_leaves_only_those_jobs(
    lab: KeyLab,
) -> None:
    lab.jobs_of(4)
    lab.enqueue(lab.model("theirs", a_bin=9), account="otherteam")
    with lab.with_key([lab.key], "otherteam") as one, lab.with_key([lab.key], "sandbox") as two:

        def end() -> None:
            lab.until(lambda: all(lab.job(n).status is Status.DONE for n in range(1, 5)))
            lab.until(lab.passed(RESTED_S))
            for worker in (one, two):
                worker.drain()

        lab.finish(one.run, two.run, end)
    reason = lab.job(5).reason
    assert reason
    assert (lab.job(5).status, reason.code) == (Status.BLOCKED, "other_account")
    assert lab.kinds(5).count("healed") == 0


@pytest.mark.parametrize(("account", "helps"), [("sandbox", True), ("acme", False)])
@pytest.mark.parametrize("code", ["key_rejected", "no_key", "other_account"])
def test_only_jobs_of_the_own_account_are_tried_for_others(
    lab: KeyLab, account: str, code: str, *, helps: bool
) -> None:
    lab.jobs_of(1, account=account)
    with looking(lab, [lab.key]) as (context, healing):
        block(context, code)
        lab.finish(healing.look)
        assert (lab.job().status is Status.ACTIVE) == helps
        asked = lab.asked
        for _ in range(5):
            lab.finish(healing.look)
        assert lab.asked == asked == 1


def test_no_question_is_asked_while_no_job_is_so_blocked_or_its_key_is_refused(
    lab: KeyLab,
) -> None:
    lab.jobs_of(1)
    own: list[str | None] = [lab.key]
    with looking(lab, own) as (context, healing):
        block(context, "quota")
        lab.finish(healing.look)
        assert lab.asked == 0
    own[0] = OLD
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    with looking(lab, own) as (context, healing):
        block(context, "key_rejected")
        for _ in range(10):
            lab.finish(healing.look)
        assert lab.asked == 1
        assert lab.job().status is Status.BLOCKED


def test_a_job_whose_sessions_are_still_sent_is_not_tried_for_its_worker(lab: KeyLab) -> None:
    lab.jobs_of(2)
    another = WorkerLock(lab.state, Scope(lab.world.base_url))
    with another, looking(lab, [lab.key]) as (context, healing):
        held = context.claims.claim("another", context.base_url, tuple(Stage), 60)
        assert held
        held.block(Reason("key_rejected", "refused"))
        block(context, "key_rejected")
        lab.finish(healing.look)
        assert [job.status for job in lab.jobs.jobs()] == [Status.BLOCKED, Status.ACTIVE]
        held.release()
        lab.finish(healing.look)
        assert lab.job().status is Status.ACTIVE


@pytest.mark.parametrize("code", [code for code in Code if code.leads_to is Status.BLOCKED])
def test_after_a_change_only_what_the_key_has_stopped_is_tried_again(
    lab: KeyLab, code: Code
) -> None:
    lab.jobs_of(1)
    own: list[str | None] = [OLD]
    with looking(lab, own) as (context, healing):
        own[0] = lab.key
        lab.finish(healing.look)
        block(context, code.value)
        lab.finish(healing.look)
    assert (lab.job().status is Status.ACTIVE) == (code.value in BY_THE_KEY)


def test_a_key_that_creates_a_model_after_it_was_refused_helps_again(lab: KeyLab) -> None:
    """The service has refused it once by mistake."""
    lab.world.script.add([{"on": "create", "do": "status", "status": 401, "times": 1}])
    lab.jobs_of(1)
    with lab.with_key([lab.key]) as worker:

        def act() -> None:
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.enqueue(lab.model("second", a_bin=9))
            lab.until(lambda: lab.statuses() == {"done"})
            worker.drain()

        lab.finish(worker.run, act)


def test_questions_of_a_rest_put_off_none_for_others(lab: KeyLab) -> None:
    lab.jobs_of(1)
    own: list[str | None] = [lab.key]
    with looking(lab, own) as (context, healing):
        other = WorkerLock(lab.state, Scope(lab.world.base_url))
        context.rest.note("key_rejected", 99)
        lab.world.config.key_valid = False
        lab.finish(healing.look)
        assert lab.asked == 1
        lab.world.config.key_valid = True
        context.rest.accepted()
        block(context, "key_rejected")
        lab.finish(healing.look)
        assert lab.job().status is Status.ACTIVE
        other.close()


def test_a_job_that_is_left_to_others_is_not_claimed(lab: KeyLab) -> None:
    lab.jobs_of(2)
    with looking(lab, [lab.key]) as (context, _):
        context.claims.left = [1]
        held = context.claims.claim("w", context.base_url, tuple(Stage), 60)
        assert held
        assert held.job.id == 2
        assert context.claims.claim("w", context.base_url, tuple(Stage), 60) is None


@contextlib.contextmanager
def looking(lab: KeyLab, own: list[str | None]) -> Iterator[tuple[WorkerContext, Healing]]:
    """What looks after the key of a worker that takes no job meanwhile."""
    lab.own = own
    with WorkerLock(lab.state, Scope(lab.world.base_url)) as lock:
        context = lab.context(lock, lambda: False, LIMITS)
        yield context, Healing(context)


def block(context: WorkerContext, code: str) -> None:
    held = context.claims.claim("another", context.base_url, tuple(Stage), 60)
    assert held
    held.block(Reason(code, "refused"))
    held.release()


REFUSED_DELETE = {
    "on": "delete",
    "do": "status",
    "status": 403,
    "times": 0,
    "body": {"code": 7, "message": "this API key may not delete models"},
}


def test_a_key_that_may_not_delete_lets_no_worker_rest(lab: KeyLab) -> None:
    """What cannot be cleaned up is tried again each minute, and no job is blocked by it."""
    lab.world.script.add([REFUSED_DELETE])
    lab.jobs_of(1)
    with lab.with_key([lab.key]) as one, lab.with_key([lab.key]) as two:

        def act() -> None:
            lab.until(lambda: lab.job(1).model_exists)
            lab.jobs.apply(1, Verb.CANCEL, lab.clock.now(), delete_remote=True)
            lab.until(lab.passed(1800.0))
            assert not one._context.rest.is_on()
            assert not two._context.rest.is_on()
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, act)


@pytest.mark.long
def test_a_job_that_no_good_key_is_for_ends_no_rest(lab: KeyLab) -> None:
    """Else the worker with the old key would block the others' jobs once a minute."""
    lab.enqueue(lab.model("theirs", a_bin=9), account="another-team")
    with lab.with_key([OLD]) as bad, lab.with_key([lab.key]) as good:
        good._busy = lambda _: 99  # type: ignore[method-assign, assignment]

        def act() -> None:
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.jobs_of(3)
            lab.until(lab.passed(2 * 3600.0))
            bad.drain()
            good.drain()

        lab.finish(bad.run, good.run, act)
    assert lab.count("blocked") < 40


POISON = {
    "on": "create",
    "match": "model-0",
    "do": "status",
    "status": 403,
    "times": 0,
    "body": {"code": 7, "message": "this API key has no access to the base model"},
}


def test_a_job_that_is_refused_in_words_about_the_key_holds_up_no_other(lab: KeyLab) -> None:
    """All workers have the same good key; what the service refuses is a model of that job."""
    lab.world.script.add([POISON])
    lab.jobs_of(1)
    with lab.with_key([lab.key]) as one, lab.with_key([lab.key]) as two:

        def act() -> None:
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.until(lab.passed(600.0))
            for number in range(2, 9):
                began_s = lab.clock.boot_s()
                lab.enqueue(lab.model(f"good-{number}", a_bin=9))
                lab.until(lambda number=number: lab.job(number).status is Status.DONE)  # type: ignore[misc]
                assert lab.clock.boot_s() - began_s < LOOKED_S
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, act)


def test_whoever_has_done_something_by_a_key_that_was_refused_once_helps_again(
    lab: KeyLab,
) -> None:
    """Its model was created before, so that it creates none again."""
    lab.world.script.add([{"on": "urls", "do": "status", "status": 401, "times": 1}])
    lab.jobs_of(1)
    with lab.with_key([lab.key]) as good:

        def act() -> None:
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
            lab.until(lambda: lab.statuses() == {"done"})
            assert not good._context.rest.refused
            good.drain()

        lab.finish(good.run, act)


def test_a_key_that_is_accepted_again_ends_a_rest(lab: KeyLab) -> None:
    """All workers have the same one, which the service has refused for a while."""
    lab.jobs_of(1)
    lab.world.config.key_valid = False
    with lab.with_key([lab.key]) as one, lab.with_key([lab.key]) as two:

        def act() -> None:
            for _ in range(6):
                lab.until(lambda: lab.job(1).status is Status.BLOCKED)
                lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
            lab.until(lambda: lab.job(1).status is Status.BLOCKED)
            lab.world.config.key_valid = True
            lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
            began_s = lab.clock.boot_s()
            lab.until(lambda: lab.job(1).status is Status.DONE)
            assert lab.clock.boot_s() - began_s < 2 * LOOKED_S
            one.drain()
            two.drain()

        lab.finish(one.run, two.run, act)
