"""A disk that says nothing is given up, takes no more threads, and keeps no other look waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.model.build import LORA, folder
from tests.service.conftest import Site
from tests.service.looks.conftest import DEADLINE_S, Disk, Gate, have_ended, looking
from uploader import mounts
from uploader.core.job import ManifestFile
from uploader.service.http import folders, looks
from uploader.sources import snapshot
from uploader.sources.local import opened
from uploader.store.database import dialect


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/api/preflight", "/api/jobs"])
def test_a_folder_on_a_silent_disk_is_given_up_and_keeps_no_other_one_waiting(
    site: Site, silent: Disk, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for a place meanwhile gets none for the same folder either."""
    body = {"path": str(silent.folder)}
    monkeypatch.setattr(looks, "_WAITS_S", DEADLINE_S)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(site.ask, path, body) for _ in range(6)]
    refused = [one.result() for one in asked] + [site.ask(path, body) for _ in range(30)]
    assert {(one.status, one.json["code"]) for one in refused} == {(503, "folder_silent")}
    assert len(looking()) == 2, "one that is asked about again takes no more threads"
    good = {"path": str(site.folder())}
    assert site.ask("/api/preflight", good).status == 200
    assert site.ask("/api/jobs", good).status == 201


@pytest.mark.usefixtures("impatient")
def test_a_folder_on_a_silent_disk_takes_no_more_threads_whatever_links_lead_to_it(
    site: Site, silent: Disk
) -> None:
    """Neither `..` in a link nor a link to a link is a way round."""
    (site.roots / "one").symlink_to(silent.folder)
    (site.roots / "inner").mkdir()
    (site.roots / "inner/two").symlink_to("../one")
    (site.roots / "up").symlink_to("inner/..")
    (site.roots / "around").symlink_to("around")
    with ThreadPoolExecutor(2) as pool:
        bodies = [{"path": str(silent.folder)}, {"path": str(site.roots / "inner/two")}]
        asked = [pool.submit(site.ask, "/api/preflight", body) for body in bodies]
        assert [one.result().status for one in asked] == [503, 503]
    for name in ("one", "inner/two", "up/one", "up/inner/two", "silent"):
        refused = site.ask("/api/preflight", {"path": str(site.roots / name)})
        assert (refused.status, refused.json["code"]) == (503, "folder_silent")
    assert silent.asked == 2
    assert site.ask("/api/preflight", {"path": str(site.roots / "around")}).status == 404
    assert site.ask("/api/preflight", {"path": str(site.folder())}).status == 200


