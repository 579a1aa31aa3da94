"""Who is told of what, in which order and how often; what a dead receiver costs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.service.hooks.conftest import Lab, Receiver, tell_all
from uploader.core.events import EventKind
from uploader.core.hooks import GIVE_UP_AFTER, LEAST_TRIES, MAX_WAITING, again_after_s
from uploader.store.claims import Claims
from uploader.store.journal import Journal, no_listener
from uploader.store.outbox_tables import deliveries


def test_each_hook_is_told_only_of_what_it_asked_for(lab: Lab, receiver: Receiver) -> None:
    hooks = lab.configure(
        {"name": "a", "on": ["ready"], "webhook": f"{receiver.url}/a"},
        {"name": "b", "on": ["needs_human", "failed"], "webhook": f"{receiver.url}/b"},
        {"name": "c", "on": ["healed"], "webhook": f"{receiver.url}/c"},
    )
    lab.fill(hooks)
    kinds = (
        EventKind.FAILED,
        EventKind.BLOCKED,
        EventKind.HEALED,
        EventKind.STORED,
        EventKind.READY,
    )
    lab.happen(*kinds)
    lab.fill(hooks)
    tell_all(hooks)
    told = [(path, json.loads(body)["type"]) for _, path, _, body in receiver.got]
    assert told == [
        ("/a", "job.ready"),
        ("/b", "job.failed"),
        ("/b", "job.blocked"),
        ("/c", "job.healed"),
    ]


def test_a_crash_before_the_delivery_is_settled_tells_it_again(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    lent = lab.outbox.take(["h"], lab.clock.now(), 90.0)
    assert lent is not None
    assert lab.outbox.take(["h"], lab.clock.now(), 90.0) is None  # another worker leaves it alone
    lab.clock.at += timedelta(seconds=91)
    tell_all(hooks)
    assert receiver.got[0][2]["webhook-id"] == lent.message_id


def test_of_one_job_a_hook_is_told_in_order_and_another_job_is_not_kept(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready", "failed"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.FAILED, EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(503, {"Retry-After": "600"})]
    tell_all(hooks)
    assert len(receiver.got) == 1
    lab.clock.at += timedelta(seconds=599)
    tell_all(hooks)
    assert len(receiver.got) == 1  # Retry-After is honoured
    lab.clock.at += timedelta(seconds=2)
    tell_all(hooks)
    assert [json.loads(body)["type"] for *_, body in receiver.got] == ["job.failed"] * 2 + [
        "job.ready"
    ]


def test_a_dead_receiver_is_told_in_the_history_given_up_and_bounded(
    lab: Lab, receiver: Receiver
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(500, {})] * 1000
    for _ in range(3):
        tell_all(hooks)
        lab.clock.at += timedelta(hours=1)
    kinds = [event.kind for event in lab.jobs.events(1)]
    assert kinds.count("hook_failed") == 1
    assert lab.outbox.undelivered(1)[0][0] == "h"
    lab.clock.at += GIVE_UP_AFTER  # as if a clock that was set ahead had said so
    tell_all(hooks)
    assert lab.outbox.states(["h"])[0].waiting == 1
    for _ in range(LEAST_TRIES):
        lab.clock.at += timedelta(hours=1)
        tell_all(hooks)
    assert lab.outbox.states(["h"])[0].waiting == 0
    assert 1000 - len(receiver.answers) == LEAST_TRIES
    assert [event.kind for event in lab.jobs.events(1)].count("hook_failed") == 2
    assert lab.jobs.job(1).status == "active"


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(hours=1)])
def test_a_clock_that_is_set_back_keeps_no_delivery_waiting(
    lab: Lab, receiver: Receiver, ahead: timedelta
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.clock.at += ahead
    lab.fill(hooks)
    receiver.answers = [(500, {})]
    tell_all(hooks)
    lab.clock.at -= ahead
    if ahead < timedelta(days=1):  # so near is only what a worker clears that sees it happen
        tell_all(hooks)
        assert len(receiver.got) == 1
        Claims(lab.opened._opened(), now=lab.clock.now).clear_future_waits()
    tell_all(hooks)
    assert len(receiver.got) == 2
    assert lab.outbox.states(["h"])[0].waiting == 0


def test_the_backlog_of_a_dead_receiver_is_bounded(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": "http://127.0.0.1:9"})
    lab.fill(hooks)
    journal = Journal(lab.opened._opened(), no_listener)
    with journal.writing(lab.clock.now()) as transaction:
        for _ in range(MAX_WAITING + 200):
            transaction.add_event(1, EventKind.READY, "words")
    while lab.fill(hooks):
        pass
    assert lab.outbox.states(["h"])[0].waiting == MAX_WAITING


@pytest.mark.parametrize("at_once", [True, False])
def test_so_is_the_size_of_what_waits_and_the_oldest_go_first(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    hooks = lab.configure(
        {"name": "h", "on": ["ready", "failed"], "webhook": "http://127.0.0.1:9"},
        {"name": "other", "on": ["ready"], "webhook": "http://127.0.0.1:9"},
    )
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    length = func.length(deliveries.c.document)
    with lab.opened._opened().connect() as connection:
        each_bytes = connection.scalar(select(func.max(length))) or 0
    most = each_bytes * 7 // 2  # the next ones may have another time
    monkeypatch.setattr("uploader.store.outbox.MAX_WAITING_BYTES", most)
    for _ in range(5):
        lab.happen(EventKind.FAILED)
        if not at_once:
            lab.fill(hooks)
    lab.fill(hooks)
    with lab.opened._opened().connect() as connection:
        sums = select(deliveries.c.hook, func.min(deliveries.c.seq), func.sum(length))
        rows = connection.execute(sums.group_by(deliveries.c.hook)).all()
    newest = lab.jobs.last_event()
    kept = {hook: (oldest, total) for hook, oldest, total in rows}
    assert kept["h"][0] == newest - 2
    assert each_bytes < kept["h"][1] <= most
    assert kept["other"] == (newest - 5, each_bytes)  # each hook has its own bound


def test_delays_double_up_to_an_hour() -> None:
    delays = [again_after_s(failures, None, 1.0) for failures in range(1, 15)]
    assert delays[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(delays) == again_after_s(10**6, None, 1.0) == 3600.0
    assert again_after_s(1, 10**9, 0.0) == 3600.0
