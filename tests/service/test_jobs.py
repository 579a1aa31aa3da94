"""Jobs by HTTP: the same documents, refusals and verbs as by the command line."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, folder
from tests.service.conftest import Site
from uploader.core.lifecycle import Verb
from uploader.model.reading import read_object
from uploader.service.http import jobs as routes_of_jobs
from uploader.service.http import roots as roots_of_the_api
from uploader.service.http.problems import Refusal
from uploader.sources.local import LocalFolder


def test_enqueue_makes_a_job_and_the_same_again_is_the_same_job(site: Site) -> None:
    body = {"path": str(site.folder()), "model_id": "m", "priority": 3, "display_name": "A model"}
    first, again = site.ask("/api/jobs", body), site.ask("/api/jobs", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"] == 1
    assert (first.json["schema"], first.json["priority"]) == ("uploader.job/1", 3)
    assert site.jobs.job(1).create_body["model"]["displayName"] == "A model"


def test_a_job_is_read_by_its_id_and_by_its_models_id(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    by_id = site.ask("/api/jobs/1").json
    assert site.ask("/api/jobs/m").json == by_id
    assert by_id["model"].endswith("/models/m")
    files = site.ask("/api/jobs/m/files").json["files"]
    assert files == by_id["files"]
    assert [file["path"] for file in files] == sorted(file["path"] for file in files)


def test_a_job_is_explained_in_sentences(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    explained = site.ask("/api/jobs/m/explain").json
    assert (explained["schema"], explained["job"]) == ("uploader.explanation/1", 1)
    assert any("m" in sentence for sentence in explained["sentences"])
    assert [event["kind"] for event in explained["events"]] == ["enqueued"]


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


HALF, HALF_JSON = "\ud800", "\\ud800"
HEAD = {
    "weight_map": {"a": f"{HALF}.safetensors", HALF: "model.safetensors"},
    "metadata": {"total_size": 2},
}
HALVES: dict[str, dict[str, bytes]] = {
    "a key": {
        "config.json": json.dumps(
            {"architectures": ["LlamaForCausalLM"], "rope_parameters": {HALF: {"rope_theta": 1}}}
        ).encode()
    },
    "a shard": {"model.safetensors.index.json": json.dumps(HEAD).encode()},
    "a value": {"config.json": json.dumps({"architectures": [HALF], "model_type": HALF}).encode()},
}


@pytest.mark.parametrize("files", HALVES.values(), ids=HALVES)
def test_half_a_character_in_a_folder_hides_no_other_job(
    site: Site, files: dict[str, bytes]
) -> None:
    site.ask("/api/jobs", {"path": str(site.folder("good"))})
    odd = site.folder("odd")
    for name, content in files.items():
        (odd / name).write_bytes(content)
    for path in ("/api/preflight", "/api/jobs"):
        answer = site.ask(path, {"path": str(odd)})
        assert answer.status < 500
        assert answer.json["findings" if path == "/api/preflight" else "preflight"]
    for path in ("/api/jobs", "/api/jobs?finished=0&limit=1000", "/api/events?wait=0"):
        assert site.ask(path).status == 200
    for path in ("/api/jobs/2", "/api/jobs/2/files", "/api/jobs/2/explain"):
        assert site.ask(path).status == 200
    assert [job["status"] for job in site.ask("/api/jobs").json["jobs"]] == ["active"] * 2


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("warnings", f'["{HALF_JSON}"]'),
        (
            "preflight",
            f'[{{"check":"c","severity":"warning","file":"","message":"{HALF_JSON}","hint":""}}]',
        ),
        ("options", f'{{"exclude":["{HALF_JSON}"]}}'),
        ("options", '{"x":1e999}'),
    ],
)
def test_half_a_character_in_a_row_hides_no_other_job(site: Site, column: str, value: str) -> None:
    for name in ("a", "b"):
        site.ask("/api/jobs", {"path": str(site.folder(name)), "model_id": name})
    with closing(sqlite3.connect(site.settings.state_dir / "uploader.db")) as connection:
        connection.execute(f"UPDATE jobs SET {column} = ? WHERE id = 1", (value,))
        connection.commit()
    listed = site.ask("/api/jobs").json["jobs"]
    assert [job["reason"] and job["reason"]["code"] for job in listed] == ["unreadable_row", None]
    assert site.ask("/api/jobs/1").json["code"] == "unreadable_row"
    assert site.ask("/api/jobs/2").status == 200


def test_all_jobs_are_read_page_by_page(site: Site) -> None:
    for number in range(5):
        site.ask("/api/jobs", {"path": str(site.folder(f"m{number}"))})
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = site.ask(f"/api/jobs?limit=2&after={after}").json
        assert page["schema"] == "uploader.jobs/1"
        seen += [job["id"] for job in page["jobs"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5]
    assert site.ask("/api/jobs?limit=1001").status == 422


def test_the_newest_finished_jobs_come_with_all_open_ones(site: Site) -> None:
    for number in range(4):
        site.ask("/api/jobs", {"path": str(site.folder(f"m{number}"))})
    for number in (1, 2):
        site.ask(f"/api/jobs/{number}/cancel", {})
    assert [job["id"] for job in site.ask("/api/jobs?finished=1").json["jobs"]] == [2, 3, 4]
    assert [job["id"] for job in site.ask("/api/jobs?finished=0").json["jobs"]] == [3, 4]


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
def test_a_verb_given_twice_succeeds_twice(site: Site, verb: str) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    answers = [site.ask(f"/api/jobs/1/{verb}", {}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json["status"] == answers[1].json["status"]
    assert site.ask(f"/api/jobs/1/{verb}").status in (404, 405)


def test_a_verb_needs_no_body(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    assert site.ask("/api/jobs/1/pause", b"").status == 200
    assert site.jobs.job(1).status == "paused"


def test_a_verb_that_the_state_refuses_is_a_conflict_with_its_reason(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    site.ask("/api/jobs/1/cancel", {})
    answer = site.ask("/api/jobs/1/retry", {})
    assert (answer.status, answer.json["code"]) == (409, "verb_refused")
    assert "remove" in answer.json["hint"]


def test_retry_starts_over_with_the_folder_as_it_is_now(site: Site) -> None:
    path = site.folder()
    site.ask("/api/jobs", {"path": str(path)})
    (path / "config.json").write_text((path / "config.json").read_text() + "\n")
    answer = site.ask("/api/jobs/1/retry", {"rescan": True})
    assert (answer.status, answer.json["stage"]) == (200, "create")


def test_an_unknown_job_or_path_is_not_found(site: Site) -> None:
    for path in (
        "/api/jobs/7",
        "/api/jobs/none",
        "/api/jobs/9999999999999999999999",
        "/api/nothing",
    ):
        answer = site.ask(path)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), path
    assert site.ask("/api/jobs/7/pause", {}).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        7,
        {"path": 7},
        {"path": "x" * 5000},
        {"unknown": 1},
        {"model_id": ["m"]},
        {"priority": "high"},
        {"public": "yes"},
        {"include": "*.txt"},
        {"kind": "nonsense"},
        {"model_id": "No Such Id"},
        {"priority": 10**9},
    ],
    ids=repr,
)
def test_a_body_that_says_something_else_is_unprocessable(site: Site, body: object) -> None:
    if isinstance(body, dict) and body and "path" not in body:
        body = {"path": str(site.folder()), **body}
    answer = site.ask("/api/jobs", body)
    assert (answer.status, answer.json["status"]) == (422, 422)
    assert answer.json["detail"]
    assert site.jobs.jobs() == []


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


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/api/jobs/1/launch", 404, "/api/openapi.json"),
        ("GET", "/api/nothing", 404, "/api/openapi.json"),
        ("DELETE", "/api/jobs/1", 405, "use GET"),
        ("GET", "/api/jobs/1/pause", 405, "use POST"),
        ("PUT", "/api/jobs", 405, "use GET, POST"),
    ],
)
def test_a_request_that_no_route_takes_is_told_whether_path_or_method_is_wrong(
    site: Site, method: str, path: str, status: int, words: str
) -> None:
    answer = site.ask(path, method=method)
    assert (answer.status, answer.json["hint"].count(words)) == (status, 1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"path": ', "the body is not JSON from character "),
        (b'{"path": "/x", "modle_id": "a"}', "there is no field modle_id"),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_words(site: Site, body: bytes, words: str) -> None:
    assert words in site.ask("/api/jobs", body).json["detail"]


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


def test_what_is_read_shows_no_secret(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    site.jobs.apply(1, Verb.PAUSE, site.jobs.job(1).created_at)
    whole = "".join(
        site.ask(path).text for path in ("/api/jobs", "/api/jobs/1", "/api/events?wait=0")
    )
    assert site.token not in whole
    assert "session_uri" not in whole
    assert "upload_url" not in whole


def test_the_openapi_document_names_every_path(site: Site) -> None:
    document = site.ask("/api/openapi.json").json
    verbs = {f"/api/jobs/{{job}}/{verb}" for verb in ("pause", "resume", "cancel", "retry")}
    assert verbs | {"/api/jobs", "/api/events", "/livez", "/readyz"} <= set(document["paths"])
    fields = document["components"]["schemas"]["EnqueueBody"]["properties"]
    assert {"path", "model_id", "display_name", "allow", "no_preflight"} <= set(fields)


def test_a_job_that_cannot_be_read_is_named_and_hides_no_other(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.ask("/api/jobs", {"path": str(site.folder(name)), "model_id": name})
    with closing(sqlite3.connect(site.settings.state_dir / "uploader.db")) as connection:
        connection.executescript("UPDATE jobs SET model_id = '$(id)' WHERE id = 2")
    for listed in ("/api/jobs", "/api/jobs?finished=5"):
        answer = site.ask(listed)
        assert answer.status == 200
        assert [job["id"] for job in answer.json["jobs"]] == [1, 2, 3]
        odd = answer.json["jobs"][1]
        assert (odd["status"], odd["reason"]["code"]) == ("failed", "unreadable_row")
        assert "$(id)" not in answer.text
    alone = site.ask("/api/jobs/2")
    assert (alone.status, alone.json["code"]) == (503, "unreadable_row")
    assert "job 2" in alone.json["detail"]
    assert "remove 2" in alone.json["hint"]
