"""A model's files: upload URLs, validation, and URLs to read them back."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from uploader.sandbox import refusals, storage
from uploader.sandbox.call import Call, check_names
from uploader.sandbox.creation import int64
from uploader.sandbox.documents import masked
from uploader.sandbox.folder import IllegalKey, check_key
from uploader.sandbox.refusals import Refused, invalid
from uploader.sandbox.wire import Response, json_response
from uploader.sandbox.world import Model, World

_ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}
_ADAPTER_FILES |= {"fireworks.json"}
_UPLOAD_BODY = {"filenameToSize", "enableResumableUpload", "readMask"}
_VALIDATE_QUERY = ("skipHfConfigValidation", "trustRemoteCode", "configOnly")
_SWITCHED = {(name, value) for name in _VALIDATE_QUERY for value in ("true", "false")}


def upload_endpoint(call: Call) -> Response:
    """Upload URLs: the map of this call replaces the registered files (docs/fireworks.md §0.3)."""
    world, model = call.world, call.model()
    world.ledger.count("urls_calls")
    call.query()
    check_names("field", call.body.keys(), _UPLOAD_BODY)
    resumable = call.body.get("enableResumableUpload", False)
    if not isinstance(resumable, bool):
        raise invalid("enableResumableUpload is not a boolean")
    files = _checked_files(call.body.get("filenameToSize"), model)
    if model.wedged or model.state == "READY":
        status = HTTPStatus.METHOD_NOT_ALLOWED if model.wedged else world.config.ready_urls_status
        raise Refused(refusals.grpc_by_status(status, "no upload endpoint for this model"))
    prefix = f"{world.config.object_prefix}/" if world.config.object_prefix else ""
    if call.request.suffers("other-paths"):
        prefix += f"path-{world.ledger.counts['urls_calls']}/"
    keys = {name: f"{prefix}{model.account}/{model.model_id}/{name}" for name in files}
    _check_keys(keys.values())
    model.files, model.keys = files, keys
    by_path = world.config.url_keys == "path"
    urls = {
        model.keys[name] if by_path else name: storage.issue_url(
            world, model.keys[name], size, resumable=resumable
        )
        for name, size in files.items()
    }
    document = {"filenameToSignedUrls": urls, "filenameToUnsignedUris": {}}
    return json_response(200, masked(document, call.body.get("readMask", "")))


def _checked_files(sizes: Any, model: Model) -> dict[str, int]:
    if not isinstance(sizes, dict) or not sizes:
        raise invalid("filenameToSize is required")
    files: dict[str, int] = {}
    for name, value in sizes.items():
        size = int64(value)
        if size is None:
            raise invalid("filenameToSize maps file names to sizes")
        if model.fields.get("kind") == "HF_PEFT_ADDON" and name not in _ADAPTER_FILES:
            raise invalid(f"unexpected file {name!r}")
        files[name] = size
    return files


def _check_keys(keys: Iterable[str]) -> None:
    try:
        for key in keys:
            check_key(key)
    except IllegalKey as error:
        raise invalid(f"an illegal file name: {error}") from error


def validate_upload(call: Call) -> Response:
    """Validate (docs/fireworks.md §3): READY once all files have arrived, after enough polls."""
    world, model = call.world, call.model()
    world.ledger.count("validate_calls")
    if call.request.body.length:
        raise invalid("a body on a GET")
    if wrong := call.query(*_VALIDATE_QUERY).items() - _SWITCHED:
        raise invalid(f"{min(wrong)[0]} is neither true nor false")
    if model.state != "READY":
        _land(world, model)
    warnings = world.config.warnings
    return json_response(200, {"warnings": warnings} if warnings else {})


def _land(world: World, model: Model) -> None:
    if not _all_stored(world, model):
        world.ledger.count("early_validations")
        model.wedged = True
    _check_declared_files(model)
    model.polls += not model.wedged
    if model.wedged or model.polls <= world.config.landing_polls:
        shape = world.config.precondition_shape
        raise Refused(refusals.failed_precondition(shape, "files are still landing"))
    model.state = "READY"


def _all_stored(world: World, model: Model) -> bool:
    stored = {name: world.object_at(key).stored for name, key in model.keys.items()}
    sizes = {name: entry.size for name, entry in stored.items() if entry}
    return bool(model.files) and sizes == model.files


def _check_declared_files(model: Model) -> None:
    details = model.fields.get("baseModelDetails") or {}
    declared = set(details.get("huggingfaceFiles") or model.files)
    if different := declared ^ set(model.files):
        if model.wedged:
            return
        raise invalid(f"{min(different)} not found")


def download_endpoint(call: Call) -> Response:
    """Signed URLs to read a READY model's files, under their full object paths.

    See docs/fireworks.md §2.2.
    """
    world, model = call.world, call.model()
    mask = call.query("readMask").get("readMask", "")
    if model.state != "READY":
        raise Refused(refusals.grpc(refusals.FAILED_PRECONDITION, "the model is not READY"))
    urls = {key: storage.download_url(world, key) for key in model.keys.values()}
    return json_response(200, masked({"filenameToSignedUrls": urls}, mask))
