"""The SHA-256 of what was sent: right or none, whatever interrupts, and no reading for it."""

from __future__ import annotations

import hashlib
import random
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from tests.engine.conftest import GRANULE, FastLab, Lab
from tests.simulation.lab import SimLab
from tests.simulation.sim import Sim
from uploader.core.errors import NoThread, SourceChanged, SourceUnreadable, SourceUnsettled, Stopped
from uploader.core.job import FileState, PrefixCrc
from uploader.core.redact import SessionUri
from uploader.engine import hashing, prefix
from uploader.engine.hashing import Digests, Hashing
from uploader.engine.prefix import QUEUED, Kept, Prefix
from uploader.runtime import StopToken
from uploader.sources import sha256
from uploader.sources.local import LocalFile
from uploader.sources.reader import BLOCK_BYTES, Reader
from uploader.store.marks import Mark, Marks
from uploader.threads import spawn

SIZE = 10 * BLOCK_BYTES + 77
CONTENT = random.Random(3).randbytes(SIZE)
WHOLE = PrefixCrc(SIZE, google_crc32c.value(CONTENT))
EXPECTED = hashlib.sha256(CONTENT).hexdigest()
STARTS = range(0, SIZE, BLOCK_BYTES)
FILE = FileState(1, "a.bin", SIZE, "x", session=SessionUri("https://s/o?upload_id=secret"))


