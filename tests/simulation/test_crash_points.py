"""Every boundary of a whole upload, as the last one of a process (issue of trust: enumeration)."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest

from tests.simulation.again import crash_points, each
from tests.simulation.lab import simulated
from tests.simulation.oracle import assert_all_is_well

KINDS = ("resumable", "session", "put", "refused")


def live(source: Path, kind: str, seed: int, *crash_at: int) -> int:
    """One whole life of two jobs, with crashes; how many boundaries its last run had."""
    with simulated(source, seed, url_kind=kind) as lab:
        lab.run_through(*crash_at)
        assert_all_is_well(lab)
        assert all(file.sha256 for job in lab.jobs.jobs() for file in lab.jobs.files(job.id))
        return lab.sim.boundaries


#: The enumeration in parts, so that it spreads over processes.
PARTS = 8
#: Pairs sampled of each kind; the long form is `make soak`.
PAIRS = int(os.environ.get("UPLOADER_TEST_PAIRS", "12"))


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_every_crash_point(source: Path, kind: str, part: int) -> None:
    one = partial(live, source, kind, 1)
    each(one, crash_points(one, part, PARTS))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_crash_points(source: Path, kind: str) -> None:
    dice = random.Random(f"pairs {kind}")
    drawn = (
        (dice.randrange(1 << 30), dice.randrange(1, 90), dice.randrange(1, 90))
        for _ in range(PAIRS)
    )
    each(partial(live, source, kind), drawn)
