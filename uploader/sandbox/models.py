"""The verbs of the control plane on models and accounts themselves."""

from __future__ import annotations

from uploader.sandbox import refusals
from uploader.sandbox.call import Call, check_names
from uploader.sandbox.creation import check_create_body, check_precision, check_update_body
from uploader.sandbox.documents import account_document, masked, model_document
from uploader.sandbox.listing import PARAMETERS, page
from uploader.sandbox.refusals import Refused, grpc, invalid
from uploader.sandbox.wire import Response, json_response
from uploader.sandbox.world import Model


def verify_key(call: Call) -> Response:
    """Name the key's account in a header; a wrong key was refused before."""
    call.query()
    return json_response(200, {}, x_fireworks_account_id=call.world.config.account_id)


def list_accounts(call: Call) -> Response:
    """The one account of the key. Raises Refused for an orderBy, which accounts do not have."""
    query = call.query(*PARAMETERS)
    if query.get("orderBy"):
        raise invalid("orderBy is not supported for accounts")
    return json_response(200, page("accounts", [account_document(call.world)], query))


def get_account(call: Call) -> Response:
    """The account, or the fields of it that the readMask names."""
    mask = call.query("readMask").get("readMask", "")
    return json_response(200, masked(account_document(call.world), mask))


def create_model(call: Call) -> Response:
    """Create: UPLOADING, without files. Raises Refused (409) if the id is taken."""
    world = call.world
    world.ledger.count("create_calls")
    call.query()
    fields = check_create_body(call.body)
    model_id = call.body["modelId"]
    if (call.account, model_id) in world.models:
        raise Refused(grpc(refusals.ALREADY_EXISTS, "already exists"))
    world.ledger.count("creates")
    model = Model(call.account, model_id, fields, world.now())
    world.models[call.account, model_id] = model
    return json_response(200, model_document(world, model))


def get_model(call: Call) -> Response:
    """The model, or the fields of it that the readMask names. Raises Refused (404)."""
    mask = call.query("readMask").get("readMask", "")
    return json_response(200, masked(model_document(call.world, call.model()), mask))


def list_models(call: Call) -> Response:
    """One page of the account's models. Raises Refused for parameters that do not fit."""
    query, world = call.query(*PARAMETERS), call.world
    models = [model for key, model in sorted(world.models.items()) if key[0] == call.account]
    documents = [model_document(world, model) for model in models]
    return json_response(200, page("models", documents, query))


def update_model(call: Call) -> Response:
    """Update: without an updateMask, all fields that may change are replaced.

    See docs/fireworks.md §4.
    """
    model = call.model()
    mask = call.query("updateMask").get("updateMask", "")
    model.fields = check_update_body(call.body, model.fields, mask)
    model.updated_at = call.world.now()
    return json_response(200, model_document(call.world, model))


def delete_model(call: Call) -> Response:
    """Delete the model and its objects. Raises Refused (404)."""
    call.query()
    model = call.model()
    del call.world.models[call.account, call.model_id]
    call.world.forget_objects(model)
    return json_response(200, {})


def prepare_model(call: Call) -> Response:
    """Prepare: one more precision that a READY model can be served in (docs/fireworks.md §4)."""
    call.query()
    model = call.model()
    check_names("field", call.body.keys(), {"precision", "readMask"})
    precision = check_precision(call.body.get("precision"))
    if model.state != "READY":
        raise Refused(grpc(refusals.FAILED_PRECONDITION, "the model is not READY"))
    if precision not in model.precisions:
        model.precisions.append(precision)
    return json_response(200, {})
