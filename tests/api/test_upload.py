"""`uploader.upload`: one call from a folder to READY, with and without a worker alongside."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

import uploader
from tests.acceptance.conftest import World, until, world

__all__ = ["world"]
pytestmark = pytest.mark.acceptance
MIB = 1 << 20
DEADLINE_S = 120


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """This process has the settings of the sandbox."""
    for name, value in world.environment.items():
        if name.startswith(("UPLOADER_", "FIREWORKS_", "REQUESTS_", "HOME", "XDG_")):
            monkeypatch.setenv(name, value)
    return world


@pytest.fixture
def slow(here: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """8 MiB/s, in this process and in others."""
    slowly = {"UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "8MiB/s",
              "UPLOADER_TRANSFER__CHUNK_SIZE": "1MiB"}  # fmt: skip
    here.environment |= slowly
    for name, value in slowly.items():
        monkeypatch.setenv(name, value)
    return here


@pytest.fixture
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing is printed, and no signal is handled differently afterwards."""
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    yield
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("quiet")
def test_a_folder_becomes_ready_in_any_thread(here: World) -> None:
    root, others = here.model("weights", model_bin=MIB), threading.active_count()
    seen: list[uploader.Job] = []
    ended: list[uploader.JobWithFiles] = []

    def call() -> None:
        ended.append(uploader.upload(root, allow="no_weights", progress=seen.append))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(DEADLINE_S)
    (job,) = ended
    assert (job.status, job.stage, job.bytes_confirmed) == ("done", "ready", job.bytes_total)
    assert all(file.stored and file.verified for file in job.files)
    assert seen[0].status == "active"
    assert seen[-1].status == "done"
    here.assert_identical(root)
    here.assert_kept_every_promise()
    assert uploader.upload(root, allow="no_weights") == job  # done: at once
    until(lambda: threading.active_count() <= others)  # its threads rest for a moment first


@pytest.mark.usefixtures("quiet")
def test_what_no_job_can_be_made_of_leaves_neither_job_nor_model(here: World) -> None:
    root = here.model("weights", model_bin=MIB)
    (root / "config.json").unlink()
    with pytest.raises(uploader.PreflightRefused) as raised:
        uploader.upload(root)
    assert [found.check for found in raised.value.findings]
    assert uploader.jobs() == []
    assert here.box.report()["creates"] == 0


@pytest.mark.usefixtures("quiet")
def test_a_job_that_ends_otherwise_is_returned_too(here: World) -> None:
    here.box.world.config.change({"key_valid": False})
    root = here.model("weights", model_bin=MIB)
    job = uploader.upload(root, allow="no_weights")
    assert job.status == "blocked"
    assert job.reason
    here.box.world.config.change({"key_valid": True})
    assert uploader.upload(root, allow="no_weights").status == "done"


@pytest.mark.long
@pytest.mark.usefixtures("quiet")
def test_progress_is_told_about_once_a_second(slow: World) -> None:
    root = slow.model("weights", model_bin=24 * MIB)
    seen: list[uploader.Job] = []
    began_s = time.monotonic()
    assert uploader.upload(root, allow="no_weights", progress=seen.append).status == "done"
    took_s = time.monotonic() - began_s
    sent = [job.bytes_sent for job in seen]
    assert len(seen) >= 3
    assert len(seen) <= took_s + 3  # the first, the last, and a started second
    assert all(earlier <= later for earlier, later in pairwise(sent))
    assert any(0 < bytes_sent < 24 * MIB for bytes_sent in sent)


@pytest.mark.long
def test_alongside_a_daemon_it_sends_nothing_and_goes_on_when_that_dies(slow: World) -> None:
    root = slow.model("weights", model_bin=24 * MIB)
    with slow.worker() as daemon:
        until(lambda: list((slow.state / "workers").glob("*.lock")))
        killed = threading.Event()

        def kill(job: uploader.Job) -> None:
            if job.bytes_sent > 4 * MIB and not killed.is_set():
                daemon.kill()
                killed.set()

        job = uploader.upload(root, allow="no_weights", progress=kill)
    assert killed.is_set()
    assert job.status == "done"
    slow.assert_identical(root)
    slow.assert_kept_every_promise()


@pytest.mark.long
@pytest.mark.usefixtures("quiet")
def test_a_timeout_leaves_the_job(slow: World) -> None:
    root = slow.model("weights", model_bin=24 * MIB)
    with pytest.raises(uploader.WaitTimedOut):
        uploader.upload(root, allow="no_weights", timeout=1.5)
    job = uploader.job("weights")
    assert job.status == "active"
    assert uploader.upload(root, allow="no_weights").status == "done"
    slow.assert_kept_every_promise()


INTERRUPTED = """
    import sys, uploader
    try:
        uploader.upload(sys.argv[1], allow="no_weights")
    except KeyboardInterrupt:
        print(uploader.job("weights").status)
        raise
"""


@pytest.mark.long
def test_ctrl_c_is_a_keyboard_interrupt_and_the_job_stays(here: World) -> None:
    root = here.model("weights", model_bin=24 * MIB)
    here.hold("model.bin", 2 * MIB)
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(root)]
    with subprocess.Popen(
        command, env=here.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: here.received() >= 2 * MIB)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert out == "active\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    job = here.job("weights")
    assert (job["status"], 0 < job["bytes_confirmed"] < job["bytes_total"]) == ("active", True)
    here.release()
    assert uploader.upload(root, allow="no_weights").status == "done"
    here.assert_kept_every_promise()


@pytest.mark.long
@pytest.mark.usefixtures("quiet")
def test_a_folder_that_is_deleted_midway_ends_in_ready(slow: World) -> None:
    root = slow.model("weights", model_bin=24 * MIB)
    kept_elsewhere = shutil.copytree(root, slow.folder / "elsewhere" / "weights")

    def delete(job: uploader.Job) -> None:
        if job.bytes_sent > 2 * MIB and root.exists():
            shutil.rmtree(root)

    job = uploader.upload(root, allow="no_weights", snapshot="hardlink", progress=delete)
    assert job.status == "done"
    assert not root.exists()
    slow.assert_identical(kept_elsewhere)
    assert list((slow.state / "uploader.db.snapshots").glob("snapshot-*")) == []
