"""The disk of the file with the API key does not answer: jobs say so, and leave their places."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from tests.engine.conftest import GRANULE, SIMULATED_DEADLINE_S, Lab
from tests.engine.test_silent_disk import LONG_S
from uploader import wiring
from uploader.core.job import Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.reasons import Code
from uploader.engine.disks import PATIENCE_S
from uploader.engine.worker import DRAIN_S, GRACE_S
from uploader.remote import credentials
from uploader.remote.credentials import ApiKeySource
from uploader.remote.gate import Gate
from uploader.runtime import StopToken, SystemClock
from uploader.settings.schema import Settings


class Silence:
    """Whether the disk of the key file does not answer."""

    def __init__(self, lab: Lab) -> None:
        self.file = lab.folder / "keys" / "key"
        self.on = False
        self.over = threading.Event()
        self._lab = lab
        self._real = credentials._text
        self.file.parent.mkdir()
        self.file.write_text(lab.key)
        lab.key_source = ApiKeySource(None, self.file, None, None)

    def end(self) -> None:
        self.on = False
        self.over.set()

    def read(self, path: Path) -> str:
        assert path == self.file
        if self.on:
            assert self._lab.clock.wait(self.over, SIMULATED_DEADLINE_S)
        return self._real(path)


@pytest.fixture
def silence(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Silence:
    lab.max_jobs = lab.max_files = 1
    found = Silence(lab)
    monkeypatch.setattr(credentials, "_text", found.read)
    return found


def test_the_job_names_the_file_and_goes_on_once_its_disk_answers(
    lab: Lab, silence: Silence, caplog: pytest.LogCaptureFixture
) -> None:
    lab.enqueue(lab.model())
    silence.on = True
    seen: list[str] = []

    def reached() -> bool:
        if lab.clock.boot_s() > LONG_S and silence.on:
            reason = lab.job().reason
            assert reason is not None
            assert (reason.code, lab.job().status) == (Code.KEY_SILENT, Status.ACTIVE)
            seen.append(reason.message)
            silence.end()
        return lab.job().status is Status.DONE

    with caplog.at_level(logging.WARNING, "uploader.engine"):
        lab.run_until(reached)
    assert str(silence.file) in seen[0]
    lab.assert_ready()
    assert lab.job().reason is None
    words = f"job 1: the disk of {silence.file} does not answer: the job waits for it"
    assert caplog.messages.count(words) == 1


def test_a_job_that_needs_no_key_any_more_is_begun_meanwhile_and_a_drain_ends(
    lab: Lab, silence: Silence
) -> None:
    """Its URLs are there, and its sessions need none."""
    sent = lab.enqueue(lab.model("sent", a_bin=40 * GRANULE))
    lab.bytes_per_s = GRANULE
    lab.run_until(lambda: lab.file("a.bin", sent).checkpoint.offset > 0)
    lab.jobs.apply(sent, Verb.PAUSE, lab.clock.now())
    waits = lab.enqueue(lab.model("waits", a_bin=GRANULE))
    silence.on, began_s = True, lab.clock.boot_s()

    def reached() -> bool:
        if lab.job(waits).reason and lab.job(sent).status is Status.PAUSED:
            lab.jobs.apply(sent, Verb.RESUME, lab.clock.now())
        return lab.file("a.bin", sent).stored

    lab.run_until(reached)
    assert lab.clock.boot_s() - began_s < LONG_S + DRAIN_S + 2.0
    assert lab.job(waits).stage is Stage.CREATE


def test_a_cancelled_job_leaves_its_lease_and_its_place(lab: Lab, silence: Silence) -> None:
    job_id = lab.enqueue(lab.model("bad"))
    silence.on = True
    cancelled_s: list[float] = []

    def reached() -> bool:
        if lab.job(job_id).reason and not cancelled_s:
            lab.jobs.apply(job_id, Verb.CANCEL, lab.clock.now())
            cancelled_s.append(lab.clock.boot_s())
        return bool(cancelled_s) and lab.job(job_id).lease is None

    lab.run_until(reached)
    assert lab.clock.boot_s() - cancelled_s[0] < GRACE_S + DRAIN_S + PATIENCE_S


@pytest.mark.long
def test_models_that_cannot_be_deleted_yet_keep_no_other_job_from_being_cleaned_up_after(
    lab: Lab, silence: Silence
) -> None:
    lab.max_jobs, lab.bytes_per_s = 10, GRANULE
    ids = [lab.enqueue(lab.model(f"m{n}", a_bin=40 * GRANULE)) for n in range(6)]
    lab.run_until(lambda: all(lab.file("a.bin", job_id).session for job_id in ids))
    for job_id in ids:
        deleting = job_id != ids[-1]
        lab.jobs.apply(job_id, Verb.CANCEL, lab.clock.now(), delete_remote=deleting)
    silence.on, began_s = True, lab.clock.boot_s()
    lab.run_until(lambda: "closed" in lab.kinds(ids[-1]))
    assert lab.clock.boot_s() - began_s < LONG_S


def test_every_client_of_a_worker_shows_that_it_waits_for_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate({"fireworks": {"api_key_file": tmp_path / "key"}})
    stop, waited = StopToken(boot_s=SystemClock().boot_s), list[float]()

    def read(_: Path) -> str:
        waited.append(stop.key_disk.longest_s)
        raise NoKey

    monkeypatch.setattr(credentials, "_text", read)
    clock, source = wiring.clock(), wiring.key_source(settings)
    control, _ = wiring._services(settings, clock, Gate(clock), source)
    with pytest.raises(NoKey):
        control(stop).account()
    assert waited[0] > 0.0


class NoKey(Exception):
    """The end of the test."""


def test_it_is_waited_for_no_disk_if_the_key_is_in_no_file(tmp_path: Path) -> None:
    file, ini = tmp_path / "key", tmp_path / "auth.ini"
    assert ApiKeySource(None, file, "print", ini).path == file
    assert ApiKeySource(None, None, None, ini).path == ini
    assert ApiKeySource("fw_1", file, "print", ini).path is None
    assert ApiKeySource(None, None, "print", ini).path is None
