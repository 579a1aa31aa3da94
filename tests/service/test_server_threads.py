"""No thread of the server waits for the disk of a folder: those answer everything else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Site
from uploader.core.lifecycle import Verb
from uploader.service.http import folders, looks, questions

_DEADLINE_S = 9.0
_THREADS = 40


def wait_until_there_are(count: int) -> None:
    """So many threads look at a folder; one that has answered ends soon after."""
    give_up_s = time.monotonic() + _DEADLINE_S
    while sum(one.name == "look" for one in threading.enumerate()) != count:
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


_open, _readlink = os.open, os.readlink
#: The calls for which the system follows links.
_FOLLOWING = (os.stat, os.open, os.scandir, os.listdir, os.access)


def _place(path: Path) -> Path:
    """Where the system finds it; ``path`` if there is nothing."""
    try:
        descriptor = _open(path, os.O_PATH)
    except OSError:
        return path
    try:
        return Path(_readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)


@dataclass
class Disk:
    """Whoever asks for a name below ``silent`` waits until it answers."""

    roots: Path
    silent: Path | None = None
    answers: threading.Event = field(default_factory=threading.Event)
    waited_for: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    #: The threads that asked for a name below the roots.
    asked_by: set[str] = field(default_factory=set)

    def have_ended(self) -> None:
        """It answers, and all who waited for it have ended."""
        self.answers.set()
        wait_until_there_are(0)

    def of(self, call: Any) -> Any:
        def asked(path: Any = ".", *how: Any, **more: Any) -> Any:
            given = isinstance(path, str | os.PathLike) and Path(path)
            if given and call in _FOLLOWING and more.get("follow_symlinks", True):
                given = _place(given)
            if given and given.is_relative_to(self.roots):
                self.asked_by.add(threading.current_thread().name)
            if given and self.silent and given.is_relative_to(self.silent):
                self.waited_for.release()
                assert self.answers.wait(_DEADLINE_S)
            return call(path, *how, **more)

        return asked


@pytest.fixture
def disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(site.roots)
    for name in ("stat", "lstat", "open", "scandir", "listdir", "readlink", "access"):
        monkeypatch.setattr(os, name, made.of(getattr(os, name)))
    yield made
    made.have_ended()


def bodies(folder: Path) -> dict[str, Any]:
    """What is sent to the routes whose body may not be empty."""
    return {
        "/api/jobs": {"path": str(folder), "model_id": "m"},
        "/api/preflight": {"path": str(folder)},
        "/api/jobs/{job}/retry": {"rescan": True},
        "/api/jobs/{job}/edit": {"priority": 5},
    }


def routes(site: Site) -> list[tuple[str, str]]:
    paths = site.ask("/api/openapi.json").json["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def test_no_route_looks_at_a_folder_in_a_thread_of_the_server(site: Site, disk: Disk) -> None:
    folder = site.folder()
    assert site.ask("/api/jobs", bodies(folder)["/api/jobs"]).status == 201
    site.jobs.apply(1, Verb.CANCEL, site.jobs.job(1).created_at)
    asked = 0
    for method, path in [*routes(site), ("get", f"/api/folders?path={site.roots}")]:
        body = bodies(folder).get(path, {}) if method == "post" else None
        query = "?wait=0" if path == "/api/events" else ""
        answer = site.ask(path.replace("{job}", "1") + query, body)
        assert answer.status in {200, 201, 409}, (path, answer.text)
        asked += 1
    assert asked > len(bodies(folder))
    assert disk.asked_by == {"look"}


def test_however_often_a_silent_folder_is_listed_everything_else_is_answered(
    site: Site, disk: Disk
) -> None:
    disk.silent = site.folder().parent
    path, most = f"/api/folders?path={site.roots}", 2 + 16
    with ThreadPoolExecutor(_THREADS + 5) as pool:
        asked = [pool.submit(site.ask, path) for _ in range(_THREADS + 5)]
        try:
            refused = islice(as_completed(asked, _DEADLINE_S), len(asked) - most)
            assert {one.result().json["code"] for one in refused} == {"too_fast"}
            assert site.ask("/api/jobs").status == 200
            assert site.ask("/readyz").status == 200
        finally:
            disk.answers.set()


def test_those_who_wait_for_a_folder_take_no_thread_of_the_server(
    site: Site, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_WAITING", 2 * _THREADS)
    monkeypatch.setattr(looks, "_WAITS_S", 60.0)
    disk.silent = folder = site.folder()
    come, at = threading.Semaphore(0), looks.Looks.at

    def counted(*given: Any) -> Any:
        come.release()
        return at(*given)

    monkeypatch.setattr(looks.Looks, "at", counted)
    body = bodies(folder)["/api/preflight"]
    with ThreadPoolExecutor(_THREADS) as pool:
        asked = [pool.submit(site.ask, "/api/preflight", body) for _ in range(_THREADS)]
        try:
            for _ in asked:
                assert come.acquire(timeout=_DEADLINE_S)
            assert site.ask("/api/jobs").status == 200
        finally:
            disk.answers.set()
    assert {one.result().status for one in asked} == {200}


def test_a_list_of_a_silent_folder_is_given_up_and_others_are_listed(
    site: Site, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "PATIENCE_S", 1.0)
    monkeypatch.setattr(looks, "_TURN_S", 0.02)
    disk.silent = site.folder("silent/model").parent
    site.folder("good/model")
    for _ in range(2):
        refused = site.ask(f"/api/folders?path={disk.silent}")
        assert (refused.status, refused.json["code"]) == (503, "folder_silent")
        assert refused.headers["retry-after"] == "30"
        assert "ask again" in refused.json["hint"]
    listed = site.ask(f"/api/folders?path={site.roots}/good").json["folders"]
    assert [(one["name"], one["model"]) for one in listed] == [("model", True)]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_PATIENCE_S", 0.2)


def listed(site: Site, path: object = "") -> tuple[list[str], list[str]]:
    found = site.ask(f"/api/folders?path={path}").json
    return [one["name"] for one in found["folders"]], found["silent"]


@pytest.mark.usefixtures("brisk")
def test_a_name_that_is_silent_keeps_no_other_one_out_of_a_list(site: Site, disk: Disk) -> None:
    disk.silent = site.folder("evil")
    site.folder("good")
    (site.roots / "link").symlink_to(disk.silent, target_is_directory=True)
    for _ in range(4):
        assert listed(site, site.roots) == (["good"], ["evil", "link"])
    wait_until_there_are(2)
    disk.have_ended()
    assert listed(site, site.roots) == (["evil", "good", "link"], [])


@pytest.mark.usefixtures("brisk")
def test_a_silent_root_is_told_as_such_and_the_list_of_another_is_there(
    site: Site, disk: Disk
) -> None:
    dead, good = site.folder("dead"), site.folder("good/model").parent
    api = site.settings.api.model_copy(update={"roots": (dead, good)})
    site.settings = site.settings.model_copy(update={"api": api})
    site.stop()
    site.start()
    disk.silent = dead
    assert listed(site) == ([str(good)], [str(dead)])
    assert listed(site, good) == (["model"], [])


@pytest.mark.usefixtures("brisk")
def test_only_so_many_silent_names_take_a_thread_and_then_their_own_list_waits(
    site: Site, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MOST_HELD_UP", 3)
    monkeypatch.setattr(looks, "PATIENCE_S", 1.0)
    monkeypatch.setattr(looks, "_TURN_S", 0.02)
    disk.silent = site.roots / "evil"
    for number in range(3 + 1):
        site.folder(f"evil/m{number}")
        (site.roots / f"m{number}").symlink_to(disk.silent / f"m{number}")
    site.folder("good/model")
    for _ in range(3):
        assert site.ask(f"/api/folders?path={site.roots}").json["code"] == "folder_silent"
    wait_until_there_are(3 + 1)
    assert listed(site, site.roots / "good") == (["model"], [])


def test_links_to_files_keep_no_folder_out_of_a_list(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot in a cache of Hugging Face has little else, and a list has an end."""
    monkeypatch.setattr(folders, "_MOST", 2)
    site.folder("z")
    for name in "abc":
        (site.roots / name).symlink_to(site.roots / "z" / "config.json")
    assert listed(site, site.roots) == (["z"], [])


