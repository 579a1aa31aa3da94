"""docs/invariants.md §6: a file that is open for writing changes without its time moving."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_kept import kept
from tests.engine.test_new_life import rescan
from tests.engine.test_sources import assert_refused, state
from tests.simulation.lab import SimLab
from uploader import files, mounts
from uploader.core.errors import RemoteError, StoreError
from uploader.core.job import FileState, Mode
from uploader.core.lifecycle import Verb
from uploader.core.resumable import Confirmed, Finished, ProtocolError
from uploader.core.store_reasons import StoreCode
from uploader.engine import transfer
from uploader.engine.endings import mark_if_cut
from uploader.engine.hashing import Digests, Hashing
from uploader.engine.restarts import Restarts
from uploader.engine.transfer import Transfer
from uploader.model import fingerprint
from uploader.model.fingerprint import fingerprint_of, is_written, written
from uploader.model.links import NOTHING
from uploader.runtime import StopToken
from uploader.sources import local
from uploader.sources.local import LocalFile
from uploader.sources.reader import Reader, open_source
from uploader.store.held_files import HeldFiles

SIZE = 8 * GRANULE + 7
BLOCKS = 9


@pytest.fixture
def path(lab: Lab) -> Path:
    """The one file of a job that is enqueued."""
    folder = lab.model(a_bin=SIZE)
    with (folder / "a.bin").open("r+b") as file:
        if not files.has_writer(file.fileno()):
            pytest.skip("this kernel or this file system has no leases")
    return folder / "a.bin"


@contextmanager
def mapping(path: Path) -> Iterator[mmap.mmap]:
    """A shared mapping, of which every page is dirty: no store moves the file's time any more."""
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with mapped:
        mapped[:] = mapped[:]
        yield mapped


