"""Lists, masks and models made long ago: honoured or refused, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make, Remote


def seed(remote: Remote, **document: Any) -> int:
    token = {"Authorization": f"Bearer {remote.world.doors.control_token}"}
    url = f"{remote.world.base_url}/_sandbox/models"
    return remote.http.post(url, json=document, headers=token).status_code


def listed(remote: Remote, **query: Any) -> list[str]:
    answer = remote.call("GET", "/models", params=query)
    assert answer.ok, answer.text
    return [model["name"].rpartition("/")[2] for model in answer.json()["models"]]


@pytest.fixture
def three(remote: Remote) -> Remote:
    """Three models: `a` and `b` old ones, one of them READY, and `m`."""
    assert seed(remote, modelId="a", state="READY", model={"displayName": "x y", "public": True})
    assert seed(remote, modelId="b", model={"displayName": "x", "baseModelDetails": {}})
    remote.create("f")
    return remote


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["a", "b", "m"]),
        ({"filter": 'state="READY"'}, ["a"]),
        ({"filter": "state != READY"}, ["b", "m"]),
        ({"filter": "kind = CUSTOM_MODEL AND state = UPLOADING"}, ["b"]),
        ({"filter": 'display_name = "x y"'}, ["a"]),
        ({"filter": "displayName:x"}, ["a", "b"]),
        ({"filter": "public = true"}, ["a"]),
        ({"filter": "base_model_details.checkpoint_format = HUGGINGFACE"}, ["m"]),
        ({"orderBy": "name desc"}, ["m", "b", "a"]),
        ({"orderBy": "kind desc, name desc"}, ["m", "b", "a"]),
        ({"orderBy": "kind,name asc"}, ["a", "b", "m"]),
        ({"pageSize": "0"}, ["a", "b", "m"]),
        ({"pageSize": "2"}, ["a", "b"]),
        ({"pageSize": "1000"}, ["a", "b", "m"]),
    ],
)
def test_a_list_is_what_was_asked_for(
    three: Remote, query: dict[str, str], names: list[str]
) -> None:
    if "checkpoint_format" in query.get("filter", ""):
        three.call("DELETE", "/models/b")  # whose details have no such field
    assert listed(three, **query) == names


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "state ="},
        {"filter": "state = READY OR state = UPLOADING"},
        {"filter": "NOT state = READY"},
        {"filter": "(state = READY)"},
        {"filter": "nothing = 1"},
        {"filter": "state > A"},
        {"filter": "baseModelDetails = 1"},
        {"filter": "a" * 3000},
        {"orderBy": "name down"},
        {"orderBy": "nothing"},
        {"orderBy": "name,,kind"},
        {"pageSize": "-1"},
        {"pageSize": "2.5"},
        {"pageSize": "9" * 5000},
        {"pageToken": "2"},
        {"pageToken": "2-00000000"},
        {"readMask": "name,nothing"},
        {"readMask": "name.first"},
        {"page_size": "2"},
        {"colour": "red"},
    ],
)
def test_a_list_that_cannot_be_honoured_is_refused(three: Remote, query: dict[str, str]) -> None:
    answer = three.call("GET", "/models", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


def test_a_page_token_belongs_to_its_list(three: Remote) -> None:
    token = three.call("GET", "/models?pageSize=1").json()["nextPageToken"]
    assert listed(three, pageToken=token, pageSize="5") == ["b", "m"]
    changed = {"pageToken": token, "filter": "state = READY"}
    assert three.call("GET", "/models", params=changed).status_code == 400


def test_a_read_mask_leaves_what_it_names(remote: Remote) -> None:
    remote.create("f")
    path = "/models/m?readMask=name,base_model_details.world_size"
    document = remote.call("GET", path).json()
    assert document == {
        "name": "accounts/sandbox/models/m",
        "baseModelDetails": {"worldSize": 1},
    }
    whole = remote.call("GET", "/models/m").json()
    assert remote.call("GET", "/models/m?readMask=*").json() == whole
    body = {"filenameToSize": {"f": 1}, "readMask": "filenameToUnsignedUris"}
    urls = remote.call("POST", "/models/m:getUploadEndpoint", json=body)
    assert urls.json() == {"filenameToUnsignedUris": {}}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/m?colour=red"),
        ("DELETE", "/models/m?force=true"),
        ("POST", "/models?validateOnly=true"),
        ("GET", "/models/m:validateUpload?configOnly=yes"),
        ("PATCH", "/models/m?updateMask=nothing"),
    ],
)
def test_a_parameter_that_a_call_does_not_take_is_refused(
    remote: Remote, method: str, path: str
) -> None:
    remote.create("f")
    answer = remote.call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert remote.call("GET", "/models/m").ok


def test_an_update_mask_names_what_is_taken_over(remote: Remote) -> None:
    remote.create("f", displayName="Mine", description="kept")
    body = {"displayName": "Ours", "description": "not taken"}
    changed = remote.call("PATCH", "/models/m?updateMask=displayName", json=body).json()
    assert (changed["displayName"], changed["description"]) == ("Ours", "kept")


def test_an_old_model_can_be_uploaded_to(make: Make) -> None:
    remote = make(landing_polls=0)
    assert seed(remote, modelId="m") == 200
    model = remote.call("GET", "/models/m").json()
    assert (model["kind"], model["state"]) == ("CUSTOM_MODEL", "UPLOADING")
    assert model["baseModelDetails"] is None
    url = remote.ask_urls({"f": 1}).json()["filenameToSignedUrls"]["f"]
    remote.put(remote.start(url, 1).headers["Location"], b"x")
    assert remote.validate().ok


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"modelId": "../m"},
        {"modelId": 1},
        {"modelId": "m", "model": []},
        {"modelId": "m", "model": {"baseModelDetails": 1}},
        {"modelId": "m", "state": "ready"},
        {"modelId": "m", "state": None},
        {"modelId": "m", "colour": "red"},
    ],
)
def test_an_old_model_must_be_one(remote: Remote, document: dict[str, Any]) -> None:
    assert seed(remote, **document) == 400
    assert listed(remote) == []
