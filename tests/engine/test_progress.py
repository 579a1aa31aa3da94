"""What a transfer has sent is counted once, whoever writes it and however late."""

from __future__ import annotations

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.engine.progress import Progress
from uploader.store.held_files import FileProgress

SIZE = 10 * GRANULE


def test_a_late_write_of_the_worker_takes_nothing_from_the_next_try(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's thread has taken what the first try sent, and has not written it yet."""
    take, taken = Progress.take, []

    def taken_by_another(progress: Progress) -> FileProgress | None:
        row = take(progress)
        if row is None or lab.file().attempts:
            return row
        taken.append(row)
        return None

    monkeypatch.setattr(Progress, "take", taken_by_another)
    lab.world.script.add([{"on": "put", "do": "cut", "at_byte": 3 * GRANULE}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert taken
    assert lab.job().bytes_sent >= SIZE
