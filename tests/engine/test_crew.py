"""What the errands of one upload share: a connection goes from one to the next."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import DEADLINE_S
from tests.engine.fast import FastLab
from tests.simulation.sim import Sim
from uploader.core.job import FileState
from uploader.core.redact import SessionUri
from uploader.core.resumable import UploadUrl, read_url
from uploader.core.upload import EXCHANGE_EVERY_S
from uploader.engine.crew import Crew, Errand, Lane
from uploader.engine.sessions import Opening
from uploader.runtime import StopToken


class _Brief(Errand):
    error_of_its_own: Exception | None = None

    def run(self) -> None:
        if self.error_of_its_own is not None:
            raise self.error_of_its_own


@pytest.mark.parametrize("error", [None, OSError("cut")])
def test_an_errand_that_has_ended_gives_its_lane_to_the_next_before_it_is_judged(
    tmp_path: Path, error: Exception | None
) -> None:
    with contextlib.closing(FastLab(tmp_path)) as lab, lab.worker() as worker:
        crew = Crew(worker._context, 1, lambda: False)
        lane = crew.lane()
        errand = _Brief(lane.stop, lane)
        errand.error_of_its_own = error
        over = threading.Event()
        crew.start("brief", errand, over.set)
        assert over.wait(DEADLINE_S)
        assert crew.lane() is lane
        errand.cut()
        assert not lane.stop.stopped, "it is another's by now"
        assert crew.lane() is not lane
        assert crew.take_ended() == [errand]
        assert errand.error is error
        assert crew.lane() is not lane


class _Closable:
    """What a lane needs of a storage that is no longer used."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_the_connection_of_an_errand_that_was_stopped_is_closed_though_it_ended_well(
    tmp_path: Path,
) -> None:
    with contextlib.closing(FastLab(tmp_path)) as lab, lab.worker() as worker:
        crew, storage = Crew(worker._context, 1, lambda: False), _Closable()
        connected: Any = storage
        errand = _Brief(StopToken(), Lane(StopToken(), connected))
        over = threading.Event()
        crew.start("brief", errand, over.set)
        assert over.wait(DEADLINE_S)
        assert errand.lane
        errand.lane.stop.stop()
        assert crew.take_ended() == [errand]
        assert storage.closed


class _Opens:
    """A storage that takes its time; ``told``: whether anybody was woken since the last session."""

    def __init__(self, clock: Sim, took_s: float, wake: threading.Event) -> None:
        self.told: list[bool] = []
        self._clock = clock
        self._took_s = took_s
        self._wake = wake

    def start(self, _: UploadUrl, __: int) -> SessionUri:
        self.told.append(self._wake.is_set())
        self._wake.clear()
        self._clock.suspend(self._took_s)
        session = f"https://storage.example/b/k?X-Goog-Signature=1&upload_id={len(self.told)}"
        return SessionUri(session)


@pytest.mark.parametrize(
    ("took_s", "told"),
    [(EXCHANGE_EVERY_S / 2, [False] * 3), (2 * EXCHANGE_EVERY_S, [False, True, True])],
)
def test_a_session_that_took_long_to_open_is_told_of_before_the_rest_of_its_row(
    took_s: float, told: list[bool]
) -> None:
    clock, wake = Sim(1), threading.Event()
    storage: Any = _Opens(clock, took_s, wake)
    job: Any = None
    url = read_url("https://storage.example/b/k?X-Goog-Signature=1")
    files = [FileState(1, name, 9, "made:1", url=url) for name in "abc"]
    opening = Opening(clock, job, files, Lane(StopToken(), storage), wake, {})
    opening.run()
    assert storage.told == told
    assert [one.path for one in opening.take()] == ["a", "b", "c"]
