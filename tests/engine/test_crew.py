"""What the errands of one upload share: a connection goes from one to the next."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from tests.engine.conftest import DEADLINE_S, FastLab
from uploader.engine.crew import Crew, Errand


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