@pytest.fixture
def late_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, no look at a folder gets an answer of the job table."""
    answers, asked = threading.Event(), dialect.corrupt_rows_as_store_error

    def late() -> AbstractContextManager[None]:
        if threading.current_thread().name == "look":
            assert answers.wait(DEADLINE_S)
        return asked()

    monkeypatch.setattr(dialect, "corrupt_rows_as_store_error", late)
    yield answers
    answers.set()
    have_ended()


@pytest.mark.usefixtures("impatient")
def test_a_job_table_that_does_not_answer_is_not_taken_for_the_disk_of_the_folder(
    site: Site, late_table: threading.Event
) -> None:
    body = {"path": str(site.folder())}
    for _ in range(2):
        refused = site.ask("/api/preflight", body)
        assert (refused.status, refused.json["code"]) == (503, "store")
        assert "the job table has not answered" in refused.json["detail"]
    late_table.set()
    have_ended()
    assert site.ask("/api/preflight", body).status == 200


@pytest.mark.usefixtures("impatient")
def test_whoever_waits_for_a_place_while_the_job_table_is_silent_takes_none_away(
    site: Site, late_table: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_WAITS_S", DEADLINE_S)
    body = {"path": str(site.folder())}
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(site.ask, "/api/preflight", body) for _ in range(6)]
    assert {(one.result().status, one.result().json["code"]) for one in asked} == {(503, "store")}
    late_table.set()
    have_ended()
    assert site.ask("/api/preflight", body).status == 200


@pytest.mark.usefixtures("impatient")
def test_what_was_given_up_ends_once_the_disk_answers_and_makes_no_job(
    site: Site, silent: Disk
) -> None:
    body = {"path": str(silent.folder)}
    assert site.ask("/api/jobs", body).status == 503
    silent.answers.set()
    have_ended()
    assert len(silent.opened) == 1
    assert site.jobs.page(0, 10) == []
    assert site.ask("/api/jobs", body).status == 201


@pytest.mark.usefixtures("impatient")
def test_a_snapshot_of_a_folder_whose_disk_falls_silent_is_given_up_and_none_is_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def late(root: Path, file: ManifestFile) -> int:
        assert answers.wait(DEADLINE_S)
        return opened(root, file)

    monkeypatch.setattr(snapshot, "opened", late)
    body = {"path": str(site.folder()), "snapshot": "hardlink"}
    try:
        refused = site.ask("/api/jobs", body)
        assert (refused.status, refused.json["code"]) == (503, "folder_silent")
    finally:
        answers.set()
        have_ended()
    assert site.jobs.page(0, 10) == []
    assert site.settings.snapshots
    assert [*site.settings.snapshots.glob("snapshot-*")] == []
    assert site.ask("/api/jobs", body).status == 201


@pytest.mark.usefixtures("impatient")
def test_a_list_of_folders_on_a_silent_disk_leaves_threads_to_everything_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = Gate(answer=site.folder().parent)
    monkeypatch.setattr(folders, "real_folder", hangs)
    asked_for = 45
    path = f"/api/folders?path={site.roots}"
    with ThreadPoolExecutor(asked_for) as pool:
        asked = [pool.submit(site.ask, path) for _ in range(asked_for)]
        answered = wait_for(asked, DEADLINE_S).done
        assert {one.result().json["code"] for one in answered} == {"folder_silent", "too_fast"}
    assert len(answered) == asked_for
    assert site.ask("/api/jobs").status == 200
    assert site.ask("/readyz").status == 200
    assert site.ask(path).json["code"] == "folder_silent"
    hangs.opened.set()
    have_ended()
    assert site.ask(path).status == 200


@pytest.mark.usefixtures("impatient")
def test_only_so_many_folders_on_silent_disks_leave_their_places(
    site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MOST_HELD_UP", 3)
    monkeypatch.setattr(looks, "PATIENCE_S", 0.2)
    for number in range(3 + 2):
        assert site.ask("/api/preflight", {"path": str(site.folder(f"m{number}"))}).status == 503
    gate.have_come(3 + 2)
    refused = site.ask("/api/preflight", {"path": str(site.folder())})
    assert (refused.status, refused.json["code"]) == (429, "too_fast")
    assert site.ask("/api/jobs").status == 200
    gate.opened.set()
    have_ended()
    assert site.ask("/api/preflight", {"path": str(site.folder())}).status == 500


def adapters_of(site: Site, base: Path, count: int) -> list[Path]:
    """Adapters in folders of their own, of a model that was enqueued from ``base``."""
    model = {"path": str(base), "model_id": "base"}
    assert site.ask("/api/jobs", model).status == 201
    named = {
        **json.loads(LORA["adapter_config.json"]),
        "base_model_name_or_path": site.jobs.job(1).model,
    }
    files = {**LORA, "adapter_config.json": json.dumps(named).encode()}
    return [folder(site.roots / f"adapter{number}", files) for number in range(count)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/api/preflight", "/api/jobs"])
def test_a_base_model_on_a_silent_disk_takes_one_thread_however_many_adapters_are_for_it(
    site: Site, silent: Disk, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(looks, "MOST_HELD_UP", 2)
    monkeypatch.setattr(looks, "PATIENCE_S", DEADLINE_S)  # a busy machine is no silent disk
    silent.answers.set()
    adapters = adapters_of(site, silent.folder, 2 + 2 + 1)
    silent.answers.clear()
    monkeypatch.setattr(looks, "PATIENCE_S", 0.2)
    for adapter in adapters:
        refused = site.ask(path, {"path": str(adapter)})
        assert (refused.status, refused.json["code"]) == (503, "folder_silent")
    have_ended(but=1)
    monkeypatch.setattr(looks, "PATIENCE_S", DEADLINE_S)
    assert len(site.jobs.page(0, 10)) == 1
    assert site.ask("/api/preflight", {"path": str(site.folder())}).status == 200
    silent.answers.set()
    have_ended()
    assert site.ask("/api/preflight", {"path": str(adapters[0])}).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_file_server_that_falls_silent_takes_one_thread_whatever_folders_and_links_lead_to_it(
    site: Site, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor does a second mount of it, under another name, count as another one."""
    monkeypatch.setattr(looks, "MOST_HELD_UP", 2)
    monkeypatch.setattr(looks, "PATIENCE_S", 0.2)
    (site.roots / "again").mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"21 20 0:52 / {site.roots}/far rw shared:1 - nfs4 server:/models rw\n"
        f"22 20 0:52 /sub {site.roots}/again rw - nfs4 server:/models rw\n"
    )
    monkeypatch.setattr(mounts.far_devices, "__defaults__", (table,))
    for number in range(4):
        site.folder(f"far/m{number}")
    (site.roots / "link").symlink_to("far/m3")
    site.folder("again/m")
    for name in ("far/m0", "far/m1", "far/m2", "link", "again/m"):
        refused = site.ask("/api/preflight", {"path": str(site.roots / name)})
        assert (refused.status, refused.json["code"]) == (503, "folder_silent")
    linked = site.folder("linked")
    (linked / "tokenizer.json").unlink()
    (linked / "tokenizer.json").symlink_to("../far/m1/tokenizer.json")
    refused = site.ask("/api/preflight", {"path": str(linked)})
    assert (refused.status, refused.json["code"]) == (503, "folder_silent")
    have_ended(but=1)
    assert site.ask("/api/jobs").status == 200
    gate.opened.set()
    have_ended()
    assert site.ask("/api/preflight", {"path": str(linked)}).status == 500
