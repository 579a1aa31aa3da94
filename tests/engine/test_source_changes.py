"""docs/invariants.md §6 as a table: every change of a source at every moment.

Never a splice, never a SIGBUS, never a silent short object.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader import mounts
from uploader.core.exits import exit_of
from uploader.core.job import Status
from uploader.sandbox.script import Script

#: In blocks of a granule: `a.bin` is blocks 1 to 8, `b.bin` goes after it.
SIZES = {"a_bin": 7 * GRANULE + 7, "b_bin": 3 * GRANULE + 1}
STOPPED_AT = 3 * GRANULE


class OneByOne(Lab):
    """One file at a time, in the order of their names, so that moments are blocks."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.max_files = 1


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(mounts, "is_local_file", lambda _: True)  # wherever the tests run
    laboratory = OneByOne(tmp_path)
    yield laboratory
    laboratory.close()


@dataclass
class Scene:
    """A job of two files; the change strikes ``a.bin``."""

    lab: Lab
    folder: Path
    #: Every content each file ever had, the enqueued one first.
    contents: dict[str, list[bytes]]
    #: What happens once the job has noticed that its folder is away.
    on_notice: Callable[[], object] | None = None

    @property
    def path(self) -> Path:
        return self.folder / "a.bin"

    @property
    def away(self) -> Path:
        return self.folder.with_name("away")


@pytest.fixture
def scene(lab: Lab) -> Scene:
    folder = lab.model("model", **SIZES)
    lab.enqueue(folder)
    return Scene(lab, folder, {path.name: [path.read_bytes()] for path in folder.iterdir()})


# -- changes -----------------------------------------------------------------------------------


def write(scene: Scene, content: bytes, path: Path | None = None) -> None:
    """In place and at once, with a later mtime whatever the grain of the file system's clock."""
    path = path or scene.path
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    scene.contents[path.name].append(content)


def supplant(scene: Scene, content: bytes, later_ns: int) -> None:
    """By another file of that name."""
    stat, fresh = scene.path.stat(), scene.folder.with_name("fresh")
    fresh.write_bytes(content)
    os.utime(fresh, ns=(stat.st_atime_ns, stat.st_mtime_ns + later_ns))
    fresh.rename(scene.path)
    scene.contents["a.bin"].append(content)


def rewritten(scene: Scene) -> None:
    write(scene, os.urandom(SIZES["a_bin"]))


def rewritten_at_its_end(scene: Scene) -> None:
    write(scene, scene.path.read_bytes()[: 7 * GRANULE] + os.urandom(7))


def grown(scene: Scene) -> None:
    write(scene, scene.path.read_bytes() + b"more")


def truncated(scene: Scene) -> None:
    write(scene, scene.path.read_bytes()[: GRANULE + 5])


def emptied(scene: Scene) -> None:
    write(scene, b"")


def touched(scene: Scene) -> None:
    write(scene, scene.path.read_bytes())


def replaced(scene: Scene) -> None:
    supplant(scene, os.urandom(SIZES["a_bin"]), 10**9)


def replaced_with_a_copy(scene: Scene) -> None:
    supplant(scene, scene.path.read_bytes(), 10**9)


def replaced_with_its_like(scene: Scene) -> None:
    supplant(scene, scene.path.read_bytes(), 0)


def replaced_with_another_of_its_time(scene: Scene) -> None:
    supplant(scene, os.urandom(SIZES["a_bin"]), 0)


def deleted(scene: Scene) -> None:
    scene.path.unlink()


def renamed_and_renamed_back(scene: Scene) -> None:
    scene.path.rename(scene.away)
    scene.away.rename(scene.path)


def unmounted_and_remounted(scene: Scene) -> None:
    scene.folder.rename(scene.away)
    scene.on_notice = lambda: scene.away.rename(scene.folder)


def unmounted_and_another_mounted(scene: Scene) -> None:
    scene.folder.rename(scene.away)
    write(scene, os.urandom(SIZES["a_bin"]), scene.away / "a.bin")
    scene.on_notice = lambda: scene.away.rename(scene.folder)


# -- moments -----------------------------------------------------------------------------------


def at_block(number: int, scene: Scene, change: Callable[[Scene], None]) -> None:
    """Just before the block is read, while the worker is at it."""
    blocks = iter(range(1, 1000))

    def strike(name: str) -> None:
        if name == "put block" and next(blocks) == number:
            change(scene)

    scene.lab.boundary = strike
    finish(scene)


def before_it_starts(scene: Scene, change: Callable[[Scene], None]) -> None:
    change(scene)
    finish(scene)


def open_and_unread(scene: Scene, change: Callable[[Scene], None]) -> None:
    at_block(1, scene, change)


def half_sent(scene: Scene, change: Callable[[Scene], None]) -> None:
    at_block(6, scene, change)


def before_its_last_block(scene: Scene, change: Callable[[Scene], None]) -> None:
    at_block(8, scene, change)


def stored_and_the_next_half_sent(scene: Scene, change: Callable[[Scene], None]) -> None:
    at_block(10, scene, change)


def stopped(scene: Scene, change: Callable[[Scene], None]) -> None:
    cut = {"on": "put", "match": "a.bin", "do": "cut", "at_byte": STOPPED_AT}
    until(scene, lambda: scene.lab.file().attempts > 0, cut, failing("query", "a.bin"))
    assert scene.lab.object()["persisted"] == STOPPED_AT
    change(scene)
    finish(scene)


def stopped_when_it_was_stored(scene: Scene, change: Callable[[Scene], None]) -> None:
    until(scene, lambda: scene.lab.file().stored, failing("start", "b.bin"))
    change(scene)
    finish(scene)


