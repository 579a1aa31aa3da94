"""However many folders the API is asked to look at, it looks at few of them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for
from itertools import count, islice
from typing import Any

import pytest

from tests.service.conftest import Site
from tests.service.looks.conftest import DEADLINE_S, Disk, Gate, asking
from uploader.core.errors import NoThread
from uploader.core.lifecycle import Verb
from uploader.intake import rescan
from uploader.service.http import jobs as routes
from uploader.service.http import looks


@pytest.mark.parametrize("path", ["/api/preflight", "/api/jobs", "/api/jobs/m/retry"])
def test_of_folders_to_look_at_one_too_many_is_refused_for_now(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    folder = str(site.folder())
    assert site.ask("/api/jobs", {"path": folder, "model_id": "m"}).status == 201
    site.jobs.apply(1, Verb.CANCEL, site.jobs.job(1).created_at)
    monkeypatch.setattr(looks, "_WAITS_S", 0.1)
    gate = Gate()
    for name in ("inspect", "planned", "start_over"):
        monkeypatch.setattr(routes, name, gate)
    body = {"rescan": True} if path.endswith("retry") else {"path": folder}
    with asking(site, gate, ["/api/preflight", "/api/jobs"]):
        gate.have_come(2)
        refused = site.ask(path, body)
        assert (refused.status, refused.json["code"]) == (429, "too_fast")
        assert refused.headers["retry-after"] == "1"
        assert "Retry-After" in refused.json["hint"]
        assert site.ask("/api/jobs").status == 200


def test_one_too_many_waits_for_its_turn(site: Site, gate: Gate) -> None:
    with asking(site, gate, ["/api/preflight"] * 3) as asked:
        gate.have_come(2)
        assert not gate.inside.acquire(timeout=0.2)
        gate.opened.set()
        gate.have_come(1)
    assert [one.result().status for one in asked] == [500] * 3


def test_those_who_wait_leave_threads_to_everything_else(site: Site, gate: Gate) -> None:
    asked_for, most = 45, 2 + 16
    with asking(site, gate, ["/api/preflight"] * asked_for) as asked:
        answered = islice(as_completed(asked, timeout=DEADLINE_S), asked_for - most)
        assert [one.result().status for one in answered] == [429] * (asked_for - most)
        assert site.ask("/api/jobs").status == 200


@pytest.mark.usefixtures("impatient")
def test_stored_files_that_are_read_again_take_no_place_and_are_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take as long as the model, and more if their disk is silent meanwhile."""
    for number in (1, 2):
        body = {"path": str(site.folder(f"kept{number}")), "model_id": f"m{number}"}
        assert site.ask("/api/jobs", body).status == 201
    reading = Gate(answer=())
    monkeypatch.setattr(rescan, "unchanged", reading)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(site.ask, f"/api/jobs/{n}/retry", {"rescan": True}) for n in (1, 2)]
        try:
            reading.have_come(2)
            gate = Gate()
            monkeypatch.setattr(routes, "inspect", gate)
            with asking(site, gate, ["/api/preflight"] * 2):
                gate.have_come(2)  # both places are free
            monkeypatch.setattr(looks, "PATIENCE_S", 0)
            again = site.ask("/api/jobs/1/retry", {"rescan": True})
            assert (again.status, again.json["code"]) == (429, "too_fast")
            assert not wait_for(asked, 0.2).done
        finally:
            reading.opened.set()
    assert [one.result().status for one in asked] == [200, 200]


@pytest.mark.usefixtures("impatient")
def test_a_folder_that_takes_long_leaves_its_place_and_is_waited_for(
    site: Site, silent: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk, or with digests of all its bytes: it uses a processor now and then."""
    monkeypatch.setattr(looks, "_LONG_S", 0.1)
    monkeypatch.setattr(looks, "processor_clock", lambda: count(1).__next__)
    body = {"path": str(silent.folder)}
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(site.ask, "/api/preflight", body) for _ in range(2)]
        try:
            assert not wait_for(asked, 0.4).done
            assert site.ask("/api/preflight", {"path": str(site.folder())}).status == 200
            again = site.ask("/api/preflight", body)
            assert (again.status, again.json["code"]) == (429, "too_fast")
        finally:
            silent.answers.set()
    assert [one.result().status for one in asked] == [200, 200]


def test_whoever_asks_is_told_that_no_thread_can_be_started_and_no_place_is_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(*_: Any) -> None:
        raise NoThread("no thread can be started")

    body = {"path": str(site.folder())}
    with monkeypatch.context() as full:
        full.setattr(looks, "spawn", spawn)
        assert {site.ask("/api/preflight", body).json["code"] for _ in range(3)} == {"no_thread"}
    assert site.ask("/api/preflight", body).status == 200