class Memory:
    """An `OpenFile` in memory that counts what is read."""

    name, fingerprint = "a.bin", "x"

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.size_bytes = len(content)
        self.read: list[int] = []
        self.broken = self.written = False

    def same(self, known: str) -> bool:
        return known == self.fingerprint

    def check(self) -> None:
        if self.written:
            raise SourceUnsettled("no")

    def block(self, start: int, count: int) -> bytes:
        if self.broken:
            raise SourceUnreadable("no")
        self.read.append(start)
        return self.content[start : start + count]

    def is_sound(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Bench:
    """A `Hashing` without a thread: it works when it is told that there is time."""

    def __init__(
        self, file: Memory, mark: Mark | None = None, *, kept: Kept | None = None, patient: bool
    ) -> None:
        self.mark = mark or Mark(None, b"")
        self.stop = StopToken()
        self.kept = kept or Kept()
        reader, prefix = Reader(file, self.stop), self.kept.take(self.mark)
        if not prefix.pair.offset:
            prefix = Prefix(sha256=sha256.started())
        self.clock = Sim(1)
        self.hashing = Hashing(reader, prefix, self.mark, self.clock, self.stop, patient=patient)

    def send(self, starts: Sequence[int], content: bytes = CONTENT) -> None:
        for start in starts:
            self.hashing.offer(start, content[start : start + BLOCK_BYTES])
            self.hashing.answering()

    def digest(self) -> str | None:
        return self.hashing.digest(WHOLE)


@pytest.fixture
def file() -> Memory:
    return Memory()


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    marks = Marks(tmp_path / "marks")
    marks.sweep(Sim(1).now())
    return marks.of(FILE)


# -- the stream that is hashed -----------------------------------------------------------------


@pytest.mark.parametrize("patient", [True, False])
def test_blocks_that_pass_are_not_read_again(file: Memory, patient: bool) -> None:
    bench = Bench(file, patient=patient)
    bench.send(STARTS)
    assert bench.digest() == EXPECTED
    assert file.read == []


def test_blocks_that_are_sent_again_are_hashed_once(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send([*STARTS[:7], *STARTS[3:9], *STARTS])
    assert bench.digest() == EXPECTED
    assert bench.hashing.as_sent
    assert file.read == []


def test_what_a_server_has_after_all_is_read_again(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send([*STARTS[:7], *STARTS[:2], *STARTS[5:]])
    assert bench.digest() == EXPECTED
    assert not bench.hashing.as_sent
    assert file.read == [*STARTS[2:5]]


def test_a_server_that_went_back_to_an_odd_byte_shifts_the_blocks(file: Memory) -> None:
    bench = Bench(file, patient=True)
    bench.send(STARTS[:5])
    bench.send(range(3 * BLOCK_BYTES + 12_345, SIZE, BLOCK_BYTES))
    assert bench.digest() == EXPECTED
    assert file.read == []


@pytest.mark.parametrize("seed", range(5))
def test_blocks_in_another_order_are_never_hashed_in_that_order(file: Memory, seed: int) -> None:
    shuffled = random.Random(seed).sample(STARTS, len(STARTS))
    bench = Bench(file, patient=True)
    bench.send(shuffled)
    assert bench.digest() in (EXPECTED, None)


def forged(content: bytes, at: int) -> bytes:
    """Other bytes with the same CRC32C, whatever precedes and follows: its generator is added."""
    generator = int(f"{0x11EDC6F41:033b}"[::-1], 2)
    changed = int.from_bytes(content[at : at + 5], "little") ^ generator
    return content[:at] + changed.to_bytes(5, "little") + content[at + 5 :]


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("room", [0, 1, 3])
def test_a_block_that_is_read_again_must_be_the_one_that_was_sent(
    file: Memory, room: int, patient: bool
) -> None:
    for at in (None, 0, 5 * BLOCK_BYTES + 9):
        bench = Bench(file, patient=patient)
        bench.hashing.room = lambda: room
        for start in STARTS:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        file.content = CONTENT if at is None else forged(CONTENT, at)
        assert google_crc32c.value(file.content) == WHOLE.crc32c
        queued = at is not None and at < room * BLOCK_BYTES
        if at is None or queued:
            assert bench.digest() == EXPECTED
        else:
            with pytest.raises(SourceChanged):
                bench.digest()
        file.content = CONTENT


def test_so_must_one_that_the_next_transfer_reads(file: Memory) -> None:
    for content, expected in ((CONTENT, EXPECTED), (forged(CONTENT, BLOCK_BYTES), None)):
        before = Bench(file, patient=True)
        before.hashing.room = lambda: 1
        for start in STARTS[:4]:
            before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        file.content = content
        before.hashing.end()
        after = next_transfer(before, file)
        if expected is None:
            with pytest.raises(SourceChanged):
                after.send(STARTS[4:])
        else:
            after.send(STARTS[4:])
            assert after.digest() == expected
        file.content = CONTENT


def next_transfer(before: Bench, file: Memory, *, patient: bool = True) -> Bench:
    """In the same process, after ``before`` was cut."""
    before.hashing.end()
    after, stop = Bench(file, patient=patient), StopToken()
    after.hashing = Hashing(
        Reader(file, stop), before.hashing.prefix, after.mark, after.clock, stop, patient=patient
    )
    return after


def assert_true(bench: Bench, stored: bytes) -> None:
    """If a digest counts as that of what was sent, it is that of what is stored."""
    found = bench.digest()
    assert not (found and bench.hashing.as_sent) or found == hashlib.sha256(stored).hexdigest()


@pytest.mark.parametrize("room", [0, 2, QUEUED])
@pytest.mark.parametrize("kept", [3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 12_345])
@pytest.mark.parametrize("again", ["put", "transfer"])
def test_what_is_sent_again_may_be_other_bytes(
    file: Memory, room: int, kept: int, again: str
) -> None:
    """The server kept less than was sent, and what it is sent then is not what was hashed."""
    bench = Bench(file, patient=True)
    bench.hashing.room = lambda: room
    bench.send(STARTS[:7])
    file.content = forged(CONTENT, 5 * BLOCK_BYTES + 9)
    bench = bench if again == "put" else next_transfer(bench, file)
    bench.send(range(kept, SIZE, BLOCK_BYTES), file.content)
    assert_true(bench, CONTENT[:kept] + file.content[kept:])
    assert bench.hashing.as_sent == (kept % BLOCK_BYTES == 0)


@pytest.mark.parametrize("again", ["put", "transfer"])
def test_what_is_sent_again_after_all_of_it_was_hashed_is_hashed_again(
    file: Memory, again: str
) -> None:
    """Its thread has ended by then."""
    bench, clock = Bench(file, patient=True), Sim(1)

    def body() -> None:
        one = bench
        one.hashing.start(clock.spawn, "sha256")
        one.send(STARTS)
        clock.wait(one.hashing._shared.ended, 5.0)
        assert one.hashing.prefix.pair == WHOLE
        file.content = forged(CONTENT, 8 * BLOCK_BYTES + 9)
        if again == "transfer":
            one = next_transfer(one, file)
            one.hashing.start(clock.spawn, "sha256")
            clock.wait(threading.Event(), 5.0)
        one.send(STARTS[7:], file.content)
        assert one.digest() == hashlib.sha256(file.content).hexdigest()
        assert one.hashing.as_sent
        one.hashing.end()

    assert clock.run(body)


@pytest.mark.parametrize("back", [0, 3])
def test_a_kill_just_after_the_server_went_back_leaves_no_state_of_bytes_that_are_sent_again(
    file: Memory, mark: Mark, tmp_path: Path, back: int
) -> None:
    before = Bench(file, mark, patient=True)
    before.send(STARTS[:7])
    before.hashing.save()
    other = forged(CONTENT, 5 * BLOCK_BYTES + 9)
    before.send(STARTS[back:7], other)  # and it is killed; the server has seven blocks
    file.content = other
    after = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    after.send(STARTS[7:], other)
    assert_true(after, CONTENT[: back * BLOCK_BYTES] + other[back * BLOCK_BYTES :])


def test_what_was_sent_after_the_hash_was_given_up_is_not_proven(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", BLOCK_BYTES)
    before = Bench(file, patient=False)
    before.hashing.room = lambda: 0
    for start in STARTS[:3]:
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    before.send(STARTS[3:6])
    file.content = forged(CONTENT, 4 * BLOCK_BYTES + 9)
    after = next_transfer(before, file, patient=False)
    after.send(STARTS[6:], file.content)
    assert_true(after, CONTENT[: 6 * BLOCK_BYTES] + file.content[6 * BLOCK_BYTES :])


def test_a_block_that_was_found_to_be_another_is_not_believed_the_next_time(file: Memory) -> None:
    before = Bench(file, patient=True)
    before.hashing.room = lambda: 0
    for start in STARTS[:4]:
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    file.content = forged(CONTENT, 2 * BLOCK_BYTES + 9)
    before.hashing.answering()
    with pytest.raises(SourceChanged):
        before.hashing.offer(STARTS[4], CONTENT[STARTS[4] : STARTS[5]])
    after = next_transfer(before, file)
    after.send(STARTS[4:], file.content)
    assert_true(after, CONTENT[: 4 * BLOCK_BYTES] + file.content[4 * BLOCK_BYTES :])


def test_what_is_queued_after_a_gap_when_a_transfer_ends_is_proven_all_the_same(
    file: Memory,
) -> None:
    before = Bench(file, patient=True)
    for start in STARTS[:6]:  # the third one finds no room
        before.hashing.room = lambda start=start: 0 if start == STARTS[2] else QUEUED  # type: ignore[misc]
        before.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    after = next_transfer(before, file)
    after.send(STARTS[6:])
    assert after.digest() == EXPECTED
    assert after.hashing.as_sent


def test_a_hash_goes_back_only_so_far(file: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_MOST_BACK", 3)
    for kept, as_sent in ((5, True), (4, False), (0, True)):
        bench = Bench(file, patient=True)
        bench.send(STARTS[:7])
        bench.send(STARTS[kept:])
        assert bench.digest() == EXPECTED
        assert bench.hashing.as_sent == as_sent


def test_few_of_the_blocks_that_are_not_queued_are_remembered(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MOST_UNQUEUED", 4)
    bench = Bench(file, patient=True)
    bench.hashing.room = lambda: 0
    for start in STARTS:
        bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    assert bench.digest() is None


@pytest.mark.parametrize("patient", [True, False])
def test_what_is_sent_before_the_hash_begins_is_read_once(file: Memory, patient: bool) -> None:
    bench = Bench(file, patient=patient)
    bench.send(STARTS[6:])
    assert bench.digest() == EXPECTED
    assert file.read == [*STARTS[:6]]


def test_nothing_was_left_to_send_so_the_file_is_read(file: Memory) -> None:
    assert Bench(file, patient=True).digest() == EXPECTED
    assert file.read == [*STARTS]


def test_bytes_that_were_never_sent_have_no_digest(file: Memory) -> None:
    """Whatever is hashed, its CRC32C must be the one that the service accepted."""
    other = bytearray(CONTENT)
    other[5 * BLOCK_BYTES] ^= 1
    bench = Bench(file, patient=True)
    bench.send(STARTS, bytes(other))
    assert bench.digest() is None


def test_what_was_written_after_it_was_sent_has_no_digest(file: Memory) -> None:
    """Even if its CRC32C is the same: what is read again is what was sent, or there is none."""
    bench = Bench(file, patient=True)
    for start in STARTS[6:]:
        bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
    file.written = True
    assert bench.digest() is None


def test_two_blocks_that_change_places_have_no_digest(file: Memory) -> None:
    first, second = CONTENT[:BLOCK_BYTES], CONTENT[BLOCK_BYTES : 2 * BLOCK_BYTES]
    bench = Bench(file, patient=True)
    bench.send(STARTS, second + first + CONTENT[2 * BLOCK_BYTES :])
    assert bench.digest() is None


def test_a_file_that_cannot_be_read_again_has_no_digest_and_no_error(file: Memory) -> None:
    bench = Bench(file, patient=True)
    file.broken = True
    bench.send(STARTS[1:])
    assert bench.digest() is None


# -- nothing waits, and memory does not grow -----------------------------------------------------


def test_a_hash_that_is_too_far_behind_is_given_up_unless_it_is_asked_for(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MOST_BEHIND_BYTES", 2 * BLOCK_BYTES)
    for patient, expected in ((False, None), (True, EXPECTED)):
        bench = Bench(file, patient=patient)
        bench.send(STARTS[3:])
        assert bench.digest() == expected
    assert file.read == [*STARTS[:3]], "what is given up reads nothing"


def test_a_hash_that_falls_behind_is_given_up_unless_it_catches_up(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", 2 * BLOCK_BYTES)
    for behind, expected in ((1, EXPECTED), (4, None)):
        bench = Bench(file, patient=False)
        bench.hashing.room = lambda: 0
        for start in STARTS[:behind]:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        bench.send(STARTS[behind:])
        assert bench.digest() == expected


def test_what_an_earlier_process_left_to_hash_is_not_falling_behind(
    file: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FALLS_BEHIND_BYTES", BLOCK_BYTES)
    for left in (STARTS[4:], STARTS[:0]):
        bench = Bench(file, patient=False)
        bench.send(left)
        assert bench.digest() == EXPECTED


class Never(Hashing):
    """A thread that never gets its turn."""

    def run(self) -> None:
        self._clock.wait(threading.Event(), 3600.0)
        super().run()


def stuck(file: Memory, clock: Sim, stop: StopToken, *, patient: bool) -> Never:
    one = Never(Reader(file, stop), Prefix(), Mark(None, b""), clock, stop, patient=patient)
    one.start(clock.spawn, "never")
    return one


def test_a_digest_is_waited_for_only_if_it_is_asked_for(file: Memory) -> None:
    for patient, expected, most_s in ((False, None, 0.1), (True, EXPECTED, 3700.0)):
        clock = Sim(1)

        def body(clock: Sim = clock, patient: bool = patient, expected: Any = expected) -> None:
            one = stuck(file, clock, StopToken(), patient=patient)
            for start in STARTS:
                one.offer(start, CONTENT[start : start + BLOCK_BYTES])
            assert one.digest(WHOLE) == expected

        clock.run(body)
        assert clock.boot_s() <= most_s


def test_a_long_transfer_may_wait_for_three_percent_of_it(file: Memory) -> None:
    clock = Sim(1)

    def body() -> None:
        one = stuck(file, clock, StopToken(), patient=False)
        clock.wait(threading.Event(), 1000.0)
        began_s = clock.boot_s()
        assert one.digest(WHOLE) is None
        assert clock.boot_s() - began_s == pytest.approx(30.0)

    clock.run(body)


def test_who_waits_for_a_digest_stops_when_asked(file: Memory) -> None:
    clock, stop = Sim(1), StopToken()

    def body() -> None:
        one = stuck(file, clock, stop, patient=True)
        stop.stop()
        with pytest.raises(Stopped):
            one.digest(WHOLE)

    clock.run(body)
    assert clock.boot_s() < 1.0


def test_blocks_that_nobody_hashes_are_not_kept(file: Memory) -> None:
    one = Bench(file, patient=False).hashing
    tracemalloc.start()
    try:
        for number in range(400):
            one.offer(number * BLOCK_BYTES, bytes(BLOCK_BYTES))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < (QUEUED + 3) * BLOCK_BYTES


@pytest.mark.parametrize(("files", "each"), [(1, QUEUED), (4, 8), (16, 2), (64, 0)])
def test_the_more_files_are_hashed_the_fewer_blocks_of_each_are_kept(
    file: Memory, files: int, each: int
) -> None:
    kept = Kept()
    hashing, *others = (Bench(file, patient=False).hashing for _ in range(files))
    kept.following |= {hashing, *others}
    hashing.room = kept.room
    for number in range(2 * QUEUED):
        hashing.offer(number * BLOCK_BYTES, bytes(BLOCK_BYTES))
    assert sum(bool(block) for _, block in hashing._shared.queue) == each


def test_with_no_thread_to_be_had_there_is_no_digest(file: Memory) -> None:
    def refused(*_: Any) -> None:
        raise NoThread("no more")

    one = Bench(file, patient=True).hashing
    one.start(refused, "x")
    one.offer(0, CONTENT[:BLOCK_BYTES])
    assert one.digest(WHOLE) is None
    one.end()


def test_a_real_thread_hashes_what_a_fast_sender_sends(file: Memory) -> None:
    from uploader.runtime import SystemClock  # noqa: PLC0415

    stop = StopToken()
    one = Hashing(Reader(file, stop), Prefix(), Mark(None, b""), SystemClock(), stop, patient=True)
    one.start(spawn, "sha256")
    for start in STARTS:
        one.offer(start, CONTENT[start : start + BLOCK_BYTES])
    one.answering()
    assert one.digest(WHOLE) == EXPECTED
    one.end()


# -- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", range(len(STARTS) + 1))
def test_the_next_transfer_goes_on_where_this_one_ended(
    file: Memory, mark: Mark, blocks: int
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:blocks])
    first.hashing.end()
    first.kept.put(mark, first.hashing.prefix)
    second = Bench(file, mark, kept=first.kept, patient=True)
    second.send(STARTS[blocks:])
    assert second.digest() == EXPECTED
    assert second.hashing.as_sent
    assert file.read == []


@pytest.mark.parametrize("blocks", range(len(STARTS)))
def test_another_process_goes_on_where_this_one_was_killed(
    file: Memory, mark: Mark, tmp_path: Path, blocks: int
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:blocks])
    first.hashing.save()
    second = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    second.send(STARTS[blocks:])
    assert second.digest() == EXPECTED
    assert second.hashing.as_sent
    assert file.read == []


def test_the_state_of_a_hash_that_stands_still_is_saved(
    file: Memory, mark: Mark, tmp_path: Path
) -> None:
    """What a stalled transfer sent within a quarter of a second is not read again after a kill."""
    bench = Bench(file, mark, patient=True)
    sim = bench.clock

    def body() -> None:
        bench.hashing.start(sim.spawn, "sha256")
        for start in STARTS[:3]:
            bench.hashing.offer(start, CONTENT[start : start + BLOCK_BYTES])
        sim.wait(threading.Event(), 5)
        saved = Kept().take(Marks(tmp_path / "marks").of(FILE))
        assert saved.pair.offset == 3 * BLOCK_BYTES
        bench.hashing.end()

    assert sim.run(body)


def test_where_no_state_can_be_saved_another_process_reads_again(
    file: Memory, mark: Mark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sha256, "_opener", lambda: None)
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:4])
    first.hashing.save()
    second = Bench(file, Marks(tmp_path / "marks").of(FILE), patient=True)
    second.send(STARTS[4:])
    assert second.digest() == EXPECTED
    assert not second.hashing.as_sent
    assert file.read == [*STARTS[:4]]


def test_a_saved_state_that_is_damaged_is_not_believed(
    file: Memory, mark: Mark, tmp_path: Path
) -> None:
    first = Bench(file, mark, patient=True)
    first.send(STARTS[:4])
    first.hashing.save()
    (path,) = (tmp_path / "marks").iterdir()
    whole = path.read_bytes()
    for at in range(28, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert Kept().take(mark).pair == PrefixCrc()
    path.write_bytes(whole)
    assert Kept().take(mark).pair.offset == 4 * BLOCK_BYTES


def test_only_so_many_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "_MOST_KEPT", 2)
    kept, marks = Kept(), [Mark(None, bytes([number])) for number in range(3)]
    for number, one in enumerate(marks):
        kept.put(one, Prefix(PrefixCrc(64 * (number + 1), 1)))
    kept.put(Mark(None, b""), Prefix(PrefixCrc(64, 1)))
    assert [kept.take(one).pair.offset for one in marks] == [0, 128, 192]
    assert kept.take(marks[2]).pair.offset == 0, "it goes to one transfer only"


# -- whole uploads -------------------------------------------------------------------------------


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The length of every block that is read of any source."""
    found: list[int] = []
    real = LocalFile.block

    def block(self: LocalFile, start: int, count: int) -> bytes:
        found.append(count)
        return real(self, start, count)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "block", block)
        yield found


SIZES = [0, 1, GRANULE - 1, GRANULE, GRANULE + 1, 4 * GRANULE, 8 * GRANULE + 1, 9 * GRANULE - 1]


@pytest.mark.parametrize("kind", ["resumable", "put", "refused"])
def test_files_of_every_size_have_their_digest_and_are_read_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    lab.world.config.url_kind = kind
    sizes = {f"f{number}_bin": size for number, size in enumerate(SIZES)}
    lab.enqueue(lab.model("model", **sizes))
    with reads(monkeypatch) as found:
        lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert all(file.sha256 for file in lab.jobs.files(1))
    assert sum(found) == sum(SIZES)


def test_without_it_nothing_is_computed(lab: Lab) -> None:
    lab.enqueue(lab.model(a_bin=3 * GRANULE, b_bin=1))
    lab.run(digests=Digests.OFF)
    lab.assert_ready()
    assert [file.sha256 for file in lab.jobs.files(1)] == [None, None]


FAULTS: dict[str, list[dict[str, Any]]] = {
    "cut": [{"on": "put", "do": "cut", "at_byte": 2 * GRANULE + 1}],
    "cut often": [{"on": "put", "do": "cut", "at_byte": GRANULE, "times": 8}],
    "lost answer": [{"on": "put", "do": "lost-answer", "nth": 3}],
    "went back": [{"on": "put", "do": "short-308", "at_byte": GRANULE + 12_345}],
    "kept nothing": [{"on": "put", "do": "no-range-308"}],
    "session lost": [{"on": "put", "nth": 2, "do": "dead-session"}],
    "other object": [{"on": "put", "do": "wrong-hash", "nth": 3}],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_on_the_way_the_digest_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    read: dict[Digests, int] = {}
    for digests in (Digests.ON, Digests.OFF):
        (tmp_path / digests).mkdir()
        lab = Lab(tmp_path / digests)
        lab.world.script.add(FAULTS[fault])
        lab.enqueue(lab.model(a_bin=SIZE))
        with reads(monkeypatch) as found:
            lab.run(digests=digests)
        lab.assert_ready()
        assert (lab.file().sha256 is None) == (digests is Digests.OFF)
        assert lab.file().sha256_as_sent == (digests is Digests.ON)
        read[digests] = sum(found)
        lab.close()
    assert read[Digests.ON] == read[Digests.OFF], "the hash itself reads nothing"


@pytest.mark.parametrize("after", [2, 5, 9, 14, 25, 39])
def test_after_a_kill_the_hash_reads_a_quarter_of_a_second_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    lab, size = SimLab(tmp_path, 1, landing_polls=1), 40 * GRANULE + 7
    lab.bytes_per_s = 16.0 * GRANULE
    lab.enqueue(lab.model(a_bin=size))
    whole = {"max_put_bytes": 1 << 30}
    lab.run_until_killed(after, **whole)
    persisted = lab.object()["persisted"]
    with reads(monkeypatch) as found:
        assert lab.run_once(**whole)
    lab.assert_ready()
    assert lab.file().sha256
    quarter = 4 * GRANULE + GRANULE
    assert sum(found) <= size - persisted + 2 * quarter, "once for the CRC, once for the hash"
    lab.close()


def test_real_threads_find_the_same(tmp_path: Path) -> None:
    lab = FastLab(tmp_path)
    lab.world.script.add(FAULTS["cut often"])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=5 * GRANULE, c_bin=9))
    lab.run(digests=Digests.ON)
    lab.assert_ready()
    assert all(file.sha256 for file in lab.jobs.files(1))
    lab.close()


def test_a_receipt_needs_no_file_any_more(lab: Lab) -> None:
    from uploader.intake.receipt import receipt_of  # noqa: PLC0415

    folder = lab.model(a_bin=SIZE)
    expected = hashlib.sha256((folder / "a.bin").read_bytes()).hexdigest()
    lab.enqueue(folder)
    lab.run(digests=Digests.ON)
    (folder / "a.bin").unlink()
    receipt = receipt_of(lab.job(), lab.jobs.files(1))
    assert receipt["subject"] == [{"name": "a.bin", "digest": {"sha256": expected}}]
