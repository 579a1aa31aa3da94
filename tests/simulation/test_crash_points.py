"""Every boundary of a whole upload, as the last one of a process (issue of trust: enumeration)."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest

from tests.simulation.lab import FILES, SimLab
from tests.simulation.oracle import assert_all_is_well

KINDS = ("resumable", "session", "put", "refused")


def live(source: Path, kind: str, seed: int, *crash_at: int) -> SimLab:
    """One whole life of two jobs, with crashes."""
    with tempfile.TemporaryDirectory() as folder:
        lab = SimLab(Path(folder), source, seed, url_kind=kind, landing_polls=1)
        try:
            for name in FILES:
                lab.enqueue(source / name)
            lab.run_through(*crash_at)
            assert_all_is_well(lab)
        except BaseException as error:
            error.add_note(f"replay: kind={kind} seed={seed} crash_at={crash_at}\n{lab.replay()}")
            raise
        finally:
            lab.close()
    return lab


#: The enumeration in parts, so that it spreads over processes.
PARTS = 8
#: Pairs sampled of each kind; the long form is `make soak`.
PAIRS = int(os.environ.get("UPLOADER_TEST_PAIRS", "12"))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_every_crash_point(source: Path, kind: str, part: int) -> None:
    last = live(source, kind, 1).sim.boundaries
    for number in range(1 + part, last + 1, PARTS):
        live(source, kind, 1, number)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_crash_points(source: Path, kind: str) -> None:
    dice = random.Random(f"pairs {kind}")
    for _ in range(PAIRS):
        seed = dice.randrange(1 << 30)
        live(source, kind, seed, dice.randrange(1, 90), dice.randrange(1, 90))
