"""What is read again when an upload goes on: counted in bytes of the source, not timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.simulation.lab import SimLab
from uploader.core.job import PrefixCrc
from uploader.engine.hashing import Digests
from uploader.sources.local import LocalFile
from uploader.sources.reader import Reader

SIZE = 40 * GRANULE + 7
WHOLE: dict[str, Any] = {"max_put_bytes": 1 << 30, "digests": Digests.OFF}
#: Blocks that a throttled laboratory sends in a second.
BLOCKS_PER_S = 16


@contextmanager
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Every [start, stop) that is read of any source."""
    found: list[tuple[int, int]] = []
    real = LocalFile.block

    def block(self: LocalFile, start: int, count: int) -> bytes:
        found.append((start, start + count))
        return real(self, start, count)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "block", block)
        yield found


def below(found: list[tuple[int, int]], offset: int) -> int:
    """Bytes read below ``offset``."""
    return sum(max(0, min(stop, offset) - start) for start, stop in found)


def held(lab: Lab) -> int:
    """What the server has of the file."""
    persisted: int = lab.object()["persisted"]
    return persisted


# -- a cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at_byte", [0, GRANULE + 99, 13 * GRANULE, 37 * GRANULE + 1])
def test_after_a_cut_nothing_below_the_servers_offset_is_read_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, at_byte: int
) -> None:
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": at_byte}])
    lab.enqueue(lab.model(a_bin=SIZE))
    since: list[int] = []
    with reads(monkeypatch) as found:

        def look(name: str) -> None:
            if name == "query after":
                since.append(len(found))

        lab.boundary = look
        lab.run(**WHOLE)
    lab.assert_ready()
    assert lab.file().verified
    upload = found[since[0] :]
    again = below(upload, at_byte // GRANULE * GRANULE)
    assert again == 0


@pytest.mark.parametrize("do", ["short-308", "growing-ack"])
def test_a_server_that_kept_an_odd_number_of_bytes_costs_no_reading_below_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    """Some stand-ins keep bytes off the granule."""
    odd = 9 * GRANULE + 12_345
    faults = {
        "short-308": [{"on": "put", "do": "short-308", "at_byte": odd}],
        "growing-ack": [
            {"on": "put", "do": "cut", "at_byte": 12 * GRANULE},
            {"on": "query", "do": "growing-ack", "at_byte": GRANULE},
        ],
    }
    lab.world.script.add(faults[do])
    lab.enqueue(lab.model(a_bin=SIZE))
    with reads(monkeypatch) as found:
        lab.run(**WHOLE)
    lab.assert_ready()
    assert lab.file().verified
    read = sum(stop - start for start, stop in found)
    sent_again = lab.job().bytes_sent - SIZE
    assert read <= SIZE + 2 * sent_again + GRANULE


# -- the algebra in its place --------------------------------------------------------------


class Memory:
    """An `OpenFile` in memory."""

    name, fingerprint, written_to = "a.bin", "x", False

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size_bytes = len(content)
        self.read = 0

    def same(self, known: str) -> bool:
        return known == self.fingerprint

    def check(self) -> None:
        pass

    def block(self, start: int, count: int) -> bytes:
        self.read += count
        return self.content[start : start + count]

    def is_sound(self) -> bool:
        return True

    def close(self) -> None:
        pass


def test_a_crc_between_two_known_ones_is_found_from_the_one_above() -> None:
    import google_crc32c  # noqa: PLC0415

    from uploader.runtime import StopToken  # noqa: PLC0415

    file = Memory(bytes(range(256)) * 40_000)
    reader = Reader(file, StopToken())
    top = 9_000_001
    reader.pairs[top] = google_crc32c.value(file.content[:top])
    at = reader.crc_at(8_999_000)
    assert at == PrefixCrc(8_999_000, google_crc32c.value(file.content[: at.offset]))
    assert file.read == top - at.offset
    assert reader.crc_at(top) == PrefixCrc(top, reader.pairs[top])
    assert file.read == top - at.offset, "a known one is not read for"


# -- SIGTERM -------------------------------------------------------------------------------


def test_after_a_drain_nothing_is_read_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.bytes_per_s = float(BLOCKS_PER_S * GRANULE)
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(
        lambda: "sandbox/model/a.bin" in objects(lab) and held(lab) > 20 * GRANULE, **WHOLE
    )
    offset = held(lab)
    assert offset < SIZE
    first: list[int] = []
    with reads(monkeypatch) as found:

        def look(name: str) -> None:
            if name == "put block" and not first:
                first.append(len(found))

        lab.boundary = look
        lab.run(**WHOLE)
    lab.assert_ready()
    assert below(found[: first[0] + 10], offset) == 0


def objects(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.world.report()["objects"]
    return found


# -- SIGKILL -------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[SimLab]:
    lab = SimLab(tmp_path, 1, landing_polls=1)
    lab.bytes_per_s = float(BLOCKS_PER_S * GRANULE)
    lab.enqueue(lab.model(a_bin=SIZE))
    yield lab
    lab.close()


@pytest.mark.parametrize("after", [5, 18, 19, 31, 39])
def test_after_a_kill_a_quarter_of_a_second_of_sending_is_read_again(
    killed: SimLab, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    killed.run_until_killed(after, **WHOLE)
    offset = held(killed)
    assert offset >= (after - 2) * GRANULE
    with reads(monkeypatch) as found:
        assert killed.run_once(**WHOLE)
    killed.assert_ready()
    assert killed.file().verified
    assert below(found[: len(found) // 2], offset) <= 0.25 * BLOCKS_PER_S * GRANULE + GRANULE


def test_a_mark_of_another_source_is_not_believed(killed: SimLab) -> None:
    """It would seem to prove bytes that nobody compared."""
    killed.run_until_killed(30, **WHOLE)
    path = killed.folder / "model" / "a.bin"
    path.write_bytes(bytes(SIZE))
    assert killed.run_once(**WHOLE)
    job = killed.job()
    assert job.reason
    assert job.reason.code == "source_changed"
