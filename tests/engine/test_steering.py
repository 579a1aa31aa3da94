"""Limits and priorities that change while a worker runs, and the number of files that it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Stage, Status
from uploader.core.limits import InForce
from uploader.core.tuning import START
from uploader.intake import steer
from uploader.settings.limits import in_force
from uploader.settings.schema import Transfer

SIZE = 8 * GRANULE
MB = 1_000_000


class Steered(Lab):
    """A lab whose workers keep to the limits in its store, as real ones do."""

    def in_force(self) -> InForce:
        return in_force(Transfer(), self.jobs.limits.chosen())

    def choose(self, **limits: str | int) -> None:
        steer.choose_limits(self.jobs, self.clock.now(), **limits)  # type: ignore[arg-type]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Steered]:
    laboratory = Steered(tmp_path)
    yield laboratory
    laboratory.close()


def sent(lab: Lab) -> int:
    return sum(job.bytes_sent for job in lab.jobs.jobs())


def in_flight(lab: Lab) -> int:
    files = [file for job in lab.jobs.jobs() for file in lab.jobs.files(job.id)]
    return sum(not file.stored and file.bytes_sent > 0 for file in files)


def alongside(lab: Steered, watch: Callable[[], object]) -> None:
    """``watch`` in a thread of its own, while a worker runs until idle."""
    with lab.worker() as worker:
        lab.finish(lambda: worker.run(until_idle=True), watch)


def test_a_limit_holds_within_a_second_and_a_half_and_so_does_its_end(lab: Steered) -> None:
    lab.enqueue(lab.model(a_bin=64 * GRANULE))
    lab.choose(bandwidth="64KiB/s")
    rates: list[float] = []

    def change() -> None:
        lab.until(lambda: sent(lab) > 0)
        for limit in ("16KiB/s", "256KiB/s"):
            lab.choose(bandwidth=limit)
            lab.until(lab.passed(2.6))  # 1.5 s, and what is in the rows is up to 1 s old
            before = sent(lab)
            lab.until(lab.passed(20))
            rates.append((sent(lab) - before) / 20)
        lab.choose(bandwidth="default")

    alongside(lab, change)
    lab.assert_ready()
    assert rates == [pytest.approx(16 * 1024, rel=0.1), pytest.approx(256 * 1024, rel=0.1)]


def test_a_limit_that_was_chosen_holds_for_the_next_worker_too(lab: Steered) -> None:
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.choose(bandwidth="64KiB/s")
    lab.run_until(lambda: sent(lab) > GRANULE)
    began_s, before = lab.clock.boot_s(), sent(lab)
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() - began_s > (SIZE - before - GRANULE) / (64 * 1024)


def test_a_limit_of_8_kib_a_second_is_carried_out_in_short_puts(lab: Steered) -> None:
    lab.choose(bandwidth="8KiB/s")
    lab.enqueue(lab.model(a_bin=3 * GRANULE, b_bin=3 * GRANULE, c_bin=5))
    lab.run()
    lab.assert_ready()
    assert lab.object("a.bin")["puts"] == 3, lab.object("a.bin")
    assert "file_failed" not in lab.kinds()


def test_fewer_files_are_in_flight_as_soon_as_their_puts_have_ended(lab: Steered) -> None:
    lab.choose(files=4, bandwidth="64KiB/s")
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=SIZE, c_bin=SIZE, d_bin=SIZE))
    moved: list[int] = []

    def change() -> None:
        lab.until(lambda: in_flight(lab) == 4)
        lab.choose(files=1)
        lab.until(lab.passed(90))
        for _ in range(3):  # in one of them a file may end, and another begin
            before = {file.path: file.bytes_sent for file in lab.jobs.files(1)}
            lab.until(lab.passed(4))
            moved.append(sum(file.bytes_sent > before[file.path] for file in lab.jobs.files(1)))
        lab.choose(files="default", bandwidth="off")

    alongside(lab, change)
    lab.assert_ready()
    assert sorted(moved)[:2] == [1, 1], moved
    assert lab.job().bytes_sent == 4 * SIZE, "nothing was sent twice"


def test_more_jobs_at_once_are_taken_as_soon_as_that_is_chosen(lab: Steered) -> None:
    lab.choose(bandwidth="8KiB/s", max_jobs=1)
    for name in ("one", "two", "three"):
        lab.enqueue(lab.model(name, a_bin=GRANULE))
    held: list[int] = []

    def holding() -> int:
        return sum(job.lease is not None for job in lab.jobs.jobs())

    def change() -> None:
        lab.until(lambda: holding() == 1)
        lab.until(lab.passed(5))
        held.append(holding())
        lab.choose(max_jobs=3)
        lab.until(lab.passed(1.5))
        held.append(holding())
        lab.choose(bandwidth="off")

    alongside(lab, change)
    assert held == [1, 3]


@pytest.mark.long
def test_a_job_of_many_files_leaves_half_of_the_slots_to_another(lab: Steered) -> None:
    lab.choose(bandwidth="64KiB/s")
    many = {f"f{number:02}_bin": 2 * GRANULE for number in range(20)}
    lab.enqueue(lab.model("many", **many))
    lab.enqueue(lab.model("large", a_bin=SIZE, b_bin=SIZE))
    lab.run()
    for job in lab.jobs.jobs():
        assert job.status is Status.DONE, lab.dump()
    ended = [
        (event.job_id, event.path)
        for event in lab.jobs.events()
        if event.kind == "stored" and event.path
    ]
    place = max(ended.index((2, path)) for path in ("a.bin", "b.bin"))
    assert place < 16, "the large files got their half, and did not wait for the many"


def test_a_higher_priority_goes_first_when_a_job_is_taken_next(lab: Steered) -> None:
    lab.choose(max_jobs=1, bandwidth="64KiB/s")
    for name in ("one", "two", "three"):
        lab.enqueue(lab.model(name, a_bin=SIZE))

    def change() -> None:
        lab.until(lambda: lab.job(1).stage is Stage.UPLOAD)
        steer.edit(lab.jobs, 3, lab.clock.now(), priority=5)

    alongside(lab, change)
    order = [event.job_id for event in lab.jobs.events() if event.kind == "stored"]
    assert order == [1, 3, 2]


# -- the number of files in flight, if nobody says so ----------------------------------------------


def loaded(lab: Lab, count: int, size_bytes: int) -> None:
    """A job of so many sparse files."""
    folder = lab.model("large")
    (folder / "a.bin").unlink()
    for number in range(count):
        with (folder / f"f{number:02}.bin").open("wb") as file:
            file.truncate(size_bytes)
    lab.enqueue(folder)


@pytest.mark.parametrize(
    ("each", "link", "low", "high"),
    [
        pytest.param(4 * GRANULE, 20 * GRANULE, 5, 6, marks=pytest.mark.long),
        (0, 20 * GRANULE, START, START),
    ],
)
def test_it_finds_the_number_that_fills_the_link(
    lab: Steered, each: int, link: int, low: int, high: int
) -> None:
    lab.world.config.connection_bytes_per_s = each
    lab.world.config.link_bytes_per_s = link
    loaded(lab, 40, 32 * GRANULE)
    lab.run()
    said = [move.message for move in lab.moves]
    assert said, "it has tried"
    assert low <= lab.moves[-1].files <= high, said
    assert len(said) < 8
    assert lab.job().bytes_sent == 40 * 32 * GRANULE, "nothing was sent twice"
    assert "file_failed" not in lab.kinds()


def test_a_service_that_asks_for_less_gets_half_as_many_files(lab: Steered) -> None:
    lab.world.config.connection_bytes_per_s = 4 * GRANULE
    busy = {"on": "put", "do": "status", "status": 503, "nth": 20, "times": 6}
    lab.world.script.add([busy])
    loaded(lab, 12, 16 * GRANULE)
    lab.run()
    lab.assert_ready()
    halved = [move.message for move in lab.moves if "asked for less (503)" in move.message]
    assert len(halved) == 1, lab.moves
    assert lab.moves[0].files >= 1


def test_nothing_is_tried_while_a_limit_binds(lab: Steered) -> None:
    lab.choose(bandwidth="1MB/s")
    loaded(lab, 20, 16 * GRANULE)
    lab.run()
    assert lab.moves == []
