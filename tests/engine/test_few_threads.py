"""A container or a machine may allow few threads: then fewer files are in flight."""

from __future__ import annotations

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import NoThread
from uploader.core.job import Status
from uploader.engine.hashing import Digests


class Few:
    """Starts threads for a lab's worker as long as fewer than ``most`` of them run."""

    def __init__(self, lab: Lab, most: int) -> None:
        self.most = most
        self.running = 0
        self.refused = 0
        self._spawn = lab.spawn
        lab.spawn = self

    def __call__(self, name: str, run: object) -> None:
        if self.running >= self.most:
            self.refused += 1
            raise NoThread("no more")
        self.running += 1

        def body() -> None:
            try:
                run()  # type: ignore[operator]
            finally:
                self.running -= 1

        self._spawn(name, body)


@pytest.mark.parametrize("most", [2, 3, 4])
@pytest.mark.parametrize("plain_put", [False, True])
def test_with_few_threads_every_file_arrives_without_a_failed_try(
    lab: Lab, most: int, *, plain_put: bool
) -> None:
    few = Few(lab, most)
    if plain_put:
        lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    sizes = {f"f{number}_bin": GRANULE + number for number in range(20)}
    lab.enqueue(lab.model("model", **sizes))
    lab.run(digests=Digests.ON)  # each file would like a second thread
    lab.assert_ready()
    assert few.refused > 0
    assert "file_failed" not in lab.kinds()
    assert lab.world.report()["urls_calls"] == 1 + plain_put


@pytest.mark.parametrize("most", [0, 1])
def test_without_a_thread_a_job_waits_until_there_is_one(lab: Lab, most: int) -> None:
    """Without one for the job itself, or for any of its files."""
    few = Few(lab, most)
    lab.enqueue(lab.model(a_bin=GRANULE, b_bin=GRANULE))
    began_s = lab.clock.boot_s()
    lab.run_until(lambda: lab.clock.boot_s() - began_s > 1800)
    assert lab.job().status is Status.ACTIVE
    assert 20 < few.refused < 400
    if most:
        assert lab.job().reason is not None
    few.most = 10
    lab.run()
    lab.assert_ready()
