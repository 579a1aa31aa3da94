"""Jobs by HTTP: the same documents, refusals and verbs as by the command line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.service.conftest import Site
from uploader.core.lifecycle import Verb


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
