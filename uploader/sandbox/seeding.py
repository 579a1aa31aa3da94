"""Models that exist before anybody creates one, however they were made.

See docs/fireworks.md §1.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from uploader.sandbox.creation import check_seeded_fields, is_model_id
from uploader.sandbox.refusals import Refused
from uploader.sandbox.world import Model, World

_STATE = re.compile(r"[A-Z][A-Z_]{0,49}")


def seed_model(world: World, document: Mapping[str, Any]) -> Model:
    """Add or replace a model as it is given, without the checks of create.

    `document` has a `modelId` and may have `model`, the fields (`kind` CUSTOM_MODEL unless it is
    among them), and `state` (UPLOADING). Raises ValueError for anything else.
    """
    known: dict[str, Any] = {"modelId": None, "model": {}, "state": "UPLOADING"}
    if unknown := sorted(document.keys() - known.keys()):
        raise ValueError(f"unknown fields of a model: {', '.join(unknown)}")
    given = {**known, **document}
    model_id, fields, state = given["modelId"], given["model"], given["state"]
    if not is_model_id(model_id):
        raise ValueError(f"illegal modelId {model_id!r:.100}")
    if not isinstance(fields, dict):
        raise ValueError("the model is an object")  # noqa: TRY004 - as all that is wrong here
    try:
        check_seeded_fields(fields)
    except Refused as refused:
        raise ValueError(refused.violation) from None
    if not isinstance(state, str) or not _STATE.fullmatch(state):
        raise ValueError(f"illegal state {state!r:.100}")
    account = world.config.account_id
    model = Model(account, model_id, {"kind": "CUSTOM_MODEL", **fields}, world.now(), state)
    world.models[account, model_id] = model
    return model
