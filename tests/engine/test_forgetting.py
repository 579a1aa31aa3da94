"""Of a job that has ended, a worker remembers nothing: the service says how much there would be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Status
from uploader.core.lifecycle import Verb

NAMES = [f"{letter}_bin" for letter in "abcdefgh"]
#: Each file fails more than once, and the model is not READY at once.
TROUBLES = [
    {"on": "start", "do": "status", "status": 503, "times": 3 * len(NAMES)},
    {"on": "validate", "do": "status", "status": 503, "times": 2},
]
REFUSED = {"on": "validate", "do": "status", "status": 400, "body": {"code": 3, "message": "no"}}
TOO_LARGE = {"on": "put", "match": "z.bin", "do": "status", "status": 413}
KEYLESS = {"on": "validate", "do": "status", "status": 401, "times": 0}


def cancel(lab: Lab) -> None:
    if lab.job().files_stored == len(NAMES) and lab.job().status is Status.ACTIVE:
        lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())


@pytest.mark.parametrize(
    ("fault", "act", "end"),
    [
        (None, None, Status.DONE),
        (REFUSED, None, Status.FAILED),
        (TOO_LARGE, None, Status.FAILED),
        (KEYLESS, None, Status.BLOCKED),
        (None, cancel, Status.CANCELLED),
    ],
    ids=["ready", "refused", "a file is refused", "waits for a key", "given up"],
)
def test_nothing_is_remembered_of_a_job_that_has_ended(
    lab: Lab, fault: dict[str, object] | None, act: Callable[[Lab], None] | None, end: Status
) -> None:
    lab.world.script.add([*([fault] if fault else []), *TROUBLES])
    lab.bytes_per_s = 2.0 * GRANULE
    lab.enqueue(lab.model("model", z_bin=80 * GRANULE, **dict.fromkeys(NAMES, 1000)))
    most = 0
    with lab.worker() as worker:
        context = worker._context

        def look(_: str) -> None:
            nonlocal most
            most = max(most, sum(map(len, context.in_a_row.values())))
            if act:
                act(lab)

        lab.boundary = look
        lab.finish(lambda: worker.run(until_idle=True))
    assert lab.job().status is end
    assert most >= len(NAMES)
    remembered = (context.polls, context.waits, context.missed_s, context.in_a_row)
    assert [len(of_jobs) for of_jobs in remembered] == [0, 0, 0, 0]
