"""The official SDK, unmodified, against the sandbox: a reading of the contract that is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fireworks
import httpx
import pytest
import requests
from google.resumable_media.requests import ResumableUpload

from uploader.sandbox.server import Sandbox

FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": bytes(700_000)}
DETAILS = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": list(FILES), "worldSize": 1}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(data_dir=tmp_path, warnings=["no chat template"]) as box:
        yield box


@pytest.fixture
def sdk(box: Sandbox) -> Iterator[fireworks.Fireworks]:
    with (
        httpx.Client(trust_env=False) as http,
        fireworks.Fireworks(
            api_key=box.api_key,
            account_id=box.account_id,
            base_url=box.base_url,
            max_retries=0,
            http_client=http,
        ) as sdk,
    ):
        yield sdk


def create(sdk: fireworks.Fireworks) -> None:
    # huggingfaceFiles is missing from the SDK's types (docs/fireworks.md §1.2).
    model = {"kind": "HF_BASE_MODEL", "baseModelDetails": DETAILS}
    created = sdk.models.create(model_id="m", extra_body={"model": model})
    assert (created.name, created.state) == ("accounts/sandbox/models/m", "UPLOADING")


def urls(sdk: fireworks.Fireworks, *, resumable: bool) -> dict[str, str]:
    sizes = {name: str(len(content)) for name, content in FILES.items()}
    endpoint = sdk.models.get_upload_endpoint(
        "m", filename_to_size=sizes, enable_resumable_upload=resumable
    )
    assert endpoint.filename_to_signed_urls is not None
    assert endpoint.filename_to_signed_urls.keys() == FILES.keys()
    return endpoint.filename_to_signed_urls


def headers(size: int) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "x-goog-content-length-range": f"{size},{size}",
    }


def upload(url: str, content: bytes, *, resumable: bool) -> None:
    with requests.Session() as http:
        http.trust_env = False
        signed = headers(len(content))
        if resumable:
            start = http.post(url, headers={**signed, "x-goog-resumable": "start"})
            url, last = start.headers["Location"], len(content) - 1
            signed = {"Content-Range": f"bytes 0-{last}/{len(content)}"}
        assert http.put(url, data=content, headers=signed).status_code == 200


@pytest.mark.parametrize("resumable", [True, False])
def test_from_create_to_ready(
    sdk: fireworks.Fireworks, box: Sandbox, tmp_path: Path, resumable: bool
) -> None:
    create(sdk)
    for name, url in urls(sdk, resumable=resumable).items():
        upload(url, FILES[name], resumable=resumable)
    for _ in range(2):
        with pytest.raises(fireworks.BadRequestError, match="still landing"):
            sdk.models.validate_upload("m")
    assert sdk.models.validate_upload("m").warnings == ["no chat template"]
    model = sdk.models.get("m")
    assert (model.state, model.kind) == ("READY", "HF_BASE_MODEL")
    assert [listed.name for listed in sdk.models.list()] == ["accounts/sandbox/models/m"]
    for name, content in FILES.items():
        assert (tmp_path / "sandbox/m" / name).read_bytes() == content
    report = box.report()
    assert (report["refused"], report["early_validations"], report["leaked_keys"]) == ([], 0, 0)


def test_errors_are_those_of_the_sdk(sdk: fireworks.Fireworks, box: Sandbox) -> None:
    with pytest.raises(fireworks.NotFoundError):
        sdk.models.get("nothing")
    create(sdk)
    with pytest.raises(fireworks.ConflictError):
        create(sdk)
    sdk.models.delete("m")
    box.world.config.change({"key_valid": False})
    with pytest.raises(fireworks.PermissionDeniedError):
        sdk.models.get("m")


def test_google_resumable_media_uploads_from_start_to_finish(
    sdk: fireworks.Fireworks, box: Sandbox, tmp_path: Path
) -> None:
    """Its start posts `{}`, although the XML API wants no body (docs/gcs-resumable.md §2)."""
    create(sdk)
    name = "model.safetensors"
    size = len(FILES[name])
    signed = {**headers(size), "x-goog-resumable": "start"}
    (tmp_path / "source").write_bytes(FILES[name])
    with requests.Session() as http, (tmp_path / "source").open("rb") as stream:
        http.trust_env = False
        upload = ResumableUpload(urls(sdk, resumable=True)[name], 262144, headers=signed)
        upload.initiate(http, stream, {}, "application/octet-stream", total_bytes=size)
        while not upload.finished:
            upload.transmit_next_chunk(http)
    assert (tmp_path / "sandbox/m" / name).read_bytes() == FILES[name]
    assert box.report()["refused"] == []


def ready(sdk: fireworks.Fireworks, box: Sandbox) -> None:
    box.world.config.change({"landing_polls": 0})
    create(sdk)
    for name, url in urls(sdk, resumable=False).items():
        upload(url, FILES[name], resumable=False)
    sdk.models.validate_upload("m")


def test_what_is_ready_can_be_read_back(sdk: fireworks.Fireworks, box: Sandbox) -> None:
    ready(sdk, box)
    found = sdk.models.get_download_endpoint("m").filename_to_signed_urls
    assert found is not None
    assert found.keys() == {f"sandbox/m/{name}" for name in FILES}
    with requests.Session() as http:
        http.trust_env = False
        for key, url in found.items():
            assert http.get(url).content == FILES[Path(key).name]
            assert (
                http.get(url.replace("X-Goog-Signature=", "X-Goog-Signature=0")).status_code == 403
            )


def test_a_model_can_be_updated(sdk: fireworks.Fireworks) -> None:
    create(sdk)
    updated = sdk.models.update("m", display_name="Mine", context_length=4096)
    assert (updated.display_name, updated.context_length) == ("Mine", 4096)
    assert updated.kind == "HF_BASE_MODEL"
    updated = sdk.models.update("m", description="all fields are replaced")
    assert (updated.display_name, updated.description) == ("", "all fields are replaced")
    with pytest.raises(fireworks.BadRequestError, match="kind is immutable"):
        sdk.models.update("m", kind="CUSTOM_MODEL")
    with pytest.raises(fireworks.BadRequestError, match="fewer than 64"):
        sdk.models.update("m", display_name="x" * 64)


def test_a_ready_model_can_be_prepared(sdk: fireworks.Fireworks, box: Sandbox) -> None:
    create(sdk)
    with pytest.raises(fireworks.BadRequestError, match="not READY"):
        sdk.models.prepare("m", precision="FP8")
    sdk.models.delete("m")
    ready(sdk, box)
    sdk.models.prepare("m", precision="FP8")
    assert sdk.models.get("m").supported_precisions == ["FP8"]


def test_the_account_is_listed(sdk: fireworks.Fireworks) -> None:
    assert [account.name for account in sdk.accounts.list()] == ["accounts/sandbox"]
    account = sdk.accounts.get(account_id="sandbox")
    assert (account.state, account.suspend_state) == ("READY", "UNSUSPENDED")
    with pytest.raises(fireworks.NotFoundError):
        sdk.accounts.get(account_id="other")


def test_lists_go_through_pages_filters_and_order(sdk: fireworks.Fireworks) -> None:
    for number in range(7):
        model = {"kind": "HF_BASE_MODEL", "baseModelDetails": DETAILS, "displayName": f"{number}"}
        sdk.models.create(model_id=f"m-{number}", extra_body={"model": model})
    names = [model.display_name for model in sdk.models.list(page_size=2, order_by="name desc")]
    assert names == ["6", "5", "4", "3", "2", "1", "0"]
    found = sdk.models.list(filter='display_name = "3" AND state = UPLOADING')
    assert [model.name for model in found] == ["accounts/sandbox/models/m-3"]


def test_the_data_of_google_resumable_media_is_taken(
    sdk: fireworks.Fireworks, box: Sandbox, tmp_path: Path
) -> None:
    create(sdk)
    name = "model.safetensors"
    size = len(FILES[name])
    (tmp_path / "source").write_bytes(FILES[name])
    with requests.Session() as http, (tmp_path / "source").open("rb") as stream:
        http.trust_env = False
        url = urls(sdk, resumable=True)[name]
        start = http.post(url, headers={**headers(size), "x-goog-resumable": "start"})
        upload = ResumableUpload("ignored", 262144)
        upload._resumable_url = start.headers["Location"]
        upload._stream, upload._total_bytes = stream, size
        upload._content_type = "application/octet-stream"
        upload.transmit_next_chunk(http)
        upload.recover(http)
        assert upload.bytes_uploaded == 262144
        while not upload.finished:
            upload.transmit_next_chunk(http)
    assert (tmp_path / "sandbox/m" / name).read_bytes() == FILES[name]
    assert box.report()["bytes_below_confirmed"] == 0
