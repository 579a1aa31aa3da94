"""One upload: how it comes by URLs, what its transfers do, what it makes of its sources."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_worker import counting, needs_urls_twice
from uploader.core.errors import SourceUnreadable
from uploader.core.job import FileState, Mode, PrefixCrc, Stage, Status
from uploader.core.remote_model import RemoteModel, refuse_different
from uploader.model.fingerprint import fingerprint_of
from uploader.model.links import NOTHING
from uploader.remote.fireworks import Fireworks
from uploader.runtime import StopToken
from uploader.sandbox.seeding import seed_model
from uploader.sources.reader import open_source

SIZE = 40 * GRANULE


# -- URLs ----------------------------------------------------------------------------------


def test_urls_that_cannot_be_had_are_asked_for_less_and_less(lab: Lab) -> None:
    needs_urls_twice(lab)
    lab.bytes_per_s = GRANULE / 16
    asked = counting(lab, "urls before")
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "nth": 2, "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=GRANULE))
    lab.run_until(lab.passed(400))
    assert 3 < len(asked) < 40


def test_a_session_the_service_opened_for_us_is_used_once(lab: Lab) -> None:
    lab.world.config.url_kind = "session"
    lab.bytes_per_s = GRANULE / 4
    lab.world.script.add([{"on": "put", "match": "a.bin", "do": "dead-session"}])
    lab.enqueue(lab.model(a_bin=GRANULE, b_bin=SIZE))
    lab.run_until(lambda: lab.file("a.bin").stored)
    assert not lab.file("b.bin").stored
    assert lab.kinds().count("session_dropped") == 1


def test_a_file_goes_the_way_its_latest_url_says(lab: Lab) -> None:
    lab.world.config.url_kind, lab.world.config.url_life_s = "put", 30
    later = {"on": "put", "do": "status", "status": 503, "retry_after": 60}
    lab.world.script.add([later])

    def turn(name: str) -> None:
        if name == "put before":
            lab.world.config.url_kind = "resumable"

    lab.boundary = turn
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run()
    lab.assert_ready()
    assert lab.file().mode is Mode.SESSION


def test_a_move_is_noticed_of_a_session_that_is_being_used(lab: Lab) -> None:
    needs_urls_twice(lab)
    lab.bytes_per_s = 1.0 * GRANULE
    asked: list[str] = []

    def move(name: str) -> None:
        asked.extend([name] if name == "urls before" else [])
        if name == "urls before" and len(asked) == 2:
            lab.until(lambda: lab.file("a.bin").session is not None)
            lab.world.config.object_prefix = "elsewhere"

    lab.boundary = move
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=GRANULE))
    lab.run()
    assert lab.job().status is Status.DONE, lab.dump()
    assert all("elsewhere" in (file.object_path or "") for file in lab.jobs.files(1))


def moves_at(lab: Lab, nth: int, when: Callable[[], bool] = lambda: True) -> None:
    """From the ``nth`` map of URLs on, which waits for ``when``, every object is elsewhere."""
    asked: list[str] = []

    def move(name: str) -> None:
        asked.extend([name] if name == "urls before" else [])
        if name == "urls before" and len(asked) == nth:
            lab.until(when)
            lab.world.config.object_prefix = "elsewhere"

    lab.boundary = move


def comes_late(lab: Lab, path: str, *, times: int = 1) -> None:
    """The file is refused for now, and when it is tried again the URLs are too old."""
    lab.world.config.url_life_s = 8
    late = {"do": "status", "status": 503, "retry_after": 20, "match": path, "times": times}
    lab.world.script.add([{"on": "put" if lab.world.config.url_kind == "put" else "start", **late}])


def assert_elsewhere(lab: Lab) -> None:
    assert lab.job().status is Status.DONE, lab.dump()
    assert all("/elsewhere/" in (file.object_path or "") for file in lab.jobs.files(1))
    assert lab.world.report()["urls_calls"] == 2, "the map that says so has the URLs, too"


@pytest.mark.parametrize("kind", ["put", "resumable"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_stored_is_sent_again_if_a_later_map_puts_its_object_elsewhere(
    lab: Lab, kind: str, workers: int
) -> None:
    lab.world.config.url_kind = kind
    comes_late(lab, "b.bin")
    moves_at(lab, 2)
    lab.enqueue(lab.model(a_bin=GRANULE + 1, b_bin=GRANULE))
    if workers == 2:
        lab.run_until(lambda: lab.file("a.bin").stored and lab.file("b.bin").failures > 0)
    lab.run()
    assert_elsewhere(lab)
    assert [file.sessions_lost for file in lab.jobs.files(1)] == [1, 0]


def test_a_move_is_noticed_of_a_plain_put_that_is_under_way(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    comes_late(lab, "b.bin")
    moves_at(lab, 2, lambda: lab.file("a.bin").bytes_sent > 0)
    lab.bytes_per_s = GRANULE
    lab.enqueue(lab.model(a_bin=SIZE, b_bin=GRANULE))
    lab.run()
    assert_elsewhere(lab)


def test_a_file_that_is_stored_is_not_sent_again_without_end(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.world.script.add([{"on": "urls", "do": "other-paths", "times": 0}])
    comes_late(lab, "b.bin", times=0)
    lab.enqueue(lab.model(a_bin=GRANULE, b_bin=GRANULE))
    lab.run()
    reason = lab.job().reason
    assert (lab.job().status, reason and reason.code) == (Status.FAILED, "urls_mismatch")
    assert lab.file("a.bin").sessions_lost == 5


@pytest.mark.parametrize(
    ("times", "stage", "code"),
    [(0, Stage.UPLOAD, "urls_mismatch"), (4, Stage.VALIDATE, "validating")],
    ids=["for ever", "a few times"],
)
def test_a_service_that_moves_the_files_each_time_ends_the_job(
    lab: Lab, times: int, stage: Stage, code: str
) -> None:
    lab.world.config.url_life_s = 8  # so short that a map gives sessions to some files only
    lab.world.script.add([{"on": "urls", "do": "other-paths", "times": times},
                          {"on": "start", "do": "latency", "seconds": 4, "times": 0}])  # fmt: skip
    folder = lab.model()
    for number in range(8):
        (folder / f"{number}.bin").write_bytes(bytes(GRANULE))
    lab.enqueue(folder)
    lab.run_until(
        lambda: lab.job().stage is Stage.VALIDATE or lab.job().status is not Status.ACTIVE
    )
    reason = lab.job().reason
    assert (lab.job().stage, reason and reason.code) == (stage, code), lab.dump()


def test_a_model_whose_kind_is_not_reported_is_not_another_kind(lab: Lab) -> None:
    lab.enqueue(lab.model())
    refuse_different(lab.job(), RemoteModel("UPLOADING", "", "", "", None, ""))


@pytest.mark.parametrize("fields", [{}, {"kind": "HF_BASE_MODEL"}, {"kind": "KIND_UNSPECIFIED"}])
def test_a_model_made_before_kinds_and_files_were_reported_is_adopted(
    lab: Lab, fields: dict[str, str]
) -> None:
    seed_model(lab.world, {"modelId": "model", "model": fields})
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
    assert "adopted" in lab.kinds()


def test_a_model_of_a_kind_that_is_reported_and_is_another_is_refused(lab: Lab) -> None:
    seed_model(lab.world, {"modelId": "model", "model": {"kind": "HF_PEFT_ADDON"}})
    lab.enqueue(lab.model())
    lab.run()
    assert lab.job().status is Status.FAILED


# -- transfers -----------------------------------------------------------------------------


def test_a_server_that_keeps_nothing_is_not_sent_the_same_bytes_without_a_pause(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "do": "no-range-308", "times": 0}])
    lab.enqueue(lab.model(a_bin=SIZE))
    lab.run_until(lab.passed(300))
    assert 3 < lab.object()["puts"] < 40


def test_a_night_without_a_network_does_not_count_against_what_happens_after_it(
    lab: Lab,
) -> None:
    away = {"on": "put", "do": "status", "status": 503, "times": 6}
    odd = {"on": "start", "do": "status", "status": 403, "nth": 2}
    dead = {"on": "put", "do": "dead-session", "nth": 7}
    lab.world.script.add([away, dead, odd])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()


def test_a_plain_put_that_no_fresh_url_makes_legal_fails(lab: Lab) -> None:
    lab.world.config.url_kind = "put"
    lab.world.script.add([{"on": "put", "do": "status", "status": 403, "times": 0}])
    lab.enqueue(lab.model())
    lab.run()
    assert lab.job().status is Status.FAILED
    assert lab.file().attempts == 5


def test_a_service_that_knows_no_plain_put_is_not_asked_without_a_pause(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.world.config.url_kind = "refused"
    ask = Fireworks.upload_urls

    def always_resumable(*of: Any, **facts: Any) -> Any:
        return ask(*of, **facts | {"resumable": True})

    monkeypatch.setattr(Fireworks, "upload_urls", always_resumable)
    lab.enqueue(lab.model(a_bin=5, b_bin=5))
    lab.run()
    assert lab.job().status is Status.FAILED
    assert lab.kinds().count("fell_back") == 1
    assert lab.world.report()["urls_calls"] < 20


@pytest.mark.parametrize("url_kind", ["resumable", "session"])
def test_urls_of_another_kind_than_was_asked_for_end_the_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, url_kind: str
) -> None:
    """It would open sessions without an end, and use none."""
    lab.world.script.add([{"on": "start", "do": "status", "status": 403}])
    ask = Fireworks.upload_urls

    def falls_back_to_nothing(*of: Any, **facts: Any) -> Any:
        if not facts["resumable"]:
            lab.world.config.url_kind = url_kind
        return ask(*of, **facts | {"resumable": True})

    monkeypatch.setattr(Fireworks, "upload_urls", falls_back_to_nothing)
    lab.enqueue(lab.model(a_bin=5, b_bin=5))
    lab.run()
    reason = lab.job().reason
    assert (lab.job().status, reason and reason.code) == (Status.FAILED, "url_unusable")
    assert lab.world.report()["urls_calls"] == 2


@pytest.mark.parametrize("url_kind", ["resumable", "session", "put", "refused"])
def test_empty_files_are_stored_by_every_kind_of_url(lab: Lab, url_kind: str) -> None:
    lab.world.config.url_kind = url_kind
    lab.enqueue(lab.model(a_bin=0, b_bin=5))
    lab.run()
    lab.assert_ready()


def state(path: Path, **facts: Any) -> FileState:
    stat = path.stat()
    return replace(FileState(1, path.name, stat.st_size, fingerprint_of(stat)), **facts)


@pytest.mark.parametrize("stored", [False, True])
def test_a_touched_empty_file_is_still_the_same(tmp_path: Path, stored: bool) -> None:
    (tmp_path / "f").touch()
    file = state(
        tmp_path / "f", fingerprint="local:1:1", stored=stored, crc32c=0 if stored else None
    )
    with open_source(str(tmp_path), file, StopToken(), NOTHING) as source:
        assert source.touched


def test_extending_a_crc_keeps_no_memory_of_the_way(tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "f").write_bytes(content)
    with open_source(str(tmp_path), state(tmp_path / "f"), StopToken(), NOTHING) as source:
        assert source.crc_at(SIZE - 7) == PrefixCrc(SIZE - 7, google_crc32c.value(content[:-7]))
        assert len(source.pairs) <= 2


def test_a_stale_file_handle_is_a_condition_that_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    file = state(tmp_path / "f")

    def stale(_: int) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    with open_source(str(tmp_path), file, StopToken(), NOTHING) as source:
        monkeypatch.setattr("uploader.sources.local.os.fstat", stale)
        with pytest.raises(SourceUnreadable):
            source.check()
        with pytest.raises(SourceUnreadable):
            open_source(str(tmp_path), file, StopToken(), NOTHING)
        monkeypatch.undo()


def test_a_folder_that_comes_back_while_it_is_looked_for_is_not_a_lost_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x")

    def gone(*_: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    file = state(tmp_path / "f")
    monkeypatch.setattr("uploader.sources.local.os.open", gone)
    with pytest.raises(SourceUnreadable):
        open_source(str(tmp_path), file, StopToken(), NOTHING)
    monkeypatch.undo()


# -- validation ----------------------------------------------------------------------------


def test_the_patience_with_a_file_not_found_begins_when_it_is_first_not_found(lab: Lab) -> None:
    lab.world.config.landing_polls = 14
    body = {"code": 3, "message": "a.bin not found", "details": []}
    fault = {"on": "validate", "do": "status", "status": 400, "body": body, "nth": 13, "times": 3}
    lab.world.script.add([fault])
    lab.enqueue(lab.model())
    lab.run()
    lab.assert_ready()
