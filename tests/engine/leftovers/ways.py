"""The ways in which a session of an earlier run, or of another job, is left open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Status
from uploader.core.lifecycle import Verb
from uploader.sandbox.world import Session
from uploader.store.tables import jobs, leftovers

FILES: Any = {"a_bin": 2 * GRANULE, "b_bin": 2 * GRANULE}
Way = Callable[[Lab], int]


def interrupted(lab: Lab, **sizes: int) -> list[Session]:
    """The open sessions of job 1, whose worker is gone."""
    lab.bytes_per_s = GRANULE / 20
    lab.enqueue(lab.model(**(sizes or FILES)))
    lab.run_until(lambda: all(file.session for file in lab.jobs.files(1)))
    lab.bytes_per_s = None
    return list(lab.world.sessions.values())


def new_run(lab: Lab, *, replace: bool) -> int:
    new = lab.new_job(lab.folder / "model")
    lab.jobs.restart(lab.sealed(), new, lab.clock.now(), replace=replace)
    return 1


def rescanned(lab: Lab) -> int:
    return new_run(lab, replace=False)


def replaced(lab: Lab) -> int:
    return new_run(lab, replace=True)


def cancelled(lab: Lab) -> int:
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    return lab.enqueue(lab.folder / "model")


def failed(lab: Lab) -> None:
    with lab.engine.begin() as connection:
        connection.execute(update(jobs).values(status=Status.FAILED))


def removed(lab: Lab) -> int:
    lab.jobs.remove(1, lab.clock.now())
    return lab.enqueue(lab.folder / "model")


def failed_and_cancelled(lab: Lab) -> int:
    failed(lab)
    return cancelled(lab)


def failed_and_removed(lab: Lab) -> int:
    failed(lab)
    return removed(lab)


def cancelled_and_removed(lab: Lab) -> int:
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    return removed(lab)


def rescanned_and_cancelled(lab: Lab) -> int:
    rescanned(lab)
    return cancelled(lab)


def rescanned_twice(lab: Lab) -> int:
    rescanned(lab)
    return rescanned(lab)


#: What a user does after an interrupted upload; the id of the job that sends next.
WAYS: list[Way] = [
    rescanned,
    replaced,
    cancelled,
    failed_and_cancelled,
    failed_and_removed,
    cancelled_and_removed,
    rescanned_and_cancelled,
    rescanned_twice,
]
some_ways = pytest.mark.parametrize("then", [rescanned, cancelled, failed_and_removed])


def watched(lab: Lab, old: list[Session]) -> list[bool]:
    """Of each start and each PUT from now on: were those sessions ended by then?"""
    seen: list[bool] = []
    lab.boundary = lambda name: (
        seen.append(all(session.gone for session in old))
        if name in ("start before", "put before")
        else None
    )
    return seen


def asked_to_end(lab: Lab) -> list[str]:
    asked: list[str] = []
    lab.boundary = lambda name: asked.append(name) if name == "cancel before" else None
    return asked


def left(lab: Lab) -> int:
    with lab.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(leftovers)).scalar_one()


def refuse(lab: Lab, status: int, times: int = 0, match: str = "bin") -> None:
    fault = {"on": "cancel", "match": match, "do": "status", "status": status, "times": times}
    lab.world.script.add([fault])
