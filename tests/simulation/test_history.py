"""History is for readers: whoever deletes all events, whenever, changes nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from tests.simulation.again import crash_points, each
from tests.simulation.lab import SimLab, simulated
from uploader.store.tables import events, files, jobs

#: One crash point of so many is tried; the enumeration of all is `test_crash_points`.
PARTS = 12


def told(source: Path, kind: str, *crash_at: int, forgetful: bool) -> tuple[SimLab, Any]:
    """A whole life of two jobs, and everything but its history."""
    with simulated(source, 1, url_kind=kind) as lab:
        if forgetful:
            forget(lab)
        for number in (*crash_at, None):
            ended = lab.run_once(number)
            if forgetful:
                forget(lab)
        assert ended, lab.dump()
        return lab, (rows(lab), lab.world.report()["objects"])


def forget(lab: SimLab) -> None:
    with lab.engine.begin() as connection:
        connection.execute(delete(events))


def rows(lab: SimLab) -> list[Any]:
    with lab.engine.begin() as connection:
        return [
            row._asdict() | {"path": Path(row.path).name}
            for table in (jobs, files)
            for row in connection.execute(table.select().order_by(*table.primary_key))
        ]


def alike(source: Path, kind: str, *crash_at: int) -> int:
    lab, expected = told(source, kind, *crash_at, forgetful=False)
    assert told(source, kind, *crash_at, forgetful=True)[1] == expected
    return lab.sim.boundaries


@pytest.mark.long
@pytest.mark.parametrize("kind", ["resumable", "put"])
def test_a_crash_and_a_lost_history_end_like_the_crash_alone(source: Path, kind: str) -> None:
    one = partial(alike, source, kind)
    each(one, crash_points(one, 5, PARTS))
