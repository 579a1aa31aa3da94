"""`retry --rescan` reads what is stored instead of sending it again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_new_life import failed, rescan, rewrite
from uploader.core.errors import VerbRefused
from uploader.core.job import FileState, Status
from uploader.core.lifecycle import Verb
from uploader.engine.hashing import Digests
from uploader.intake.kept import unchanged, worth_reading
from uploader.model.links import NOTHING
from uploader.sources.reader import BLOCK_BYTES, Reader

SIZE = 3 * GRANULE + 5


def kept(lab: Lab, folder: Path) -> list[FileState]:
    manifest = lab.new_job(folder).manifest
    stored = worth_reading(lab.job(), lab.jobs.files(1), manifest)
    return list(unchanged(stored, manifest, NOTHING))


def names(files: list[FileState]) -> list[str]:
    return [file.path for file in files]


@pytest.fixture
def half(lab: Lab) -> Path:
    """The folder of a job that failed with `b.bin` and `c.bin` stored and `a.bin` changed."""
    folder = failed(lab, a_bin=6 * GRANULE + 7, b_bin=SIZE, c_bin=0)
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run(digests=Digests.ON)
    assert [file.stored for file in lab.jobs.files(1)] == [False, True, True], lab.dump()
    assert lab.job().status is Status.FAILED
    return folder


def put_bytes(lab: Lab) -> dict[str, int]:
    return {
        name.rpartition("/")[2]: entry["body_bytes_read"]
        for name, entry in lab.world.report()["objects"].items()
    }


def test_what_is_unchanged_is_kept_and_never_sent_again(lab: Lab, half: Path) -> None:
    before, files = put_bytes(lab), lab.jobs.files(1)
    job = rescan(lab, half, kept=kept(lab, half))
    facts = [(file.generation, file.sha256, file.object_path) for file in lab.jobs.files(1)]
    known = [(file.generation, file.sha256, file.object_path) for file in files]
    assert facts == [(None, None, None), *known[1:]]
    assert all(None not in one for one in known[1:])
    assert (job.files_stored, job.bytes_confirmed, job.bytes_sent) == (2, SIZE, 0)
    told = [event for event in lab.jobs.events() if event.kind == "kept"]
    assert [event.path for event in told] == ["b.bin", "c.bin"]
    assert "2 of them stay stored" in lab.jobs.events()[-3].message
    lab.run()
    lab.assert_ready()
    assert put_bytes(lab)["b.bin"] == before["b.bin"]
    assert lab.job().bytes_sent == 6 * GRANULE + 7


def test_a_touched_file_of_the_same_bytes_is_kept(lab: Lab, half: Path) -> None:
    os.utime(half / "b.bin", ns=(1, 1))
    rescan(lab, half, kept=kept(lab, half))
    before = put_bytes(lab)
    lab.run()
    lab.assert_ready()
    assert put_bytes(lab)["b.bin"] == before["b.bin"]


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_other_bytes_are_sent_again(lab: Lab, half: Path, size: int) -> None:
    rewrite(half / "b.bin", size)
    assert names(kept(lab, half)) == ["c.bin"]
    rescan(lab, half, kept=kept(lab, half))
    lab.run()
    lab.assert_ready()


def test_other_bytes_of_the_same_time_and_size_are_found_too(lab: Lab, half: Path) -> None:
    before = (half / "b.bin").stat()
    (half / "b.bin").write_bytes(os.urandom(SIZE))
    os.utime(half / "b.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names(kept(lab, half)) == ["c.bin"]


def test_what_changed_after_the_reading_is_never_spliced(lab: Lab, half: Path) -> None:
    rescan(lab, half, kept=kept(lab, half))
    rewrite(half / "b.bin", SIZE)
    lab.run()
    reason = lab.job().reason
    assert reason
    assert reason.code == "source_changed"
    assert lab.world.report()["early_validations"] == 0


def test_what_the_server_never_vouched_for_is_not_kept(lab: Lab, half: Path) -> None:
    stored = [*lab.jobs.files(1)]
    with lab.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE files SET verified = false WHERE path = 'b.bin'")
    job = rescan(lab, half, kept=stored[1:])  # by whoever read it before
    assert job.files_stored == 1


@pytest.mark.parametrize("column", ["sha256", "generation", "object_path"])
def test_what_was_stored_once_more_since_it_was_read_is_not_kept(
    lab: Lab, half: Path, column: str
) -> None:
    """Its CRC32C may be the same, which a maker of files can bring about."""
    read = kept(lab, half)
    with lab.engine.begin() as connection:
        other = "7" if column == "generation" else f"'{'0' * 64}'"
        connection.exec_driver_sql(f"UPDATE files SET {column} = {other} WHERE path = 'b.bin'")
    job = rescan(lab, half, kept=read)
    assert job.files_stored == 1


def test_a_new_run_that_was_planned_before_another_one_is_refused(lab: Lab, half: Path) -> None:
    planned, new, read = lab.sealed(), lab.new_job(half), kept(lab, half)
    rescan(lab, half)
    with pytest.raises(VerbRefused, match="changed meanwhile"):
        lab.jobs.check_restart(planned, new)
    with pytest.raises(VerbRefused, match="changed meanwhile"):
        lab.jobs.restart(planned, new, lab.clock.now(), kept=read)
    assert lab.job().run_number == 2


def test_a_model_that_is_gone_takes_what_was_kept_with_it(lab: Lab, half: Path) -> None:
    rescan(lab, half, kept=kept(lab, half))
    del lab.world.models["sandbox", "model"]
    lab.run()
    lab.assert_ready()
    gone = [event for event in lab.jobs.events() if event.kind == "deleted"]
    assert "2 of its files were kept, and are sent again" in gone[-1].message


def test_a_replacement_keeps_nothing(lab: Lab, half: Path) -> None:
    files = kept(lab, half)
    job = rescan(lab, half, kept=files, replace=True)
    assert job.files_stored == 0
    assert kept(lab, half) == []
    lab.run()
    lab.assert_ready()


def test_a_file_is_read_in_blocks_and_outside_any_transaction(
    lab: Lab, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    blocks = Reader._blocks

    def watched(self: Reader, *args: Any) -> Iterator[bytes]:
        read = self.block

        def block(start: int, count: int) -> bytes:
            counts.append(count)
            rewritten = lab.jobs.apply(1, Verb.RETRY, lab.clock.now())  # the store is free
            assert rewritten.status is Status.ACTIVE
            return read(start, count)

        monkeypatch.setattr(self, "block", block)
        return blocks(self, *args)

    monkeypatch.setattr(Reader, "_blocks", watched)
    assert names(kept(lab, half)) == ["b.bin", "c.bin"]
    assert counts
    assert max(counts) <= BLOCK_BYTES


def test_an_interrupted_reading_leaves_the_job_as_it_was(
    lab: Lab, half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    before = lab.job(), lab.jobs.files(1), lab.jobs.events()
    monkeypatch.setattr(Reader, "_extended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(lab, half)
    assert (lab.job(), lab.jobs.files(1), lab.jobs.events()) == before
