"""`retry --replace` cut off at every boundary: one model is left, it has the new files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.again import crash_points, each
from tests.simulation.lab import SimLab, simulated
from tests.simulation.oracle import assert_no_secret
from uploader.core.job import Status
from uploader.core.lifecycle import Verb
from uploader.sandbox.script import Script

pytestmark = pytest.mark.long

MODEL = "accounts/sandbox/models/two"
PARTS = 4


@contextmanager
def replacing(source: Path) -> Iterator[SimLab]:
    """Job 2 failed half-way; its folder has other files, and it is to be replaced."""
    with simulated(source, 1) as lab:
        lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
        folder = lab.folder / "two"
        shutil.copytree(source / "two", folder)
        lab.jobs.restart(lab.sealed(2), lab.new_job(folder), lab.clock.now())
        lab.world.script.add([{"on": "start", "match": "d.bin", "do": "status", "status": 400,
                               "times": 0}, {"on": "put", "match": "d.bin", "do": "status",
                               "status": 400, "times": 0}])  # fmt: skip
        assert lab.run_once()
        assert lab.job(2).status is Status.FAILED, lab.dump()
        lab.world.script = Script()
        (folder / "a.bin").unlink()
        (folder / "b.bin").write_bytes(bytes(range(256)) * (GRANULE // 128))
        lab.jobs.restart(lab.sealed(2), lab.new_job(folder), lab.clock.now(), replace=True)
        yield lab


def replaced(source: Path, *crash_at: int) -> int:
    """How many boundaries its last run had."""
    with replacing(source) as lab:
        creates = lab.world.report()["creates"]
        lab.run_through(*crash_at)
        lab.assert_ready(2)
        report = lab.world.report()
        assert report["models"] == {MODEL: "READY"}
        assert report["creates"] == creates + 1
        fields = lab.world.models["sandbox", "two"].fields
        assert fields["baseModelDetails"]["huggingfaceFiles"] == ["b.bin", "d.bin"]
        assert sorted(report["objects"]) == ["sandbox/two/b.bin", "sandbox/two/d.bin"]
        assert not lab.job(2).replace_first
        # As at any create: an answer that got lost leaves it unproven whose model it is.
        assert lab.job(2).created_remotely or "adopted" in lab.kinds(2)
        assert_no_secret(lab)
        return lab.sim.boundaries


@pytest.mark.parametrize("part", range(PARTS))
def test_every_crash_point_of_a_replacement(source: Path, part: int) -> None:
    one = partial(replaced, source)
    each(one, crash_points(one, part, PARTS))