def failing(on: str, name: str) -> dict[str, Any]:
    return {"on": on, "match": name, "do": "status", "status": 503, "times": 0}


def until(scene: Scene, reached: Callable[[], bool], *faults: dict[str, Any]) -> None:
    scene.lab.world.script.add(faults)
    scene.lab.run_until(reached)
    scene.lab.world.script = Script()


def finish(scene: Scene) -> None:
    """A worker until the job is closed; what was away comes back once that was noticed."""
    lab = scene.lab

    def closed() -> bool:
        act = scene.on_notice
        if act and noticed(lab):
            scene.on_notice = None
            act()
        return lab.job().status is not Status.ACTIVE

    lab.run_until(closed)


def noticed(lab: Lab) -> bool:
    reason = lab.job().reason
    return reason is not None and reason.code == "source_gone"


# -- the table ---------------------------------------------------------------------------------

MOMENTS = (
    before_it_starts,
    open_and_unread,
    half_sent,
    before_its_last_block,
    stopped,
    stopped_when_it_was_stored,
    stored_and_the_next_half_sent,
)
#: What comes of it, moment by moment: `r` READY as enqueued, `n` READY with the new content
#: in whole (nothing of it was sent yet, or what was is proven the same), `c` source_changed,
#: `m` source_missing.
TABLE = {
    rewritten: "nnccccc",
    rewritten_at_its_end: "nnnnncc",
    grown: "ccccccc",
    truncated: "ccccccc",
    emptied: "ccccccc",
    touched: "rrrrrrr",
    replaced: "ncccccc",
    replaced_with_a_copy: "rrrrrrr",
    replaced_with_its_like: "rrrrrrr",
    replaced_with_another_of_its_time: "ncccccc",
    deleted: "mmmmmmm",
    renamed_and_renamed_back: "rrrrrrr",
    unmounted_and_remounted: "rrrrrrr",
    unmounted_and_another_mounted: "nnccccc",
}
#: Long, for the other moments show each result.
LATER = {before_its_last_block, stopped_when_it_was_stored, stored_and_the_next_half_sent}
CASES = [
    pytest.param(
        change,
        moment,
        result,
        id=f"{change.__name__}-{moment.__name__}",
        marks=[pytest.mark.long] if moment in LATER else [],
    )
    for change, results in TABLE.items()
    for moment, result in zip(MOMENTS, results, strict=True)
]


@pytest.mark.parametrize(("change", "moment", "result"), CASES)
def test_a_change_of_a_source(
    scene: Scene,
    change: Callable[[Scene], None],
    moment: Callable[[Scene, Callable[[Scene], None]], None],
    result: str,
) -> None:
    struck: list[Callable[[Scene], None]] = []

    def once(of: Scene) -> None:
        struck.append(change)
        change(of)

    moment(scene, once)
    assert struck == [change]
    assert_no_object_is_spliced(scene)
    if result in "rn":
        scene.lab.assert_ready()
        content = scene.contents["a.bin"][0 if result == "r" else -1]
        assert stored(scene.lab)["a.bin"] == content
    else:
        assert_refused(scene.lab, {"c": "source_changed", "m": "source_missing"}[result])


def stored(lab: Lab) -> dict[str, bytes]:
    """Every complete object."""
    prefix, objects = "sandbox/model/", lab.world.report()["objects"]
    return {
        key.removeprefix(prefix): (lab.folder / "objects" / key).read_bytes()
        for key, entry in objects.items()
        if entry["size"] is not None
    }


def assert_no_object_is_spliced(scene: Scene) -> None:
    for name, content in stored(scene.lab).items():
        assert content in scene.contents[name], f"{name}: {scene.lab.dump()}"


def assert_refused(lab: Lab, code: str) -> None:
    job = lab.job()
    assert job.status is Status.FAILED, lab.dump()
    assert job.reason is not None
    assert job.reason.code == code
    assert exit_of(job.status, job.reason) == 12
    assert lab.world.report()["validate_calls"] == 0


# -- a whole folder ----------------------------------------------------------------------------

SHARDS = {f"shard-{number}_bin": GRANULE + number for number in range(1, 5)}


@pytest.mark.parametrize("boundary", ["put before", "put after"])
@pytest.mark.parametrize("how", ["in place", "by rename"])
def test_a_folder_overwritten_between_its_second_and_third_shard(
    lab: Lab, how: str, boundary: str
) -> None:
    folder = lab.model("model", **SHARDS)
    lab.enqueue(folder)
    scene = Scene(lab, folder, {path.name: [path.read_bytes()] for path in folder.iterdir()})
    exchanges = iter(range(1, 100))
    turn = 2 if boundary == "put after" else 3

    def strike(name: str) -> None:
        if name == boundary and next(exchanges) == turn:
            overwrite(scene, how)

    lab.boundary = strike
    finish(scene)
    assert all(len(contents) == 2 for contents in scene.contents.values())
    assert_refused(lab, "source_changed")
    assert_no_object_is_spliced(scene)
    lab.boundary = lambda _: None
    lab.jobs.restart(lab.sealed(), lab.new_job(folder), lab.clock.now())
    lab.run()
    lab.assert_ready()
    assert stored(lab) == {name: contents[1] for name, contents in scene.contents.items()}


def overwrite(scene: Scene, how: str) -> None:
    for path in sorted(scene.folder.iterdir()):
        content = os.urandom(path.stat().st_size)
        if how == "in place":
            write(scene, content, path)
        else:
            fresh = scene.folder.with_name("fresh")
            fresh.write_bytes(content)
            fresh.rename(path)
            scene.contents[path.name].append(content)
