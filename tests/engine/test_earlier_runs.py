"""The row of a file is good for one run of one job, though its bytes and its times come back.

Somebody without the secret of the job table puts it back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_kept import kept
from tests.engine.test_new_life import rescan, rewrite
from tests.engine.test_pieced_rows import SEAL, STORED, put_row, row, stored_object, write
from uploader.cli.receipt import _sealed
from uploader.core.errors import Differs, UsageError
from uploader.core.job import Status
from uploader.core.lifecycle import Verb
from uploader.sandbox.script import Script
from uploader.store.jobs import Jobs
from uploader.store.tables import jobs

SIZES = {"a_bin": 6 * GRANULE, "b_bin": GRANULE + 5}
WHOLE = [*STORED, "fingerprint", "seal"]


@pytest.fixture(autouse=True)
def sealed(lab: Lab) -> None:
    lab.use(SEAL)


def half(lab: Lab) -> dict[str, Any]:
    """The row of `b.bin`, which is stored; `a.bin` is not, and the job is paused."""
    lab.world.script.add([{"on": "put", "match": "a.bin", "do": "status", "status": 503,
                           "times": 0}])  # fmt: skip
    lab.run_until(lambda: lab.file("b.bin").stored)
    lab.world.script = Script()
    lab.jobs.apply(1, Verb.PAUSE, lab.clock.now())
    lab.run()
    return row(lab, "b.bin")


def two_versions(lab: Lab) -> tuple[Path, dict[str, Any]]:
    """The folder of a job whose second run has stored another `b.bin`, and its row of the first."""
    folder = lab.model("model", **SIZES)
    lab.enqueue(folder)
    earlier = half(lab)
    folder.rename(lab.folder / "v1")
    lab.model("other", **SIZES).rename(folder)
    rescan(lab, folder)
    half(lab)
    return folder, earlier


def proof_is_refused(lab: Lab) -> bool:
    known = Jobs(lab.engine, seal=SEAL)
    try:
        _sealed(known, known.job(1))
    except Differs:
        return True
    return False


def test_a_folder_that_comes_back_is_sent_again(lab: Lab) -> None:
    folder, earlier = two_versions(lab)
    folder.rename(lab.folder / "v2")
    (lab.folder / "v1").rename(folder)
    rescan(lab, folder)
    put_row(lab, earlier, STORED, "b.bin")
    lab.run()
    lab.assert_ready()
    assert stored_object(lab, "b.bin") == (folder / "b.bin").read_bytes()


def test_bytes_that_come_back_are_not_kept_by_the_row_of_an_earlier_run(lab: Lab) -> None:
    folder, earlier = two_versions(lab)
    (folder / "b.bin").write_bytes((lab.folder / "v1" / "b.bin").read_bytes())
    put_row(lab, earlier, WHOLE, "b.bin")
    found = kept(lab, folder)
    assert [file.path for file in found] == ["b.bin"], "its row says so"
    with pytest.raises(UsageError, match="no seal"):
        rescan(lab, folder, kept=found)


def test_no_receipt_names_what_an_earlier_run_stored(lab: Lab) -> None:
    folder = lab.model("model", **SIZES)
    lab.enqueue(folder)
    earlier = half(lab)
    rewrite(folder / "b.bin", SIZES["b_bin"])
    rescan(lab, folder, kept=kept(lab, folder))
    lab.run()
    lab.assert_ready()
    assert not proof_is_refused(lab)
    put_row(lab, earlier, WHOLE, "b.bin")
    assert proof_is_refused(lab)


def test_a_run_whose_number_is_turned_back_too_gets_no_receipt(lab: Lab) -> None:
    folder = lab.model("model", **SIZES)
    lab.enqueue(folder)
    earlier = half(lab)
    rewrite(folder / "b.bin", SIZES["b_bin"])
    rescan(lab, folder)
    lab.run()
    put_row(lab, earlier, WHOLE, "b.bin")
    write(lab, update(jobs).values(run_number=1))
    assert proof_is_refused(lab)


@pytest.mark.parametrize("with_its_time", [False, True])
def test_the_number_of_a_job_that_was_removed_proves_nothing(
    lab: Lab, *, with_its_time: bool
) -> None:
    """A database whose sequence is set back gives that number to the next job."""
    lab.enqueue(lab.model("one", **SIZES))
    lab.run()
    assert lab.job().status is Status.DONE
    earlier = row(lab, "b.bin")
    created_at = lab.job().created_at
    lab.jobs.remove(1, lab.clock.now())
    write(lab, text("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'jobs'"))
    lab.sim.suspend(60)
    assert lab.enqueue(lab.model("two", **SIZES)) == 1
    lab.run()
    assert lab.job().status is Status.DONE
    assert not proof_is_refused(lab)
    put_row(lab, earlier, WHOLE, "b.bin")
    if with_its_time:
        write(lab, update(jobs).values(created_at=created_at))
    assert proof_is_refused(lab)


def test_what_a_run_keeps_is_good_for_the_next_one(lab: Lab) -> None:
    """Without anybody's hand in it, nothing is sent again."""
    folder, _ = two_versions(lab)
    rewrite(folder / "a.bin", SIZES["a_bin"])
    rescan(lab, folder, kept=kept(lab, folder))
    lab.run()
    lab.assert_ready()
    assert lab.file("b.bin").sessions == 0
    assert not proof_is_refused(lab)
