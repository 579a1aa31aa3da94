"""What the control plane does once a call is admitted: one function per verb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from uploader.sandbox import refusals, storage
from uploader.sandbox.creation import check_create_body, int64
from uploader.sandbox.folder import IllegalKey, check_key
from uploader.sandbox.refusals import Refused, grpc, invalid
from uploader.sandbox.wire import Request, Response, json_response
from uploader.sandbox.world import Model, World

_ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}
_ADAPTER_FILES |= {"fireworks.json"}
_VALIDATE_QUERY = {"skipHfConfigValidation", "trustRemoteCode", "configOnly"}
_PAGE_SIZE, _LARGEST_PAGE_SIZE = 50, 200


@dataclass
class Call:
    """One control-plane call: the names in its path, and the parsed JSON body."""

    world: World
    request: Request
    account: str = ""
    model_id: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def model(self) -> Model:
        """The model of the path. Raises Refused: 404, code 5."""
        model = self.world.models.get((self.account, self.model_id))
        if model is None:
            raise Refused(grpc(refusals.NOT_FOUND, "resource not found"))
        return model


def verify_key(call: Call) -> Response:
    return json_response(200, {}, x_fireworks_account_id=call.world.config.account_id)


def create_model(call: Call) -> Response:
    world = call.world
    world.count("create_calls")
    fields = check_create_body(call.body)
    model_id = call.body["modelId"]
    if (call.account, model_id) in world.models:
        raise Refused(grpc(refusals.ALREADY_EXISTS, "already exists"))
    world.count("creates")
    model = Model(call.account, model_id, fields, world.now())
    world.models[call.account, model_id] = model
    return json_response(200, _document(world, model))


def get_model(call: Call) -> Response:
    return json_response(200, _document(call.world, call.model()))


def list_models(call: Call) -> Response:
    query = call.request.query
    size = int64(query.get("pageSize") or str(_PAGE_SIZE))
    start = int64(query.get("pageToken") or "0")
    if size is None or start is None:
        raise invalid("illegal pageSize or pageToken")
    models = [model for key, model in sorted(call.world.models.items()) if key[0] == call.account]
    stop = start + min(size or _PAGE_SIZE, _LARGEST_PAGE_SIZE)
    page = {
        "models": [_document(call.world, model) for model in models[start:stop]],
        "nextPageToken": str(stop) if stop < len(models) else "",
        "totalSize": len(models),
    }
    return json_response(200, page)


def delete_model(call: Call) -> Response:
    model = call.model()
    del call.world.models[call.account, call.model_id]
    call.world.forget_objects(model)
    return json_response(200, {})


def upload_endpoint(call: Call) -> Response:
    """Upload URLs: the map of this call replaces the registered files (§0.3)."""
    world, model = call.world, call.model()
    world.count("urls_calls")
    if unknown := call.body.keys() - {"filenameToSize", "enableResumableUpload", "readMask"}:
        raise invalid(f"unknown field {min(unknown)}")
    resumable = call.body.get("enableResumableUpload", False)
    if not isinstance(resumable, bool):
        raise invalid("enableResumableUpload is not a boolean")
    files = _checked_files(call.body.get("filenameToSize"), model)
    if model.wedged or model.state == "READY":
        status = HTTPStatus.METHOD_NOT_ALLOWED if model.wedged else world.config.ready_urls_status
        raise Refused(refusals.grpc_by_status(status, "no upload endpoint for this model"))
    prefix = f"{world.config.object_prefix}/" if world.config.object_prefix else ""
    if call.request.suffers("other-paths"):
        prefix += f"path-{world.counts['urls_calls']}/"
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
    return json_response(200, {"filenameToSignedUrls": urls, "filenameToUnsignedUris": {}})


def _checked_files(sizes: Any, model: Model) -> dict[str, int]:
    if not isinstance(sizes, dict) or not sizes:
        raise invalid("filenameToSize is required")
    files: dict[str, int] = {}
    for name, value in sizes.items():
        size = int64(value)
        if size is None:
            raise invalid("filenameToSize maps file names to sizes")
        if model.fields["kind"] == "HF_PEFT_ADDON" and name not in _ADAPTER_FILES:
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
    """Validate (§3): READY once all has landed and enough polls were answered."""
    world, model = call.world, call.model()
    world.count("validate_calls")
    if call.request.body.length:
        raise invalid("a body on a GET")
    if unknown := call.request.query.keys() - _VALIDATE_QUERY:
        raise invalid(f"unknown parameter {min(unknown)}")
    if model.state != "READY":
        _land(world, model)
    warnings = world.config.warnings
    return json_response(200, {"warnings": warnings} if warnings else {})


def _land(world: World, model: Model) -> None:
    if not _all_stored(world, model):
        world.count("early_validations")
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
    declared = set(model.fields.get("baseModelDetails", {}).get("huggingfaceFiles", model.files))
    if different := declared ^ set(model.files):
        if model.wedged:
            return
        raise invalid(f"{min(different)} not found")


def _document(world: World, model: Model) -> dict[str, Any]:
    """A model as the gateway prints it: empty fields too, int64 as strings, nanoseconds (§11)."""
    created = datetime.fromtimestamp(model.created_at, UTC)
    created_at = f"{created:%Y-%m-%dT%H:%M:%S.%f}000Z"
    fields = dict(model.fields)
    if "baseModelDetails" in fields:
        details = {"worldSize": 1, "parameterCount": "0", **fields["baseModelDetails"]}
        if not world.config.shows_files:
            details.pop("huggingfaceFiles", None)
        fields["baseModelDetails"] = details
    return {
        **dict.fromkeys(("displayName", "description", "githubUrl", "huggingFaceUrl"), ""),
        **dict.fromkeys(("baseModelDetails", "peftDetails", "teftDetails")),
        **fields,
        "name": model.name,
        "state": model.state,
        "status": {"code": "OK", "message": ""},
        "createTime": created_at,
        "updateTime": created_at,
        "public": fields.get("public", False),
    }
