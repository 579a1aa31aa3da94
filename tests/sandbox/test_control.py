"""The control plane: create, URLs, validation, and the shapes of its errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Make, Remote

BASE = {
    "kind": "HF_BASE_MODEL",
    "baseModelDetails": {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": ["f"]},
}
PEFT = {"baseModel": "accounts/fireworks/models/base", "r": 16, "targetModules": ["q_proj"]}
LORA = {"kind": "HF_PEFT_ADDON", "peftDetails": PEFT}


def details(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": ["f"]}
    return {**BASE, "baseModelDetails": {**base, **changes}}


def land(remote: Remote, size: int = 1) -> None:
    remote.put(remote.session(size), bytes(size))


def test_create_answers_the_model_as_the_gateway_prints_it(remote: Remote) -> None:
    model = remote.create("f", displayName="Mine").json()
    assert model["name"] == "accounts/sandbox/models/m"
    assert (model["state"], model["status"]) == ("UPLOADING", {"code": "OK", "message": ""})
    assert (model["displayName"], model["description"]) == ("Mine", "")
    assert model["peftDetails"] is None
    assert model["baseModelDetails"]["huggingfaceFiles"] == ["f"]
    assert model["baseModelDetails"]["parameterCount"] == "0"
    assert (model["public"], model["supportsTools"], model["contextLength"]) == (False, False, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", model["createTime"])
    assert remote.call("GET", "/models/m").json() == model


def test_a_model_is_shown_with_the_fields_that_it_was_created_with(remote: Remote) -> None:
    asked = {"public": True, "contextLength": 4096, "supportsTools": True}
    date = {"deprecationDate": {"year": 2027, "month": 1, "day": 2}, "defaultDraftModel": ""}
    remote.create("f", **asked, **date)
    shown = remote.call("GET", "/models/m").json()
    assert {name: shown[name] for name in (*asked, *date)} == {**asked, **date}


@pytest.mark.parametrize(
    "model",
    [
        BASE,
        LORA,
        {"peftDetails": PEFT},
        {"kind": "EMBEDDING_MODEL"},
        {"kind": "HF_TEFT_ADDON", "peftDetails": PEFT, "teftDetails": {}},
        {"kind": "KIND_UNSPECIFIED", "peftDetails": PEFT},
        details(worldSize=1, parameterCount="7000000000", moe=False),
        details(checkpointFormat="NATIVE", huggingfaceFiles=[]),
    ],
)
def test_create_accepts(remote: Remote, model: dict[str, Any]) -> None:
    assert remote.call("POST", "/models", json={"modelId": "m", "model": model}).ok
    assert remote.world.report()["creates"] == 1


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"kind": "HF_BASE_MODEL"},
        {"kind": "HF_MODEL", "peftDetails": PEFT},
        {**LORA, "baseModelDetails": BASE["baseModelDetails"]},
        {**BASE, "displayname": "x"},
        {**BASE, "displayName": "x" * 64},
        {**BASE, "description": "x" * 1000},
        {**BASE, "public": "yes"},
        {**BASE, "contextLength": 4.5},
        details(huggingFaceFiles=["f"]),
        details(huggingfaceFiles=[]),
        details(huggingfaceFiles=["f", "f"]),
        details(huggingfaceFiles=[1]),
        details(checkpointFormat="NATIVE"),
        details(checkpointFormat="GGUF"),
        details(worldSize=True),
        {**LORA, "peftDetails": {**PEFT, "r": 3}},
        {**LORA, "peftDetails": {**PEFT, "r": 65}},
        {**LORA, "peftDetails": {**PEFT, "targetModules": "all-linear"}},
        {**LORA, "peftDetails": {**PEFT, "targetModules": []}},
        {**LORA, "peftDetails": {**PEFT, "baseModel": "org/name"}},
        {"kind": "HF_TEFT_ADDON", "peftDetails": PEFT},
    ],
)
def test_create_refuses_wrong_fields(remote: Remote, model: dict[str, Any]) -> None:
    answer = remote.call("POST", "/models", json={"modelId": "m", "model": model})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    report = remote.world.report()
    assert (report["creates"], report["create_calls"], len(report["refused"])) == (0, 1, 1)


@pytest.mark.parametrize("model_id", ["", "M", "1a", "a-", "-a", "a_b", "a.b", "a" * 64, None])
def test_create_refuses_wrong_ids(remote: Remote, model_id: str | None) -> None:
    answer = remote.call("POST", "/models", json={"modelId": model_id, "model": BASE})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"modelId": "m", "models": {}}'])
def test_create_refuses_wrong_bodies(remote: Remote, body: bytes) -> None:
    assert remote.call("POST", "/models", data=body).json()["code"] == 3


def test_an_id_that_exists_is_a_conflict(remote: Remote) -> None:
    remote.create("f")
    answer = remote.create("f")
    assert (answer.status_code, answer.json()["code"]) == (409, 6)
    assert remote.world.report()["creates"] == 1


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer é", "naked"])
def test_a_bad_key_is_403_in_openai_style(remote: Remote, key: str | None) -> None:
    key = remote.world.config.api_key if key == "naked" else key
    headers = {"Authorization": key.encode()} if key else {}
    answer = remote.http.get(f"{remote.world.base_url}/verifyApiKey", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "UNAUTHORIZED")


def test_a_key_can_lose_its_validity(remote: Remote) -> None:
    remote.world.config.change({"key_valid": False, "bad_key_status": 401})
    assert remote.call("GET", "/models").status_code == 401


def test_verify_names_the_account(remote: Remote) -> None:
    headers = {"Authorization": f"Bearer {remote.world.config.api_key}"}
    answer = remote.http.get(f"{remote.world.base_url}/verifyApiKey", headers=headers)
    assert answer.headers["x-fireworks-account-id"] == "sandbox"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models/nothing", 404),
        ("DELETE", "/models/nothing", 404),
        ("GET", "/models/nothing:validateUpload", 404),
        ("POST", "/models/nothing:getUploadEndpoint", 404),
        ("POST", "/models/m:validateUpload", 405),
        ("GET", "/models/m:getUploadEndpoint", 405),
        ("GET", "/deployments", 404),
        ("GET", "/../other/models", 404),
    ],
)
def test_what_is_not_there(remote: Remote, method: str, path: str, status: int) -> None:
    answer = remote.call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, 12 if status == 405 else 5)


def test_another_account_is_not_found(make: Make) -> None:
    remote = make(account_id="mine")
    assert remote.call("GET", "/models").status_code == 404


def test_listing_goes_page_by_page(remote: Remote) -> None:
    for model_id in ("b", "a", "c"):
        remote.call("POST", "/models", json={"modelId": model_id, "model": BASE})
    first = remote.call("GET", "/models?pageSize=2").json()
    assert [model["name"][-1] for model in first["models"]] == ["a", "b"]
    assert first["totalSize"] == 3
    rest = remote.call("GET", f"/models?pageToken={first['nextPageToken']}").json()
    assert ([model["name"][-1] for model in rest["models"]], rest["nextPageToken"]) == (["c"], "")
    assert remote.call("GET", "/models?pageSize=x").status_code == 400


def test_deleting_takes_objects_and_sessions_along(remote: Remote, tmp_path: Path) -> None:
    land(remote)
    uri = remote.session(2)
    assert remote.call("DELETE", "/models/m").json() == {}
    assert not (tmp_path / "sandbox/m/f").exists()
    assert remote.query(uri).status_code == 404
    assert remote.call("GET", "/models/m").status_code == 404
    assert remote.create("f").ok


def test_sizes_may_be_numbers_or_strings(remote: Remote) -> None:
    remote.create("f", "g")
    urls = remote.ask_urls({"f": 1, "g": "2"}).json()
    assert urls["filenameToSignedUrls"].keys() == {"f", "g"}
    assert urls["filenameToUnsignedUris"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filenameToSize": {}},
        {"filenameToSize": ["f"]},
        {"filenameToSize": {"f": -1}},
        {"filenameToSize": {"f": "1e3"}},
        {"filenameToSize": {"f": 1.5}},
        {"filenameToSize": {"../f": 1}},
        {"filenameToSize": {"/f": 1}},
        {"filenameToSize": {"": 1}},
        {"filenameToSize": {"a\n/../../../f": 1}},
        {"filenameToSize": {"a\\..\\f": 1}},
        {"filenameToSize": {"a\0": 1}},
        {"filenameToSize": {"\ud800": 1}},
        {"filenameToSize": {"x" * 256: 1}},
        {"filenameToSize": {"f": 1}, "enableResumableUpload": "true"},
        {"filename_to_size": {"f": 1}},
    ],
)
def test_wrong_url_requests(remote: Remote, body: dict[str, Any]) -> None:
    remote.create("f")
    answer = remote.call("POST", "/models/m:getUploadEndpoint", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


def test_urls_can_come_under_full_object_paths(make: Make) -> None:
    remote = make(url_keys="path")
    remote.create("f")
    urls = remote.ask_urls({"f": 1}).json()["filenameToSignedUrls"]
    assert urls.keys() == {"sandbox/m/f"}


def test_an_adapter_takes_no_extra_files(remote: Remote) -> None:
    remote.call("POST", "/models", json={"modelId": "m", "model": LORA})
    assert remote.ask_urls({"adapter_config.json": 1, "adapter_model.safetensors": 2}).ok
    answer = remote.ask_urls({"adapter_config.json": 1, "README.md": 2})
    assert answer.json()["code"] == 3
    assert "unexpected file" in answer.json()["message"]


def test_ready_comes_after_two_polls_and_stays(make: Make) -> None:
    remote = make(warnings=["no chat template"])
    land(remote)
    for _ in range(2):
        answer = remote.validate()
        assert (answer.status_code, answer.json()["code"]) == (400, 9)
        assert remote.call("GET", "/models/m").json()["state"] == "UPLOADING"
    assert remote.validate().json() == {"warnings": ["no chat template"]}
    assert remote.call("GET", "/models/m").json()["state"] == "READY"
    assert remote.validate().status_code == 200
    report = remote.world.report()
    assert (report["validate_calls"], report["early_validations"]) == (4, 0)
    assert report["models"] == {"accounts/sandbox/models/m": "READY"}


@pytest.mark.parametrize(
    ("shape", "status", "text"),
    [
        ("numeric", 400, '"code": 9'),
        ("http-412", 412, '"code": 9'),
        ("named", 400, '"code": "FAILED_PRECONDITION"'),
        ("text", 400, "FAILED_PRECONDITION: "),
    ],
)
def test_shapes_of_failed_precondition(make: Make, shape: str, status: int, text: str) -> None:
    remote = make(precondition_shape=shape)
    land(remote)
    answer = remote.validate()
    assert (answer.status_code, text in answer.text) == (status, True)


def test_validating_early_is_counted_and_wedges_the_model(remote: Remote) -> None:
    url = remote.url(1)
    assert remote.validate().json()["code"] == 9
    assert remote.ask_urls({"f": 1}).status_code == 405
    remote.put(remote.start(url, 1).headers["Location"], b"x")
    for _ in range(4):
        assert remote.validate().json()["code"] == 9
    assert remote.world.report()["early_validations"] == 1


def test_a_later_map_replaces_the_registered_files(make: Make) -> None:
    remote = make(landing_polls=0)
    remote.create("f", "g")
    both = remote.ask_urls({"f": 1, "g": 1}).json()["filenameToSignedUrls"]
    remote.put(remote.start(both["f"], 1).headers["Location"], b"x")
    remote.ask_urls({"f": 1})
    answer = remote.validate()
    assert (answer.status_code, answer.json()["message"]) == (400, "g not found")


def test_an_object_of_another_size_has_not_landed(make: Make) -> None:
    remote = make(landing_polls=0)
    land(remote, 1)
    remote.ask_urls({"f": 2})
    assert remote.validate().json()["code"] == 9


@pytest.mark.parametrize("options", [{"json": {}}, {"params": {"skip_tokenizer": "true"}}])
def test_wrong_validations(make: Make, options: dict[str, Any]) -> None:
    remote = make(landing_polls=0)
    land(remote)
    assert remote.validate(**options).json()["code"] == 3
    assert remote.validate(params={"skipHfConfigValidation": "true"}).ok


@pytest.mark.parametrize(("status", "code"), [(409, 6), (405, 12)])
def test_a_ready_model_gives_no_more_urls(make: Make, status: int, code: int) -> None:
    remote = make(landing_polls=0, ready_urls_status=status)
    land(remote)
    remote.validate()
    answer = remote.ask_urls({"f": 1})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_files_can_be_hidden(make: Make) -> None:
    remote = make(shows_files=False)
    assert "huggingfaceFiles" not in remote.create("f").json()["baseModelDetails"]


def test_the_rate_is_limited_per_minute(make: Make) -> None:
    now = [1_000_000.0]
    remote = make(now=lambda: now[0], requests_per_minute=2)
    assert [remote.call("GET", "/models").status_code for _ in range(3)] == [200, 200, 429]
    limited = remote.call("GET", "/models")
    assert (limited.json()["code"], limited.headers["Retry-After"]) == (8, "61")
    now[0] += 61
    assert remote.call("GET", "/models").ok


def test_the_switchboard(remote: Remote) -> None:
    base = f"{remote.world.base_url}/_sandbox"
    fault = {"on": "list", "do": "status", "times": 0}
    remote.http.headers["Authorization"] = f"Bearer {remote.world.doors.control_token}"
    assert remote.http.post(f"{base}/faults", json=[fault]).json() == {}
    assert remote.call("GET", "/models").status_code == 503
    assert remote.http.delete(f"{base}/faults").ok
    assert remote.http.post(f"{base}/config", json={"key_valid": False}).ok
    assert remote.call("GET", "/models").status_code == 403
    report = remote.http.get(f"{base}/report")
    assert report.json() == remote.world.report()
    assert remote.world.config.api_key not in report.text


def test_a_switch_with_a_fraction_takes_one_whatever_it_was_set_to(remote: Remote) -> None:
    config = remote.world.config
    for value in (0.25, 0, 0.25, 1, 0.0):
        config.change({"chaos": value, "clock_skew_s": value})
        assert (config.chaos, config.clock_skew_s) == (value, value)
    for switches in ({"landing_polls": 0.5}, {"chaos": True}, {"bad_key_status": 401.0}):
        with pytest.raises(ValueError, match="cannot be"):
            config.change(switches)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("faults", [{"on": "put", "do": "explode"}], 400),
        ("config", {"key_valid": 1}, 400),
        ("config", {"url_kind": "magic"}, 400),
        ("config", {"colour": "red"}, 400),
        ("config", {"account_id": "../../etc"}, 400),
        ("config", {"object_prefix": "a/../.."}, 400),
        ("config", {"object_prefix": "/etc"}, 400),
        ("config", {"api_key": "a\r\nb"}, 400),
        ("config", {"clock_skew_s": 1e300}, 400),
        ("config", {"chaos": 2}, 400),
        ("config", {"warnings": [1]}, 400),
        ("config", [], 404),
        ("nothing", {}, 404),
    ],
)
def test_the_switchboard_names_what_it_does_not_know(
    remote: Remote, path: str, body: Any, status: int
) -> None:
    token = {"Authorization": f"Bearer {remote.world.doors.control_token}"}
    url = f"{remote.world.base_url}/_sandbox/{path}"
    answer = remote.http.post(url, json=body, headers=token)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("token", [None, "Bearer wrong", "key"])
def test_the_switchboard_wants_its_token(remote: Remote, token: str | None) -> None:
    token = f"Bearer {remote.world.config.api_key}" if token == "key" else token
    headers = {"Authorization": token} if token else {}
    for method, path in (("GET", "report"), ("POST", "config"), ("DELETE", "faults")):
        url = f"{remote.world.base_url}/_sandbox/{path}"
        answer = remote.http.request(method, url, headers=headers, json={"key_valid": False})
        assert answer.status_code == 403
    assert remote.world.config.key_valid


def test_secrets_owe_nothing_to_the_seed(make: Make) -> None:
    first, second = make(seed=1), make(seed=1)
    pairs = [
        (first.world.doors.secret, second.world.doors.secret),
        (first.world.doors.control_token, second.world.doors.control_token),
        (first.world.config.api_key, second.world.config.api_key),
        (first.session(1), second.session(1)),
    ]
    assert all(one != other for one, other in pairs)
    assert min(len(first.world.doors.secret), len(first.world.doors.control_token)) >= 32