@pytest.fixture
def mapped(lab: Lab, path: Path) -> Iterator[mmap.mmap]:
    """Of the file of a job that is enqueued after that."""
    with mapping(path) as mapped:
        lab.enqueue(path.parent)
        yield mapped


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often the block at each offset was read, whoever read it."""
    counted, block = Counter[int](), LocalFile.block

    def counting(self: LocalFile, start: int, count: int) -> bytes:
        counted[start] += 1
        return block(self, start, count)

    monkeypatch.setattr(LocalFile, "block", counting)
    return counted


def at_block(lab: Lab, number: int, strike: Callable[[], object]) -> None:
    """Just before that block is read, while the worker is at it."""
    blocks = iter(range(1, 1000))
    lab.boundary = lambda name: name == "put block" and next(blocks) == number and strike()


def fill(mapped: mmap.mmap) -> None:
    mapped[:] = b"B" * SIZE


def half_sent(lab: Lab, digests: Digests = Digests.ON, past: int = 1) -> None:
    """A worker, until the server has more than so many granules."""

    def reached() -> bool:
        return bool(lab.world.report()["objects"]) and lab.object()["persisted"] > past * GRANULE

    lab.bytes_per_s = GRANULE / 20  # so that nobody is too late to stop it
    lab.run_until(reached, digests=digests)
    lab.bytes_per_s = None
    assert not lab.file().stored


def told(lab: Lab) -> list[str]:
    return [event.message for event in lab.jobs.events(1) if event.kind == "reidentified"]


@pytest.mark.parametrize("plain_put", [False, True])
@pytest.mark.parametrize("digests", [Digests.OFF, Digests.ON])
def test_a_mixture_by_a_shared_mapping_never_becomes_ready(
    lab: Lab, mapped: mmap.mmap, path: Path, digests: Digests, plain_put: bool
) -> None:
    if plain_put:
        lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    at_block(lab, 5, lambda: fill(mapped))
    lab.run(digests=digests)
    assert path.read_bytes() == b"B" * SIZE
    assert_refused(lab)
    assert (lab.file().mode is Mode.PUT) == plain_put


def test_a_mapping_that_writes_nothing_costs_a_second_reading(
    lab: Lab, mapped: mmap.mmap, path: Path, reads: Counter[int]
) -> None:
    lab.run(digests=Digests.ON)
    assert len(mapped) == SIZE
    lab.assert_ready()
    assert set(reads.values()) == {2}, reads
    assert lab.file().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lab.file().sha256_as_sent
    to_be_read, was_read = told(lab)
    assert to_be_read == "open for writing, or touched: it is read again once all is stored"
    assert was_read.endswith("or open for writing: read again, it is what was sent")


def test_what_is_written_in_the_same_second_is_no_part_of_a_mixture(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that counts in seconds, its times stay as they are."""

    def of_coarse(facts: os.stat_result, now: datetime) -> bool:
        coarse: Any = SimpleNamespace(st_ctime_ns=facts.st_ctime_ns // 10**9 * 10**9)
        return fingerprint.may_hide_a_write(coarse, now)

    monkeypatch.setattr(local, "may_hide_a_write", of_coarse)
    monkeypatch.setattr(mounts, "is_local_file", lambda _: False)  # nor does ctime show it

    def overwrite() -> None:
        before = path.stat()
        path.write_bytes(b"B" * SIZE)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    os.utime(path, ns=(1, 1))  # whoever owns it sets it as they like
    lab.enqueue(path.parent)
    at_block(lab, 5, overwrite)
    lab.run()
    assert_refused(lab)


@pytest.fixture(params=["snapshot", "network"])
def timeless(
    request: pytest.FixtureRequest, lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a file whose change time is not that of its row, or may be anything."""
    if request.param == "network":
        monkeypatch.setattr(mounts, "is_local_file", lambda _: False)
        lab.enqueue(path.parent)
        return
    new = lab.new_job(path.parent)
    manifest = replace(
        new.manifest,
        files=tuple(
            replace(file, fingerprint=fingerprint_of(path.stat(), lasting=True))
            for file in new.manifest.files
        ),
    )
    lab.jobs.enqueue(replace(new, manifest=manifest), lab.clock.now())


def put_back(path: Path, *offsets: int) -> None:
    """Others than it had, in its place, and its time as it was."""
    before = path.stat()
    with path.open("r+b") as file:
        for offset in offsets:
            os.pwrite(file.fileno(), b"B" * 99, offset)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize("plain_put", [False, True])
@pytest.mark.parametrize("digests", [Digests.OFF, Digests.ON])
def test_what_is_written_while_it_is_sent_is_no_part_of_a_mixture_though_its_time_is_put_back(
    lab: Lab, path: Path, digests: Digests, plain_put: bool
) -> None:
    """Of bytes that were sent and bytes that were not, the object has the old and the new."""
    if plain_put:
        lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    at_block(lab, 5, lambda: put_back(path, 1, SIZE - 99))
    lab.run(digests=digests)
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize("digests", [Digests.OFF, Digests.ON])
def test_nor_if_the_network_was_cut_after_that(lab: Lab, path: Path, digests: Digests) -> None:
    at_block(lab, 3, lambda: put_back(path, 1, SIZE - 99))
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 4 * GRANULE}])
    lab.run(digests=digests)
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize("lasts", [1, 1000])
def test_nor_if_it_was_noticed_before_its_time_was_put_back(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch, lasts: int
) -> None:
    """By one look, or by each, as long as somebody writes."""
    before, check, times = path.stat(), LocalFile.check, iter(range(1, lasts + 1))

    def written_to(self: LocalFile) -> None:
        if self._facts.st_mtime_ns == before.st_mtime_ns and path.read_bytes() == b"B" * SIZE:
            os.utime(path, ns=(1, next(times, before.st_mtime_ns)))
        check(self)

    def put_back_later(self: Restarts, which: str, error: Exception) -> Any:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        monkeypatch.setattr(LocalFile, "check", check)
        return failed(self, which, error)

    failed = Restarts.failed
    monkeypatch.setattr(Restarts, "failed", put_back_later)
    monkeypatch.setattr(LocalFile, "check", written_to)
    at_block(lab, 5, lambda: path.write_bytes(b"B" * SIZE))
    lab.run()
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize(
    "error",
    [ProtocolError("nonsense"), OSError(errno.EIO, "a bad block"), MemoryError("a bug")],
    ids=["answer", "disk", "memory"],
)
def test_nor_whatever_error_ended_the_transfer(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    read, blocks = os.pread, iter(range(1, 1000))

    def failing(descriptor: int, count: int, start: int) -> bytes:
        number = next(blocks)
        if number == 3:
            put_back(path, 1, SIZE - 99)
        if number == 4:
            raise error
        return read(descriptor, count, start)

    monkeypatch.setattr(os, "pread", failing)
    lab.run()
    assert next(blocks) > BLOCKS
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
def test_nor_if_its_row_could_not_be_written_then(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, refused = HeldFiles.reidentify, list[str]()

    def refusing(self: HeldFiles, which: str, *of: Any, **how: Any) -> FileState:
        if not refused:
            refused.append(which)
            raise StoreError("locked", code=StoreCode.LOCKED)
        return works(self, which, *of, **how)

    monkeypatch.setattr(HeldFiles, "reidentify", refusing)
    at_block(lab, 3, lambda: put_back(path, 1, SIZE - 99))
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 4 * GRANULE}])
    lab.run()
    assert refused
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
def test_nor_if_only_the_end_of_the_transfer_sees_it(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is cut, and somebody writes just then; until the next try the time is back."""
    before, failed = path.stat(), Restarts.failed

    def written_meanwhile(error: RemoteError, sent_bytes: int) -> None:
        put_back(path, 1, SIZE - 99)
        os.utime(path)
        mark_if_cut(error, sent_bytes)

    def put_back_later(self: Restarts, which: str, error: Exception) -> Any:
        monkeypatch.setattr(transfer, "mark_if_cut", mark_if_cut)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return failed(self, which, error)

    monkeypatch.setattr(transfer, "mark_if_cut", written_meanwhile)
    monkeypatch.setattr(Restarts, "failed", put_back_later)
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 4 * GRANULE}])
    lab.run()
    assert_refused(lab)


