"""What many small files cost in requests, transactions and round trips: counted, not timed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from tests.engine.conftest import GRANULE, Lab
from tests.simulation.sim import Sim
from uploader.core.job import Mode
from uploader.core.lifecycle import Verb
from uploader.core.upload import EXCHANGE_EVERY_S
from uploader.engine.berths import MOST_OPENERS, SMALL_PER_SLOT, Berths
from uploader.engine.hashing import Digests
from uploader.engine.throttle import Slots

#: Slots of a laboratory's worker.
SLOTS = 4


def names(count: int) -> list[str]:
    return [f"f{number:04}_bin" for number in range(count)]


def small(count: int, size: int = 9) -> dict[str, Any]:
    return dict.fromkeys(names(count), size)


def slow(lab: Lab, seconds: float) -> None:
    """Every exchange takes so long, and nobody has said how many files are in flight."""
    lab.max_files = "auto"
    exchanges = ("create", "get", "urls", "validate", "start", "put", "query")
    lab.world.script.add(
        [{"on": on, "do": "latency", "seconds": seconds, "times": 0} for on in exchanges]
    )


def counted(lab: Lab) -> Counter[str]:
    """The boundaries that are crossed from now on, by name."""
    crossed: Counter[str] = Counter()
    lab.boundary = lambda name: crossed.update([name])
    return crossed


def commits(lab: Lab) -> list[str]:
    """One entry for each transaction from now on that wrote something: it costs an fsync."""
    found: list[str] = []
    seen: dict[int, int] = {}

    def note(connection: Any) -> None:
        raw = connection.connection.driver_connection
        if seen.get(id(raw)) != raw.total_changes:
            found.append("commit")
        seen[id(raw)] = raw.total_changes

    event.listen(lab.engine, "commit", note)
    return found


# -- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 9, GRANULE, GRANULE + 1])
def test_a_small_file_costs_two_requests(lab: Lab, size: int) -> None:
    lab.world.config.landing_polls = 0
    lab.enqueue(lab.model(**small(200, size)))
    crossed = counted(lab)
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert all(file.sha256 for file in lab.jobs.files(1))
    requests = sum(count for name, count in crossed.items() if name.endswith("before"))
    assert requests <= 2.05 * 200, crossed
    assert crossed["query before"] == (0 if size else 200)  # it creates an empty object


def test_a_small_file_that_goes_by_plain_put_costs_one(lab: Lab) -> None:
    lab.world.config.landing_polls = 0
    lab.world.config.url_kind = "put"
    lab.enqueue(lab.model(**small(200)))
    crossed = counted(lab)
    lab.run()
    assert sum(count for name, count in crossed.items() if name.endswith("before")) <= 1.05 * 200


# -- transactions --------------------------------------------------------------------------


@pytest.mark.parametrize("latency_s", [0.0, 0.04, 0.1])
def test_a_small_file_costs_half_a_transaction_at_most(lab: Lab, latency_s: float) -> None:
    slow(lab, latency_s)
    lab.enqueue(lab.model(**small(200)))
    written = commits(lab)
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert len(written) <= 0.5 * 200


@pytest.mark.parametrize("files", [1, 2, 4])
def test_so_it_does_if_few_files_may_be_in_flight(lab: Lab, files: int) -> None:
    lab.max_files = files
    lab.enqueue(lab.model(**small(200)))
    written = commits(lab)
    lab.run()
    lab.assert_ready()
    assert len(written) <= 0.5 * 200


def test_a_batch_is_written_by_one_statement_of_each_kind(lab: Lab) -> None:
    ran: list[str] = []
    event.listen(lab.engine, "before_cursor_execute", lambda *of: ran.append(of[2]))
    lab.enqueue(lab.model(**small(200)))
    lab.run()
    lab.assert_ready()
    assert sum(statement.startswith("UPDATE files") for statement in ran) <= 0.5 * 200


@pytest.mark.parametrize("latency_s", [0.0, 0.1])
def test_no_byte_of_a_batch_leaves_before_its_session_is_committed(
    lab: Lab, latency_s: float
) -> None:
    slow(lab, latency_s)
    lab.enqueue(lab.model(**small(100)))
    sent: list[int] = []

    def look(name: str) -> None:
        if name != "put before":
            return
        with lab.engine.connect() as connection:
            query = "SELECT count(*) FROM files WHERE session_uri IS NOT NULL OR stored"
            known = connection.execute(text(query)).scalar_one()
        sent.append(known)
        assert known >= len(sent)

    lab.boundary = look
    lab.run()
    lab.assert_ready()
    assert len(sent) == 100


def test_a_large_file_that_went_by_plain_put_is_committed_at_once(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.enqueue(lab.model(a_bin=GRANULE + 1, b_bin=9 * GRANULE))
    lab.bytes_per_s = GRANULE / 10.0
    answered_s: list[float] = []

    def look(name: str) -> None:
        if name == "put after":
            answered_s.append(lab.clock.boot_s())

    lab.boundary = look
    lab.run_until(lambda: stored(lab))
    assert lab.clock.boot_s() - answered_s[0] < 0.5  # others would wait for so long
    assert lab.file("a.bin").mode is Mode.PUT
    lab.bytes_per_s = None
    lab.run()
    assert lab.object("a.bin")["body_bytes_read"] == GRANULE + 1


def stored(lab: Lab) -> bool:
    return any(file.stored for file in lab.jobs.files(1))


def test_a_pause_writes_what_was_stored_by_then(lab: Lab) -> None:
    slow(lab, 0.1)
    lab.enqueue(lab.model(**small(100)))
    puts = counted(lab)
    lab.run_until(lambda: puts["put after"] >= 5)
    assert sum(file.stored for file in lab.jobs.files(1)) >= 5
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["refused"] == []


def test_what_is_stored_when_no_urls_come_any_more_counts(lab: Lab) -> None:
    """The model is not deleted although none of its files is in its row as stored yet."""
    lab.world.config.url_life_s = 8
    lab.world.script.add(
        [
            {"on": "start", "match": "f0009", "do": "status", "status": 503, "retry_after": 20},
            {"on": "urls", "do": "status", "status": 409, "nth": 2, "times": 0},
        ]
    )
    lab.enqueue(lab.model(**small(10)))
    lab.run()
    assert "recreated" not in lab.kinds()
    assert sum(file.stored for file in lab.jobs.files(1)) == 9


# -- round trips ---------------------------------------------------------------------------


@pytest.mark.parametrize(("latency_s", "times"), [(0.04, 7), (0.1, 8)])
def test_many_small_files_at_once_hide_long_round_trips(
    lab: Lab, latency_s: float, times: int
) -> None:
    """By the simulated clock, on which only exchanges take time."""
    slow(lab, latency_s)
    lab.world.config.landing_polls = 0
    lab.enqueue(lab.model(**small(240)))
    began_s = lab.clock.boot_s()
    lab.run()
    lab.assert_ready()
    one_after_the_other_s = 240 * latency_s
    assert lab.clock.boot_s() - began_s <= one_after_the_other_s / times


def test_only_so_many_exchanges_are_under_way_at_once(lab: Lab) -> None:
    slow(lab, 1.0)
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def look(name: str) -> None:
        on, _, when = name.partition(" ")
        under_way[on] += {"before": 1, "after": -1}.get(when, 0)
        most[on] = max(most[on], under_way[on])

    lab.boundary = look
    lab.enqueue(lab.model(**small(240)))
    lab.run()
    lab.assert_ready()
    assert most["start"] == MOST_OPENERS
    assert SLOTS < most["put"] <= SLOTS * SMALL_PER_SLOT


def test_large_files_have_slots_of_their_own(lab: Lab) -> None:
    slow(lab, 1.0)
    under_way = most = 0

    def look(name: str) -> None:
        nonlocal under_way, most
        under_way += {"put before": 1, "put after": -1}.get(name, 0)
        most = max(most, under_way)

    lab.boundary = look
    lab.enqueue(lab.model(**small(20, GRANULE + 1)))
    lab.run()
    lab.assert_ready()
    assert most <= SLOTS


def test_a_cancelled_job_of_many_files_leaves_no_slot_taken(lab: Lab) -> None:
    slow(lab, 0.1)
    lab.enqueue(lab.model("one", **small(60)))
    lab.enqueue(lab.model("two", **small(60)))
    puts = counted(lab)

    def cancelled() -> bool:
        if puts["put after"] < 10:
            return False
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
        return True

    with lab.worker() as worker:
        lab.drive(worker, cancelled)
    lab.run()
    lab.assert_ready(2)


# -- slots that are shared -----------------------------------------------------------------


def berths(slots: Slots, small_per_slot: int, *, shares: bool = True) -> Berths:
    """Of job 1, when so many small files share a slot."""
    made = Berths(slots, 1, threading.Event(), lambda: shares)
    made.saw([None, small_per_slot * EXCHANGE_EVERY_S])
    return made


def join(own: Berths, count: int) -> list[Callable[[], None]]:
    leave = [own.take(small=True) for _ in range(count)]
    assert all(leave)
    return [one for one in leave if one]


def free(slots: Slots, job_id: int = 1) -> bool:
    """Whether a slot is free for that job; it is taken."""
    return slots.take(job_id, threading.Event())


def test_small_files_share_a_slot_and_give_it_back() -> None:
    slots = Slots(Sim(1), 2)
    own = berths(slots, 3)
    leave = join(own, 3)
    assert free(slots), "three small files share one slot"
    assert own.take(small=True) is None
    leave[0]()
    leave[1]()
    assert not free(slots), "one is left in it"
    leave[2]()
    assert free(slots)


@pytest.mark.parametrize(("round_trips", "at_once"), [(0.0, 1), (0.9, 1), (1.1, 2), (2.0, 8)])
def test_small_files_that_hide_no_round_trip_do_not_take_turns(
    round_trips: float, at_once: int
) -> None:
    """In units of what an exchange takes anyway; not known counts as none."""
    own = Berths(Slots(Sim(1), 4), 1, threading.Event(), lambda: True)
    own.saw([round_trips * EXCHANGE_EVERY_S] if round_trips else [])
    join(own, at_once)
    assert own.take(small=True) is None


def test_a_shared_slot_that_is_emptied_is_given_back_while_the_other_is_in_use() -> None:
    slots = Slots(Sim(1), 2)
    leave = join(berths(slots, 2), 4)
    leave[0]()
    leave[1]()
    assert free(slots)


def test_small_files_give_a_slot_up_if_another_job_has_none() -> None:
    slots = Slots(Sim(1), 2)
    own = berths(slots, 2)
    leave = join(own, 4)
    assert not free(slots, 2)
    leave[0]()
    assert own.take(small=True) is None, "its place stays empty, so that the slot becomes free"
    leave[1]()
    assert free(slots, 2)
    assert own.take(small=True) is None, "the other slot is full"
    leave[2]()
    assert own.take(small=True), "each has its half now"


def test_a_large_file_has_a_slot_for_itself() -> None:
    slots = Slots(Sim(1), 2)
    own = berths(slots, 8)
    give = own.take(small=False)
    assert give
    assert own.take(small=True)
    assert own.take(small=False) is None
    give()
    assert own.take(small=False)


def test_a_number_that_a_user_gave_counts_small_files_too() -> None:
    own = berths(Slots(Sim(1), 2), 8, shares=False)
    join(own, 2)
    assert own.take(small=True) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 99), st.integers(1, 8))))
def test_no_slot_is_lost_or_made_however_round_trips_change(
    steps: list[tuple[bool, int, int]],
) -> None:
    slots = Slots(Sim(1), 3)
    own = berths(slots, 1)
    leave: list[Callable[[], None]] = []
    for comes, which, per_slot in steps:
        own.saw([per_slot * EXCHANGE_EVERY_S])
        if comes and (one := own.take(small=which % 3 > 0)):
            leave.append(one)
        elif leave and not comes:
            leave.pop(which % len(leave))()
        running, _ = slots.demand()
        assert 0 <= running <= 3
        assert (running > 0) == bool(leave)
    for one in leave:
        one()
    assert slots.demand()[0] == 0