def test_folders_are_listed_while_others_are_checked(site: Site, disk: Disk) -> None:
    checked = [site.folder(f"evil/m{number}") for number in (1, 2)]
    disk.silent = site.roots / "evil"
    site.folder("good/model")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(site.ask, "/api/preflight", {"path": str(one)}) for one in checked]
        try:
            for _ in asked:
                assert disk.waited_for.acquire(timeout=_DEADLINE_S)
            assert site.ask(f"/api/folders?path={site.roots}/good").status == 200
        finally:
            disk.answers.set()
    assert [one.result().status for one in asked] == [200, 200]


def test_a_root_whose_disk_does_not_answer_keeps_nobody_from_what_is_below_another(
    site: Site, disk: Disk
) -> None:
    good, dead = site.roots / "good", site.roots / "dead"
    model = site.folder("good/all/model")
    dead.mkdir()
    api = site.settings.api.model_copy(update={"roots": (dead, good)})
    site.settings = site.settings.model_copy(update={"api": api})
    disk.silent = dead
    assert site.ask(f"/api/folders?path={good}/all").json["folders"][0]["name"] == "model"
    assert site.ask("/api/preflight", {"path": str(model)}).status == 200
    assert site.ask("/api/jobs", {"path": str(model)}).status == 201


def test_the_api_ends_while_a_disk_is_waited_for_and_no_job_is_made_after_its_end(
    site: Site, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.silent = site.folder()
    body = bodies(disk.silent)["/api/jobs"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(site.ask, "/api/jobs", body)
        assert disk.waited_for.acquire(timeout=_DEADLINE_S)
        site.stop()
        assert not disk.answers.is_set()
        refused = asked.result(_DEADLINE_S)
    assert (refused.status, refused.json["detail"]) == (429, "The API is ending")
    disk.have_ended()
    assert site.jobs.page(0, 10) == []
    assert [one for one in caplog.records if one.exc_info] == []