@pytest.mark.parametrize("digests", [Digests.OFF, Digests.ON])
def test_nor_if_the_worker_is_killed_after_a_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: Digests
) -> None:
    monkeypatch.setattr(mounts, "is_local_file", lambda _: False)
    lab = SimLab(tmp_path, 1, landing_polls=1)
    lab.bytes_per_s = 16.0 * GRANULE
    path = lab.model(a_bin=40 * GRANULE) / "a.bin"
    lab.enqueue(path.parent)
    block, struck = LocalFile.block, list[int]()

    def striking(self: LocalFile, start: int, count: int) -> bytes:
        if start == 2 * GRANULE and not struck:
            struck.append(start)
            put_back(path, 1, 40 * GRANULE - 99)
        return block(self, start, count)

    monkeypatch.setattr(LocalFile, "block", striking)
    lab.run_until_killed(30, digests=digests, max_put_bytes=2 * GRANULE)
    assert struck
    assert lab.file().checkpoint.offset > 2 * GRANULE
    lab.run_once(digests=digests)
    assert_refused(lab)
    lab.close()


def test_a_write_that_was_noticed_is_remembered_on_a_disk_of_this_machine_too(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut its old times may stand beside its new bytes."""
    monkeypatch.setattr(mounts, "is_local_file", lambda _: True)
    lab.enqueue(path.parent)
    at_block(lab, 5, lambda: path.write_bytes(b"B" * SIZE))
    lab.run_until(lambda: lab.file().failures > 0)
    assert is_written(lab.file().fingerprint)
    lab.run()
    assert_refused(lab)


def test_who_hashes_keeps_no_notice_of_a_write_from_who_sends(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "is_local_file", lambda _: True)
    lab.enqueue(path.parent)
    half_sent(lab, Digests.OFF, past=4)
    read_again, struck = Hashing._read_again, list[int]()

    def reading(self: Hashing, start: int, count: int, digest: bytes) -> bytes:
        if not struck:
            struck.append(start)
            path.write_bytes(b"B" * SIZE)
        return read_again(self, start, count, digest)

    monkeypatch.setattr(Hashing, "_read_again", reading)
    lab.run(digests=Digests.ON)
    assert_refused(lab)
    assert any("written to while" in one.message for one in lab.jobs.events(1))


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize("digests", [Digests.OFF, Digests.ON])
def test_nor_if_the_worker_was_ended_after_that(lab: Lab, path: Path, digests: Digests) -> None:
    at_block(lab, 3, lambda: put_back(path, 1, SIZE - 99))
    half_sent(lab, digests, past=4)
    lab.run(digests=digests)
    assert_refused(lab)


@pytest.mark.usefixtures("timeless")
def test_another_name_that_goes_while_it_is_sent_costs_a_second_reading(
    lab: Lab, path: Path, reads: Counter[int]
) -> None:
    """As a trainer deletes its checkpoint: no byte changes."""
    (path.parent / "name").hardlink_to(path)
    at_block(lab, 5, (path.parent / "name").unlink)
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert set(reads.values()) == {2}, reads
    assert lab.file().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lab.file().sha256_as_sent


@pytest.mark.parametrize("touch", [os.utime, lambda path: path.chmod(0o400)])
@pytest.mark.parametrize("plain_put", [False, True])
def test_what_is_touched_between_its_last_byte_and_the_answer_is_not_sent_again(
    lab: Lab,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    touch: Callable[[Path], None],
    *,
    plain_put: bool,
) -> None:
    if plain_put:
        lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    lab.enqueue(path.parent)
    arrive = Transfer._arrive

    def touched(self: Transfer, source: Reader, finished: Finished) -> None:
        touch(path)
        arrive(self, source, finished)

    monkeypatch.setattr(Transfer, "_arrive", touched)
    lab.run()
    lab.assert_ready()
    assert lab.file().bytes_sent == SIZE


def test_where_the_change_time_counts_a_touched_file_is_proven_once(
    lab: Lab, path: Path, reads: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else happens, as a night without the service."""
    monkeypatch.setattr(mounts, "is_local_file", lambda _: True)
    lab.enqueue(path.parent)
    at_block(lab, 3, lambda: path.chmod(0o400))
    half_sent(lab, Digests.OFF, past=4)
    assert not is_written(lab.file().fingerprint)
    reads.clear()
    lab.world.script.add([{"on": "query", "do": "status", "status": 503, "times": 6}])
    lab.run(digests=Digests.OFF)
    lab.assert_ready()
    assert max(reads.values()) <= 3


@pytest.mark.usefixtures("timeless")
def test_what_is_confirmed_never_gets_less_though_the_row_is_written_meanwhile(
    lab: Lab, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()
    confirm = Transfer._confirm

    def noting(self: Transfer, source: Reader, reading: Confirmed) -> None:
        confirm(self, source, reading)
        seen.append(self.confirmed_bytes)

    monkeypatch.setattr(Transfer, "_confirm", noting)
    lab.bytes_per_s = GRANULE / 2
    lab.enqueue(path.parent)
    at_block(lab, 6, lambda: path.chmod(0o400))
    lab.run(max_put_bytes=GRANULE)
    lab.assert_ready()
    assert told(lab)
    assert len(seen) > 2
    assert seen == sorted(seen)


def test_a_file_that_nobody_writes_is_read_once(lab: Lab, path: Path, reads: Counter[int]) -> None:
    lab.enqueue(path.parent)
    lab.run()
    lab.assert_ready()
    assert set(reads.values()) == {1}, reads
    assert told(lab) == []


def test_a_writer_that_has_gone_by_the_end_is_remembered(lab: Lab, path: Path) -> None:
    with ExitStack() as stack:
        mapped = stack.enter_context(mapping(path))
        lab.enqueue(path.parent)

        def write_and_go() -> None:
            fill(mapped)
            stack.close()

        at_block(lab, 5, write_and_go)
        lab.run()
    assert_refused(lab)


def test_a_writer_is_remembered_over_the_end_of_the_worker(lab: Lab, path: Path) -> None:
    with mapping(path) as mapped:
        lab.enqueue(path.parent)
        half_sent(lab)
        fill(mapped)
    lab.run()
    assert_refused(lab)


def test_a_writer_that_writes_nothing_costs_no_digest_over_the_end_of_the_worker(
    lab: Lab, mapped: mmap.mmap, path: Path
) -> None:
    half_sent(lab)
    sent = lab.object()["persisted"]
    mapped.close()
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert sent
    assert lab.object()["body_bytes_read"] - SIZE <= GRANULE
    assert lab.file().sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lab.file().sha256_as_sent
    assert not is_written(lab.file().fingerprint), "nobody has it open any more"


def test_a_writer_that_comes_between_two_transfers_is_noticed(lab: Lab, path: Path) -> None:
    lab.enqueue(path.parent)
    half_sent(lab)
    before = path.stat()
    with mapping(path) as mapped:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        at_block(lab, 3, lambda: fill(mapped))
        lab.run()
    assert_refused(lab)


def test_a_writer_that_is_there_only_at_the_end_is_read_again(
    lab: Lab, path: Path, reads: Counter[int]
) -> None:
    lab.enqueue(path.parent)
    with ExitStack() as stack:
        at_block(lab, BLOCKS, lambda: stack.enter_context(path.open("r+b")))
        lab.run()
    lab.assert_ready()
    assert set(reads.values()) == {2}, reads
    assert is_written(lab.file().fingerprint)


def test_a_kept_file_with_a_writer_is_read_again_at_the_end(lab: Lab, path: Path) -> None:
    (path.parent / "b.bin").write_bytes(b"b" * GRANULE)
    lab.enqueue(path.parent)
    lab.world.script.add([{"on": "start", "match": "b.bin", "do": "status", "status": 503}])
    lab.run_until(lambda: lab.file().stored)
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    with mapping(path) as mapped:
        job = rescan(lab, path.parent, kept=kept(lab, path.parent))
        assert job.files_stored
        fill(mapped)
    lab.run()
    assert_refused(lab)


def test_the_same_folder_with_a_writer_is_the_same_job(lab: Lab, mapped: mmap.mmap) -> None:
    lab.run()
    assert len(mapped) == SIZE
    assert is_written(lab.file().fingerprint)
    assert lab.enqueue(Path(lab.job().path)) == 1


def test_a_file_that_only_crc32c_proves_stays_so_although_somebody_opens_it(
    lab: Lab, path: Path
) -> None:
    lab.enqueue(path.parent)
    half_sent(lab, Digests.OFF)
    os.utime(path, ns=(1, 1))
    half_sent(lab, Digests.ON, past=4)
    assert lab.file().unproven
    with path.open("r+b"):
        lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert lab.file().sha256 is None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", ""])
def test_what_the_file_system_of_a_network_refuses_says_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(mounts, "file_system_of", lambda _: kind)
    file = state(path)
    with path.open("r+b"), open_source(str(path.parent), file, StopToken(), NOTHING) as source:
        assert source.fingerprint == file.fingerprint


def test_a_link_that_was_agreed_to_leads_to_the_same_file_although_somebody_writes(
    path: Path,
) -> None:
    real = path.rename(path.parent.with_name("real.bin"))
    path.symlink_to(real)
    listed = fingerprint_of(real.stat(), str(real))
    for known in (listed, written(listed)):
        file = state(path, fingerprint=known)
        with real.open("r+b"), open_source(str(path.parent), file, StopToken(), NOTHING) as source:
            assert source.fingerprint == written(listed)
