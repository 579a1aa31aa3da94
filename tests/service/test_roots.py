"""No path and no link leads out of the roots, and nothing of a folder there holds anybody up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, folder
from tests.model.test_links import slow_links
from tests.service.conftest import Site
from uploader import files
from uploader.core.job import NewJob
from uploader.core.lifecycle import Verb
from uploader.intake.plan import Plan
from uploader.model.reading import read_object
from uploader.service.http import jobs as routes_of_jobs
from uploader.service.http import roots as roots_of_the_api
from uploader.service.http.problems import Refusal
from uploader.sources.local import LocalFolder
from uploader.store.jobs import Jobs


def test_folders_below_the_roots_are_listed_and_no_others(site: Site) -> None:
    site.folder("a/model")
    (site.roots / "out").symlink_to("/etc", target_is_directory=True)
    (site.roots / "file").write_text("")
    roots = site.ask("/api/folders").json
    assert [one["path"] for one in roots["folders"]] == [str(site.roots)]
    listed = site.ask(f"/api/folders?path={site.roots}").json
    assert ([one["name"] for one in listed["folders"]], listed["parent"]) == (["a"], None)
    inner = site.ask(f"/api/folders?path={site.roots}/a").json
    assert ([one["model"] for one in inner["folders"]], inner["parent"]) == (
        [True],
        str(site.roots),
    )
    for path in ("/etc", f"{site.roots}/../..", f"{site.roots}/out", "relative"):
        assert site.ask(f"/api/folders?path={path}").status == 403


def test_a_folder_whose_name_is_not_text_hides_no_other_one(site: Site) -> None:
    """Whoever may make a folder below a root could else keep the page from offering any."""
    site.folder("a/model")
    (site.roots / os.fsdecode(b"b\xff")).mkdir()
    listed = site.ask(f"/api/folders?path={site.roots}")
    assert [one["name"] for one in listed.json["folders"]] == ["a"]


def test_a_refused_folder_comes_back_with_every_finding(site: Site) -> None:
    path = site.folder()
    (path / "config.json").unlink()
    (path / "tokenizer.json").write_text("{")
    answer = site.ask("/api/jobs", {"path": str(path)})
    checked = site.ask("/api/preflight", {"path": str(path)})
    assert (answer.status, answer.json["code"], checked.status) == (422, "preflight", 200)
    assert answer.json["findings"] == checked.json["findings"]
    assert {"check", "severity", "file", "message", "hint"} <= set(answer.json["findings"][0])
    assert site.jobs.jobs() == []


def outside(site: Site, tmp_path: Path) -> dict[str, str]:
    secret = site.folder("../secret")
    (site.roots / "link").symlink_to(secret)
    inside = site.folder("with-a-link")
    (inside / "extra.txt").symlink_to(tmp_path / "state" / "api.token")
    deep = site.folder("deep")
    (deep / "sub").symlink_to(secret, target_is_directory=True)
    return {
        "elsewhere": str(secret),
        "dots": f"{site.roots}/../secret",
        "inner dots": f"{site.roots}/x/../model",
        "a link": str(site.roots / "link"),
        "a file that is a link": str(inside),
        "a folder that is a link": str(deep),
        "a name that begins alike": f"{site.roots}-more",
        "relative": "model",
        "empty": "",
        "nothing": f"{site.roots}\0/model",
    }


def test_no_path_leaves_the_roots(site: Site, tmp_path: Path) -> None:
    (tmp_path / "roots-more").mkdir()
    for why, path in outside(site, tmp_path).items():
        for route in ("/api/jobs", "/api/preflight"):
            answer = site.ask(route, {"path": path})
            assert (answer.status, answer.json["code"]) == (403, "outside_roots"), why
    assert site.jobs.jobs() == []


def test_a_folder_below_the_roots_that_is_not_there_is_not_found(site: Site) -> None:
    assert site.ask("/api/jobs", {"path": str(site.roots / "none")}).status == 404
    assert site.ask("/api/jobs", {"path": f"{site.roots}/{'x' * 3000}"}).status == 404


def test_a_link_out_of_the_roots_is_named(site: Site, tmp_path: Path) -> None:
    path = site.folder()
    (path / "original").mkdir()
    (path / "original" / "notes").symlink_to(tmp_path)
    answer = site.ask("/api/jobs", {"path": str(path)}).json
    assert "original/notes is a link" in answer["detail"]
    assert str(tmp_path) not in answer["detail"]
    assert "remove the link" in answer["hint"]


@pytest.mark.parametrize("count", [30, 1200])
def test_links_that_are_slow_to_follow_hold_nobody_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    path, calls, read = site.folder(), list[object](), os.readlink
    (site.roots / "links").mkdir()
    first = site.roots / "links" / slow_links(site.roots / "links", count)
    (path / "notes.txt").symlink_to(first)
    (site.roots / "named").symlink_to(first)

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(given)
        return read(*given, **named)

    monkeypatch.setattr(os, "readlink", counted)
    answer = site.ask("/api/preflight", {"path": str(path)})
    assert answer.status == 200, answer.json
    assert [one["check"] for one in answer.json["findings"] if one["file"] == "notes.txt"] == [
        "outside_link" if count < 40 else "dangling_link"
    ]
    assert site.ask("/api/preflight", {"path": str(site.roots / "named")}).status in (404, 422)
    assert len(calls) < 5000


def test_links_inside_the_roots_are_taken(site: Site) -> None:
    path = site.folder()
    os.link(path / "config.json", site.roots / "shared.json")
    (path / "config.json").unlink()
    (path / "config.json").symlink_to(site.roots / "shared.json")
    (site.roots / "named").symlink_to(path)
    assert (
        site.ask("/api/jobs", {"path": str(site.roots / "named"), "allow": ["outside_link"]}).status
        == 201
    )


#: What happens to a folder once its links were looked at.
def weights_of_others(model: Path, secret: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(secret / "model.safetensors")


def config_of_others(model: Path, secret: Path) -> None:
    (model / "config.json").unlink()
    (model / "config.json").symlink_to(secret / "config.json")


def folder_of_others(model: Path, secret: Path) -> None:
    shutil.rmtree(model)
    model.symlink_to(secret)


@pytest.mark.parametrize("turn", [weights_of_others, config_of_others, folder_of_others])
@pytest.mark.parametrize("way", ["/api/jobs", "/api/preflight", "/api/jobs/1/retry"])
def test_what_turned_into_a_link_out_of_the_roots_is_not_taken(
    site: Site,
    tmp_path: Path,
    turn: Callable[[Path, Path], None],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, secret = site.folder(), folder(tmp_path / "secret", BASE)
    body: dict[str, Any] = {"path": str(model), "allow": ["outside_link"]}
    again = way.endswith("retry")
    if again:
        assert site.ask("/api/jobs", body).status == 201
        site.jobs.apply(1, Verb.PAUSE, site.jobs.job(1).created_at)

    def passed(roots: Sequence[Path], word: str) -> Path:
        found = roots_of_the_api.folder_below(roots, word)
        turn(model, secret)
        return found

    monkeypatch.setattr(routes_of_jobs, "folder_below", passed)
    answer = site.ask(way, {"rescan": True} if again else body)
    assert (answer.status, answer.json["code"]) == (403, "outside_roots")
    assert [job.run_number for job in site.jobs.jobs()] == ([1] if again else [])


def test_nothing_outside_is_opened_for_a_snapshot(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder(tmp_path / "secret", BASE) / "config.json"
    kept = Plan.kept

    def opens(plan: Plan, table: Jobs) -> AbstractContextManager[NewJob]:
        files.read(outside, 1)
        return kept(plan, table)

    monkeypatch.setattr(Plan, "kept", opens)
    answer = site.ask("/api/jobs", {"path": str(site.folder())})
    assert (answer.status, answer.json["code"]) == (403, "outside_roots")


@pytest.mark.parametrize("turn", [config_of_others, folder_of_others])
def test_what_is_a_link_out_of_the_roots_only_while_it_is_read_tells_nothing(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    turn: Callable[[Path, Path], None],
) -> None:
    model, kept = site.folder(), folder(tmp_path / "kept", BASE)
    secret = folder(tmp_path / "secret", {**BASE, "config.json": b'{"architectures": ["CANARY"]}'})

    def meanwhile(path: Path) -> dict[str, Any]:
        turn(model, secret)
        try:
            return read_object(path)
        finally:
            (model.unlink if model.is_symlink() else lambda: shutil.rmtree(model))()
            shutil.copytree(kept, model)

    monkeypatch.setattr("uploader.model.marks.read_object", meanwhile)
    for way in ("/api/preflight", "/api/jobs"):
        answer = site.ask(way, {"path": str(model)})
        assert (answer.status, answer.json["code"]) == (403, "outside_roots")
        assert "CANARY" not in answer.text
    assert site.jobs.jobs() == []


def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = site.folder()

    def meanwhile(path: Path) -> dict[str, Any]:
        path.unlink()
        os.mkfifo(path)
        return read_object(path)

    monkeypatch.setattr("uploader.model.marks.read_object", meanwhile)
    assert site.ask("/api/preflight", {"path": str(model)}).status == 200


def test_a_link_that_turns_back_is_not_taken_for_the_file_that_was_found(
    site: Site, tmp_path: Path
) -> None:
    model, secret = site.folder(), folder(tmp_path / "secret", BASE)
    weights_of_others(model, secret)
    found = LocalFolder(model).list().manifest
    inside = shutil.copy2(secret / "model.safetensors", site.roots / "copy")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(inside)
    with pytest.raises(Refusal):
        roots_of_the_api.refuse_outsiders([site.roots], found)
    roots_of_the_api.refuse_outsiders([site.roots], LocalFolder(model).list().manifest)


def test_a_folder_of_countless_names_is_refused_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots_of_the_api, "MOST_NAMES", 20)
    path = site.folder()
    for number in range(20):
        (path / f"{number}").mkdir()
    answer = site.ask("/api/preflight", {"path": str(path)})
    assert (answer.status, answer.json["code"]) == (403, "outside_roots")
    assert "20 names" in answer.json["detail"]
